"""Images through a pipeline: every item once, in order, with its result or its error."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from gsam.dataset.sources import Item
from gsam.dataset.stream import stream
from gsam.errors import ImageError
from gsam.runtime.shapes import default_batch_size, filled
from tests.helpers.fake_gsam import FakePipeline


@pytest.mark.parametrize("bad", [(), (0,), (4,), (0, 1), (3, 4), (1, 3), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_order(tmp_path: Path, bad: tuple[int, ...], batch_size: int) -> None:
    items = [Item(tmp_path / f"{i}.png", f"sub/{i}.png", str(i)) for i in range(5)]
    for i, item in enumerate(items):
        if i in bad:
            item.path.write_bytes(b"no image")
        else:
            Image.fromarray(np.full((8, 9, 3), 200, np.uint8)).save(item.path)
    pairs = list(stream(cast(Any, FakePipeline()), items, ["dog"], batch_size))
    assert [item for item, _ in pairs] == items
    for i, (item, answer) in enumerate(pairs):
        if i in bad:
            assert isinstance(answer, ImageError)
        else:
            assert not isinstance(answer, Exception)
            assert answer.image == item.name


def test_batches_pay_on_accelerators_only() -> None:
    cpu, gpu = (cast(Any, SimpleNamespace(platform=p)) for p in ("cpu", "gpu"))
    assert [default_batch_size(d) for d in ((), (cpu,), (cpu,) * 2, (gpu,), (gpu,) * 4)] == [1, 1, 2, 8, 32]
    assert [filled(count, (gpu,)) for count in (1, 2, 3, 5, 8)] == [1, 2, 4, 8, 8]
    assert [filled(count, (gpu,) * 4) for count in (1, 4, 5, 9)] == [4, 4, 8, 16]
