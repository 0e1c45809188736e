"""Read a data set for training, and check it: one pass over annotations and image files."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gsam.errors import UsageError
from gsam.evaluation.sides import image_places
from gsam.results.formats import known
from gsam.results.formats.dataset import DataSet as Source
from gsam.results.masks import rle
from gsam.training.data import coco, mask_folders
from gsam.training.data.entries import DataSet, DataSetBuilder
from gsam.training.data.faults import Fault, Report, Tell
from gsam.training.data.image_files import Depth, Looked, looked_at
from gsam.types import Json

IMBALANCE = 100
"""Times as many objects as the rarest class has, from which the most frequent is worth a note."""
TINY = 64
"""Objects whose sides are below this part of the image's longer side are tiny."""


def read(data: str | Path, images: str | Path | None = None, *, masks: bool = True) -> DataSet:
    """Read a data set; what cannot be used is left out in silence.

    Masks and boxes wait in a temporary file, not in memory.

    Args:
        data: COCO or LVIS JSON, a folder of what ``gsam label`` wrote, a folder of PNG masks, or
            anything else that ``gsam convert`` reads.
        images: The folder of the images; by default as `gsam.evaluation.sides.image_places` finds
            them.
        masks: Leave out objects without a mask. With False boxes are enough, and masks are kept
            where there are some.

    Returns:
        Images whose files are there and have the size that the data set says, also those without an
        object.

    Raises:
        UsageError: It is of no known format, or cannot be read to its end (``format_unknown``,
            ``format_unreadable``).

    Example:
        >>> from gsam.training.data import read
        >>> read("train.json", "photos").names  # doctest: +SKIP
        ('cat', 'dog')
    """
    return _built(data, images, masks, "header", lambda _: None)


def read_checked(
    data: str | Path, images: str | Path | None = None, *, masks: bool = True, skip_faults: bool = False
) -> DataSet:
    """Read a data set and check all of it, pixels too, as ``gsam data check`` does.

    Args:
        data: As for `read`.
        images: As for `read`.
        masks: As for `read`.
        skip_faults: Leave faulty images and objects out, instead of refusing.

    Raises:
        UsageError: Something would be left out (``data_faults``), or nothing can be trained with
            it (``data_unusable``, ``format_unknown``, ``format_unreadable``).
    """
    report = Report()
    found = _built(data, images, masks, "pixels", report.add, report)
    report.refuse(str(data), skip_faults)
    return found


def check(
    data: str | Path,
    images: str | Path | None = None,
    *,
    masks: bool = True,
    pixels: bool = True,
    tell: Tell = lambda _: None,
) -> Report:
    """List every fault of a data set, image by image; memory does not grow with images.

    Args:
        data: As for `read`.
        images: As for `read`.
        masks: Whether an object without a mask is a fault.
        pixels: Whether image files are decoded; otherwise their heads are read.
        tell: Is told every fault and note when it is met; the report keeps the first ones of each
            kind.

    Returns:
        The report; what cannot be read at all is a fault in it (``data_unreadable``).

    Raises:
        UsageError: It is of no known format (``format_unknown``).
    """
    report = Report()

    def both(fault: Fault) -> None:
        report.add(fault)
        tell(fault)

    try:
        for _ in _survey(data, images, masks, "pixels" if pixels else "header", both, report):
            pass
    except UsageError as error:
        if error.code != "format_unreadable":
            raise
        both(Fault("data_unreadable", None, None, str(error), "stops"))
    return report


def _built(
    data: str | Path,
    images: str | Path | None,
    masks: bool,
    depth: Depth,
    tell: Tell,
    report: Report | None = None,
) -> DataSet:
    survey = _survey(data, images, masks, depth, tell, Report() if report is None else report)
    builder = DataSetBuilder(next(survey)[0]["queries"])
    for scene, looked in survey:
        assert looked is not None
        size = (scene["height"], scene["width"])
        builder.add(scene["image"], looked.path, size, scene["segments"], looked.digest)
    return builder.data_set()


def _survey(
    data: str | Path, images: str | Path | None, masks: bool, depth: Depth, tell: Tell, report: Report
) -> Iterator[tuple[Json, Looked | None]]:
    """Give the images that can be used, after a first item whose ``queries`` are the classes."""
    names, scenes, places = _opened(data, images, tell)
    yield {"queries": names}, None
    counts: dict[str, int] = dict.fromkeys(names, 0)
    usable = (_sound(scene, masks, tell) for scene in scenes)
    seen = sqlite3.connect("")
    seen.execute("create table seen (kind text, key text, image text, primary key (kind, key))")
    tiny = 0

    def first(kind: str, key: str, image: str) -> str | None:
        """The image that had the key before; otherwise note this one."""
        row = seen.execute("select image from seen where kind = ? and key = ?", (kind, key)).fetchone()
        if row is None:
            seen.execute("insert into seen values (?, ?, ?)", (kind, key, image))
        return None if row is None else str(row[0])

    for scene, looked in looked_at(usable, places, depth, tell):
        name = str(scene["image"])
        if first("name", name, name) is not None:
            tell(Fault("image_repeated", name, None, "an image of this name came before: this one is left out"))
            continue
        if looked.digest is not None and (other := first("content", looked.digest, name)) is not None:
            text = f"its file has the content of {other}; one may be held out, and the other trained on"
            tell(Fault("image_same", name, None, text, "fault"))
        report.images += 1
        limit = max(scene["width"], scene["height"]) / TINY
        for one in scene["segments"]:
            if not one.get("crowd"):
                counts[one["label"]] = counts.get(one["label"], 0) + 1
                x0, y0, x1, y1 = one["box"]
                tiny += max(x1 - x0, y1 - y0) < limit
        yield scene, looked
    seen.close()
    report.classes = counts
    for fault in _of_whole(report, counts, tiny, masks):
        tell(fault)


def _opened(data: str | Path, images: str | Path | None, tell: Tell) -> tuple[list[str], Iterator[Json], list[Path]]:
    folder = None if images is None else Path(images).expanduser()
    if isinstance(data, str) and "://" in data:
        source = known.read(data)
        return source.labels, _others(source, tell), [folder or Path()]
    path = Path(data).expanduser()
    if not path.exists():
        raise UsageError(f"{path} is not there", "format_unreadable")
    places = image_places(path, folder)
    try:
        kind = known.recognised(path)
    except UsageError:
        if not path.is_dir() or not mask_folders.has_masks(path):
            raise
        return [], mask_folders.scenes(path, folder, tell), places
    if kind in ("coco", "lvis"):
        names = coco.read_names(path, tell)
        return list(dict.fromkeys(names.values())), coco.scenes(path, names, tell), places
    source = known.read(path, None, folder)
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
            tell(Fault("annotation_repeated", image, place, text, "fault"))
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
        if max(abs(a - b) for a, b in zip(box, cut, strict=True)) > coco.EDGE:
            tell(Fault("box_outside", image, place, f"{shown} leaves the image of {size[0]} x {size[1]}", "fault"))
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
        text = "none of its objects has a mask" if kind == "no_masks" else "it has no object that can be used"
        yield Fault(kind, None, None, text, "stops")
        return
    if report.images == 1:
        yield Fault("one_image", None, None, "it has one image: none can be held out for scores", "fault")
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
