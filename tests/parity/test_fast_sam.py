"""FastSAM against torch in a small configuration; the reference's tensors against the official
ones.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from benchmarks.harness.oracles import fast_sam
from benchmarks.harness.oracles.reference import fast_sam as reference
from gsam.models.fast_sam import VARIANTS, Config, FastSamSegmenter
from tests.weights.files import LISTS

TINY = Config(0.33, 0.125, 512, image_size=96)
PIXELS = np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", ["s", "x"])
def test_the_reference_has_the_official_tensors(size: str) -> None:
    with torch.device("meta"):
        found = {k: list(v.shape) for k, v in reference.FastSam(*reference.SIZES[size]).state_dict().items()}
    assert found == LISTS[f"FastSAM-{size}"]["keys"]
    config = VARIANTS[f"fast_sam_{size}"]
    assert (config.depth, config.width, config.most) == reference.SIZES[size]


@pytest.fixture(scope="module")
def model() -> reference.FastSam:
    return reference.seeded("tiny")


@pytest.fixture(scope="module")
def stage(model: reference.FastSam, tmp_path_factory: pytest.TempPathFactory) -> FastSamSegmenter:
    return fast_sam.loaded(model, TINY, tmp_path_factory.mktemp("fast_sam"))


@pytest.fixture(scope="module")
def whole(model: reference.FastSam, stage: FastSamSegmenter) -> fast_sam.Whole:
    return fast_sam.Whole(model, stage)


def over(rows: list[fast_sam.Row]) -> set[str]:
    return {row.what for row in rows if not row.difference <= row.limit}


@pytest.mark.long
def test_the_network(model: reference.FastSam, stage: FastSamSegmenter) -> None:
    rows = fast_sam.network(model, stage, PIXELS)
    assert len(rows) == 3
    assert not over(rows), rows


@pytest.mark.parametrize("shape", [(70, 50), (40, 61), (96, 96), (33, 200), (1, 150)])
@pytest.mark.long
def test_everything(whole: fast_sam.Whole, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    rows = whole.compare(pixels, conf=0.2)
    assert len(rows) == 10  # as many things are found
    assert not over(rows), rows
    assert whole.count > 3


def test_the_comparison_can_fail(model: reference.FastSam, whole: fast_sam.Whole) -> None:
    """torch's own eps in the norms is far outside the limits."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for m in norms:
        m.eps = 1e-5
    try:
        wrong = over(whole.compare(PIXELS, conf=0.5))
    finally:
        for m in norms:
            m.eps = 1e-3
    assert wrong == {"boxes of every place", "scores of every place", "mask coefficients", "prototypes"}
