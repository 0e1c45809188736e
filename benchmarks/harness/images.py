"""Images that are drawn, or opened in their place."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def photograph(size: tuple[int, int], number: int) -> np.ndarray:
    """A picture with something at every scale: smooth noise, and shapes over it."""
    rng = np.random.default_rng(number)
    h, w = size
    pixels = np.full((h, w, 3), 128.0)
    for cells in (3, 9, 27, 81):
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        large = Image.fromarray(noise).resize((w, h), Image.Resampling.BICUBIC)
        pixels += (np.asarray(large, np.float64) - 128) * 1.5 / cells**0.5
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for i in range(12):
        x, y = rng.uniform(0, 0.8, 2) * (w, h)
        box = (x, y, x + rng.uniform(0.05, 0.3) * w, y + rng.uniform(0.05, 0.3) * h)
        (pen.ellipse if i % 2 else pen.rectangle)(box, fill=tuple(rng.integers(0, 256, 3).tolist()))
    return np.asarray(image)


def opened(photo: str, small: bool) -> np.ndarray:
    """A photograph [H, W, 3], or a seeded picture in its place; small, if wanted."""
    if not photo:
        return photograph((200, 300) if small else (1200, 1800), 0)
    with Image.open(photo) as file:
        picture = file.convert("RGB")
        return np.asarray(picture.resize((300, 200)) if small else picture)
