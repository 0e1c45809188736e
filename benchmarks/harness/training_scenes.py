"""Line drawings with true masks: nano's things as lines on paper, which nano never learnt from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from gsam.nano.heldout import Example
from gsam.nano.names import LEAVES
from gsam.nano.scenes import draw_scene
from gsam.results.masks.rle import encode

SEEDS = {"train": 31_001, "held_out": 31_002}
"""First half of the seeds of the scenes; the other half is a scene's number."""
SIDES = (256, 448)
"""Shortest and longest longer side in pixels."""
MOST = 5
"""Things in a scene."""


def line_drawing(rng: np.random.Generator, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn an image into dark lines on light paper.

    Lines lie where a fine and a coarse blur differ (Winnemöller et al. 2012, "XDoG").

    Args:
        rng: Decides on the pen and the paper.
        rgb: [H, W, 3].

    Returns:
        [H, W, 3] RGB.
    """
    width = max(rgb.shape) / 320 * float(rng.uniform(0.8, 1.3))
    grey = Image.fromarray(rgb).convert("L")
    fine, coarse = (np.asarray(grey.filter(ImageFilter.GaussianBlur(width * s)), np.float32) for s in (0.8, 1.6))
    line = np.clip((coarse - fine - 1.0) / float(rng.uniform(6, 14)), 0, 1)[..., None]
    paper = np.float32(rng.uniform(225, 255)) - rng.uniform(0, 18, 3).astype(np.float32) * np.float32([0, 0.4, 1])
    ink = rng.uniform(0, 70, 3).astype(np.float32)
    drawn = paper * (1 - line) + ink * line + rng.normal(0, 2.5, (*line.shape[:2], 1)).astype(np.float32)
    return np.asarray(np.clip(drawn, 0, 255).astype(np.uint8))


def draw(kind: str, number: int) -> Example:
    """Draw scene ``number`` of a kind, a key of `SEEDS`; always the same."""
    rng = np.random.default_rng((SEEDS[kind], number))
    side = int(rng.integers(SIDES[0], SIDES[1] + 1))
    short = round(side * float(rng.uniform(0.65, 1.0)))
    height, width = (side, short) if rng.random() < 0.5 else (short, side)
    white = np.full((height, width, 3), 255, np.uint8)
    while not (drawn := draw_scene(rng, (height, width), backdrop=white, most=MOST, crowding=0.0)).names:
        pass
    example = Example.of(drawn)
    return Example(line_drawing(rng, drawn.rgb), example.masks, example.names, example.ignored)


def write(folder: Path, kind: str, count: int) -> dict[str, Any]:
    """Write scenes and a COCO file of their masks.

    Args:
        folder: Gets ``<kind>-00.png`` and so on, and ``<kind>.json``.
        kind: A key of `SEEDS`.
        count: Scenes.

    Returns:
        How many images and objects there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names = {name: number for number, name in enumerate(LEAVES, 1)}  # all, so that both files have the same
    for number in range(count):
        example = draw(kind, number)
        height, width = example.rgb.shape[:2]
        file = f"{kind}-{number:02d}.png"
        Image.fromarray(example.rgb).save(folder / file, optimize=True)
        images.append({"id": number + 1, "file_name": file, "width": width, "height": height})
        for name, mask in zip(example.names, example.masks, strict=True):
            ys, xs = np.nonzero(mask)
            x0, y0, x1, y1 = (int(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number + 1, "iscrowd": 0, "area": int(mask.sum()),
                    "category_id": names[name], "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": encode(mask),
                }
            )  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in names.items()]
    found = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{kind}.json").write_text(json.dumps(found))
    return {"images": count, "objects": len(annotations)}
