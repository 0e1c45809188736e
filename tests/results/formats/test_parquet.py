"""Scenes in Parquet: nothing is lost, groups are small, parts of ``gsam label`` are read too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gsam.errors import UsageError
from gsam.results.formats import known, parquet
from gsam.results.formats.dataset import scene, segment
from gsam.results.masks import rle
from tests.results.formats.scenes import KOREAN, ODD, SIZE, hard, masks, read_back

pq = pytest.importorskip("pyarrow.parquet")


def written(folder: Path, *scenes: Any, labels: tuple[str, ...] = ()) -> parquet.Writer:
    folder.mkdir(exist_ok=True)
    with parquet.Writer(folder, labels) as writer:
        for one in scenes:
            writer.add(one)
    return writer


def test_everything_comes_back(tmp_path: Path) -> None:
    labels = (*(f"class {i}" for i in range(300)), KOREAN, ODD)
    scenes = [hard(name) for name in ("a.png", "a.jpg", "sub/a.png")]
    scenes[1]["segments"][0] |= {"track": 7, "crowd": True, "mask_score": 0.125}
    scenes.append(scene("none.png", (3, 4), [], labels))
    assert not written(tmp_path, *scenes, labels=labels).losses
    assert known.recognised(tmp_path) == known.recognised(tmp_path / "scenes.parquet") == "parquet"
    data = known.read(tmp_path)
    assert data.labels[:302] == list(labels)
    for _ in range(2):
        found = list(data)
        assert read_back(found) == read_back(scenes)
        assert found[1]["segments"] == scenes[1]["segments"]
        assert found[3] == scenes[3]
    assert not data.problems
    assert [p.name for p in tmp_path.iterdir()] == ["scenes.parquet"]


def test_rows_of_ray_are_read_and_their_other_columns_are_not(tmp_path: Path) -> None:
    pa = parquet.pyarrow()
    row = {**hard("a.png"), "id": "a.png", "image": "/data/a.png", "query_labels": None, "error": None}
    bad = {"id": "b.png", "segments": [], "error": {"code": "image_unreadable", "message": "b.png: no image"}}
    table = pa.Table.from_pylist([row, bad], parquet.schema(parts=True))
    table = table.append_column("caption", pa.array(["x", "y"])).append_column("image_bytes", pa.array([b"1", b"2"]))
    pq.write_table(table, tmp_path / "1_000000_000000.parquet")
    assert known.recognised(tmp_path) == "parquet"
    data = known.read(tmp_path)
    assert read_back(list(data)) == read_back([hard("a.png")])
    assert len(data.problems) == 1
    assert "(b.png): b.png: no image" in data.problems[0]


def test_groups_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [hard(f"{i}.png") | {"pipeline": "nano"} for i in range(10)]
    monkeypatch.setattr(parquet, "ROWS", 4)
    for name in ("one", "two"):
        written(tmp_path / name, *scenes)
    path = tmp_path / "one" / "scenes.parquet"
    assert path.read_bytes() == (tmp_path / "two" / "scenes.parquet").read_bytes()
    found = pq.ParquetFile(path)
    assert [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)] == [4, 4, 2]
    assert found.read().column("pipeline").to_pylist() == ["nano"] * 10
    monkeypatch.setattr(parquet, "BYTES", 1)
    written(tmp_path / "three", *scenes)
    assert pq.ParquetFile(tmp_path / "three" / "scenes.parquet").num_row_groups == 10


def test_uncompressed_run_lengths_and_scores(tmp_path: Path) -> None:
    found = segment("x", rle.encode(masks()["hole"]), score=float("nan"))
    found["mask"] = rle.decompress(found["mask"])
    writer = written(tmp_path, scene("a.png", SIZE, [found]))
    assert writer.losses == {"scores that are no numbers": 1}
    ((one,),) = (s["segments"] for s in parquet.read(tmp_path))
    assert (one["mask"], one["score"]) == (rle.encode(masks()["hole"]), None)


def test_rows_that_are_wrong_are_told(tmp_path: Path) -> None:
    pa = parquet.pyarrow()
    rows = [
        {"id": "bad.png", "image": None, "error": {"code": "image_unreadable", "message": "bad.png: no image"}},
        {"id": "odd.png", "width": 5, "height": 5, "queries": ["x"], "segments": hard()["segments"]},
        {"id": "a.png", **hard("a.png"), "error": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows, parquet.schema()), tmp_path / "00000.parquet")
    data = known.read(tmp_path)
    assert [s["image"] for s in data] == ["a.png"]
    assert len(data.problems) == 2
    assert "row 1 (bad.png): bad.png: no image" in data.problems[0]
    assert "another size than its image" in data.problems[1]


def test_files_that_are_none(tmp_path: Path) -> None:
    pa = parquet.pyarrow()
    with pytest.raises(UsageError, match="has no Parquet"):
        parquet.read(tmp_path)
    path = tmp_path / "scenes.parquet"
    for content in (b"", b"PAR1", b"{}"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="is no Parquet") as caught:
            known.read(path, "parquet")
        assert caught.value.code == "format_unreadable"
    pq.write_table(pa.table({"id": ["a"], "width": [1], "height": [1]}), path)
    with pytest.raises(UsageError, match="has no column segments"):
        parquet.read(path)


def test_a_damaged_group_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS", 16)
    written(tmp_path, *(hard(f"{i}.png") for i in range(64)))
    path = tmp_path / "scenes.parquet"
    content = bytearray(path.read_bytes())
    found = pq.ParquetFile(path).metadata.row_group(2)
    column = next(found.column(i) for i in range(found.num_columns) if "counts" in found.column(i).path_in_schema)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)
    data = parquet.read(path)
    assert len(list(data)) in (16, 32)
    assert len(data.problems) == 1
    assert "broken after row" in data.problems[0]


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="needs the extra batch") as caught:
        known.writer_of("parquet")
    assert caught.value.code == "extra_missing"
    (tmp_path / "scenes.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="needs the extra batch"):
        known.read(tmp_path)
