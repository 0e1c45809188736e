"""The engine of `gsam.label`: shards, a continuous stream, waiting, failures, callbacks."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gsam
from gsam.dataset import signals
from gsam.dataset.ahead import Ahead
from gsam.dataset.label import engine, turns
from gsam.dataset.label.claims import Claims, _host
from gsam.dataset.label.place import LocalPlace, place_of
from gsam.dataset.stream import answers
from gsam.errors import UsageError
from gsam.results.formats import known
from gsam.results.formats.label_parts import read_parts
from gsam.text.queries import parse_queries
from tests.helpers.fake_gsam import FakePipeline, result_of


def png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 9, 3), grey, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(10):
        (folder / f"{i}.png").write_bytes(png(200 if i % 2 else 40))
    return folder


def label(source: Any, out: Path, **settings: Any) -> engine.Summary:
    settings = {"part_size": 3, "parts": "jsonl", "load": lambda *_, **__: FakePipeline()} | settings
    return gsam.label(source, settings.pop("query", "dog"), out, "nano", **settings)


def test_images_of_shards_are_rows_like_any_other(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tgz"):
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as tar:
            for i in range(7):
                info = tarfile.TarInfo(f"{i}.png")
                info.size = len(content := png(200) if i != 4 else b"none")
                tar.addfile(info, io.BytesIO(content))
    found = label([tmp_path / "a.tar", tmp_path / "b.tgz"], tmp_path / "out")
    rows = list(read_parts(tmp_path / "out"))
    assert [row["id"] for row in rows] == [f"{name}/{i}.png" for name in ("a.tar", "b.tgz") for i in range(7)]
    assert [row["error"] is None for row in rows] == [i != 4 for _ in range(2) for i in range(7)]
    assert rows[0]["segments"] == rows[7]["segments"] != []
    assert (found.parts, found.images, found.failed) == (4, 14, 2)  # the stream is one part
    assert found.counts == {"dog": 24}
    label([tmp_path / "a.tar", tmp_path / "b.tgz"], tmp_path / "other", worker="1/2")
    for path in (tmp_path / "out" / "parts").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / "parts" / path.name).read_bytes()


def test_the_device_does_not_wait_at_the_end_of_a_part(images: Path, tmp_path: Path) -> None:
    fake = FakePipeline()
    label(images, tmp_path / "out", load=lambda *_, **__: fake, batch_size=4)
    assert fake.batches == [4, 4, 2]  # and not three of each part


def test_an_ontology_in_a_file(images: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.toml").write_text('dog = "animal"')
    label(images, tmp_path / "out", query=tmp_path / "classes.toml")
    assert '"labels": [\n    "animal"\n   ]' in (tmp_path / "out" / "plan.json").read_text()


def test_progress_and_what_is_said(images: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    said: list[str] = []
    label(images, tmp_path / "out", progress=lambda *now: seen.append(now), say=said.append, worker="0/2")
    assert seen == [(i, 10) for i in range(1, 11)]
    assert said == ["worker 0/2 (from --worker)", "loading nano"]


def test_results_on_a_store_are_those_of_a_folder(images: Path, tmp_path: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    try:
        found = label(images, Path(tmp_path / "out"))
        other = label(images, "memory://bucket/out")  # type: ignore[arg-type]
        assert (other.counts, other.page) == (found.counts, "memory://bucket/out/index.html")
        names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
        assert {name.removeprefix("/bucket/out/") for name in fs.find("/bucket/out")} == names
        for name in names:
            assert fs.cat_file(f"/bucket/out/{name}") == (tmp_path / "out" / name).read_bytes()
        assert label(images, "memory://bucket/out").done_before == 4  # type: ignore[arg-type]
        assert known.read("memory://bucket/out").labels == ["dog"]  # type: ignore[arg-type]
    finally:
        fs.rm("/bucket", recursive=True)


def test_a_pipeline_of_the_user_s_own(tmp_path: Path) -> None:
    pipe = gsam.load("nano")
    found = gsam.label("notebooks/scene.png", "dog. pizza", tmp_path / "out", pipe, parts="jsonl")
    assert found.counts == {"dog": 1, "pizza": 1}
    other = gsam.load("nano", threshold=0.9)
    with pytest.raises(UsageError, match="threshold"):
        gsam.label("notebooks/scene.png", "dog. pizza", tmp_path / "out", other, parts="jsonl")


def test_waits_for_others_and_takes_over_what_a_dead_one_leaves(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "POLL", 0.05)
    monkeypatch.setattr(LocalPlace, "beat", 0.1)
    out = tmp_path / "out"
    label(images, tmp_path / "whole")
    said: list[str] = []
    made = threading.Event()
    real = turns.Claims

    def claims(place: Any) -> Claims:
        other = Claims(place, beat=0.05, dead=0.4)
        other.me = {"host": "elsewhere", "pid": 1, "run": "x"}
        assert other.take(1) is not None
        threading.Timer(0.5, lambda: other._held.clear()).start()  # it dies: no more signs of life
        made.set()
        return real(place, dead=0.4)

    monkeypatch.setattr(turns, "Claims", claims)
    began = time.monotonic()
    found = label(images, out, say=said.append)
    assert time.monotonic() - began > 0.8  # while it lived, its part was left to it
    assert (found.images, found.complete) == (10, True)
    assert said[-1] == "waiting for 1 part that other processes are at"
    for path in (tmp_path / "whole" / "parts").iterdir():
        assert path.read_bytes() == (out / "parts" / path.name).read_bytes()


def test_what_killed_processes_left_is_swept(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label(images, out, wait=False)
    label(images, tmp_path / "whole")
    (out / "parts" / "00001.jsonl").unlink()
    for folder, age in ((out, 60), (out / "parts", 60), (out / "parts", -60)):
        left = folder / f".gsam-{age}left.jsonl"
        left.write_text("half")
        os.utime(left, (time.time() - age,) * 2)
    label(images, out)
    names = {p.name for p in out.rglob("*") if p.is_file()}
    assert names == {p.name for p in (tmp_path / "whole").rglob("*") if p.is_file()} | {".gsam--60left.jsonl"}
    left = out / "overview" / ".gsam-left.jpg"
    left.write_text("half")
    os.utime(left, (time.time() - 2,) * 2)
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    claim = out / "claims" / f"{len(list((out / 'parts').glob('0*.jsonl'))):06d}"  # the page's, of a killed process
    claim.write_text(json.dumps({"host": _host(), "pid": int(ended.stdout), "run": "x", "beat": 0}))
    label(images, out)  # all is there, but for what it sweeps
    assert not left.exists()
    assert not claim.exists()


class Holding(FakePipeline):
    """Gives no result before the next image is asked for, as a device that is kept busy."""

    def answers(self, pairs: Any, opened: Any, **_: Any) -> Iterator[Any]:
        held: list[Any] = []
        for item, queries in pairs:
            yield from held
            held = [(item, result_of(opened(item), queries.names))]
        yield from held


def test_two_that_wait_for_each_other_both_finish(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "POLL", 0.05)
    monkeypatch.setattr(LocalPlace, "beat", 0.1)
    found: list[engine.Summary] = []

    def one(worker: str) -> None:
        pipe = Holding()
        found.append(label(images, tmp_path / "out", load=lambda *_, **__: pipe, worker=worker, part_size=2))

    threads = [threading.Thread(target=one, args=(f"{i}/2",), daemon=True) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(summary.images for summary in found) >= 10
    assert all(summary.complete for summary in found)
    assert len(found) == 2
    label(images, tmp_path / "whole", part_size=2)
    for path in (tmp_path / "whole" / "parts").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / "parts" / path.name).read_bytes()


def test_a_signal_ends_the_waiting(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Claims(place_of(tmp_path / "out"))
    held.me = {"host": "elsewhere", "pid": 1, "run": "x"}
    (tmp_path / "out" / "claims").mkdir(parents=True)
    held.take(2)
    code = (
        "import sys; sys.argv[1:] = sys.argv[2:]; import tests.helpers.fake_gsam as fake, gsam; "
        "gsam.load = lambda *a, **k: fake.FakePipeline(); from gsam.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "", "label", str(images), "-q", "dog", "-p", "nano"]
    command += ["-o", str(tmp_path / "out"), "--part-size", "3", "--parts", "jsonl"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("waiting for 1 part " in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 3
    held.close()
    assert not list((tmp_path / "out" / "claims").iterdir())


def test_without_waiting_it_says_what_is_elsewhere(images: Path, tmp_path: Path) -> None:
    label(images, tmp_path / "out")
    for part in (tmp_path / "out" / "parts").iterdir():
        part.unlink()
    held = Claims(place_of(tmp_path / "out"))
    held.me = {"host": "elsewhere", "pid": 1, "run": "x"}
    held.take(2)
    found = label(images, tmp_path / "out", wait=False)
    assert (found.elsewhere, found.complete, found.images) == (1, False, 7)
    held.close()


def test_a_signal_ends_the_run_between_images(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def after_five(done: int, total: int | None) -> None:
        if done == 5:
            monkeypatch.setattr(signals, "_received", 15)

    with pytest.raises(signals.Interrupted):
        label(images, tmp_path / "out", progress=after_five)
    monkeypatch.setattr(signals, "_received", None)
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 1
    assert not list((tmp_path / "out" / "claims").iterdir())
    label(images, tmp_path / "out")
    label(images, tmp_path / "whole")
    for path in (tmp_path / "whole" / "parts").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / "parts" / path.name).read_bytes()


class Poisoned(FakePipeline):
    """Fails as a whole where a batch has a grey of 66; memory is enough for two images."""

    def __init__(self, most: int = 99) -> None:
        super().__init__()
        self.most = most

    def _run(self, due: Any) -> Iterator[Any]:
        self.batches.append(len(due))
        if len(due) > self.most:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes")
        for _, _, picture in due:
            if picture.pixels[0, 0, 0] == 66:
                raise RuntimeError("the device says no")
        for item, queries, picture in due:
            yield item, result_of(picture, queries.names)


def greys(*values: int) -> tuple[list[Any], Callable[[int], Any]]:
    queries = parse_queries("dog")
    pixels = [gsam.open_image(np.full((4, 5, 3), value, np.uint8)) for value in values]
    return [(i, queries) for i in range(len(values))], pixels.__getitem__


def test_one_image_that_breaks_its_batch_is_found() -> None:
    pairs, opened = greys(1, 2, 66, 4, 5, 6, 66, 8)
    found = list(answers(Poisoned(), pairs, opened, 4))  # type: ignore[arg-type]
    assert [item for item, _ in found] == list(range(8))
    assert [isinstance(answer, Exception) for _, answer in found] == [i in (2, 6) for i in range(8)]


def test_batches_are_halved_where_memory_is_too_little() -> None:
    pipe = Poisoned(most=2)
    pairs, opened = greys(*range(1, 10))
    found = list(answers(pipe, pairs, opened, 8))  # type: ignore[arg-type]
    assert [item for item, _ in found] == list(range(9))
    assert not any(isinstance(answer, Exception) for _, answer in found)
    assert pipe.batches == [8, 4, 2, 2, 2, 2, 1]


def test_an_error_of_the_source_is_no_image_s() -> None:
    pairs, opened = greys(1, 2, 3)

    def broken() -> Iterator[Any]:
        yield from pairs[:2]
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        list(answers(FakePipeline(), broken(), opened, 4))  # type: ignore[arg-type]


def test_ahead_is_bounded_ends_and_passes_errors_on() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for i in itertools.count():
            taken.append(i)
            yield i

    with Ahead(numbers(), 3) as ahead:
        assert [next(ahead) for _ in range(5)] == list(range(5))
        time.sleep(0.1)
        assert len(taken) <= 5 + 3 + 1
    assert list(ahead) == []
    assert list(Ahead(iter("abc"), 1)) == ["a", "b", "c"]

    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    ahead = Ahead(fails(), 4)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="two"):
        next(ahead)
    calls: list[int] = []

    def idle() -> None:
        calls.append(1)
        raise KeyboardInterrupt

    slow = Ahead(iter(lambda: time.sleep(1.2), 0), 1, idle)
    with pytest.raises(KeyboardInterrupt):
        next(slow)
    slow.close()
