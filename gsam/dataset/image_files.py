"""The files that a run over images writes: some per image, and one COCO file per run."""

from __future__ import annotations

import abc
import functools
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gsam.dataset.outputs import Outputs
from gsam.dataset.sources import Item

if TYPE_CHECKING:
    from gsam.types import Json

COCO = "coco.json"
COCO_STEMS = frozenset({Path(COCO).stem})
"""Stems that no image may have where a run writes a COCO file."""
R = TypeVar("R")


class ImageFiles(Outputs[R]):
    """Files of images, and one COCO file of the run about all of them, in the order of the images.

    A subclass reads the JSON of an image (`read`) and gives its objects in the form of
    `gsam.results.formats.scene_json` (`coco_scene`).
    """

    @functools.cached_property
    def _scenes(self) -> dict[str, Json]:
        """The images of the COCO file by their stems."""
        return {}

    @abc.abstractmethod
    def read(self, path: Path) -> Json:
        """Read the JSON of an image.  Raises `ValueError` for anything else."""

    @abc.abstractmethod
    def coco_scene(self, scene: Json) -> Json:
        """Describe the objects of an image as `gsam.results.formats.scene_json.scene_dict` does."""

    def json_path(self, item: Item) -> Path:
        """Name the JSON of an image."""
        return self.folder / f"{item.stem}.json"

    def paths(self, item: Item) -> list[Path]:
        return [self.folder / f"{item.stem}.{kind}" for kind in self.kinds if kind != "coco"]

    def finished(self) -> Set[Item]:
        """Give the images whose files are all there, made with the same settings.

        What belongs into a COCO file is in the JSON alone: without one, none is finished.
        """
        if "coco" not in self.kinds:
            return super().finished()
        if "json" not in self.kinds:
            return frozenset()
        return {item for item in super().finished() if self._collect(item)}

    def add_to_coco(self, item: Item, scene: Json) -> None:
        """Keep what the COCO file says of an image, if the run writes one."""
        if "coco" in self.kinds:
            self._scenes[item.stem] = self.coco_scene(scene)

    def whole_path(self) -> Path | None:
        return self.folder / COCO if "coco" in self.kinds else None

    def write_whole(self, path: Path) -> bool:
        from gsam.results.formats.coco import coco_of

        scenes = [self._scenes[item.stem] for item in self.items if item.stem in self._scenes]
        coco_of(scenes).write(path)
        return True

    def _collect(self, item: Item) -> bool:
        try:
            self.add_to_coco(item, self.read(self.json_path(item)))
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True
