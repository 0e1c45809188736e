"""`gsam.ray.Segment`: as a plain class, and in a real Ray of two actors of which one is killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam import ray as adapter
from gsam.dataset.label import engine
from gsam.errors import CheckpointError, QueryError, UsageError
from gsam.inputs.image import Picture
from gsam.results.formats.label_parts import read_parts
from gsam.text.queries import Queries
from tests.helpers.fake_gsam import FakePipeline

ROOT = Path(__file__).parents[2]
POISON = 99
"""Rows of an image that the device cannot compute."""


class Poisoned(FakePipeline):
    def _run(self, due: Sequence[tuple[Any, Queries, Picture | Exception]]) -> Any:
        if any(isinstance(picture, Picture) and picture.pixels.shape[0] == POISON for _, _, picture in due):
            raise RuntimeError("the device\nis unhappy")
        return super()._run(due)


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch) -> adapter.Segment:
    monkeypatch.setattr(adapter, "load", lambda name, **_: Poisoned())
    return adapter.Segment("nano", "dog. cat", batch_size=4)


def pixels(rows: int = 8, columns: int = 12) -> np.ndarray:
    return np.full((rows, columns, 3), 200, np.uint8)


def png(rows: int = 8, columns: int = 12) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(rows, columns)).save(file, "png")
    return file.getvalue()


def objects(*values: Any) -> np.ndarray:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    lists = {name: value.to_pylist() if hasattr(value, "to_pylist") else list(value) for name, value in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def codes(columns: Mapping[str, Any]) -> list[str | None]:
    return [row["error"] and row["error"]["code"] for row in rows_of(columns)]


def test_images_come_in_every_way_of_ray(segment: adapter.Segment, tmp_path: Path) -> None:
    path = str(tmp_path / "a.png")
    Path(path).write_bytes(png())
    names = np.array(["x/a.png", "x/b.png"])
    batches: dict[str, dict[str, Any]] = {
        "read_images of one size": {"image": np.stack([pixels(), pixels()]), "path": names},
        "read_images of several": {"image": objects(pixels(), pixels(9)), "path": names},
        "read_binary_files": {"bytes": objects(png(), png(9)), "path": names},
        "the hub": {"image": objects({"bytes": png(), "path": "x/a.png"}, {"bytes": png(9), "path": "x/b.png"})},
        "ids of numbers": {"image": objects(png(), png()), "id": np.array([7, 8])},
        "read_webdataset": {"jpg": np.stack([pixels(), pixels()]), "__key__": names, "json": objects({}, {})},
        "paths": {"Path": np.array([path, path])},
        "the hub, by path": {"image": objects({"bytes": None, "path": path}, {"bytes": None, "path": path})},
    }
    for kind, batch in batches.items():
        found = segment(batch)
        rows = rows_of(found)
        ids = ["7", "8"] if "id" in batch else [path] * 2 if kind in ("paths", "the hub, by path") else list(names)
        assert [row["id"] for row in rows] == ids, kind
        assert [row["image"] for row in rows] == ids, kind
        assert codes(found) == [None, None], kind
        assert [[s["label"] for s in row["segments"]] for row in rows] == [["dog", "cat"]] * 2, kind
        passed = [name for name in batch if name in ("path", "Path", "__key__", "json")]
        assert [name for name in found if name not in adapter.FIELDS] == passed, kind


def test_other_columns_pass(segment: adapter.Segment) -> None:
    batch = {"jpg": objects(png(), png()), "key": np.array(["a", "b"]), "split": np.array([0, 1]), "width": np.zeros(2)}
    named = adapter.Segment("nano", "dog", image="jpg", id="key")
    found = named(batch)
    assert list(found)[:3] == ["key", "split", "id"]
    assert [row["width"] for row in rows_of(found)] == [12, 12]
    assert [row["id"] for row in rows_of(found)] == ["a", "b"]
    paths = adapter.Segment("nano", "dog", image="where", id="where")({"where": np.array(["missing.png"])})
    assert "where" in paths


@pytest.mark.usefixtures("segment")
def test_no_image_stops_a_batch(segment: adapter.Segment, tmp_path: Path) -> None:
    folder, missing = str(tmp_path), str(tmp_path / "missing.png")
    images = objects(
        png(), b"no image", b"", None, float("nan"), {"bytes": None, "path": None}, {"bytes": b"x", "path": "x"},
        missing, folder, pixels().astype(np.float32), np.zeros((3, 3, 3, 3), np.uint8), [1, 2], png(POISON),
        "https://127.0.0.1/a.png", "nostore://a/b.png", pixels(9),
    )  # fmt: skip
    found = segment({"image": images, "id": np.arange(len(images))})
    assert [row["id"] for row in rows_of(found)] == [str(i) for i in range(len(images))]
    told = codes(found)
    assert [i for i, code in enumerate(told) if code is None] == [0, len(images) - 1]
    assert told[3] == told[4] == told[5] == told[7] == "image_missing"
    assert told[12:15] == ["internal", "urls_not_allowed", "store_unknown"]
    assert all(code == "image_unreadable" for code in told[1:3] + told[9:12])
    errors = [row["error"] for row in rows_of(found)]
    assert errors[12] == {"code": "internal", "message": "the device is unhappy"}
    assert all(row["segments"] == [] for row in rows_of(found) if row["error"])


def test_blocks_have_the_same_types(segment: adapter.Segment) -> None:
    pa = pytest.importorskip("pyarrow")
    ids = np.array(["a"])
    good, bad, none = (
        segment({"image": objects(image), "id": ids} if image else {"image": objects(), "id": ids[:0]})
        for image in (png(), b"no image", None)
    )
    assert pa.table(good).schema == pa.table(bad).schema == pa.table(none).schema
    assert (len(pa.table(good)), len(pa.table(none)), segment({}).keys()) == (1, 0, good.keys())


def test_without_pyarrow(segment: adapter.Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = {"image": objects(png(), b"no image"), "id": np.array(["a", "b"])}
    expected = rows_of(segment(batch))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    found = segment(batch)
    assert all(isinstance(column, list) for column in found.values())
    assert rows_of(found) == expected


def test_errors_of_the_run_are_raised(segment: adapter.Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="rows come in any order"):
        segment({"image": objects(png())})
    with pytest.raises(UsageError, match="among label, id"):
        segment({"label": objects(png()), "id": np.array(["a"])})
    with pytest.raises(UsageError, match="leave out batch_format"):
        segment([png()])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no column 'jpg'"):
        adapter.Segment("nano", "dog", image="jpg")({"image": objects(png()), "id": np.array(["a"])})
    with pytest.raises(QueryError):
        adapter.Segment("nano", " . ")
    monkeypatch.undo()
    with pytest.raises(UsageError, match="nonsense"):
        adapter.Segment("nonsense", "dog")
    monkeypatch.setenv("GSAM_WEIGHTS", "/nowhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises((CheckpointError, UsageError)):
        adapter.Segment("nano", "dog", segmenter="nothing.safetensors")


def test_rows_are_those_of_gsam_label(segment: adapter.Segment, tmp_path: Path) -> None:
    for name, content in {"a.png": png(), "b.png": b"no image", "c.png": png(9)}.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    out = tmp_path / "out"
    engine.label(str(tmp_path / "in"), "dog. cat", out, "nano", parts="jsonl", load=lambda *_, **__: Poisoned())
    names = ["a.png", "b.png", "c.png"]
    batch = {"id": np.array(names), "path": np.array([str(tmp_path / "in" / name) for name in names])}
    for row, path, expected in zip(rows_of(segment(batch)), batch["path"], read_parts(out), strict=True):
        row.pop("path", None)
        assert row == {"query_labels": None, **expected, "image": path}


DRIVER = """
import json, os, signal, sys, time
import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig
import gsam

