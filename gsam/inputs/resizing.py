"""Resize images as the original repositories do, each by its own filter."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.ops.resampling import between, product

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resized(pixels: np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    """By one of the filters of `View`: [h, w, 3] -> [H, W, 3]."""
    if name == "gaussian":
        return _gaussian(pixels, size[0])
    if name == "linear":
        return _linear(pixels, size)
    if name == "antialias":
        return _antialias(pixels, size)
    if name == "spline":
        return _spline(pixels, size)
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), _PILLOW[name]))


def reduced(pixels: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Shrink a very large image [H, W, 3] to at most ``most`` pixels, by means over squares.

    By bands of rows, so that one that lies in a file is never in memory as a whole.
    """
    height, width = pixels.shape[:2]
    factor = int(np.ceil((height * width / most) ** 0.5))
    rows, columns = -(-height // factor), -(-width // factor)
    out = np.empty((rows, columns, 3), np.uint8)
    at = np.arange(0, width, factor)
    widths = np.diff(np.append(at, width))[:, None]
    for i in range(rows):
        some = pixels[i * factor : (i + 1) * factor].sum(0, dtype=np.uint32)
        total = np.add.reduceat(some, at, axis=0)
        share = widths * min(factor, height - i * factor)
        out[i] = (total + share // 2) // share
    return out


def _linear(pixels: np.ndarray, size: tuple[int, int]) -> NDArray[np.float32]:
    """torch's ``interpolate(mode="bilinear", align_corners=False)`` of floats, by strips."""
    (top, bottom, down), (left, right, across) = (between(n, m) for n, m in zip(pixels.shape[:2], size, strict=True))
    out = np.empty((*size, 3), np.float32)
    for start in range(0, size[0], 32):
        rows = slice(start, start + 32)
        part = down[rows, None, None]
        lines = pixels[top[rows]] * (1 - part) + pixels[bottom[rows]] * part
        out[rows] = lines[:, left] * (1 - across[:, None]) + lines[:, right] * across[:, None]
    return out


def _antialias(pixels: np.ndarray, size: tuple[int, int]) -> NDArray[np.float32]:
    """torch's ``interpolate(mode="bilinear", antialias=True)`` of floats, by Pillow's filter."""
    out = np.empty((*size, 3), np.float32)
    for c in range(3):
        channel = Image.fromarray(pixels[..., c].astype(np.float32))
        out[..., c] = np.asarray(channel.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return out


def _spline(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """scikit-image's ``resize(order=3, anti_aliasing=True, preserve_range=True)``, cut to integers.

    To the bit, because cutting makes a level of the last one: in float64, a Gaussian of sigma (f -
    1) / 2 where it shrinks, a cubic spline that goes through the channels too, both mirrored about
    the outermost pixels, clipped to the image's range.
    """
    from scipy import ndimage

    x = pixels.astype(np.float64)
    factor = [n / m for n, m in zip(x.shape, (*size, 3), strict=True)]
    smooth = ndimage.gaussian_filter(x, [max(0.0, (f - 1) / 2) for f in factor], mode="mirror")
    out = ndimage.zoom(smooth, [1 / f for f in factor], order=3, mode="mirror", grid_mode=True)
    return np.clip(out, x.min(), x.max()).astype(np.uint8)


def _gaussian(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """scikit-image's ``resize(order=1, anti_aliasing=True)`` of [P, P, 3], one matrix per axis."""
    for _ in range(2):
        source, width, channels = pixels.shape
        flat = np.ascontiguousarray(pixels).reshape(source, width * channels)
        out = np.empty((size, width * channels), np.float32)
        for rows, columns, block in _bands(source, size):
            product(block, flat[columns], out[rows])
        pixels = out.reshape(size, width, channels).swapaxes(0, 1)
    return np.ascontiguousarray(pixels)


@functools.lru_cache(maxsize=16)
def _bands(source: int, size: int) -> list[tuple[slice, slice, NDArray[np.float32]]]:
    """The matrix [size, source] as blocks on its diagonal: output rows, input rows, weights.

    A Gaussian of sigma (f - 1) / 2 cut at 4 sigma, then linear interpolation between pixel centres,
    mirrored about the outermost pixels: `scipy.ndimage.gaussian_filter` and `zoom(order=1,
    grid_mode=True)`, both with ``mode="mirror"``.
    """
    factor = source / size
    sigma = max(0.0, (factor - 1) / 2)
    radius = int(4 * sigma + 0.5)
    bell = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-9)) ** 2)
    bell = np.pad(bell / bell.sum(), (1, 1))
    at = (np.arange(size) + 0.5) * factor - 0.5
    low = np.floor(at).astype(np.int64)
    part = (at - low)[:, None]
    weight = (1 - part) * bell[None, 1:] + part * bell[None, :-1]  # [size, 2 radius + 2]
    period = max(2 * source - 2, 1)
    index = np.abs(low[:, None] + np.arange(-radius, radius + 2)) % period
    index = np.where(index >= source, period - index, index)
    bands = []
    for start in range(0, size, 32):
        rows = slice(start, min(start + 32, size))
        first, last = int(index[rows].min()), int(index[rows].max()) + 1
        block = np.zeros((rows.stop - start, last - first))
        np.add.at(block, (np.arange(rows.stop - start)[:, None], index[rows] - first), weight[rows])
        bands.append((rows, slice(first, last), block.astype(np.float32)))
    return bands
