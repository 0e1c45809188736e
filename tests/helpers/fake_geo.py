"""A stand-in for the pipeline that finds what is bright, part by part, and ``gsam geo`` with it:
``python tests/helpers/fake_geo.py SCENE.tif ...``.

Red above 128 is an object of the first query, blue above 128 of the second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from gsam.inputs.image import Picture
from gsam.pipeline.limits import Limits
from gsam.results.masks.cropped import CroppedMasks
from gsam.results.result import Result
from gsam.text.queries import Queries


class Bright:
    """Finds connected parts."""

    name = "bright"
    devices = ()
    limits = Limits()

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.seen: list[np.ndarray] = []

    def answers(
        self,
        pairs: Iterable[tuple[Any, Queries]],
        opened: Callable[[Any], Picture],
        *,
        batch_size: int | None = None,
        fixed: bool = False,
    ) -> Iterator[tuple[Any, Result | Exception]]:
        for item, queries in pairs:
            try:
                picture = opened(item)
            except ValueError as error:
                yield item, error
                continue
            time.sleep(self.seconds)
            self.seen.append(picture.pixels)
            yield item, found_in(picture, queries)


def found_in(picture: Picture, queries: Queries) -> Result:
    corners, parts, ids = [], [], []
    for row, channel in zip(range(len(queries.names)), (0, 2), strict=False):
        marked, _ = ndimage.label(picture.pixels[..., channel] > 128)
        for i, (y, x) in enumerate(ndimage.find_objects(marked)):
            corners.append((y.start, x.start))
            parts.append(marked[y, x] == i + 1)
            ids.append(row)
    n = len(ids)
    boxes = [(x, y, x + p.shape[1], y + p.shape[0]) for (y, x), p in zip(corners, parts, strict=True)]
    return Result(
        image=picture.name,
        pixels=picture.pixels,
        queries=list(queries.names),
        pipeline="bright",
        xyxy=np.asarray(boxes, np.float32).reshape(-1, 4),
        labels=[queries.labels[i] for i in ids],
        label_ids=np.asarray(ids, int),
        scores=np.linspace(0.9, 0.6, n, dtype=np.float32),
        mask_scores=np.full(n, 0.75, np.float32),
        low_res=CroppedMasks(np.asarray(corners).reshape(-1, 2), parts, picture.pixels.shape[:2]),
    )


if __name__ == "__main__":
    import sys

    import gsam
    from gsam import cli

    gsam.load = lambda *a, **k: Bright(float(os.environ.get("FAKE_SECONDS", "0")))  # type: ignore[assignment]
    cli.COMMANDS.setdefault("geo", "")
    sys.argv[1:1] = ["geo"]
    cli.main()
