"""COCO instances JSON.  Masks are lossless run lengths with ``iscrowd`` 0, and scores are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from gsam.files import atomic_file
from gsam.types import Json, JsonMapping


class Coco:
    """A data set that grows image by image; it holds run lengths only.

    Ids count from 1 in the order things are added.  Categories are the labels that
    queries have, found or not, in the order they were asked for.
    """

    def __init__(self) -> None:
        self.images: list[Json] = []
        self.annotations: list[Json] = []
        self.categories: dict[str, int] = {}

    def add(self, scene: JsonMapping) -> None:
        """One image, as `gsam.results.formats.scene_json` describes it."""
        asked = scene.get("query_labels") or scene["queries"]
        for label in (*asked, *(s["label"] for s in scene["segments"])):
            if label:
                self.categories.setdefault(label, len(self.categories) + 1)
        image_id = len(self.images) + 1
        name = scene["image"] or f"{image_id}.png"
        self.images.append({"id": image_id, "file_name": name, "width": scene["width"], "height": scene["height"]})
        for segment in scene["segments"]:
            x0, y0, x1, y1 = segment["box"]
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": image_id,
                    "category_id": self.categories[segment["label"]],
                    "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                    "area": segment["area"],
                    "segmentation": segment["mask"],
                    "iscrowd": 0,
                    "score": segment["score"],
                }
            )

    def to_dict(self) -> Json:
        """``images``, ``categories`` and ``annotations``; boxes are x y width height."""
        categories = [{"id": i, "name": label, "supercategory": ""} for label, i in self.categories.items()]
        return {"images": self.images, "categories": categories, "annotations": self.annotations}

    def write(self, path: Path) -> None:
        """The file, whole or not at all."""
        with atomic_file(path) as file:
            file.write(json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False).encode() + b"\n")


def coco_of(scenes: Iterable[JsonMapping]) -> Coco:
    """Make a data set of images, each as `gsam.results.formats.scene_json.scene_dict` gives it."""
    coco = Coco()
    for scene in scenes:
        coco.add(scene)
    return coco
