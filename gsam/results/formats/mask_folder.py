"""The masks of an image in the folder layout of segment_anything's ``scripts/amg.py``.

Masks are ``0.png``, ``1.png`` and so on, in 0 and 255; their records are in ``metadata.csv``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gsam.files import atomic_file
from gsam.results.masks.rle import decode
from gsam.types import JsonMapping

METADATA = "metadata.csv"
COLUMNS = (
    "id", "area", "bbox_x0", "bbox_y0", "bbox_w", "bbox_h", "point_input_x", "point_input_y", "predicted_iou",
    "stability_score", "crop_box_x0", "crop_box_y0", "crop_box_w", "crop_box_h",
)  # fmt: skip


def write(records: Sequence[JsonMapping], folder: Path) -> None:
    """Records of `gsam.MaskGenerator` with ``output_mode="coco_rle"``.

    The table comes last: what it names is there.  Other files of the folder stay.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    labels = any("label" in r for r in records)
    table.writerow([*COLUMNS, "label"] if labels else COLUMNS)
    for i, record in enumerate(records):
        with atomic_file(folder / name(i)) as file:
            Image.fromarray(decode(record["segmentation"]) * np.uint8(255)).save(file, "PNG")
        point = record["point_coords"][0]
        scores = (record["predicted_iou"], record["stability_score"])
        row = [i, record["area"], *record["bbox"], *point, *scores, *record["crop_box"]]
        table.writerow([*row, _cell(record["label"])] if labels else row)
    with atomic_file(folder / METADATA) as file:
        file.write(text.getvalue().encode())


def name(index: int) -> str:
    """The file of a mask."""
    return f"{index}.png"


def _cell(text: str) -> str:
    """A label that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in tuple("=+-@\t\r") else text
