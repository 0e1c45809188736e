"""Rows of a pool that show what a second look sees: windows around small things of one scene, four
in a view (`gsam.SecondLook` in nano's recipe) or one alone (``gsam.Predictor(refine=True)``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.nano.names import LEAVES
from gsam.nano.scenes import IGNORE, OBJECTS, Drawn
from gsam.ops.bounds import bounds
from gsam.pipeline.refine import GREY

SMALL = 0.35
"""Largest side of a thing that gets a window, as a share of the longer side of its scene."""
FEWEST = 30
"""Pixels of a thing in the row without which it has no label."""
Row = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Pixels, truth, leaves, boxes and content, see `gsam.nano.batches`."""


def close_ups(rng: np.random.Generator, scene: Drawn, side: int, together: int = 2) -> Row | None:
    """The row of a scene, in a square of ``side``, ``together`` windows along it; None where the
    scene has nothing small.
    """
    largest = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(1, initial=0)
    small = rng.permutation(np.flatnonzero(largest < SMALL * max(scene.rgb.shape[:2])))[: together**2]
    if not len(small):
        return None
    cell = side // together
    rgb = np.full((side, side, 3), GREY, np.uint8)
    instances = np.zeros((side, side), np.uint8)
    leaf, boxes, count = np.full(OBJECTS, -1, np.int16), np.zeros((OBJECTS, 4), np.float32), 0
    for place, k in enumerate(small):
        y, x = (cell * int(v) for v in divmod(place, together))
        here = slice(y, y + cell), slice(x, x + cell)
        seen, truth = _window(rng, scene, int(k), cell)
        rgb[here] = seen
        # What the window is about has a label before its neighbours do.
        for number in (int(k) + 1, *(int(n) for n in np.unique(truth) if n not in (0, k + 1, IGNORE))):
            mask = truth == number
            shown = np.zeros((side, side), bool)
            shown[here] = mask
            if count == OBJECTS or mask.sum() < FEWEST:
                instances[shown] = IGNORE
                continue
            leaf[count], boxes[count] = LEAVES.index(scene.names[number - 1]), bounds(shown)
            count += 1
            instances[shown] = count
        ignored = np.zeros((side, side), bool)
        ignored[here] = truth == IGNORE
        instances[ignored] = IGNORE
    return rgb, instances, leaf, boxes, np.array([side, side], np.int16)


def _window(rng: np.random.Generator, scene: Drawn, k: int, cell: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels and truth around object ``k``, [cell, cell, 3] and [cell, cell]; grey where no image
    is."""
    x0, y0, x1, y1 = scene.boxes[k]
    reach = max(x1 - x0, y1 - y0) * (1 + 2 * rng.uniform(0.1, 0.5))
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + rng.normal(0, 0.04, 2) * reach
    left, top = np.round(middle - reach / 2).astype(int)
    size = max(round(reach), 8)
    span = (int(left), int(top), int(left + size), int(top + size))
    framed = Image.fromarray(scene.rgb).crop(span)  # black beyond the image
    inside = Image.new("L", scene.rgb.shape[1::-1], 255).crop(span)
    seen = np.asarray(framed.resize((cell, cell), Image.Resampling.BILINEAR)).copy()
    seen[np.asarray(inside.resize((cell, cell), Image.Resampling.NEAREST)) == 0] = GREY
    truth = Image.fromarray(scene.instances).crop(span).resize((cell, cell), Image.Resampling.NEAREST)
    return seen, np.asarray(truth)
