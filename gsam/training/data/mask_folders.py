"""Folders of PNG masks without an index, beside a folder of images.

Told by names: ``masks/photo.png`` (or ``photo_mask.png``) has the objects of ``photo.jpg``, one for
each value but 0; a folder ``masks/photo/`` has one object in each PNG, whose name without numbers
is its class; ``masks/cat/photo.png`` has the objects of the class ``cat``.  Objects without a class
are called ``object``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from gsam.errors import ImageError
from gsam.evaluation.sides import FOLDERS, image_places
from gsam.inputs.header import read_header
from gsam.results.formats import id_map
from gsam.results.formats.dataset import scene, segment
from gsam.results.masks import rle
from gsam.training.data.faults import Fault, Tell
from gsam.types import Json

UNNAMED, MASK, VOID = "object", "_mask", 255
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_NUMBER = re.compile(r"^[\d\W_]+|[\d\W_]+$")


@dataclasses.dataclass(frozen=True)
class _File:
    """A PNG of masks: with one object, or one for each value."""

    path: Path
    label: str
    single: bool


def has_masks(path: Path) -> bool:
    """Tell if a folder has PNGs of masks."""
    return next(iter(_files(path)), None) is not None


def mask_scenes(path: Path, images: Path | None, tell: Tell) -> Iterator[Json]:
    """Give the images with their masks, by name.

    Args:
        path: The folder of the masks, or the one with ``masks`` and ``images``.
        images: The folder of the images; by default as
            `gsam.evaluation.sides.image_places` finds them.
        tell: Is told every fault.
    """
    found: dict[str, list[_File]] = {}
    finder = _Images(path, image_places(path, images))
    root = _root(path)
    for file in _files(path):
        inside = PurePosixPath(file.relative_to(root).as_posix()).with_suffix("")
        image, one = _belongs(file, inside, finder)
        if image is None:
            tell(Fault("image_missing", inside.as_posix(), None, f"{file}: there is no image of this name"))
        else:
            found.setdefault(image, []).append(one)
    for image in sorted(found):
        path_of = finder.paths[image]
        try:
            size = read_header(path_of).upright
        except ImageError as error:
            tell(Fault(error.code, image, None, str(error)))
            continue
        segments = [s for one in found[image] for s in _segments(one, image, size, tell)]
        yield scene(image, size, segments)


class _Images:
    """Finds images by their names without suffix."""

    def __init__(self, root: Path, places: Sequence[Path]) -> None:
        self._masks = {file.absolute() for file in _files(root)}
        self._tried = [(place, s) for place in places for suffix in SUFFIXES for s in (suffix, suffix.upper())]
        self.paths: dict[str, Path] = {}
        """Names of the images that were found, with their files."""

    def find(self, stem: PurePosixPath) -> str | None:
        for i, (place, suffix) in enumerate(self._tried):
            path = place / f"{stem}{suffix}"
            if path.is_file() and path.absolute() not in self._masks:
                self._tried.insert(0, self._tried.pop(i))  # where one is, the next may be
                name = f"{stem}{suffix}"
                self.paths[name] = path
                return name
        return None


def _belongs(file: Path, inside: PurePosixPath, images: _Images) -> tuple[str | None, _File]:
    """Give the image of a PNG, and what the PNG holds."""
    folder = inside.parent
    if image := images.find(inside) or images.find(_bare(inside)):
        return image, _File(file, UNNAMED, False)
    if folder.parts and (image := images.find(folder)):
        return image, _File(file, _NUMBER.sub("", inside.name) or UNNAMED, True)
    if folder.parts:
        below = PurePosixPath(*inside.parts[1:])
        image = images.find(below) or images.find(_bare(below))
        return image, _File(file, inside.parts[0], False)
    return None, _File(file, UNNAMED, False)


def _bare(stem: PurePosixPath) -> PurePosixPath:
    """A name without the ending of masks."""
    return stem.with_name(stem.name.removesuffix(MASK) or stem.name)


def _segments(one: _File, image: str, size: tuple[int, int], tell: Tell) -> Iterator[Json]:
    try:
        values = id_map.read(one.path, colours=True)
    except id_map.DAMAGE as error:
        tell(Fault("mask_invalid", image, one.path.name, str(error)))
        return
    if values.shape != size:
        larger = " (larger)" if values.size > size[0] * size[1] else ""
        text = f"the mask is {values.shape[1]} x {values.shape[0]}{larger}, the image {size[1]} x {size[0]}"
        tell(Fault("mask_size", image, one.path.name, text))
        return
    if one.single:
        yield segment(one.label, rle.encode(values > (values.max(initial=0) >> 1)), id=one.path.name)
        return
    masks = id_map.split(_without_void(values))
    for number, mask in masks.items():
        yield segment(one.label, mask, id=f"{one.path.name}, value {number}")


def _without_void(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop the border that VOC's maps have around objects, 255 beside lower numbers."""
    numbers = np.unique(values)
    others = numbers[(numbers != 0) & (numbers != VOID)]
    if len(others) and VOID in numbers and others.max() < VOID - 1:
        return np.where(values == VOID, 0, values)
    return values


def _root(path: Path) -> Path:
    return path / "masks" if (path / "masks").is_dir() else path


def _files(path: Path) -> Iterator[Path]:
    """The PNGs of masks, by name; images are none."""
    root = _root(path)
    without = [root / name for name in FOLDERS if name]
    for file in sorted(p for p in root.rglob("*") if p.suffix.lower() == ".png" and not p.name.startswith(".")):
        if not any(file.is_relative_to(folder) for folder in without) and not (
            root == path and file.with_name(f"{file.stem}{MASK}.png").is_file()
        ):
            yield file
