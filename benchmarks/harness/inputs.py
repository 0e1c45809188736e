"""Seeded input arrays, the same for every side of a comparison."""

from __future__ import annotations

import numpy as np

WARM_UP_POINTS = 4
"""Points per side of the grid in the first call of `benchmarks.everything`, which compiles."""
MASK_THRESHOLDS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Mask thresholds that `benchmarks.everything` tries, to get masks that look like objects."""
FEATURE_MAPS = ((104, 136), (52, 68), (26, 34), (13, 17))
"""Grounding DINO's feature maps of an 800 x 1066 image on its canvas of 832 x 1088."""
CURRENT_FRAME = 9
"""The frame of a video that is tracked; the first has a prompt, and all before it are in memory."""
STRIDES = ("stride 4", "stride 8", "stride 16")
"""What SAM 2's image encoder gives, the finest map first."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(batch: int, side: int) -> np.ndarray:
    """Return normalised images [B, S, S, 3] float32."""
    return np.random.default_rng(0).standard_normal((batch, side, side, 3), np.float32)


def embedding(side: int, width: int) -> np.ndarray:
    """Return an image embedding [h, w, D] float32."""
    return np.random.default_rng(1).standard_normal((side, side, width), np.float32)


def boxes(count: int, side: int) -> np.ndarray:
    """Return boxes [N, 4] float32 in pixels of a square view."""
    rng = np.random.default_rng(2)
    corner = rng.uniform(0.05, 0.7, (count, 2))
    return (np.concatenate([corner, corner + rng.uniform(0.05, 0.25, (count, 2))], 1) * side).astype(np.float32)


def masks(dense: bool) -> np.ndarray:
    """Return 48 maps of low-resolution logits [48, 256, 256] float32.

    They show blobs with soft edges or, if ``dense``, noise in which every pixel matters.
    """
    from PIL import Image

    rng = np.random.default_rng(3)
    if dense:
        coarse = rng.standard_normal((48, 32, 32)).astype(np.float32)
        return np.stack([np.asarray(Image.fromarray(c).resize((256, 256), Image.Resampling.BILINEAR)) for c in coarse])
    y, x = np.mgrid[:256, :256] / 256
    maps = np.full((48, 256, 256), -4.0)
    for one in maps:
        for _ in range(2):
            cy, cx, size = rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.15)
            np.maximum(one, 8 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2)) - 4, out=one)
    return (maps + rng.normal(size=maps.shape) * 0.1).astype(np.float32)


def frame(side: int) -> np.ndarray:
    """Return a frame of a video, [S, S, 3] uint8."""
    return np.random.default_rng(4).integers(0, 256, (side, side, 3), dtype=np.uint8)


def tracking_memory(objects: int, cells: int, memory: int, width: int) -> dict[str, np.ndarray]:
    """Return the memory of the F frames before `CURRENT_FRAME`, per object.

    Keys: ``memory`` [N, F, cells, E] bfloat16 and ``pointers`` [N, F, D] float32.
    """
    import ml_dtypes

    rng = np.random.default_rng(5)
    return {
        "memory": rng.standard_normal((objects, CURRENT_FRAME, cells, memory), np.float32).astype(ml_dtypes.bfloat16),
        "pointers": rng.standard_normal((objects, CURRENT_FRAME, width), np.float32),
    }


def sampling_points(small: bool) -> dict[str, np.ndarray]:
    """Return what deformable attention over `FEATURE_MAPS` is given.

    Keys: ``value`` [1, S, 8, 32], ``xy`` [1, Q, 8, 4, 4, 2] in 0..1, ``weight`` [1, Q, 8, 4, 4].
    """
    shapes = feature_maps(small)
    rng = np.random.default_rng(4)
    total = sum(h * w for h, w in shapes)
    centres = [
        np.stack(np.meshgrid((np.arange(w) + 0.5) / w, (np.arange(h) + 0.5) / h), -1).reshape(-1, 2) for h, w in shapes
    ]
    at = np.concatenate(centres)[None, :, None, None, None]
    size = np.array([[w, h] for h, w in shapes])[:, None]
    xy = at + rng.normal(size=(1, total, 8, 4, 4, 2)) * 3 / size
    weight = rng.random((1, total, 8, 16))
    return {
        "value": rng.standard_normal((1, total, 8, 32), np.float32),
        "xy": xy.astype(np.float32),
        "weight": (weight / weight.sum(-1, keepdims=True)).reshape(1, total, 8, 4, 4).astype(np.float32),
    }


def feature_maps(small: bool) -> tuple[tuple[int, int], ...]:
    """Return the height and width of each feature map, reduced if ``small``."""
    return tuple((h // 8 + 1, w // 8 + 1) for h, w in FEATURE_MAPS) if small else FEATURE_MAPS


def token_ids(count: int, context: int, vocab: int) -> np.ndarray:
    """Return token ids [C, T] int32: begin, two words, end."""
    ids = np.zeros((count, context), np.int32)
    ids[:, 0], ids[:, 3] = vocab - 2, vocab - 1
    ids[:, 1:3] = np.random.default_rng(5).integers(1, vocab - 2, (count, 2))
    return ids
