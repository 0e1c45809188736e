"""Grounding DINO's loss and matching beside those of transformers, on random answers."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("optax")
from gsam.ops.boxes import cxcywh_to_xyxy
from gsam.training.boxes.grounding_loss import COSTS, ImageTruth, answer_loss

torch = pytest.importorskip("torch")
reference = pytest.importorskip("transformers.loss.loss_grounding_dino")

WORDS = np.array([[0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1]], bool)
REAL = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0], bool)


@pytest.mark.parametrize("seed", range(6))
def test_the_parts_are_those_of_transformers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    b, q, n, t = 2, 12, 5, len(REAL)
    logits = np.where(REAL, rng.normal(0, 2, (b, q, t)), -np.inf).astype(np.float32)
    boxes = np.concatenate([rng.uniform(0.2, 0.8, (b, q, 2)), rng.uniform(0.05, 0.4, (b, q, 2))], -1).astype(np.float32)
    counts = (5, 2)
    true = np.concatenate([rng.uniform(0.2, 0.8, (b, n, 2)), rng.uniform(0.05, 0.4, (b, n, 2))], -1).astype(np.float32)
    labels = np.array([rng.integers(0, 3, n) for _ in counts])
    words = np.pad(WORDS, ((0, 0), (0, t - WORDS.shape[1])))

    there = np.arange(n) < np.array(counts)[:, None]
    corners = jnp.where(jnp.asarray(there)[..., None], cxcywh_to_xyxy(jnp.asarray(true)), 0.0)
    truth = ImageTruth(corners, jnp.asarray(np.where(there, labels, -1), jnp.int32), jnp.zeros((b, 4, 4)))
    real = jnp.broadcast_to(jnp.asarray(REAL), (b, t))
    ours = jax.jit(answer_loss)(
        jnp.asarray(logits), jnp.asarray(boxes), jnp.ones((b, q), bool), real, jnp.asarray(words), truth
    )[1]

    config = SimpleNamespace(
        class_cost=COSTS[0], bbox_cost=COSTS[1], giou_cost=COSTS[2], focal_alpha=0.25, auxiliary_loss=False,
        two_stage=False, bbox_loss_coefficient=5.0, giou_loss_coefficient=2.0,
    )  # fmt: skip
    targets = [
        {"class_labels": torch.tensor(labels[i][:c]), "boxes": torch.tensor(true[i][:c])} for i, c in enumerate(counts)
    ]
    maps = tuple(torch.tensor(words.astype(np.float32)) for _ in range(b))
    mask = torch.tensor(REAL)[None, None].expand(b, q, t)
    theirs = reference.GroundingDinoForObjectDetectionLoss(
        torch.tensor(logits), targets, "cpu", torch.tensor(boxes), config, maps, mask
    )[1]
    for name, part in (("names", "loss_ce"), ("l1", "loss_bbox"), ("giou", "loss_giou")):
        assert float(ours[name]) == pytest.approx(float(theirs[part]), rel=2e-5), name
