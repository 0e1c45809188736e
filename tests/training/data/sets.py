"""A small data set in COCO's format, which tests spoil."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (30, 40)
"""Height and width."""
SQUARE = [[5, 5, 15, 5, 15, 25, 5, 25]]


def picture(path: Path, seed: int, size: tuple[int, int] = SIZE, **save: Any) -> None:
    """Write an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **save)


def good(number: int, image: int, category: int = 1, **change: Any) -> dict[str, Any]:
    """An annotation of a square; other values are changed, those that are None dropped."""
    whole = {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [5, 5, 10, 20],
        "segmentation": SQUARE,
        "area": 200,
        "iscrowd": 0,
    }
    return {key: value for key, value in (whole | change).items() if value is not None}


def write(folder: Path, count: int = 3, annotations: Sequence[dict[str, Any]] | None = None, **change: Any) -> Path:
    """Write images with a square each, and the file of them; ``change`` changes what is in it."""
    for i in range(1, count + 1):
        picture(folder / "images" / f"{i}.png", i)
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIZE[1], "height": SIZE[0]} for i in range(1, count + 1)
        ],
        "annotations": [good(i, i) for i in range(1, count + 1)] if annotations is None else list(annotations),
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = folder / "train.json"
    path.write_text(json.dumps(content | change))
    return path
