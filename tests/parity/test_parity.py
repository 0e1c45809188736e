"""Every family in a small configuration against torch, through the real loader.

``benchmarks/parity.py`` does full sizes.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from benchmarks.harness.oracles import compare, grounding_dino, seeded


def check(rows: list[compare.Row]) -> None:
    wrong = [row for row in rows if not row.difference <= row.limit]
    assert rows
    assert not wrong, wrong


@pytest.mark.long
def test_sam(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(1, 128, 128, 3)).astype(np.float32)
    check(compare.compare_sam(seeded.sam("tiny"), tmp_path, pixels))


@pytest.mark.parametrize("version", [1, 2])
def test_owl(tmp_path: Path, version: int) -> None:
    pixels = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    check(compare.compare_owl(seeded.owl("tiny", version), tmp_path, pixels, seeded.token_ids(3, 16, 100)))


def test_clip(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    check(compare.compare_clip(seeded.clip("tiny"), tmp_path, pixels, seeded.token_ids(3, 16, 100)))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.long
def test_siglip(tmp_path: Path, version: int) -> None:
    model = seeded.siglip("tiny", version)
    config = model.config
    side, vocab = config.vision_config.image_size, config.text_config.vocab_size
    pixels = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    ids = seeded.sticky_ids(3, 16, vocab, pad=1 if version == 1 else 0)
    check(compare.compare_siglip(model, tmp_path, pixels, ids))


def pixels_of(*size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*size, 3)).astype(np.float32)


@pytest.mark.parametrize(("model", "size"), [("small", (75, 101)), ("wide", (150, 101)), ("mm", (64, 130))])
@pytest.mark.long
def test_grounding_dino(tmp_path: Path, model: str, size: tuple[int, int]) -> None:
    queries = ["cat", "a dog", "yellow bus"]
    rows = grounding_dino.compare(grounding_dino.model(model), tmp_path, pixels_of(*size), queries)
    check(rows)
    assert len(rows) == 8  # both ranked alike, so the whole is compared too


@pytest.mark.long
def test_the_comparison_of_grounding_dino_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hugging Face's own inverse sigmoid, where first guesses lie at the border."""
    import torch

    model = grounding_dino.model("small")
    with torch.no_grad():
        model.model.encoder_output_bbox_embed.layers[-1].weight.mul_(8)
    monkeypatch.setattr(grounding_dino, "original_arithmetic", contextlib.nullcontext)
    rows = grounding_dino.compare(model, tmp_path, pixels_of(75, 101), ["cat", "a dog", "yellow bus"])
    over = {r.what.split(",")[0] for r in rows if r.difference > 10 * r.limit}
    assert over == {"logits", "boxes"}
    check([r for r in rows if r.what.split(",")[0] not in over])


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    """Hugging Face's own GELU in the objectness head is already outside the limit."""
    from torch import nn

    model = seeded.owl("tiny")
    model.objectness_head.gelu = nn.GELU()
    pixels = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    rows = {r.what: r for r in compare.compare_owl(model, tmp_path, pixels, seeded.token_ids(3, 16, 100))}
    assert rows["objectness"].difference > rows["objectness"].limit
    assert rows["logits"].difference < rows["logits"].limit
