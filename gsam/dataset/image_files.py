"""The files that a run over images writes: some per image, one COCO file, and data sets."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gsam.dataset.data_sets import DataSets
from gsam.dataset.outputs import Outputs
from gsam.dataset.scene_store import SceneStore
from gsam.dataset.sources import Item
from gsam.errors import UsageError
from gsam.results.formats.names import FORMATS

if TYPE_CHECKING:
    from gsam.types import Json

COCO = "coco.json"
COCO_STEMS = frozenset({Path(COCO).stem})
"""Stems that no image may have where a run writes a COCO file."""
R = TypeVar("R")


class ImageFiles(Outputs[R]):
    """Files of images, and what the run writes about all of them, in the order of the images.

    That is one COCO file, and a data set of each other format of `gsam.results.formats.names`,
    which `write_data_sets` writes.  A subclass reads the JSON of an image (`read`) and gives its
    objects in the form of `gsam.results.formats.scene_json` (`coco_scene`).

    Raises:
        UsageError: A result would be in the folder of a data set (``output_taken``), or a package
            that a format needs is not installed (``extra_missing``).
    """

    def __init__(
        self,
        folder: Path,
        kinds: Sequence[str],
        items: Sequence[Item],
        settings: Callable[[], Json] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        super().__init__(folder, kinds, items, settings, overwrite=overwrite)
        self.data_sets = DataSets(folder, [kind for kind in kinds if kind in FORMATS and kind != "coco"])
        for path in (path for item in items for path in self.paths(item)) if self.data_sets.kinds else ():
            if (first := path.relative_to(folder).parts[0].casefold()) in self.data_sets.kinds:
                text = f"{path} would be in the folder of the data set {first}: give {first} another -o"
                raise UsageError(text, "output_taken")

    @functools.cached_property
    def _scenes(self) -> SceneStore:
        """The images of the COCO file and the data sets, by their stems."""
        return SceneStore(self.folder)

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
        return [self.folder / f"{item.stem}.{kind}" for kind in self.kinds if kind not in FORMATS]

    def finished(self) -> Set[Item]:
        """Give the images whose files are all there, made with the same settings.

        What belongs into a COCO file or a data set is in the JSON alone: without one, none is
        finished.
        """
        if not self._gathers:
            return super().finished()
        if "json" not in self.kinds:
            return frozenset()
        return {item for item in super().finished() if self._collect(item)}

    def claim(self, items: Iterable[Item]) -> None:
        super().claim(items)
        self.data_sets.claim(self.manifest, self._inputs())

    def add_to_coco(self, item: Item, scene: Json) -> None:
        """Keep what the COCO file and the data sets say of an image, if the run writes any."""
        if self._gathers:
            self._scenes.add(item.stem, self.coco_scene(scene))

    def write_data_sets(self) -> None:
        """Write the data sets of the run; one that cannot be written costs no other (`trouble`)."""
        for kind in self.data_sets.kinds:
            with self.attempt():
                self.data_sets.write(kind, self._gathered(), self.manifest, self._inputs())

    @property
    def _gathers(self) -> bool:
        return any(kind in FORMATS for kind in self.kinds)

    def _gathered(self) -> Iterator[Json]:
        return self._scenes.of(item.stem for item in self.items)

    def whole_path(self) -> Path | None:
        return self.folder / COCO if "coco" in self.kinds else None

    def write_whole(self, path: Path) -> bool:
        from gsam.results.formats.coco import coco_of

        coco_of(self._gathered()).write(path)
        return True

    def _collect(self, item: Item) -> bool:
        try:
            self.add_to_coco(item, self.read(self.json_path(item)))
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True
