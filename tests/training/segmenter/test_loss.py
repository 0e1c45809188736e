"""The loss on answers to prompts, and on those to corrections."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.nn.prompt import ABSENT, BACKGROUND, FOREGROUND, PAD
from gsam.training.losses import mask_cost
from gsam.training.segmenter.loss import PromptLoss
from gsam.training.segmenter.parts import POINTS
from gsam.training.segmenter.prompts import Prompts, rules_for
from tests.helpers.discs import SIDE, Discs, discs


def clicked(stage: Any, rounds: int) -> tuple[PromptLoss, Prompts[jax.Array]]:
    """Two images, two prompts each: clicks into the middle of a square, answered by a disc."""
    rules = rules_for(stage, ["click"], 2, 3)
    points = np.zeros((2, 2, rules.points, 2), np.float32)
    labels = np.full((2, 2, rules.points), ABSENT, np.int32)
    points[:, :, 2], labels[:, :, 2], labels[:, :, 3] = 32.0, FOREGROUND, PAD
    truth = np.zeros((2, 2, SIDE, SIDE), np.float32)
    truth[:, :, 8:25, 8:25] = 1.0
    content = np.array([[SIDE, SIDE], [SIDE, 20]], np.float32)
    given = (points, labels, np.zeros((2, 2, 4), np.float32), np.zeros((2, 2), bool), truth, content)
    return PromptLoss(stage, rules), jax.tree.map(jnp.asarray, Prompts(*given, np.int32(rounds), np.uint32(5)))


def features() -> Any:
    return {"fine": jnp.zeros((2, 64, 64, 1)), "coarse": (jnp.full((2, 8, 8, 1), 128.0),)}


@pytest.mark.long
def test_corrections_click_where_the_answer_is_wrong() -> None:
    stage = discs()
    asked, prompts = clicked(stage, 3)
    known = asked.known(prompts)
    assert known.sum((1, 2, 3)).tolist() == [SIDE * SIDE, SIDE * 20]
    logits, _ = asked.ask(stage.params, features(), prompts.points, prompts.labels, several=True)
    first = logits[:, ::2, 0]
    points, labels, last = asked.with_corrections(stage.params, features(), first, prompts, known)
    assert points.shape == (2, 1, POINTS + 3, 2)
    assert (np.asarray(labels)[:, :, POINTS:] == FOREGROUND).all()  # a disc of 6 pixels lacks, and does not spill
    cells = np.rint((np.asarray(points)[:, 0, POINTS:] + 0.5) / 2 - 0.5).astype(int)
    wrong = (np.asarray(prompts.truth)[:, 0] > 0.5) & ~np.asarray(first[:, 0] > 0) & np.asarray(known)[:, 0]
    assert all(wrong[b, y, x] for b in range(2) for x, y in cells[b, :1])
    assert (np.asarray(last > 0).sum((1, 2, 3)) > np.asarray(first > 0).sum((1, 2, 3))).all()
    loss, metrics = jax.jit(asked)(stage.params, features(), prompts)
    assert float(metrics["corrected"]) > float(metrics["iou"]) > 0.1
    assert float(loss) == pytest.approx(float(metrics["first"] + metrics["last"]), rel=1e-5)


@pytest.mark.long
def test_without_corrections_only_first_answers_count() -> None:
    asked, prompts = clicked(discs(), 0)
    loss, metrics = jax.jit(asked)(discs().params, features(), prompts)
    assert float(loss) == float(metrics["first"])
    assert float(metrics["corrected"]) == float(metrics["iou"])
    spill = dataclasses.replace(prompts, truth=jnp.zeros_like(prompts.truth).at[:, :, 12:14, 12:14].set(1.0))
    _, labels, _ = asked.with_corrections(
        discs().params, features(), jnp.full((2, 1, SIDE, SIDE), 9.0), spill, asked.known(spill)
    )
    assert (np.asarray(labels)[:, 0, POINTS] == BACKGROUND).all()


@dataclasses.dataclass(frozen=True, eq=False)
class Several(Discs):
    """Answers an ambiguous prompt by three discs of different size; the second is wanted."""

    def decode(self, model: Any, features: Any, points: Any, labels: Any, multimask: bool, **mask: Any) -> Any:
        logits, iou = super().decode(model, features, points, labels, multimask, **mask)
        if not multimask:
            return logits, iou
        return jnp.concatenate([logits - 5.0, logits + 8.0, logits - 9.0], 1), jnp.tile(iou, (1, 3))


@pytest.mark.long
def test_the_best_of_three_answers_to_a_lone_click_is_learnt_from() -> None:
    stage = Several("discs", types.SimpleNamespace(bind=lambda params: params), {"gain": jnp.ones(())})
    asked, prompts = clicked(stage, 0)
    _, metrics = jax.jit(asked)(stage.params, features(), prompts)
    logits, _ = asked.ask(stage.params, features(), prompts.points, prompts.labels, several=True)
    cost, _ = mask_cost(logits, prompts.truth[:, :, None], asked.known(prompts)[:, :, None])
    assert (cost.argmin(-1) == 1).all()
    beside = (128 / 255 - float(metrics["iou"])) ** 2
    assert float(metrics["first"]) == pytest.approx(float(cost[..., 1].mean()), abs=2 * beside)
    assert float(metrics["first"]) < float(cost[..., 0].mean()) / 2
