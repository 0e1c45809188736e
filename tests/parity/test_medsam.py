"""MedSAM in a small configuration: what is around SAM's network, from a picture to its mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from benchmarks.harness.oracles import medsam, seeded
from gsam.models import sam


def test_medsam(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(20, 200, (150, 90, 3), dtype=np.uint8)
    rows = medsam.compare(seeded.sam("tiny"), tmp_path, picture)
    wrong = [row for row in rows if not row.difference <= row.limit]
    assert not wrong, wrong
    assert len(rows) == 7


def test_the_comparison_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits enlarged as SAM does it are other masks."""
    model = seeded.sam("tiny")
    stage = medsam.load(model, tmp_path)
    features = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(sam.MedSamSegmenter, "upsample", "bilinear")
    rows = medsam.compare_decoder(model, stage, features, (150, 90))
    wrong = {row.what for row in rows if not row.difference <= row.limit}
    assert wrong == {"probabilities at the picture's size", "1 - IoU of the masks"}
