"""Names of the formats of data sets; nothing heavy is loaded to know them."""

from __future__ import annotations

from collections.abc import Mapping

FORMATS: Mapping[str, str] = {
    "jsonl": "jsonl.Writer",
    "parquet": "parquet.Writer",
    "coco": "coco_files.Writer",
    "coco_results": "coco_files.ResultsWriter",
    "lvis": "coco_files.LvisWriter",
    "sa1b": "sa1b_files.Writer",
    "yolo": "yolo.Writer",
    "voc": "voc.Writer",
    "labelme": "labelme.Writer",
    "cvat": "cvat.Writer",
    "cvat_video": "cvat_video.Writer",
    "label_studio": "label_studio.Writer",
    "png_masks": "png_masks.Writer",
    "png_ids": "png_ids.Writer",
    "png_palette": "png_palette.Writer",
}
"""Each with the module and the class that writes it."""
