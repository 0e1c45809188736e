"""Images of coloured shapes on noise, with COCO annotations: something small to train on.

``python -m tests.helpers.shapes FOLDER COUNT SEED`` writes such a set.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 210), "yellow": (220, 200, 50)}
NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in ("circle", "square"))


def draw(seed: int, index: int, side: int = 160) -> tuple[NDArray[np.uint8], list[int], NDArray[np.int64]]:
    """Pixels [side, side, 3], the names' indices and boxes [N, 4] of up to five shapes."""
    rng = np.random.default_rng([seed, index])
    image = rng.uniform(60, 200, 3) + rng.normal(0, 18, (side, side, 3))
    y, x = np.mgrid[:side, :side] + 0.5
    labels, boxes = [], []
    for _ in range(rng.integers(1, 6)):
        size = int(side * rng.uniform(0.08, 0.3))
        x0, y0 = (int(v) for v in rng.integers(0, side - size, 2))
        box = np.array([x0, y0, x0 + size, y0 + size])
        if any((np.minimum(box[2:], b[2:]) > np.maximum(box[:2], b[:2])).all() for b in boxes):
            continue
        label = int(rng.integers(len(NAMES)))
        inside = (x >= x0) & (x < x0 + size) & (y >= y0) & (y < y0 + size)
        if label % 2 == 0:
            inside &= (x - x0 - size / 2) ** 2 + (y - y0 - size / 2) ** 2 < (size / 2) ** 2
        texture = (np.sin(x * 0.9) > 0) if rng.random() < 0.5 else (np.sin(y * 0.9) > 0)
        colour = np.array(list(COLOURS.values())[label // 2]) + rng.normal(0, 15, 3)
        image = np.where(inside[..., None], colour * np.where(texture, 1.0, 0.75)[..., None], image)
        labels.append(label)
        boxes.append(box)
    return np.clip(image, 0, 255).astype(np.uint8), labels, np.array(boxes).reshape(-1, 4)


def write(folder: Path, count: int, seed: int = 0, side: int = 160) -> Path:
    """Write images into ``folder/images`` and give their COCO file ``folder/train.json``."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        pixels, labels, boxes = draw(seed, index, side)
        name = f"{index:04}.png"
        Image.fromarray(pixels).save(folder / "images" / name)
        images.append({"id": index + 1, "file_name": name, "width": side, "height": side})
        for label, (x0, y0, x1, y1) in zip(labels, boxes.tolist(), strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index + 1, "category_id": label + 1, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    file = folder / "train.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def entries(folder: Path, count: int, seed: int = 0, side: int = 160) -> list:
    """The same as `gsam.training.data.entries.Entry` each."""
    from gsam.training.data.entries import Entry, Object

    write(folder, count, seed, side)
    out = []
    for index in range(count):
        _, labels, boxes = draw(seed, index, side)
        objects = tuple(
            Object(label, (float(a), float(b), float(c), float(d)))
            for label, (a, b, c, d) in zip(labels, boxes.tolist(), strict=True)
        )
        out.append(Entry(f"{index:04}.png", folder / "images" / f"{index:04}.png", side, side, objects))
    return out


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
