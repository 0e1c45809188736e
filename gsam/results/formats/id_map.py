"""Maps [H, W] whose pixels say which object they belong to, 0 to none, and the masks of each."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.results.masks import rle
from gsam.types import JsonMapping

DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
"""Errors about a PNG that cannot be read, or does not fit."""


def by_score(segments: Sequence[JsonMapping]) -> list[int]:
    """Order segments by who keeps a pixel: the highest score first, then those without one."""

    def rank(i: int) -> float:
        score = segments[i].get("score")
        return math.inf if score is None or math.isnan(score) else -float(score)

    return sorted(range(len(segments)), key=rank)


def split(numbers: NDArray[np.integer]) -> dict[int, rle.Rle]:
    """Take a map apart in one pass, however many numbers it has.

    Args:
        numbers: [H, W] unsigned, 0 for what is of none.

    Returns:
        The mask of each number that occurs.
    """
    return dict(_split(numbers))


def _split(numbers: NDArray[np.integer]) -> Iterator[tuple[int, rle.Rle]]:
    flat = numbers.T.ravel()  # column by column, as run lengths are
    places = np.flatnonzero(flat)
    values = flat[places]
    order = np.argsort(values, kind="stable")
    found, first = np.unique(values[order], return_index=True)
    for number, where in zip(found.tolist(), np.split(places[order], first[1:]), strict=False):
        ends = np.flatnonzero(np.diff(where) != 1)
        starts = where[np.concatenate([[0], ends + 1])]
        edges = np.stack([starts, where[np.concatenate([ends, [-1]])] + 1], 1).ravel()
        counts = np.diff(np.concatenate([[0], edges, [flat.size] * bool(edges[-1] < flat.size)]))
        yield number, rle.compress({"size": [*numbers.shape], "counts": counts.astype(np.int64).tolist()})


def empty(size: tuple[int, int]) -> rle.Rle:
    """The run lengths of a mask without a pixel; ``size`` is height and width."""
    return rle.compress({"size": [*size], "counts": [size[0] * size[1]]})


def read(path: Path, *, colours: bool = False) -> NDArray[np.int64]:
    """Read the numbers [H, W] of a PNG: of its palette, its grey values of any depth, or colours.

    Args:
        path: The file.
        colours: Whether red + 256 green + 65536 blue is a number too.

    Raises:
        ValueError: Its pixels have no number each.
        OSError: It is no PNG, or there is none; `DAMAGE` names what else a damaged one raises.
    """
    with Image.open(path, formats=["PNG"]) as image:
        if colours and image.mode in ("RGB", "RGBA"):
            return np.array(image)[..., :3].astype(np.int64) @ np.array([1, 1 << 8, 1 << 16])
        if len(image.getbands()) > 1:
            raise ValueError(f"its pixels have colours ({image.mode}), not a number each")
        return np.array(image).astype(np.int64)
