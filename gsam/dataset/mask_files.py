"""The files of every mask in an image: SA-1B's JSON, overlay, COCO and a folder of masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.dataset.image_files import ImageFiles
from gsam.dataset.manifest import Done
from gsam.dataset.sources import Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gsam.types import Json

FORMATS = ("json", "png", "coco", "csv")
NAME = "object"
"""The category of masks that have no name."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageMasks:
    """Every mask of one image."""

    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    scene: Json
    """The dictionary that `gsam.results.formats.sa1b.sa1b_dict` gives, with a ``label`` per mask if
    named.
    """

    def __len__(self) -> int:
        return len(self.scene["annotations"])

    @property
    def labels(self) -> list[str]:
        """One per mask, ``"masks"`` where it has no name."""
        return [a.get("label", "masks") for a in self.scene["annotations"]]


class MaskFiles(ImageFiles[ImageMasks]):
    """``scene.json`` as in SA-1B, ``scene.png``, ``coco.json``, and the folder ``scene/`` of masks.

    Args:
        folder: Where they go.
        kinds: Some of `FORMATS`.
        items: Everything the run reads.
        queries: The names that masks may have; none where they have no names.
        settings: Gives what results depend on besides their inputs.
        overwrite: Whether files in the folder may be replaced that gsam did not write.
    """

    command = "everything"

    def __init__(
        self,
        folder: Path,
        kinds: Sequence[str],
        items: Sequence[Item],
        queries: Sequence[str],
        settings: Callable[[], Json] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        super().__init__(folder, kinds, items, settings, overwrite=overwrite)
        self.queries = list(queries)
        self._masks: dict[str, list[Path]] = {}
        self._numbers = {item: number for number, item in enumerate(items)}

    def paths(self, item: Item) -> list[Path]:
        from gsam.results.formats.mask_folder import METADATA

        files = [self.folder / f"{item.stem}.{kind}" for kind in self.kinds if kind in ("json", "png")]
        return [*files, *([self.folder / item.stem / METADATA] if "csv" in self.kinds else [])]

    def number_of(self, item: Item) -> int | None:
        return self._numbers[item] if "json" in self.kinds else None

    def is_whole(self, item: Item, done: Done) -> bool:
        return super().is_whole(item, done) and all(
            self.manifest.wrote(path, thorough=False) for path in self.manifest.files_of(done) if self._is_mask(path)
        )

    def read(self, path: Path) -> Json:
        from gsam.results.formats import sa1b

        return sa1b.read(path)

    def coco_scene(self, scene: Json) -> Json:
        """Give boxes exclusive ends and every mask a label."""
        queries = self.queries or [NAME]
        segments = []
        for a in scene["annotations"]:
            x, y, w, h = a["bbox"]
            label = a.get("label", queries[0])
            segments.append(
                {
                    "label": label,
                    "label_id": queries.index(label) if label in queries else 0,
                    "box": [x, y, x + w + 1, y + h + 1] if a["area"] else [x, y, x, y],
                    "area": a["area"],
                    "mask": a["segmentation"],
                    "score": round(a.get("label_score", a["predicted_iou"]), 5),
                }
            )
        image = scene["image"]
        return {
            "image": image["file_name"],
            "width": image["width"],
            "height": image["height"],
            "queries": queries,
            "segments": segments,
        }

    def write(self, item: Item, result: ImageMasks) -> list[Path]:
        from gsam.results.draw import instance_overlay, named_overlay, overlay
        from gsam.results.formats import sa1b

        records = result.scene["annotations"]
        masks: list[Path] = []
        if "csv" in self.kinds:
            with self.attempt():
                masks = self._write_masks(item, result)
        if "png" in self.kinds:
            with self.attempt():
                if self.queries:
                    image = named_overlay.draw(result.pixels, records, self.queries)
                else:
                    image = instance_overlay.draw(result.pixels, records)
                overlay.write(image, self.folder / f"{item.stem}.png")
        if "json" in self.kinds:
            with self.attempt():
                sa1b.write(result.scene, self.json_path(item))
        with self.attempt():
            self.add_to_coco(item, result.scene)
        self._masks[item.stem] = masks
        return self.paths(item)

    def finish(self, item: Item, written: Sequence[Path]) -> None:
        super().finish(item, [*written, *self._masks.pop(item.stem, [])])

    def _write_masks(self, item: Item, result: ImageMasks) -> list[Path]:
        """Write the folder of masks, and delete those of an earlier run that have no successor."""
        from gsam.results.formats import mask_folder

        folder, records = self.folder / item.stem, result.scene["annotations"]
        masks = [folder / mask_folder.name(i) for i in range(len(records))]
        if self._manifest is not None:
            for path in (*masks, folder / mask_folder.METADATA):  # all or nothing
                self._manifest.check(path)
        mask_folder.write(records, folder)
        if self._manifest is not None:
            for path in set(self._manifest.in_folder(folder)) - set(masks):
                if self._is_mask(path):
                    self._manifest.delete(path)
        return masks

    def _is_mask(self, path: Path) -> bool:
        return path.suffix == ".png" and path.stem.isdigit() and path.parent != self.folder
