"""The measurement of labelling: its parts alone, and a tiny kill."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import dataset
from benchmarks.harness import dataset_kill, dataset_page, dataset_peers, dataset_profile
from benchmarks.harness.dataset_process import Child, Failed, in_turns, together, worker
from benchmarks.harness.sections import chooser, joined


def bright(folder: Path, count: int) -> list[Path]:
    """Images with a bright thing in two of four quarters."""
    from benchmarks.harness.dataset_light import light_images

    paths = light_images(folder, count)
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:24, 4:20], pixels[40:60, 40:52] = 255, 255
    Image.fromarray(pixels).save(paths[0])
    return paths


def test_the_light_pipeline_finds_what_is_bright_in_each_quarter(tmp_path: Path) -> None:
    from benchmarks.harness.dataset_light import QUERY, light_pipeline

    path = bright(tmp_path, 1)[0]
    result = light_pipeline()(path, QUERY)
    assert result.labels == ["bright thing"] * 2
    np.testing.assert_allclose(result.xyxy, [[4, 8, 20, 24], [40, 40, 52, 60]])
    slow = light_pipeline(1.0)(path, QUERY)
    assert slow.to_dict() == result.to_dict()


def test_the_ways_of_others_find_the_same_and_write_it(tmp_path: Path) -> None:
    from benchmarks.harness.dataset_light import QUERY, light_pipeline

    paths = bright(tmp_path / "in", 3)
    pipe = light_pipeline()

    def model(image: object) -> object:
        return pipe(image, QUERY)  # type: ignore[arg-type]

    found = dataset_peers.by_detections(model, tmp_path / "in", ".png", tmp_path / "yolo", QUERY.split(". "))  # type: ignore[arg-type]
    listed = dataset_peers.by_list(model, paths, tmp_path / "list" / "results.jsonl")  # type: ignore[arg-type]
    assert found["images"] == listed["images"] == 3
    assert found["objects"] == listed["objects"] > 3
    lines = (tmp_path / "yolo" / "labels" / "00000.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "0"]
    assert all(0 <= float(v) <= 1 for line in lines for v in line.split()[1:])
    rows = [json.loads(line) for line in (tmp_path / "list" / "results.jsonl").read_text().splitlines()]
    assert len(rows[0]["segments"]) == 2
    assert rows[0]["segments"][0]["mask"]["size"] == [64, 64]


def test_a_process_is_timed_and_its_memory_told(tmp_path: Path) -> None:
    (ended,) = together([["-c", "x = bytearray(200_000_000); print(len(x))"]], tmp_path)
    assert ended.output.strip() == "200000000"
    assert ended.peak > 200_000_000
    assert ended.seconds > 0
    with pytest.raises(Failed, match="no such thing"):
        together([["-c", "raise SystemExit('no such thing')"]], tmp_path)
    child = Child(["-c", "import time; time.sleep(60)"], tmp_path)
    assert child.poll() is None
    assert child.kill().code == -signal.SIGKILL


def test_no_setting_of_the_machine_reaches_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--nonsense")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    (ended,) = together([["-c", "import json, os; print(json.dumps(dict(os.environ)))"]], tmp_path)
    assert not {"XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR"} & ended.answer.keys()
    assert ended.answer["GSAM_CACHE"] == str(tmp_path)


def test_the_form_that_begins_changes() -> None:
    order = []

    def of(name: str):  # type: ignore[no-untyped-def]
        return lambda: order.append(name) or {}

    in_turns({"a": of("a"), "b": of("b")}, 2)
    assert order == ["a", "b", "b", "a"]


def test_the_tree_is_compared_with_hidden_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "parts").mkdir(parents=True)
        (tmp_path / name / "parts" / "0").write_text("same")
    wanted = dataset_kill.tree(tmp_path / "one")
    assert dataset_kill.different(tmp_path / "two", wanted) == []
    (tmp_path / "two" / "parts" / ".gsam-x").write_text("")
    (tmp_path / "two" / "parts" / "0").write_text("other")
    (tmp_path / "one" / "more").write_text("")
    wanted = dataset_kill.tree(tmp_path / "one")
    assert dataset_kill.different(tmp_path / "two", wanted) == ["more", "parts/.gsam-x", "parts/0"]


def test_stages_are_told_by_the_stack() -> None:
    over, seen = threading.Event(), threading.Event()
    going = [True]

    def row_of() -> None:
        seen.set()
        while going:
            pass

    working = threading.Thread(target=row_of)
    waiting = threading.Thread(target=over.wait)
    for thread in (working, waiting):
        thread.start()
    try:
        assert seen.wait(10)
        frames = sys._current_frames()
        assert dataset_profile.stage_of("rows", frames[working.ident or 0]) == "masks to run lengths, and rows"
        assert dataset_profile.stage_of("readers", frames[waiting.ident or 0]) == "waiting"
        assert dataset_profile.stage_of("parts", frames[working.ident or 0]) == "other"
    finally:
        over.set()
        going.clear()
        working.join()
        waiting.join()


def test_no_goal_is_met_that_was_not_reached() -> None:
    form = {"title": "t", "rate": 1.0, "steady": 1.0, "processor": 0.1, "peak": 10**8}
    ratio = {"title": "to the loop", "ratio": 1.79, "steady": 1.9, "goal": 1.8}
    speed = {
        "forms": {"label": form}, "ratios": [ratio, {**ratio, "ratio": 1.81}],
        "same": {"objects": 3, "different": 0, "images": 2},
        "images": 2, "what": "scenes", "pixels": 1e5, "names": 82, "part_size": 1, "repeats": 1, "overlays": 1, "starts": "1 s",
    }  # fmt: skip
    row = {"pipeline": "nano", "images": 200, "peak": 10**8}
    killed = {
        "workers": 1, "kills": 2, "rounds": 1, "seconds": 1.0, "undisturbed": 1.0, "leftovers_met": 1,
        "moments": {"at a part": 2}, "differences": [],
    }  # fmt: skip
    kill = {"asked": 2, "images": 9, "part_size": 3, "milliseconds": 5.0, "seed": 1, "rows": [killed]}
    report = {
        "command": "c", "date": "d", "machine": "m", "versions": {"jax": "1", "torch": "absent"}, "took": 1.0, "load": "0",
        "speed": speed, "memory": [row, {**row, "images": 2000, "peak": 2 * 10**8}], "kill": kill,
    }  # fmt: skip
    page = dataset_page.page(report)
    assert "**1.79** | >= 1.8: **missed**" in page
    assert "**1.81** | >= 1.8: met" in page
    assert "| nano | 2000 | 200 MB | 2.00 | **missed** |" in page
    assert "2 of 2 kills, byte for byte as an undisturbed run: met." in page
    assert "absent" not in page
    for worse in ({"kills": 1}, {"differences": ["killed-1-1/parts/00000.jsonl"]}):
        report["kill"] = {**kill, "rows": [{**killed, **worse}]}
        assert "an undisturbed run: **missed**." in dataset_page.page(report)


def test_sections_are_known() -> None:
    assert chooser(dataset.SECTIONS)("speed, kill") == ["speed", "kill"]
    with pytest.raises(Exception, match="there is no walk"):
        chooser(dataset.SECTIONS)("walk")


@pytest.mark.long
def test_what_is_killed_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = bright(tmp_path / "in", 6)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps({"id": f"{n}", "image": str(files[n % 6])}) + "\n" for n in range(24)))
    given = {"milliseconds": 30.0, "part_size": 4}
    monkeypatch.setattr(dataset_kill, "WORKERS", (2,))
    (row,) = dataset_kill.measure(tmp_path / "out", manifest, tmp_path / "cache", 2, given)
    assert row.kills == 2
    assert row.differences == []
    (ended,) = together(
        [worker("light", source=manifest, out=tmp_path / "out" / "killed-2-1", **given)], tmp_path / "cache"
    )
    assert ended.answer["images"] == 0  # all of it was done


def test_sections_that_were_not_asked_for_stay_with_their_own_command() -> None:
    about = {"machine": "m", "load": "1", "took": 1.0, "versions": {}}
    memory = [{"pipeline": "nano", "images": n, "peak": 10**8} for n in (200, 400)]
    before = {**about, "command": "all", "date": "d1", "memory": memory}
    again = {**about, "command": "memory", "date": "d2", "peers": {"rows": [], "milliseconds": 10.0}}
    found = joined(again, before, dataset_page.SECTIONS)
    assert found["memory"] == memory
    assert found["made"]["memory"]["command"] == "all"
    assert found["made"]["peers"]["command"] == "memory"
    page = dataset_page.page(found)
    assert "Made by `memory` on d2" in page.split("## ")[0]
    assert "Made by `all` on d1: m." in page.split("## Peak memory")[1].split("## ")[0]
    third = joined({**about, "command": "third", "date": "d3", "peers": again["peers"]}, found, dataset_page.SECTIONS)
    assert third["made"]["memory"]["command"] == "all"
