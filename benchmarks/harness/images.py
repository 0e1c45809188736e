"""Images to measure on: drawn from a seed, or a photograph of the user's."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def draw_image(size: tuple[int, int], seed: int) -> np.ndarray:
    """Draw an image [H, W, 3] uint8 with detail at every scale: smooth noise under shapes."""
    rng = np.random.default_rng(seed)
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


def open_or_draw(photo: str, small: bool) -> np.ndarray:
    """Open ``photo`` as [H, W, 3] uint8, or draw an image if it is ``""``; reduced if ``small``."""
    if not photo:
        return draw_image((200, 300) if small else (1200, 1800), 0)
    with Image.open(photo) as file:
        image = file.convert("RGB")
        return np.asarray(image.resize((300, 200)) if small else image)
