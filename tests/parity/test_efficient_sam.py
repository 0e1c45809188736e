"""EfficientSAM in a small configuration against torch, through the real reader, from a picture to
its masks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from benchmarks.harness.oracles import efficient_sam
from benchmarks.harness.oracles.reference import efficient_sam as reference
from gsam.models.efficient_sam import decoder
from gsam.nn import two_way
from tests.weights.files import LISTS


@pytest.fixture(scope="module")
def oracle() -> reference.EfficientSam:
    return efficient_sam.model(efficient_sam.TINY)


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("source", "sizes"), [("efficient_sam_vitt", reference.TI), ("efficient_sam_vits", reference.S)]
)
def test_the_reference_has_the_official_tensors(source: str, sizes: reference.Sizes) -> None:
    with torch.device("meta"):
        made = reference.EfficientSam(sizes)
    assert {k: list(v.shape) for k, v in made.state_dict().items()} == LISTS[source]["keys"]


@pytest.mark.long
def test_efficient_sam(oracle: reference.EfficientSam, tmp_path: Path) -> None:
    rows = efficient_sam.compare(oracle, tmp_path, picture())
    wrong = [row for row in rows if not row.difference <= row.limit]
    assert not wrong, wrong
    assert len(rows) == 9


def test_the_comparison_can_fail(
    oracle: reference.EfficientSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAM's own two-way layer, whose second layer does not carry positions on, and whose first has
    no residual.
    """
    monkeypatch.setattr(decoder.TwoWayLayer, "__call__", two_way.TwoWayLayer.__call__)
    stage = efficient_sam.load(oracle, tmp_path)
    features = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    rows = efficient_sam.compare_decoder(oracle, stage, features, (90, 140))
    wrong = {row.what.split(",")[0] for row in rows if not row.difference <= row.limit}
    assert {"mask logits", "predicted IoU", "1 - IoU of the masks"} <= wrong
