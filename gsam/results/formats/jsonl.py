"""Scenes as JSON lines: each line is what `gsam.results.formats.scene_json` writes of an image."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from gsam.errors import UsageError
from gsam.files import atomic_path
from gsam.results.formats.dataset import DataSet, DataSetWriter, scene, segment
from gsam.results.formats.scene_json import dumps
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

FILE = "scenes.jsonl"
EXTRA = ("mask_score", "crowd", "track")
"""Fields of a segment that are kept beside those that every format has."""


class Writer(DataSetWriter):
    """Writes ``scenes.jsonl``; nothing is lost."""

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._lines: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def add(self, scene: JsonMapping) -> None:
        self._lines.write(dumps(scene).encode() + b"\n")

    def close(self) -> None:
        import shutil

        self._lines.seek(0)
        with atomic_path(self.folder / FILE) as path, path.open("wb") as file:
            shutil.copyfileobj(self._lines, file)
        self._lines.close()


def read(path: Path, without: Sequence[Path] = ()) -> DataSet:
    """Read scenes.

    Args:
        path: A ``.jsonl``, a folder with ``scenes.jsonl``, one ``.json`` of an image, or a folder
            of them as ``gsam segment`` writes it.
        without: Folders in it whose JSON is of something else.

    Returns:
        The data set.

    Raises:
        UsageError: There is no such file (``format_unreadable``).
    """
    if path.is_dir() and not (path / FILE).is_file():
        files = sorted(p for p in path.rglob("*.json") if p.name != "coco.json" and not p.name.startswith("."))
        files = [p for p in files if not any(p.is_relative_to(folder) for folder in without)]
    else:
        files = [path / FILE if path.is_dir() else path]
    if not files or not files[0].is_file():
        raise UsageError(f"{path} has no scenes: no {FILE}, and no JSON of images", "format_unreadable")
    return DataSet([], lambda data: _scenes(files, data))


def _scenes(files: Sequence[Path], data: DataSet) -> Iterator[Json]:
    for path in files:
        with path.open("rb") as file:
            lines = enumerate(file, 1) if path.suffix == ".jsonl" else [(1, file.read())]
            for number, line in lines:
                if not line.strip():
                    continue
                try:
                    yield parsed(json.loads(line))
                except (ValueError, LookupError, TypeError, AttributeError) as error:
                    data.problems.append(f"{path}, line {number}: no scene ({error!r})")


def parsed(value: Json) -> Json:
    """Check a scene that was read.  Raises `ValueError` and the like for what is none."""
    found = []
    for one in value["segments"]:
        mask = one["mask"]
        if mask is not None:
            rle.lengths(mask)
            if list(mask["size"]) != [value["height"], value["width"]]:
                raise ValueError("a mask has another size than its image")
        more = {key: one[key] for key in EXTRA if key in one}
        found.append(segment(str(one["label"]), mask, box=one["box"], score=one.get("score"), **more))
    labels = value.get("query_labels") or value["queries"]
    return scene(value["image"], (value["height"], value["width"]), found, [label for label in labels if label])
