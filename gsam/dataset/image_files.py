"""The files that a run over images writes: some per image, and one COCO file per run."""

from __future__ import annotations

import abc
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gsam.dataset.outputs import Json, Outputs
from gsam.dataset.sources import Item

if TYPE_CHECKING:
    from gsam.results.formats.coco import Coco

COCO = "coco.json"
COCO_STEMS = frozenset({Path(COCO).stem})
"""Stems that no image may have where a run writes a COCO file."""
R = TypeVar("R")


class ImageFiles(Outputs[R]):
    """Files whose JSON tells whether an image is finished and what belongs into the COCO file.

    A subclass reads the JSON of an image (`read`), says whether it answers the same question
    (`matches`), and gives its objects in the form of `gsam.results.formats.scene_json`
    (`coco_scene`).
    """

    def __init__(self, folder: Path, kinds: Sequence[str], items: Sequence[Item]) -> None:
        super().__init__(folder, kinds, items)
        self._coco: Coco | None = None
        if "coco" in kinds:
            from gsam.results.formats.coco import Coco

            self._coco = Coco()

    @abc.abstractmethod
    def read(self, path: Path) -> Json:
        """Read the JSON of an image.  Raises `ValueError` for anything else."""

    @abc.abstractmethod
    def matches(self, scene: Json) -> bool:
        """Tell whether the JSON of an image answers what this run asks."""

    @abc.abstractmethod
    def coco_scene(self, scene: Json) -> Json:
        """Describe the objects of an image as `gsam.results.formats.scene_json.scene_dict` does."""

    def json_path(self, item: Item) -> Path:
        """Name the JSON of an image."""
        return self.folder / f"{item.stem}.json"

    def paths(self, item: Item) -> list[Path]:
        return [self.folder / f"{item.stem}.{kind}" for kind in self.kinds if kind != "coco"]

    def finished(self) -> Set[Item]:
        """Give the images whose files are all there and answer the same question.

        Without JSON nothing tells the question, and what belongs into a COCO file is nowhere: then
        none is finished.
        """
        if "coco" in self.kinds and "json" not in self.kinds:
            return frozenset()
        there = (item for item in self.items if all(path.is_file() for path in self.paths(item)))
        return {item for item in there if "json" not in self.kinds or self._answered(item)}

    def add_to_coco(self, scene: Json) -> None:
        """Add an image to the COCO file, if the run writes one."""
        if self._coco is not None:
            self._coco.add(self.coco_scene(scene))

    def close(self) -> Path | None:
        if self._coco is None:
            return None
        self._coco.write(self.folder / COCO)
        return self.folder / COCO

    def _answered(self, item: Item) -> bool:
        try:
            scene = self.read(self.json_path(item))
            if not self.matches(scene):
                return False
            self.add_to_coco(scene)
        except (ValueError, KeyError, TypeError):
            return False
        return True
