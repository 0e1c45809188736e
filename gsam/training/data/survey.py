"""One pass over the annotations and image files of a data set, which finds all that is wrong."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gsam.errors import UsageError
from gsam.evaluation.sides import image_places
from gsam.results.formats import known
from gsam.results.formats.dataset import DataSet as Source
from gsam.results.masks import rle
from gsam.training.data.coco import EDGE, read_names, read_scenes
from gsam.training.data.faults import Fault, Report, Tell, legible
from gsam.training.data.image_files import Depth, Looked, looked_at
from gsam.training.data.mask_folders import has_masks, mask_scenes
from gsam.types import Json

IMBALANCE = 100
"""Times as many objects as the rarest class has, from which the most frequent is worth a note."""
TINY = 64
"""Objects whose sides are below this part of the image's longer side are tiny."""


class Survey:
    """The images of a data set that can be used, each with the objects that can be used.

    Faults are told while it is iterated, which can be done once.

    Args:
        data: A file, folder or URL.
        images: The folder of the images; None for the usual ones.
        format: The format of the data; None for the one that it looks like.
        report: Counts the faults, the images that can be used and, at the end, the objects by
            class.
        masks: Whether an object needs a mask.
        depth: Whether image files are decoded.
        tell: Is told every fault too.

    Raises:
        UsageError: It is of no known format, or cannot be read (``format_unknown``,
            ``format_unreadable``, also while it is iterated), or is not there (``data_missing``).
    """

    def __init__(
        self,
        data: str | Path,
        images: str | Path | None,
        format: str | None,
        report: Report,
        *,
        masks: bool,
        depth: Depth,
        tell: Tell = lambda _: None,
    ) -> None:
        self._report = report
        self._masks, self._depth, self._hear = masks, depth, tell
        self.names, self._scenes, self._places = _opened(data, images, format, self._tell)
        """The classes that the data set declares; its images; where their files are looked for."""

    def __iter__(self) -> Iterator[tuple[Json, Looked]]:
        counts: dict[str, int] = dict.fromkeys(self.names, 0)
        sound = (_sound(scene, self._masks, self._tell) for scene in self._scenes)
        tiny = 0
        with contextlib.closing(_Seen()) as seen:
            for scene, looked in looked_at(sound, self._places, self._depth, self._tell):
                name = str(scene["image"])
                if seen.before("name", name, name) is not None:
                    text = "an image of this name came before: this one is left out"
                    self._tell(Fault("image_repeated", name, None, text))
                    continue
                if looked.digest is not None and (other := seen.before("content", looked.digest, name)) is not None:
                    text = f"its file has the content of {other}; one may be held out, and the other trained on"
                    self._tell(Fault("image_same", name, None, text, "used"))
                self._report.images += 1
                limit = max(scene["width"], scene["height"]) / TINY
                for one in (s for s in scene["segments"] if not s.get("crowd")):
                    counts[one["label"]] = counts.get(one["label"], 0) + 1
                    x0, y0, x1, y1 = one["box"]
                    tiny += max(x1 - x0, y1 - y0) < limit
                yield scene, looked
        self._report.classes = counts
        for fault in _of_whole(self._report, counts, tiny, self._masks):
            self._tell(fault)

    def _tell(self, fault: Fault) -> None:
        self._report.add(fault)
        self._hear(fault)


class _Seen:
    """Names and contents of images that came before, on disk."""

    def __init__(self) -> None:
        self._table = sqlite3.connect("")
        self._table.execute("create table seen (kind text, key text, image text, primary key (kind, key))")
        self.close = self._table.close

    def before(self, kind: str, key: str, image: str) -> str | None:
        """The image that had the key before; None, and this one has it from now on."""
        key = legible(key)
        row = self._table.execute("select image from seen where kind = ? and key = ?", (kind, key)).fetchone()
        if row is None:
            self._table.execute("insert into seen values (?, ?, ?)", (kind, key, legible(image)))
        return None if row is None else str(row[0])


def _opened(
    data: str | Path, images: str | Path | None, format: str | None, tell: Tell
) -> tuple[list[str], Iterator[Json], list[Path]]:
    folder = None if images is None else Path(images).expanduser()
    if isinstance(data, str) and "://" in data:
        source = known.read(data, format)
        return source.labels, _others(source, tell), [folder or Path()]
    path = Path(data).expanduser()
    if not path.exists():
        raise UsageError(f"{path} is not there", "data_missing")
    places = image_places(path, folder)
    try:
        kind = format or known.recognised(path)
    except UsageError:
        if not path.is_dir() or not has_masks(path):
            raise
        return [], mask_scenes(path, folder, tell), places
    if kind in ("coco", "lvis"):
        names = read_names(path, tell)
        return list(dict.fromkeys(names.values())), read_scenes(path, names, tell), places
    source = known.read(path, kind, folder)
    return source.labels, _others(source, tell), places


