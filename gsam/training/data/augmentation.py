"""Random crops, flips and light of an image, which its masks and boxes follow exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def augment(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    masks: NDArray[np.bool_] | None,
    boxes: NDArray[np.floating] | None,
    *,
    zoom: float = 1.0,
    flip: float = 0.0,
    light: float = 0.0,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None, NDArray[np.float32] | None]:
    """Crop, mirror and relight an image at random.

    Nothing is resampled: a crop is smaller than the image, and the view of a model, which scales
    whatever it is given, makes it a zoom. The crop keeps one object whole, drawn at random.

    Args:
        rng: Where the randomness comes from; equal states give equal results.
        image: [H, W, 3] uint8.
        masks: [N, H, W] bool, or None.
        boxes: [N, 4] x0 y0 x1 y1 in pixels, exclusive right and bottom; or None.
        zoom: The highest factor by which a crop is smaller than the image, at least 1; the factor
            is drawn evenly on a log scale. 1, the default, crops nothing.
        flip: Probability of a horizontal flip, 0 by default.
        light: Brightness and contrast are each changed by a factor within 1 - ``light`` and
            1 + ``light``; 0, the default, changes nothing.

    Returns:
        Image, masks and boxes, with as many objects: one outside the crop has an empty mask, and a
        box without area.

    Raises:
        ValueError: A strength is outside its range.
    """
    if not zoom >= 1 or not 0 <= flip <= 1 or not 0 <= light < 1:
        raise ValueError(f"zoom is at least 1, flip in 0..1, light in 0..1: not {zoom}, {flip}, {light}")
    draws = rng.random(7)
    boxes = None if boxes is None else np.asarray(boxes, np.float32).reshape(-1, 4)
    whole = _bounds(masks) if masks is not None else boxes
    height, width = image.shape[:2]
    y0, y1, x0, x1 = _crop((height, width), whole, zoom ** -draws[0], draws[1:4])
    image = image[y0:y1, x0:x1]
    if masks is not None:
        masks = masks[:, y0:y1, x0:x1]
    if boxes is not None:
        shifted = boxes - np.array([x0, y0, x0, y0], np.float32)
        boxes = np.clip(shifted, 0, np.array([x1 - x0, y1 - y0] * 2, np.float32))
    if draws[4] < flip:
        image = image[:, ::-1]
        masks = None if masks is None else masks[:, :, ::-1]
        if boxes is not None:
            boxes = np.stack([x1 - x0 - boxes[:, 2], boxes[:, 1], x1 - x0 - boxes[:, 0], boxes[:, 3]], 1)
    if light:
        brightness, contrast = 1 + light * (2 * draws[5:7] - 1)
        image = _relit(image, float(brightness), float(contrast))
    return np.ascontiguousarray(image), None if masks is None else np.ascontiguousarray(masks), boxes


def _crop(
    size: tuple[int, int], boxes: NDArray[np.float32] | None, share: float, draws: NDArray[np.float64]
) -> tuple[int, int, int, int]:
    """Rows and columns of a crop with a share of the image's sides, around one of the boxes."""
    inside = np.zeros((0, 4)) if boxes is None else boxes
    inside = inside[(inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])]
    kept = inside[int(draws[0] * len(inside))] if len(inside) else np.zeros(4)
    found: list[int] = []
    for axis in (0, 1):
        side = size[axis]
        low, high = (0, 0) if not len(inside) else (int(np.floor(kept[1 - axis])), int(np.ceil(kept[3 - axis])))
        low, high = max(low, 0), min(high, side)
        length = min(max(round(side * share), high - low, 1), side)
        first, last = (0, side - length) if not len(inside) else (max(high - length, 0), min(low, side - length))
        start = first + int(draws[1 + axis] * (last - first + 1))
        found += [start, start + length]
    return found[0], found[1], found[2], found[3]


def _bounds(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The bounds [N, 4] of masks [N, H, W]; zeros of an empty one."""
    out = np.zeros((len(masks), 4), np.float32)
    for i, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            out[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return out


def _relit(image: NDArray[np.uint8], brightness: float, contrast: float) -> NDArray[np.uint8]:
    mean = float(image.mean(dtype=np.float64)) if image.size else 0.0
    values = ((np.arange(256) - mean) * contrast + mean) * brightness
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)[image]
