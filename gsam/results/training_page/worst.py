"""Objects of which a mask is worst: the true one, and those before and after training."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.results.draw.colours import Colour
from gsam.results.draw.outline import paint
from gsam.results.masks.rle import encode

MOST = 10
"""Cases that are shown."""
SIDE = 480
"""The longer side of an image of a case in pixels."""
LARGEST_SCALE = 4.0
"""Small parts of images are enlarged by so much at most."""
MARGIN = 0.3
"""Context around what is true and found, as a part of its longer side."""
FAR = 4.0
"""No more than so many lengths of the true mask are shown."""
INKS: dict[str, Colour] = {"truth": (0, 178, 125), "before": (240, 158, 0), "after": (70, 150, 255)}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A held-out object and the masks that were found of it."""

    image: str
    """Name of the image."""
    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    truth: NDArray[np.bool_]
    """[H, W], the true mask; a filled box where boxes are judged."""
    before: NDArray[np.bool_] | None
    """[H, W], found before training; None where it was not kept."""
    after: NDArray[np.bool_] | None
    """[H, W], found after it."""
    label: str
    """The object's class."""
    prompt: str
    """The prompt or measure, see `gsam.results.training_page.scores.Score`."""
    before_score: float
    """0 to 1, the IoU of a mask; NaN where it is unknown."""
    after_score: float

    def __post_init__(self) -> None:
        size = self.pixels.shape[:2]
        for name in ("truth", "before", "after"):
            mask = getattr(self, name)
            if mask is not None and mask.shape != size:
                raise ValueError(f"{name} has {mask.shape}, the image {size}")


def worst_of(cases: Sequence[Case], most: int = MOST) -> list[Case]:
    """Choose the cases with the lowest scores after training, the worst first.

    Args:
        cases: In any order.
        most: Cases that are chosen at most; those without a score come last.
    """

    def rank(case: Case) -> tuple[bool, float]:
        known = math.isfinite(case.after_score)
        return not known, case.after_score if known else 0.0

    return sorted(cases, key=rank)[:most]


def draw(case: Case) -> dict[str, bytes]:
    """Draw the part of an image around an object once for each mask.

    Args:
        case: The object.

    Returns:
        JPEGs by name, ``truth``, ``before`` and ``after``, all of the same part and size; without
        those masks that are None. Over what was found lies the outline of what is true.
    """
    x0, y0, x1, y1 = _part(case)
    scale = min(SIDE / max(x1 - x0, y1 - y0), LARGEST_SCALE)
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    ground = Image.fromarray(np.ascontiguousarray(case.pixels[y0:y1, x0:x1])).resize(size, Image.Resampling.BICUBIC)
    masks = {name: getattr(case, name) for name in INKS}
    small = {name: _scaled(mask[y0:y1, x0:x1], size) for name, mask in masks.items() if mask is not None}
    found = {}
    for name, mask in small.items():
        shown = ground.copy()
        paint(shown, [encode(mask)], [INKS[name]], 3, 0.34)
        if name != "truth":
            paint(shown, [encode(small["truth"])], [INKS["truth"]], 2, 0)
        file = io.BytesIO()
        shown.save(file, "JPEG", quality=88, optimize=True)
        found[name] = file.getvalue()
    return found


def _scaled(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    image = Image.fromarray(mask * np.uint8(255)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image) >= 128


def _part(case: Case) -> tuple[int, int, int, int]:
    """The part of the image around the true mask and, unless they are far off, the found ones."""
    height, width = case.truth.shape
    together = case.truth.copy()
    for mask in (case.before, case.after):
        if mask is not None:
            together |= mask
    x0, y0, x1, y1 = _bounds(together)
    if x1 <= x0:
        return 0, 0, width, height
    true = _bounds(case.truth)
    most = FAR * max(true[2] - true[0], true[3] - true[1])
    if 0 < most < max(x1 - x0, y1 - y0):
        x0, y0, x1, y1 = true
        side = most
    else:
        side = max(x1 - x0, y1 - y0) * (1 + 2 * MARGIN)
    side = max(side, SIDE / LARGEST_SCALE)
    spans = []
    for low, up, whole in ((x0, x1, width), (y0, y1, height)):
        long = min(round(side), whole)
        start = min(max(round((low + up - long) / 2), 0), whole - long)
        spans.append((start, start + long))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