def _others(source: Source, tell: Tell) -> Iterator[Json]:
    """The images of any other format, whose reader says what it leaves out."""

    def told() -> None:
        for problem in source.problems:
            tell(Fault("entry_unreadable", None, None, problem))
        source.problems.clear()

    told()
    for scene in source:
        told()
        yield scene
    told()


def _sound(scene: Json, masks: bool, tell: Tell) -> Json:
    """An image with the objects that can be used."""
    image = str(scene["image"])
    width, height = int(scene["width"]), int(scene["height"])
    kept: dict[str, Json] = {}
    for i, one in enumerate(scene["segments"]):
        place = str(one.get("id", f"object {i + 1}"))
        mask, box = one["mask"], [float(v) for v in one["box"]]
        if mask is not None:
            if tuple(mask["size"]) != (height, width):
                text = f"its mask is {mask['size'][1]} x {mask['size'][0]}, the image {width} x {height}"
                tell(Fault("mask_size", image, place, text))
                continue
            if not rle.area(mask):
                tell(Fault("mask_empty", image, place, "its mask has no pixel inside the image"))
                continue
            box = [float(v) for v in rle.bounds(mask)]
        elif masks:
            tell(Fault("mask_missing", image, place, "it has a box and no mask"))
            continue
        elif (box_or_none := _cut(box, (width, height), image, place, tell)) is None:
            continue
        else:
            box = box_or_none
        if one.get("crowd"):
            tell(Fault("crowd", image, place, "it is a crowd", "note"))
        key = f"{one['label']}\n{box if mask is None else mask['counts']}"
        if key in kept:
            text = f"{one['label']!r} has another object with the same place"
            tell(Fault("annotation_repeated", image, place, text, "used"))
        kept[f"{key}\n{i}" if key in kept else key] = {**one, "box": box}
    return {**scene, "segments": list(kept.values())}


def _cut(box: list[float], size: tuple[int, int], image: str, place: str, tell: Tell) -> list[float] | None:
    """A box cut at the edges of an image of a width and height; None of one that is left out."""
    if not all(map(math.isfinite, box)):
        tell(Fault("number_invalid", image, place, f"its box {box} has numbers that are none"))
        return None
    x0, y0, x1, y1 = box
    cut = [min(max(x0, 0.0), size[0]), min(max(y0, 0.0), size[1]), min(x1, size[0]), min(y1, size[1])]
    shown = f"its box {[round(v, 2) for v in box]} (x0 y0 x1 y1)"
    if x1 < x0 or y1 < y0:
        tell(Fault("box_inverted", image, place, f"{shown} has a negative side"))
    elif x1 == x0 or y1 == y0:
        tell(Fault("box_empty", image, place, f"{shown} has no area"))
    elif cut[2] <= cut[0] or cut[3] <= cut[1]:
        tell(Fault("box_outside", image, place, f"{shown} is outside the image of {size[0]} x {size[1]}"))
    else:
        if max(abs(a - b) for a, b in zip(box, cut, strict=True)) > EDGE:
            tell(Fault("box_outside", image, place, f"{shown} leaves the image of {size[0]} x {size[1]}", "used"))
        return cut
    return None


def _of_whole(report: Report, counts: dict[str, int], tiny: int, masks: bool) -> Iterator[Fault]:
    """Faults and notes of a data set as a whole."""
    total = sum(counts.values())
    if not report.images:
        text = "it has no image that can be used: give the folder of the images with --images"
        yield Fault("no_images", None, None, text, "stops")
        return
    if not total:
        kind = "no_masks" if masks and report.counts.get("mask_missing") else "no_objects"
        boxes = "none of its objects has a mask; boxes are enough for gsam train detector and classifier"
        text = boxes if kind == "no_masks" else "it has no object that can be used"
        yield Fault(kind, None, None, text, "stops")
        return
    if report.images == 1:
        yield Fault("one_image", None, None, "it has one image: none can be held out for scores", "used")
    for name, count in counts.items():
        if not count:
            yield Fault("category_unused", None, None, f"{name!r} has no object", "note")
    some = {name: count for name, count in counts.items() if count}
    most, least = max(some, key=some.__getitem__), min(some, key=some.__getitem__)
    if some[most] >= IMBALANCE * some[least]:
        text = f"{most!r} has {some[most]} objects, {least!r} {some[least]}"
        yield Fault("class_imbalance", None, None, text, "note")
    if tiny:
        text = f"{tiny} of {total} objects have sides below 1/{TINY} of their image's longer side"
        yield Fault("tiny_objects", None, None, text, "note")
