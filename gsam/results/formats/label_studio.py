"""Label Studio's tasks: what it imports as predictions, and what it exports as JSON.

Masks are brushes, which hold every pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from gsam.files import atomic_file
from gsam.results.formats import shapes
from gsam.results.formats.dataset import DataSetWriter, mask_of, outlines_of
from gsam.results.formats.label_studio_reading import CONFIG, FILE, is_quoted, read
from gsam.results.formats.streamed import StreamedList
from gsam.results.masks import brush, polygons
from gsam.types import Json, JsonMapping
from gsam.version import __version__

__all__ = ["Writer", "read"]

CONTROLS = {"BrushLabels": "brush", "RectangleLabels": "box", "PolygonLabels": "polygon"}


class Writer(DataSetWriter):
    """Writes ``tasks.json`` with a prediction of each image, and ``config.xml`` with the labels.

    What is lost of masks is their box where it is not their bounds, and with ``polygons`` that
    several parts are one object.
    """

    def __init__(
        self,
        folder: Path,
        labels: Sequence[str] = (),
        *,
        prefix: str = "",
        polygons: bool = False,
        model_version: str = f"gsam-{__version__}",
    ) -> None:
        """Begin a data set.

        Args:
            folder: Where the files go; it exists.
            labels: Classes that come first.
            prefix: Stands in front of the images' names, as in ``/data/local-files/?d=images/``.
            polygons: Write outlines, which are easier to change by hand than brushes.
            model_version: Under this name Label Studio shows the predictions.
        """
        super().__init__(folder, labels)
        self.prefix, self.polygons, self.model_version = prefix, polygons, model_version
        self._tasks: StreamedList | None = StreamedList(folder)

    def add(self, scene: JsonMapping) -> None:
        assert self._tasks is not None
        for label in scene.get("query_labels") or scene.get("queries", ()):
            if label:
                self.number_of(label)
        name = shapes.legal(scene["image"] or f"{self._tasks.count + 1}.png", self)
        size = {"width": scene["width"], "height": scene["height"]}
        results = [one for i, found in enumerate(scene["segments"]) for one in self._results(f"s{i}", found, size)]
        given = [found.get("score") for found in scene["segments"]]
        scores = [score for score in given if score is not None and math.isfinite(score)]
        mean = {"score": round(sum(scores) / len(scores), 5)} if scores else {}
        prediction = {"model_version": self.model_version, **mean, "result": results}
        address = self.prefix + (quote(name) if is_quoted(self.prefix) else name)
        self._tasks.add({"data": {"image": address}, "meta": size, "predictions": [prediction]})

    def _results(self, identity: str, found: JsonMapping, size: JsonMapping) -> Iterator[Json]:
        self.number_of(found["label"])
        score = shapes.count_losses(found, self)
        label = [shapes.legal(found["label"], self)]
        shown = {"to_name": "image", "original_width": size["width"], "original_height": size["height"]}
        for i, (control, value) in enumerate(self._values(found, np.array([size["width"], size["height"]], float))):
            kind = control.lower()
            yield {
                "id": f"{identity}-{i}" if i else identity,
                "type": kind,
                "from_name": CONTROLS[control],
                **shown,
                "image_rotation": 0,
                **({} if score is None else {"score": score}),
                "value": {**value, kind: label},
            }

    def _values(self, found: JsonMapping, size: NDArray[np.float64]) -> Iterator[tuple[str, Json]]:
        mask = mask_of(found)
        if mask is None:
            if not np.isfinite(found["box"]).all():
                self.losses["boxes whose numbers are none"] += 1
                return
            (x, y), (right, bottom) = (np.reshape(found["box"], (2, 2)) / size * 100).tolist()
            yield "RectangleLabels", {"x": x, "y": y, "width": right - x, "height": bottom - y, "rotation": 0}
        elif self.polygons:
            parts = outlines_of(found)
            if len(parts) != 1:
                self.losses["masks of several parts, which become objects" if parts else "empty masks"] += 1
            for part in parts:
                yield "PolygonLabels", {"points": (polygons.bridged(part) / size * 100).tolist(), "closed": True}
        elif mask.size > brush.MOST:
            self.losses["masks of more pixels than a brush can have"] += 1
        else:
            yield "BrushLabels", {"format": "rle", "rle": list(brush.pack(mask))}

    def close(self) -> None:
        if self._tasks is None:
            return
        with atomic_file(self.folder / FILE) as file:
            self._tasks.pour(file)
            file.write(b"\n")
        self._tasks = None
        labels = "".join(f"    <Label value={quoteattr(shapes.legal(label, self))}/>\n" for label in self.labels)
        controls = "".join(
            f'  <{control} name="{name}" toName="image">\n{labels}  </{control}>\n'
            for control, name in CONTROLS.items()
            if name != "polygon" or self.polygons
        )
        with atomic_file(self.folder / CONFIG) as file:
            file.write(f'<View>\n  <Image name="image" value="$image"/>\n{controls}</View>\n'.encode())
