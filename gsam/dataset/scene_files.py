"""The files of a pipeline's results: JSON, overlay, COCO, and data sets of any format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.dataset.image_files import ImageFiles
from gsam.dataset.sources import Item
from gsam.results.formats import names

if TYPE_CHECKING:
    from gsam.results.result import Result
    from gsam.types import Json

FORMATS = ("json", "png", "coco", *(name for name in names.FORMATS if name != "coco"))


class SceneFiles(ImageFiles["Result"]):
    """``scene.json``, ``scene.png`` (the image with masks and labels), ``coco.json``, data sets."""

    command = "segment"

    def read(self, path: Path) -> Json:
        scene: Json = json.loads(path.read_text(encoding="utf-8"))
        return scene

    def coco_scene(self, scene: Json) -> Json:
        return scene

    def write(self, item: Item, result: Result) -> list[Path]:
        from gsam.results.draw import overlay
        from gsam.results.formats import scene_json

        if "png" in self.kinds:
            with self.attempt():
                overlay.write(result.plot(), self.folder / f"{item.stem}.png")
        if "json" in self.kinds:
            with self.attempt():
                scene_json.write(result.to_dict(), self.json_path(item))
        with self.attempt():
            self.add_to_coco(item, result.to_dict())
        return self.paths(item)
