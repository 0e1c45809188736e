"""Data sets of labelled masks as all formats are read into and written from: image by image.

An image is a dictionary like `gsam.results.formats.scene_json.scene_dict` gives it, of which every
format needs ``image`` (a relative path with ``/``), ``width``, ``height`` and ``segments``; of a
segment ``label``, ``box`` (x0 y0 x1 y1 in pixels, exclusive right and bottom) and ``mask`` (run
lengths, None of a box without a mask); ``score`` is None where nobody gave one.
"""

from __future__ import annotations

import abc
import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.files import Closing
from gsam.results.masks import polygons, rle
from gsam.types import Json, JsonMapping


@dataclasses.dataclass
class DataSet:
    """A data set that is read image by image.

    Attributes:
        labels: Names of its classes, in the order of their numbers; those that a format names only
            where they occur come as they are met.
        problems: Why something could not be read, each with its place; grows while images are read.
    """

    labels: list[str]
    open: Callable[[DataSet], Iterator[Json]]
    """Reads the images, from the first one."""
    problems: list[str] = dataclasses.field(default_factory=list)

    def __iter__(self) -> Iterator[Json]:
        return self.open(self)


class DataSetWriter(Closing, abc.ABC):
    """Writes a data set image by image; what it needs to remember does not grow with masks.

    Attributes:
        losses: What the format cannot hold of what it was given, and how often.
    """

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        """Begin a data set.

        Args:
            folder: Where its files go; it exists.
            labels: Classes that have the first numbers, found or not.
        """
        self.folder = folder
        self.labels = {label: i for i, label in enumerate(dict.fromkeys(labels))}
        self.losses: collections.Counter[str] = collections.Counter()

    def number_of(self, label: str) -> int:
        """The number of a class, from 0; a new one comes after the others."""
        return self.labels.setdefault(label, len(self.labels))

    @abc.abstractmethod
    def add(self, scene: JsonMapping) -> None:
        """Write an image.  Raises `OSError` where that fails."""

    def close(self) -> None:
        """Write what belongs at the end."""


def segment(
    label: str,
    mask: rle.Rle | None,
    *,
    box: Sequence[float] | None = None,
    score: float | None = None,
    **more: Any,
) -> Json:
    """Describe a segment that was read.

    Args:
        label: Its class.
        mask: Its mask; None for a box.
        box: x0 y0 x1 y1; by default the bounds of the mask.
        score: In 0..1, if it has one.
        **more: What else is known of it.
    """
    if box is None:
        assert mask is not None
        box = rle.bounds(mask)
    area = rle.area(mask) if mask is not None else round((box[2] - box[0]) * (box[3] - box[1]))
    return {"label": label, "score": score, "box": [float(v) for v in box], "area": area, "mask": mask, **more}


def scene(image: str, size: tuple[int, int], segments: Sequence[Json], labels: Sequence[str] = ()) -> Json:
    """Describe an image that was read; ``size`` is its height and width."""
    known = list(dict.fromkeys([*labels, *(s["label"] for s in segments)]))
    numbered = [{**s, "label_id": known.index(s["label"])} for s in segments]
    return {"image": image, "width": size[1], "height": size[0], "queries": known, "segments": numbered}


def mask_of(segment: JsonMapping) -> NDArray[np.bool_] | None:
    """The mask [H, W] of a segment; None of a box."""
    return None if segment["mask"] is None else rle.decode(segment["mask"])


def outlines_of(segment: JsonMapping) -> list[polygons.Polygon]:
    """The polygons of a segment's mask; of a box its four corners."""
    mask = mask_of(segment)
    if mask is not None:
        return polygons.outlines(mask)
    x0, y0, x1, y1 = segment["box"]
    return [[np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)]]


def run_lengths(segment: JsonMapping, size: tuple[int, int]) -> rle.Rle:
    """The mask of a segment; of a box the pixels that it covers.  ``size`` is height and width."""
    mask: rle.Rle | None = segment["mask"]
    return mask if mask is not None else rle_of(outlines_of(segment), size)


def rle_of(parts: Iterable[Sequence[polygons.Ring]], size: tuple[int, int]) -> rle.Rle:
    """The run lengths of polygons, each an outline and its holes; ``size`` is height and width."""
    return rle.encode(polygons.filled(list(parts), size))
