"""Masks of images as a decoder should answer them: shares of low-resolution pixels of the view."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def coverage(mask: NDArray[np.bool_], content: tuple[int, int], view: int, side: int) -> NDArray[np.float32]:
    """Average a mask down to the pixels of a decoder's output.

    Args:
        mask: [H, W] bool, of the image.
        content: Rows and columns of the view that are image.
        view: Side of the view in pixels.
        side: Side of the output in pixels.

    Returns:
        [side, side] float32 in 0..1: the share of each output pixel that is mask.  Outside the
        image it is 0.
    """
    out = np.zeros((side, side), np.float32)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return out
    y, x = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    down = shares(mask.shape[0], content[0], view, side)[:, y]
    across = shares(mask.shape[1], content[1], view, side)[:, x]
    part = down @ mask[y, x].astype(np.float32)  # [side, x]
    out[:] = (across @ part.T).T
    return np.minimum(out, np.float32(1.0))


@functools.lru_cache(maxsize=64)
def shares(size: int, content: int, view: int, side: int) -> sparse.csr_matrix:
    """Make the matrix that averages one axis of an image.

    Args:
        size: Pixels of the image.
        content: Pixels of the view that it becomes.
        view: Side of the view in pixels.
        side: Side of the output in pixels.

    Returns:
        [side, size] float32: the share of each output pixel that each image pixel covers.
    """
    step = view / side * size / content  # image pixels per output pixel
    starts = np.arange(side) * step
    rows, columns, values = [], [], []
    for i, start in enumerate(starts):
        end = start + step
        if start >= size:
            break
        pixels = np.arange(int(start), min(int(np.ceil(end)), size))
        covered = np.minimum(pixels + 1, end) - np.maximum(pixels, start)
        rows.append(np.full(len(pixels), i))
        columns.append(pixels)
        values.append(covered / step)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(entries, shape=(side, size), dtype=np.float32)


def known(content: NDArray[np.float32], side: int) -> NDArray[np.bool_]:
    """Tell which output pixels are image, by their centres.

    Args:
        content: [2] float32: rows and columns of the output that are image.
        side: Side of the output in pixels.

    Returns:
        [side, side] bool.
    """
    centres = np.arange(side) + 0.5
    return (centres < content[0])[:, None] & (centres < content[1])
