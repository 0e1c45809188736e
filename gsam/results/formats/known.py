"""Formats of data sets by their names, and the one that a file is of."""

from __future__ import annotations

import difflib
import importlib
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gsam.errors import UsageError
from gsam.results.formats import label_parts
from gsam.results.formats.dataset import DataSet, DataSetWriter

FORMATS: Mapping[str, str] = {
    "jsonl": "jsonl.Writer",
    "coco": "coco_files.Writer",
    "coco_results": "coco_files.ResultsWriter",
    "lvis": "coco_files.LvisWriter",
    "sa1b": "sa1b_files.Writer",
    "yolo": "yolo.Writer",
    "voc": "voc.Writer",
    "labelme": "labelme.Writer",
    "cvat": "cvat.Writer",
    "label_studio": "label_studio.Writer",
}
"""Each with the module and the class that writes it."""
LABELLED = "label"
"""Name of what ``gsam label`` writes, which is read only."""
MARKS = (
    (r'"image"\s*:\s*\{', "sa1b"),
    ('"shapes"', "labelme"),
    ('"segments"', "jsonl"),
    ('"annotations"', "coco"),
    ('"images"', "coco"),
)
"""Patterns by which an object in JSON is told, the first that is found."""
HEAD = 1 << 16
"""Bytes by which a file's format is told."""


def writer_of(name: str) -> Callable[..., DataSetWriter]:
    """Give what writes a format.  Raises `UsageError` for none (``format_unknown``)."""
    module, _, kind = FORMATS[_known(name)].partition(".")
    return getattr(importlib.import_module(f"gsam.results.formats.{module}"), kind)


def read(path: Path, name: str | None = None, images: Path | None = None) -> DataSet:
    """Read a data set of any format.

    Args:
        path: Its file or folder.
        name: The format; by default the one that it looks like.
        images: The folder of the images, for a format that does not tell their sizes.

    Returns:
        The data set, read image by image.

    Raises:
        UsageError: There is no such format, the path is not of it, or of none that is known
            (``format_unknown``, ``format_unreadable``).
    """
    if not path.exists():
        raise UsageError(f"{path} is not there", "format_unreadable")
    if (name or recognised(path)) == LABELLED:
        return label_parts.read(path)
    name = recognised(path) if name is None else _known(name)
    if name == "coco_results":
        raise UsageError("COCO results tell neither sizes nor names: give the data set itself", "format_unreadable")
    module: Any = importlib.import_module(f"gsam.results.formats.{FORMATS[name].partition('.')[0]}")
    return module.read(path, images) if name == "yolo" else module.read(path)


def recognised(path: Path) -> str:
    """Tell the format of a file or folder.

    Raises:
        UsageError: It looks like none (``format_unknown``).
    """
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    if found is None:
        text = f"{path} looks like no data set known here: say what it is with --from, one of {', '.join(FORMATS)}"
        raise UsageError(text, "format_unknown")
    return found


def _of_folder(path: Path) -> str | None:
    marks = {
        "data.yaml": "yolo",
        "annotations.xml": "cvat",
        "Annotations": "voc",
        "tasks.json": "label_studio",
        "scenes.jsonl": "jsonl",
    }
    if (path / label_parts.PLAN).is_file():
        return LABELLED
    if found := next((name for mark, name in marks.items() if (path / mark).exists()), None):
        return found
    if (path / "coco.json").is_file():
        return "coco"
    some = next((p for p in sorted(path.rglob("*.json")) if not p.name.startswith(".")), None)
    return None if some is None else _of_file(some)


def _of_file(path: Path) -> str | None:
    if path.name.endswith((".yaml", ".yml")):
        return "yolo"
    if path.suffix == ".jsonl":
        return "jsonl"
    if path.suffix == ".xml" or zipfile.is_zipfile(path):
        return "cvat"
    with path.open("rb") as file:
        head = file.read(HEAD).decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
    if head.startswith("["):
        return "label_studio" if '"data"' in head else None
    return next((name for mark, name in MARKS if head.startswith("{") and re.search(mark, head)), None)


def _known(name: str) -> str:
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise UsageError(f"no format {name!r}{hint} There are {', '.join(FORMATS)}", "format_unknown")
    return name
