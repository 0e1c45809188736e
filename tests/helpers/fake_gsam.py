"""A stand-in for the pipeline, and a ``gsam`` command that uses it: ``python
tests/helpers/fake_gsam.py segment ...``.

It finds every pixel brighter than 128 as one object of the first query, two for a picture wider
than high.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gsam.inputs.image import Picture, content, make_view
from gsam.results.masks.low_res import LowResMasks
from gsam.results.result import Result
from gsam.text.queries import Queries
from gsam.types import View

VIEW = View(64, "longest")


class FakePipeline:
    name = "nano"
    devices = ()

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []

    def answers(
        self,
        pairs: Iterable[tuple[Any, Queries]],
        opened: Callable[[Any], Picture],
        *,
        batch_size: int | None = None,
        fixed: bool = False,
    ) -> Iterator[tuple[Any, Result | Exception]]:
        due: list[tuple[Any, Queries, Picture | Exception]] = []
        for item, queries in pairs:
            try:
                due.append((item, queries, opened(item)))
            except ValueError as error:
                due.append((item, queries, error))
            if len(due) == (batch_size or 1):  # as on a CPU
                yield from self._run(due)
                due = []
        yield from self._run(due)

    def _run(self, due: Sequence[tuple[Any, Queries, Picture | Exception]]) -> Iterator[tuple[Any, Result | Exception]]:
        good = [picture for _, _, picture in due if not isinstance(picture, Exception)]
        self.batches.append(len(good))
        time.sleep(self.seconds * bool(good))
        for item, queries, picture in due:
            yield item, picture if isinstance(picture, Exception) else result_of(picture, queries.names)


def result_of(picture: Picture, queries: Sequence[str]) -> Result:
    h, w = picture.pixels.shape[:2]
    bright = make_view(picture.pixels, VIEW).mean(-1) - 128.0
    n = (2 if w > h else 1) if picture.pixels.max() > 128 else 0
    ids = np.arange(n) % len(queries)
    return Result(
        image=picture.name,
        pixels=picture.pixels,
        queries=list(queries),
        pipeline="nano",
        xyxy=np.tile(np.array([0, 0, w, h], np.float32), (n, 1)),
        labels=[queries[i] for i in ids],
        label_ids=ids,
        scores=np.linspace(0.9, 0.6, n, dtype=np.float32),
        mask_scores=np.full(n, 0.8, np.float32),
        low_res=LowResMasks(
            np.repeat(bright[None, ::4, ::4].astype(np.float32), n, 0), 64, content(VIEW, (h, w)), (h, w)
        ),
    )


if __name__ == "__main__":
    import gsam
    from gsam.cli import main

    gsam.load = lambda *a, **k: FakePipeline(float(os.environ.get("FAKE_SECONDS", "0")))  # type: ignore[assignment]
    main()
