"""Data sets of line drawings, drawn from a seed: rings and crosses on paper, with their masks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco

NAMES = ("ring", "cross")


def drawing(rng: np.random.Generator, size: tuple[int, int]) -> tuple[NDArray[np.uint8], list[tuple[int, np.ndarray]]]:
    """An image [H, W, 3] and its objects: class, and mask [H, W] bool of the filled shape."""
    height, width = size
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(215, 250, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(6):  # lines that belong to nothing
        ends = rng.integers(0, [width, height] * 2).tolist()
        pen.line(ends, fill=(190, 190, 200), width=1)
    found: list[tuple[int, np.ndarray]] = []
    for place in range(3):
        kind = int(rng.integers(2))
        radius = int(rng.integers(height // 9, height // 5))
        x = int((place + 0.5) * width / 3 + rng.integers(-4, 5))
        y = int(rng.integers(radius + 2, height - radius - 2))
        mask = Image.new("1", (width, height))
        ink = tuple(int(v) for v in rng.integers(0, 90, 3))
        for draw, fill, outline in ((ImageDraw.Draw(mask), 1, 1), (pen, None, ink)):
            if kind == 0:
                draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill, outline=outline)
            else:
                arm = radius // 3
                points = [(-arm, -radius), (arm, -radius), (arm, -arm), (radius, -arm), (radius, arm), (arm, arm)]
                points += [(arm, radius), (-arm, radius), (-arm, arm), (-radius, arm), (-radius, -arm), (-arm, -arm)]
                draw.polygon([(x + a, y + b) for a, b in points], fill=fill, outline=outline)
        found.append((kind, np.array(mask)))
    return np.asarray(image), found


def write_drawings(folder: Path, count: int, *, size: tuple[int, int] = (96, 144), seed: int = 0) -> Path:
    """Write ``count`` images and ``train.json`` in COCO's format; returns the JSON."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i in range(count):
        pixels, objects = drawing(np.random.default_rng([seed, i]), size)
        Image.fromarray(pixels).save(folder / "images" / f"{i:03}.png")
        images.append({"id": i + 1, "file_name": f"{i:03}.png", "height": size[0], "width": size[1]})
        for kind, mask in objects:
            runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
            box = [float(v) for v in coco.toBbox(runs)]
            runs["counts"] = runs["counts"].decode()
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i + 1, "category_id": kind + 1, "segmentation": runs,
                 "bbox": box, "area": int(mask.sum()), "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    told = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(told))
    return folder / "train.json"


if __name__ == "__main__":  # python -m tests.helpers.drawings FOLDER COUNT SEED
    print(write_drawings(Path(sys.argv[1]), int(sys.argv[2]), size=(320, 480), seed=int(sys.argv[3])))
