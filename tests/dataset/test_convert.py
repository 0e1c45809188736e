"""`gsam convert`: formats told apart, splits that stay, nothing half written, flat memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gsam.dataset.convert import convert, parse_split
from gsam.errors import UsageError
from gsam.results.formats import jsonl, known
from gsam.results.formats.dataset import DataSetWriter
from tests.results.formats.scenes import hard, read_back

NAMES = [f"{folder}/{i}.png" for folder in ("a", "b") for i in range(20)]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Forty images as JSON lines."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    with jsonl.Writer(folder) as writer:
        for name in NAMES:
            writer.add(hard(name))
    return folder


def lossless() -> list[str]:
    return ["jsonl", "coco", "lvis", "labelme", "cvat", "label_studio"]


@pytest.mark.parametrize("to", lossless())
def test_there_and_back_is_the_same(to: str, scenes: Path, tmp_path: Path) -> None:
    there = convert(scenes, tmp_path / "there", to)
    assert (there.images, there.segments, there.problems) == (40, 320, [])
    assert known.recognised(tmp_path / "there") == to
    back = convert(tmp_path / "there", tmp_path / "back", "jsonl")
    assert (back.images, back.segments, back.problems) == (40, 320, [])
    found, wanted = read_back(list(known.read(tmp_path / "back"))), read_back(list(known.read(scenes)))
    assert found.keys() == wanted.keys()
    for image, segments in wanted.items():
        assert sorted(segments, key=str) == sorted(found[image], key=str)


@pytest.mark.parametrize("to", sorted(known.FORMATS))
def test_every_format_is_written_whole_or_not_at_all(
    to: str, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert convert(scenes, out, to).images == 40
    with pytest.raises(UsageError, match="exists already"):
        convert(scenes, out, to)
    kind = known.writer_of(to)
    assert isinstance(kind, type)
    assert issubclass(kind, DataSetWriter)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kind, "close", full)
    with pytest.raises(OSError, match="No space"):
        convert(scenes, tmp_path / "second", to)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "scenes"]


def test_a_split_is_by_name_and_stays(scenes: Path, tmp_path: Path) -> None:
    found = convert(scenes, tmp_path / "out", "jsonl", split=(0.6, 0.3, 0.1))
    parts = {p: {s["image"] for s in known.read(tmp_path / "out" / p)} for p in ("train", "val", "test")}
    assert {p: len(names) for p, names in parts.items()} == found.parts
    assert set.union(*parts.values()) == set(NAMES)
    assert len(parts["train"]) > len(parts["val"]) > 0
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    with jsonl.Writer(fewer) as writer:
        for name in NAMES[5:]:
            writer.add(hard(name))
    convert(fewer, tmp_path / "again", "jsonl", split=(0.6, 0.3, 0.1))
    assert {s["image"] for s in known.read(tmp_path / "again" / "val")} == parts["val"] & set(NAMES[5:])


@pytest.mark.parametrize("text", ["", "1", "0.5", "0.5/0.6", "a/b", "-1/2", "0.2/0.2/0.2/0.4"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="a split is"):
        parse_split(text)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.json").write_text('{"hello": 1}')
    for path in (tmp_path / "empty", tmp_path / "a.json"):
        with pytest.raises(UsageError, match="looks like no data set"):
            convert(path, tmp_path / "out", "coco")
    with pytest.raises(UsageError, match="is not there"):
        convert(tmp_path / "nothing", tmp_path / "out", "coco")
    with pytest.raises(UsageError, match="did you mean 'labelme'"):
        convert(tmp_path / "a.json", tmp_path / "out", "labelm")
    assert not (tmp_path / "out").exists()


def test_gsam_s_own_results_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a.png", "sub/b.png"):
        path = (tmp_path / "a" / name).with_suffix(".json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(hard(name)))
    (tmp_path / "a" / "sub" / "bad.json").write_text("{")
    found = convert(tmp_path / "a", tmp_path / "out", "coco")
    assert found.images == 2
    assert len(found.problems) == 1


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gsam", "convert", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "JAX_PLATFORMS": "x"}
    )


def test_the_command_says_what_is_lost(scenes: Path, tmp_path: Path) -> None:
    ran = run(scenes, tmp_path / "out", "--to", "yolo", "--split", "0.5/0.5")  # and it needs no JAX
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == str(tmp_path / "out")
    assert "yolo cannot hold: scores (320)" in ran.stderr
    assert "40 images, 320 objects" in ran.stderr
    (scenes / "scenes.jsonl").open("a").write("{}\n")
    ran = run(scenes, tmp_path / "second", "--to", "coco")
    assert ran.returncode == 3
    assert "left out" in ran.stderr
    assert (tmp_path / "second" / "coco.json").is_file()
    assert run(scenes, tmp_path / "second", "--to", "coco").returncode == 2


CODE = """
import resource, sys
from pathlib import Path
from gsam.dataset.convert import convert
convert(Path(sys.argv[1]), Path(sys.argv[2]), "coco")
convert(Path(sys.argv[2]), Path(sys.argv[3]), "jsonl")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    assert resource
    peaks = []
    for count in (100, 2000):
        folder = tmp_path / str(count)
        folder.mkdir()
        with jsonl.Writer(folder) as writer:
            one = hard()
            for i in range(count):
                writer.add(one | {"image": f"{i}.png"})
        places = [str(folder), str(tmp_path / f"a{count}"), str(tmp_path / f"b{count}")]
        ran = subprocess.run([sys.executable, "-c", CODE, *places], capture_output=True, text=True, check=True)
        peaks.append(int(ran.stdout))
    assert peaks[1] < peaks[0] * 1.15


def test_results_of_label_at_a_url(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    place = fsspec.filesystem("memory")
    row = {**hard("a.png"), "id": "a.png", "error": None}
    place.pipe("/convert/set/plan.json", json.dumps({"settings": {"queries": {"labels": ["cat"]}}}).encode())
    place.pipe("/convert/set/parts/00000.jsonl", json.dumps(row).encode() + b"\n")
    try:
        done = convert("memory://convert/set", tmp_path / "out", "coco")
        assert (done.images, done.segments, done.problems) == (1, 8, [])
        assert read_back(list(known.read(tmp_path / "out"))) == read_back([hard("a.png")])
        with pytest.raises(UsageError, match="without --from"):
            convert("memory://convert/set", tmp_path / "other", "coco", format="coco")
        with pytest.raises(UsageError, match=r"has no plan\.json"):
            convert("memory://convert/none", tmp_path / "other", "coco")
    finally:
        place.rm("/convert", recursive=True)
