"""Draw masks that a classifier named over their image: names, scores, and a colour per name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.results.masks.cropped import CroppedMasks
from gsam.results.masks.rle import decode
from gsam.results.result import Result
from gsam.types import JsonMapping


def draw(pixels: NDArray[np.uint8], records: Sequence[JsonMapping], queries: Sequence[str]) -> Image.Image:
    """Draw records over their image.

    Args:
        pixels: [H, W, 3] RGB.
        records: As `gsam.MaskGenerator` gives them with ``output_mode="coco_rle"``, each with a
            ``label`` and a ``label_score`` (`gsam.pipeline.naming.MaskLabeler`).
        queries: All names there are; colours follow their order.

    Returns:
        An image of the same size.
    """
    boxes = np.array([r["bbox"] for r in records], int).reshape(-1, 4)
    ends = boxes[:, :2] + boxes[:, 2:] + 1
    parts = [
        decode(r["segmentation"])[y0:y1, x0:x1]
        for r, (x0, y0), (x1, y1) in zip(records, boxes[:, :2], ends, strict=True)
    ]
    return Result(
        pixels=pixels,
        queries=list(queries),
        xyxy=np.concatenate([boxes[:, :2], ends], 1).astype(np.float32),
        labels=[r["label"] for r in records],
        label_ids=np.array([queries.index(r["label"]) for r in records], np.int64),
        scores=np.array([r["label_score"] for r in records], np.float32),
        mask_scores=np.array([r["predicted_iou"] for r in records], np.float32),
        low_res=CroppedMasks(boxes[:, 1::-1].astype(np.int64), parts, (pixels.shape[0], pixels.shape[1])),
    ).plot()
