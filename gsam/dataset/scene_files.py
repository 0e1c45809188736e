"""The files of a pipeline's results: JSON, overlay and COCO."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.dataset.image_files import ImageFiles
from gsam.dataset.outputs import Json
from gsam.dataset.sources import Item

if TYPE_CHECKING:
    from gsam.results.result import Result

FORMATS = ("json", "png", "coco")


class SceneFiles(ImageFiles["Result"]):
    """``scene.json``, ``scene.png`` (the image with masks and labels) and ``coco.json``.

    Args:
        folder: Where they go.
        kinds: Some of `FORMATS`.
        items: Everything the run reads.
        queries: What is asked for, in the user's words.
        pipeline: The name of the pipeline as results have it.
    """

    def __init__(
        self, folder: Path, kinds: Sequence[str], items: Sequence[Item], queries: Sequence[str], pipeline: str
    ) -> None:
        super().__init__(folder, kinds, items)
        self.queries, self.pipeline = list(queries), pipeline

    def read(self, path: Path) -> Json:
        scene: Json = json.loads(path.read_text(encoding="utf-8"))
        return scene

    def matches(self, scene: Json) -> bool:
        return bool(scene["queries"] == self.queries and scene["pipeline"] == self.pipeline)

    def coco_scene(self, scene: Json) -> Json:
        return scene

    def write(self, item: Item, result: Result) -> list[Path]:
        from gsam.results.draw import overlay
        from gsam.results.formats import scene_json

        if "png" in self.kinds:
            overlay.write(result.plot(), self.folder / f"{item.stem}.png")
        if "json" in self.kinds:
            scene_json.write(result.to_dict(), self.json_path(item))
        if "coco" in self.kinds:
            self.add_to_coco(result.to_dict())
        return self.paths(item)
