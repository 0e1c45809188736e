"""The files of every mask in an image: SA-1B's JSON, overlay, COCO and a folder of masks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.dataset.image_files import ImageFiles
from gsam.dataset.outputs import Json
from gsam.dataset.sources import Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        provenance: What is written into each JSON about how its masks were made.
    """

    def __init__(
        self, folder: Path, kinds: Sequence[str], items: Sequence[Item], queries: Sequence[str], provenance: Json
    ) -> None:
        super().__init__(folder, kinds, items)
        self.queries = list(queries)
        self._provenance = json.loads(json.dumps(provenance))

    def paths(self, item: Item) -> list[Path]:
        from gsam.results.formats.mask_folder import METADATA

        files = [self.folder / f"{item.stem}.{kind}" for kind in self.kinds if kind in ("json", "png")]
        return [*files, *([self.folder / item.stem / METADATA] if "csv" in self.kinds else [])]

    def read(self, path: Path) -> Json:
        from gsam.results.formats import sa1b

        return sa1b.read(path)

    def matches(self, scene: Json) -> bool:
        return bool(scene.get("gsam") == self._provenance)

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
        from gsam.results.formats import mask_folder, sa1b

        records = result.scene["annotations"]
        if "csv" in self.kinds:
            mask_folder.write(records, self.folder / item.stem)
        if "png" in self.kinds:
            if self.queries:
                image = named_overlay.draw(result.pixels, records, self.queries)
            else:
                image = instance_overlay.draw(result.pixels, records)
            overlay.write(image, self.folder / f"{item.stem}.png")
        if "json" in self.kinds:
            sa1b.write(result.scene, self.json_path(item))
        self.add_to_coco(result.scene)
        return self.paths(item)
