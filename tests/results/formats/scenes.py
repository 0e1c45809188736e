"""Scenes whose masks are hard to write: with holes, in parts, tiny, empty, full."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.results.formats.dataset import scene, segment
from gsam.results.masks import rle

SIZE = (24, 32)
KOREAN = "고양이"
ODD = 'a<b>&"c", d/e.f'


def masks() -> dict[str, NDArray[np.bool_]]:
    """Masks [24, 32] by what is hard about them."""
    found = {name: np.zeros(SIZE, bool) for name in ("hole", "parts", "pixel", "line", "empty", "full", "corners")}
    found["hole"][4:16, 5:20] = True
    found["hole"][7:11, 8:12] = found["hole"][12:14, 15:18] = False
    found["parts"][2:6, 2:6] = found["parts"][10:20, 20:30] = True
    found["pixel"][11, 17] = True
    found["line"][9, 3:29] = True
    found["full"][:] = True
    found["corners"][0:3, 0:3] = found["corners"][3:6, 3:6] = True  # which touch in a point
    return found


def hard(name: str = "sub/b.png") -> dict[str, Any]:
    """One scene of all of them, each its own class, and a box without a mask."""
    found = [segment(kind, rle.encode(mask), score=0.5) for kind, mask in masks().items()]
    found[1]["label"], found[2]["label"] = KOREAN, ODD
    found.append(segment("box", None, box=[3.0, 4.0, 10.0, 12.0], score=0.25))
    return scene(name, SIZE, found)


def read_back(scenes: list[dict[str, Any]]) -> dict[str, list[tuple[Any, ...]]]:
    """Image -> label, mask and box of each segment, to compare by."""
    return {
        s["image"]: [(f["label"], str(f["mask"]), tuple(f["box"]), f["score"]) for f in s["segments"]] for s in scenes
    }
