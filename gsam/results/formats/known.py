"""Formats of data sets by their names, and the one that a file is of."""

from __future__ import annotations

import difflib
import importlib
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gsam.errors import UsageError
from gsam.results.formats import jsonl, label_parts
from gsam.results.formats.dataset import DataSet, DataSetWriter
from gsam.results.formats.names import FORMATS

__all__ = ["FORMATS", "read", "recognised", "writer_of"]

LABELLED = "label"
"""Name of what ``gsam label`` writes, which is read only."""
MARKS = (
    (r'^\{"format"\s*:\s*"gsam png_masks\b', "png_masks"),
    (r'^\{"format"\s*:\s*"gsam png_ids\b', "png_ids"),
    (r'"image"\s*:\s*\{', "sa1b"),
    ('"shapes"', "labelme"),
    ('"segments"', "jsonl"),
    ('"annotations"', "coco"),
    ('"images"', "coco"),
)
"""Patterns by which an object in JSON is told, the first that is found."""
LISTS = {"coco_results": "results.json", "lvis": "lvis.json", "cvat_video": "annotations.xml"}
"""Files of formats that are not told by their looks, or told as another."""
HEAD = 1 << 16
"""Bytes by which a file's format is told."""


def writer_of(name: str) -> Callable[..., DataSetWriter]:
    """Give what writes a format.

    Raises:
        UsageError: There is no such format (``format_unknown``), or a package that it needs is not
            installed (``extra_missing``).
    """
    name, _, kind = FORMATS[_known(name)].partition(".")
    module: Any = importlib.import_module(f"gsam.results.formats.{name}")
    if name == "parquet":
        module.pyarrow()
    found: Callable[..., DataSetWriter] = getattr(module, kind)
    return found


def read(path: Path | str, name: str | None = None, images: Path | None = None) -> DataSet:
    """Read a data set of any format.

    Args:
        path: Its file or folder; a URL that fsspec knows, of what ``gsam label`` wrote.
        name: The format; by default the one that it looks like.
        images: The folder of the images, for a format that does not tell their sizes.

    Returns:
        The data set, read image by image.

    Raises:
        UsageError: There is no such format, the path is not of it, or of none that is known
            (``format_unknown``, ``format_unreadable``).
    """
    if isinstance(path, str) and "://" in path:
        if name is not None:
            text = f"{path}: only what gsam label wrote is read from a URL, so without --from"
            raise UsageError(text, "format_unreadable")
        return label_parts.read(path)
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path} is not there", "format_unreadable")
    if (name or recognised(path)) == LABELLED:
        return label_parts.read(path)
    name = recognised(path) if name is None else _known(name)
    if name == "coco_results":
        raise UsageError("COCO results tell neither sizes nor names: give the data set itself", "format_unreadable")
    module: Any = importlib.import_module(f"gsam.results.formats.{FORMATS[name].partition('.')[0]}")
    if name == "jsonl":
        return jsonl.read(path, data_sets_in(path))
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


def data_sets_in(path: Path) -> list[Path]:
    """Name the data sets beside results of ``gsam segment``: folders called by their format."""
    folders = [path / name for name in FORMATS if name != "jsonl" and (path / name).is_dir()]
    return [folder for folder in folders if _is_named_by_format(folder)]


def _is_named_by_format(folder: Path) -> bool:
    if folder.name in LISTS:
        return (folder / LISTS[folder.name]).is_file()
    return _of_folder(folder) == folder.name


def _of_folder(path: Path) -> str | None:
    marks = {
        "data.yaml": "yolo",
        "annotations.xml": "cvat",
        "Annotations": "voc",
        "tasks.json": "label_studio",
        "scenes.jsonl": "jsonl",
        "scenes.parquet": "parquet",
        "id2label.json": "png_palette",
    }
    if (path / label_parts.PLAN).is_file():
        return LABELLED
    if found := next((name for mark, name in marks.items() if (path / mark).exists()), None):
        return found
    if (path / "coco.json").is_file():
        return "coco"
    if (path / "lvis.json").is_file() and _of_file(path / "lvis.json") == "coco":
        return "lvis"
    others = data_sets_in(path)
    some = _first(p for p in path.rglob("*.json") if not any(p.is_relative_to(other) for other in others))
    if some is not None:
        return _of_file(some)
    return "parquet" if any(path.glob("*.parquet")) else "png_masks" if any(path.rglob("metadata.csv")) else None


def _first(paths: Iterable[Path]) -> Path | None:
    return min((p for p in paths if not p.name.startswith(".")), default=None)


def _of_file(path: Path) -> str | None:
    if path.name.endswith((".yaml", ".yml")):
        return "yolo"
    if path.suffix == ".jsonl":
        return "jsonl"
    if path.suffix == ".xml" or zipfile.is_zipfile(path):
        return "cvat"
    with path.open("rb") as file:
        start = file.read(HEAD)
    if start.startswith(b"PAR1"):
        return "parquet"
    head = start.decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
    if head.startswith("["):
        return "label_studio" if '"data"' in head else "coco_results" if '"image_id"' in head else None
    return next((name for mark, name in MARKS if head.startswith("{") and re.search(mark, head)), None)


def _known(name: str) -> str:
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise UsageError(f"no format {name!r}{hint} There are {', '.join(FORMATS)}", "format_unknown")
    return name
