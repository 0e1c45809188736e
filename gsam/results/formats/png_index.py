"""The JSON beside the PNGs of an image: its name and size, and a line for each segment."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.formats import shapes
from gsam.results.formats.dataset import DataSet, DataSetWriter, scene, segment
from gsam.results.formats.id_map import DAMAGE
from gsam.results.formats.jsonl import EXTRA
from gsam.results.formats.scene_json import dumps
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

ELSEWHERE = ("mask", "area", "label_id")
"""Fields of a segment that its PNG and the order of the labels say."""
MaskOf: TypeAlias = Callable[[JsonMapping], rle.Rle | None]
"""Entry of a segment -> its mask, None of a box."""


def entry_of(found: JsonMapping, writer: DataSetWriter) -> Json:
    """Describe a segment without its mask; counts the loss of a score that is no number."""
    entry = {key: value for key, value in found.items() if key not in ELSEWHERE}
    if entry.get("score") is not None and not math.isfinite(entry["score"]):
        writer.losses["scores that are no numbers"] += 1
        entry["score"] = None
    return entry


def write(path: Path, kind: str, name: str, image: JsonMapping, entries: Iterable[JsonMapping]) -> None:
    """Write the index of an image.

    Args:
        path: The file.
        kind: Name of the format.
        name: Name of the image.
        image: The image, as `gsam.results.formats.dataset` describes it.
        entries: Its segments.
    """
    head = {"format": f"gsam {kind} 1", "image": name, "width": image["width"], "height": image["height"]}
    for key in ("queries", "query_labels"):
        head |= {key: image[key]} if image.get(key) else {}
    lines = ",".join("\n  " + dumps(entry) for entry in entries)
    with atomic_file(path) as file:
        file.write(f'{dumps(head)[:-1]}, "segments": [{lines}{chr(10) * bool(lines)}]}}\n'.encode())


def files_in(path: Path, pattern: str, kind: str) -> list[Path]:
    """List the indices below a folder, or the one file.

    Raises:
        UsageError: There is none (``format_unreadable``).
    """
    files = [path] if path.is_file() else sorted(p for p in path.rglob(pattern) if not p.name.startswith("."))
    if not files:
        raise UsageError(f"{path} has no {pattern}: it is no data set of {kind}", "format_unreadable")
    return files


def scenes_of(
    files: Sequence[Path], kind: str, opened: Callable[[Path, Json, DataSet], MaskOf], data: DataSet
) -> Iterator[Json]:
    """Read images by their indices.

    Args:
        files: The indices.
        kind: Name of the format.
        opened: Index, what is in it, and the data set -> what gives the masks.
        data: The data set, whose problems grow.
    """
    for path in files:
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(index, dict) or not str(index.get("format")).startswith(f"gsam {kind} "):
                raise ValueError(f"is no index of {kind}")
            size = shapes.sides(index["height"], index["width"])
            name, entries = str(index["image"]), list(index["segments"])
            mask_of = opened(path, index, data)
        except (*DAMAGE, *shapes.BAD) as error:
            data.problems.append(f"{path}: {shapes.reason(error)}")
            continue
        found = []
        for i, entry in enumerate(entries, 1):
            try:
                found.append(_segment(entry, mask_of(entry), size, f"{path}, segment {i}", data))
            except (*DAMAGE, *shapes.BAD) as error:
                data.problems.append(f"{path}, segment {i}: {shapes.reason(error)}")
        labels = index.get("query_labels") or index.get("queries") or ()
        yield scene(name, size, found, [str(label) for label in labels if label])


def _segment(entry: JsonMapping, mask: rle.Rle | None, size: tuple[int, int], place: str, data: DataSet) -> Json:
    box = entry.get("box")
    if mask is None or box is not None:
        box = [float(v) for v in entry["box"]]
        if len(box) != 4 or not all(map(math.isfinite, box)):
            raise ValueError("its box is none")
    if mask is not None and tuple(mask["size"]) != size:
        raise ValueError(f"its mask is {mask['size'][1]} x {mask['size'][0]}, the image {size[1]} x {size[0]}")
    more = {key: entry[key] for key in EXTRA if entry.get(key) is not None}
    return segment(str(entry["label"]), mask, box=box, score=shapes.score_of(entry.get("score"), place, data), **more)
