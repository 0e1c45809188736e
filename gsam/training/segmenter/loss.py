"""The loss of a segmenter's answers to prompts, and to clicks that correct them.

First answers are learnt from, and the answer to the last of the corrections; those between are
computed only, as in SAM (Kirillov et al. 2023, appendix A), where each is learnt from.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gsam.models.promptable import PromptableSegmenter
from gsam.training.losses import best_mask, mask_cost
from gsam.training.segmenter import clicks
from gsam.training.segmenter.parts import POINTS
from gsam.training.segmenter.prompts import Prompts, Rules
from gsam.training.task import Metrics
from gsam.types import Params, PyTree

EVERY = 2
"""Every n-th prompt is corrected."""


@dataclasses.dataclass(frozen=True, eq=False)
class PromptLoss:
    """The loss of one model under fixed rules; pure."""

    stage: PromptableSegmenter
    rules: Rules

    def __call__(self, params: Params, features: PyTree, prompts: Prompts[jax.Array]) -> tuple[jax.Array, Metrics]:
        """Compute the loss of a batch.

        Args:
            params: All parameters of the model.
            features: Those of the images, [B, ...].
            prompts: On these images.

        Returns:
            The loss [], and numbers [] to log: ``first`` and ``last``, the losses of first answers
            and of those to the last correction; ``iou`` and ``corrected``, their IoU.
        """
        known = self.known(prompts)
        first, iou, best = self._first(params, features, prompts, known)
        some = slice(None, None, EVERY)
        untouched = first[:, some].mean(), iou[:, some].mean()
        if self.rules.corrections:
            fixed = jax.lax.stop_gradient((params, features, best[:, some]))

            def corrected() -> tuple[jax.Array, jax.Array]:
                points, labels, previous = self.with_corrections(*fixed, prompts, known)
                given = jnp.ones(previous.shape[:2], bool)
                answer = self.ask(params, features, points, labels, previous, given, several=False)
                last, better, _ = self._judge(*answer, prompts.truth[:, some], known)
                return last.mean(), better.mean()

            last, better = jax.lax.cond(prompts.rounds > 0, corrected, lambda: untouched)
        else:
            last, better = untouched
        weight = (prompts.rounds > 0).astype(jnp.float32)
        metrics = {"first": first.mean(), "last": last, "iou": iou.mean(), "corrected": better}
        return metrics["first"] + weight * last, metrics

    def known(self, prompts: Prompts[jax.Array]) -> jax.Array:
        """Tell which low-resolution pixels are image, [B, 1, h, w] bool."""
        centres = jnp.arange(prompts.truth.shape[-1], dtype=jnp.float32) + 0.5
        rows, columns = centres < prompts.content[:, :1], centres < prompts.content[:, 1:]
        return (rows[:, :, None] & columns[:, None, :])[:, None]

    def ask(
        self,
        params: Params,
        features: PyTree,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        given: jax.Array | None = None,
        *,
        several: bool,
    ) -> tuple[jax.Array, jax.Array]:
        """Decode Q prompts on each of B images.

        Args:
            params: All parameters of the model.
            features: [B, ...].
            points: [B, Q, P, 2].
            labels: [B, Q, P].
            mask: [B, Q, h, w] logits; not used for a model that takes none.
            given: [B, Q] bool: which prompts have a mask.
            several: Whether an ambiguous prompt is answered by several masks.

        Returns:
            Logits [B, Q, M, h, w] and predicted IoU [B, Q, M], float32.
        """
        model = self.stage.spec.bind(params)
        several = several or self.rules.always_several
        masked = mask is not None and self.rules.masks

        def one(features: PyTree, points: jax.Array, labels: jax.Array, *more: Any) -> tuple[jax.Array, jax.Array]:
            given = dict(zip(("mask", "has_mask"), more, strict=False))
            return self.stage.decode(model, features, points, labels, several, **given)

        logits, iou = jax.vmap(one)(features, points, labels, *([mask, given] if masked else []))
        return logits.astype(jnp.float32), iou.astype(jnp.float32)

    def with_corrections(
        self, params: Params, features: PyTree, previous: jax.Array, prompts: Prompts[jax.Array], known: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Correct every n-th prompt by ``prompts.rounds`` clicks, at least one.

        Args:
            params: All parameters of the model.
            features: [B, ...].
            previous: [B, Q', h, w]: the first answers' logits.
            prompts: All of them.
            known: [B, 1, h, w] bool.

        Returns:
            Points [B, Q', P, 2], labels [B, Q', P], and the logits [B, Q', h, w] that the last
            click corrects, to which there is no answer yet.
        """
        some = slice(None, None, EVERY)
        points, labels, want = prompts.points[:, some], prompts.labels[:, some], prompts.truth[:, some] > 0.5
        given = jnp.ones(previous.shape[:2], bool)
        seen = jnp.broadcast_to(known, previous.shape)
        step = self.rules.side / previous.shape[-1]

        def click(number: jax.Array, points: jax.Array, labels: jax.Array, previous: jax.Array) -> Any:
            keys = jax.random.split(jax.random.fold_in(jax.random.key(prompts.seed), number), len(previous))

            def choose(key: jax.Array, mask: jax.Array, want: jax.Array, known: jax.Array) -> Any:
                return clicks.correction(key, mask, want, known, background=self.rules.background)

            cell, label = jax.vmap(choose)(keys, previous > 0, want, seen)
            at = POINTS + number
            xy = (cell.astype(jnp.float32) + 0.5) * step - 0.5
            return points.at[:, :, at].set(xy), labels.at[:, :, at].set(label.astype(labels.dtype))

        def answer(number: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            points, labels, previous = state
            points, labels = click(number, points, labels, previous)
            logits, iou = self.ask(params, features, points, labels, previous, given, several=False)
            return points, labels, self.clipped(pick(logits, iou))

        start = (points, labels, previous)
        points, labels, previous = jax.lax.fori_loop(0, jnp.maximum(prompts.rounds - 1, 0), answer, start)
        return *click(jnp.maximum(prompts.rounds - 1, 0), points, labels, previous), previous

    def clipped(self, logits: jax.Array) -> jax.Array:
        """Cut logits as the model's predictor does before they are a prompt."""
        limit = self.stage.logit_clip
        return logits if limit is None else jnp.clip(logits, -limit, limit)

    def _first(
        self, params: Params, features: PyTree, prompts: Prompts[jax.Array], known: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Loss and IoU [B, Q] of first answers, and the logits [B, Q, h, w] that a user sees."""
        found = []
        for rows, several in ((slice(0, self.rules.lone), True), (slice(self.rules.lone, None), False)):
            points, labels = prompts.points[:, rows], prompts.labels[:, rows]
            if not points.shape[1]:
                continue
            mask = self._box_masks(prompts.boxes[:, rows])
            answer = self.ask(params, features, points, labels, mask, prompts.boxed[:, rows], several=several)
            found.append(self._judge(*answer, prompts.truth[:, rows], known))
        loss, iou, best = (jnp.concatenate(parts, 1) for parts in zip(*found, strict=True))
        return loss, iou, self.clipped(best)

    def _box_masks(self, boxes: jax.Array) -> jax.Array | None:
        """The mask prompts [B, Q, h, w] that boxes bring; None for the official models."""
        flat = self.stage.box_mask_prompt(boxes.reshape(-1, 4))
        return None if flat is None else flat.reshape(*boxes.shape[:2], *flat.shape[1:])

    def _judge(
        self, logits: jax.Array, guess: jax.Array, truth: jax.Array, known: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Loss and IoU [B, Q] of the best of M masks, and the logits of the one that says it is."""
        cost, iou = mask_cost(logits, truth[:, :, None], known[:, :, None])  # [B, Q, M]
        chosen = best_mask(cost)
        loss = (cost * chosen).sum(-1) + ((guess - iou) ** 2).mean(-1)
        return loss, (iou * chosen).sum(-1), pick(logits, guess)


def pick(logits: jax.Array, guess: jax.Array) -> jax.Array:
    """The mask that thinks best of itself: [B, Q, M, h, w], [B, Q, M] -> [B, Q, h, w]."""
    best = guess.argmax(-1)
    return jnp.take_along_axis(logits, best[..., None, None, None], 2)[:, :, 0]