folder, out, log, checkpoint, deadly, seconds = sys.argv[1:]


class Watched(gsam.ray.Segment):
    def __call__(self, batch):
        found = super().__call__(batch)
        with open(log, "a") as file:
            file.write(json.dumps([os.getpid(), found["id"].to_pylist()]) + "\\n")
        time.sleep(float(seconds))
        if deadly:
            try:
                os.close(os.open(deadly, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return found
            os.kill(os.getpid(), signal.SIGKILL)
        return found


ray.init(num_cpus=4, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False)
if checkpoint:
    DataContext.get_current().checkpoint_config = CheckpointConfig(
        id_column="path", checkpoint_path=checkpoint, delete_checkpoint_on_success=False
    )
data = ray.data.read_binary_files(folder, include_paths=True, override_num_blocks=6)
made = ("nano", "dog. pizza")
data = data.map_batches(Watched, fn_constructor_args=made, compute=ActorPoolStrategy(size=2), batch_size=4, num_cpus=1)
data.write_parquet(out)
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """23 images and one that is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    scene = Image.open(ROOT / "notebooks" / "scene.png").convert("RGB")
    for i in range(23):
        scene.rotate(i).resize((96, 96)).save(folder / f"{i:02}.png")
    (folder / "bad.png").write_bytes(b"no image")
    return folder


def driver(tmp_path: Path, many: Path, checkpoint: str = "", deadly: str = "", seconds: float = 0.0) -> Any:
    arguments = [many, tmp_path / "out", tmp_path / "log", checkpoint, deadly, seconds]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "RAY_AUTH_MODE": "disabled"}
    environment["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace("device_count=4", "device_count=1")
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, arguments)],
        env=environment,
        cwd=tmp_path,
        stdout=(tmp_path / "stdout").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def log_of(tmp_path: Path) -> list[Any]:
    path = tmp_path / "log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def check_complete(tmp_path: Path, many: Path) -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    rows = dataset.dataset(tmp_path / "out", format="parquet").to_table().to_pylist()
    assert sorted(row["id"] for row in rows) == sorted(str(path) for path in many.iterdir())
    (bad,) = [row for row in rows if row["error"]]
    assert (Path(bad["id"]).name, bad["error"]["code"]) == ("bad.png", "image_unreadable")
    assert sum(len(row["segments"]) for row in rows) > 10
    assert all(row["width"] == 96 and row["pipeline"] == "nano" for row in rows if not row["error"])


@pytest.mark.slow
def test_an_actor_is_killed(tmp_path: Path, many: Path) -> None:
    pytest.importorskip("ray.data")
    process = driver(tmp_path, many, deadly=str(tmp_path / "deadly"))
    assert process.wait(600) == 0, (tmp_path / "stdout").read_text()
    check_complete(tmp_path, many)
    log = log_of(tmp_path)
    assert len({pid for pid, _ in log}) == 3, "two actors, and one in place of the one that was killed"
    assert sum(len(ids) for _, ids in log) > 24, "the batch that was lost is computed again"


@pytest.mark.slow
def test_a_run_is_resumed_by_rays_checkpoint(tmp_path: Path, many: Path) -> None:
    pytest.importorskip("ray.data")
    checkpoint = str(tmp_path / "checkpoint")
    process = driver(tmp_path, many, checkpoint, seconds=2.0)
    until = time.monotonic() + 400
    while len(list((tmp_path / "out").glob("*.parquet"))) < 2:
        assert process.poll() is None, (tmp_path / "stdout").read_text()
        assert time.monotonic() < until
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(5)  # until Ray's own processes notice
    before = log_of(tmp_path)
    process = driver(tmp_path, many, checkpoint)
    assert process.wait(900) == 0, (tmp_path / "stdout").read_text()
    check_complete(tmp_path, many)
    again = log_of(tmp_path)[len(before) :]
    assert 0 < sum(len(ids) for _, ids in again) < 24, "a part of the images is done again at most"
