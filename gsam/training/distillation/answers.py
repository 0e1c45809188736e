"""Differences of a student's embeddings and answers from its teacher's: phases one and two.

Phase one is MobileSAM's (Zhang et al. 2023): the squared difference of the embeddings.  Phase two
is EdgeSAM's prompts in the loop (Zhou et al. 2023): both models are asked the same, the student's
masks should be the teacher's (BCE and dice), and where they differ both are asked again with a
click there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import ABSENT, FOREGROUND
from gsam.training.distillation.align import aligned, boxes_of, inside
from gsam.training.distillation.pair import Pair
from gsam.training.distillation.prompts import (
    FIRST_ROWS,
    Draws,
    Prompts,
    ask,
    choose,
    lone_boxes,
    lone_clicks,
)
from gsam.training.losses import UNKNOWN, dice, mask_iou, weighted_mean
from gsam.training.segmenter import clicks
from gsam.training.segmenter.scores import BOX, CLICK, CLICKS

T = TypeVar("T")
SMALLEST = 9
"""Cells of the smallest mask of the teacher that counts as something it found."""
JITTER = 0.05
"""Deviation of a box's sides from those of the teacher's mask, as a share of its size."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Answer:
    """The answers of both models to Q prompts on each of B images, over the student's view."""

    student: jax.Array
    """Logits [B, Q, M, h, w] float32."""
    student_iou: jax.Array
    """Predicted IoU [B, Q, M]."""
    teacher: jax.Array
    """Logits [B, Q, M, h, w]."""
    teacher_iou: jax.Array
    """Predicted IoU [B, Q, M]."""
    valid: jax.Array
    """[B, Q] bool: the prompt means something."""

    def best(self) -> tuple[jax.Array, jax.Array]:
        """Give the logits [B, Q, h, w] of each model that itself believes in most."""
        return pick(self.student, self.student_iou), pick(self.teacher, self.teacher_iou)


def pick(logits: jax.Array, iou: jax.Array) -> jax.Array:
    """The mask of the highest predicted IoU: [B, Q, M, h, w], [B, Q, M] -> [B, Q, h, w]."""
    return jnp.take_along_axis(logits, iou.argmax(-1)[..., None, None, None], 2)[:, :, 0]


@dataclasses.dataclass(frozen=True)
class Conversation:
    """Both models, their embeddings of B images, and questions to both.  Lives inside a program."""

    pair: Pair
    student: Any
    """The student's module with its parameters."""
    teacher: Any
    """The teacher's, whose image encoder has none."""
    features: jax.Array
    """The student's embeddings [B, h, w, D]."""
    target: jax.Array
    """The teacher's, over its own view."""
    content: jax.Array
    """[B, 2] rows and columns of the student's view that are image."""
    teacher_content: jax.Array
    """[B, 2] those of the teacher's view."""

    def embedding_error(self) -> jax.Array:
        """Squared difference of the embeddings over the variance of the teacher's, [] float32.

        Of two views that fit images differently only what both see counts; else the padding does
        too, which the mask decoder attends to.
        """
        wanted = self._over_student(self.target.astype(jnp.float32), channels_last=True)
        cells = wanted.shape[1]
        known = inside(self.content, self.pair.student.view.size, cells) | self.pair.same_geometry
        weight = known.astype(jnp.float32)[..., None]
        total = jnp.maximum(weight.sum() * wanted.shape[-1], 1.0)
        mean = (wanted * weight).sum((0, 1, 2)) / jnp.maximum(weight.sum(), 1.0)
        spread = (((wanted - mean) ** 2) * weight).sum() / total
        wrong = (((self.features.astype(jnp.float32) - wanted) ** 2) * weight).sum() / total
        return wrong / jnp.maximum(spread, 1e-8)

    def known(self) -> jax.Array:
        """Cells [B, 1, h, w] of masks over the student's view that are image."""
        side = 4 * self.features.shape[1]
        return inside(self.content, self.pair.student.view.size, side)[:, None]

    def ask(self, prompts: Prompts, valid: jax.Array, *, multimask: bool) -> Answer:
        """Ask both models.  The teacher's answer has no gradient.

        Args:
            prompts: Q prompts per image.
            valid: [B, Q] bool.
            multimask: Whether the prompts are ambiguous.
        """

        def one(
            stage: PromptableSegmenter, model: Any, features: jax.Array, content: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            return ask(stage, model, features, content, prompts, multimask=multimask)

        theirs, their_iou = one(self.pair.teacher, self.teacher, self.target, self.teacher_content)
        theirs = self._over_student(theirs, channels_last=False)
        theirs, their_iou = jax.lax.stop_gradient((theirs, their_iou))
        mine, my_iou = one(self.pair.student, self.student, self.features, self.content)
        return Answer(mine, my_iou, theirs, their_iou, valid)

    def found(self, answer: Answer, draws: Draws[jax.Array], jitter: float) -> tuple[jax.Array, jax.Array]:
        """Box what the teacher found.

        Args:
            answer: To clicks.
            draws: Whose jitter moves the sides of the boxes.
            jitter: By how much, as a share of the box.

        Returns:
            [B, Q, 4] x0 y0 x1 y1 in 0..1, and [B, Q] bool: there is something.
        """
        masks = (answer.best()[1] > 0) & self.known()
        boxes = boxes_of(masks)
        size = jnp.concatenate([boxes[..., 2:] - boxes[..., :2]] * 2, -1)
        moved = boxes + jitter * size * draws.jitter
        shares = moved / self._extent(masks.shape[-1])
        low, high = jnp.clip(shares[..., :2], 0.0, 1.0), jnp.clip(shares[..., 2:], 0.0, 1.0)
        return jnp.concatenate([jnp.minimum(low, high), jnp.maximum(low, high)], -1), masks.sum((-2, -1)) >= SMALLEST

    def corrected(
        self, prompts: Prompts, row: jax.Array, mine: jax.Array, theirs: jax.Array, key: jax.Array
    ) -> Prompts:
        """Add a click where the student's answer is not the teacher's.

        Args:
            prompts: What was asked.
            row: [] int32, the row of the click.
            mine: [B, Q, h, w] logits of the student.
            theirs: [B, Q, h, w] those of the teacher.
            key: For the place.
        """
        mine, theirs = mine > 0, theirs > 0
        known = jnp.broadcast_to(self.known(), mine.shape)
        takes_background = "background" in self.pair.prompts
        if not takes_background:
            mine &= theirs  # so that the click goes to what is lacking, or anywhere in the thing
        cell, label = jax.vmap(clicks.correction)(jax.random.split(key, len(mine)), mine, theirs, known)
        if not takes_background:
            label = jnp.where(label == FOREGROUND, label, ABSENT)
        at = (cell.astype(jnp.float32) + 0.5) / self._extent(mine.shape[-1])[..., :2]
        return prompts.with_click(row, jnp.clip(at, 0.0, 1.0), label)

    def _extent(self, cells: int) -> jax.Array:
        """Columns and rows of a map that are image, twice: [B, 1, 4] float32."""
        scale = cells / self.pair.student.view.size
        return jnp.concatenate([self.content[:, None, ::-1]] * 2, -1).astype(jnp.float32) * scale

    def _over_student(self, maps: jax.Array, *, channels_last: bool) -> jax.Array:
        if self.pair.same_geometry:
            return maps
        sizes = self.pair.teacher.view.size, self.pair.student.view.size
        return aligned(maps, self.teacher_content, sizes[0], self.content, sizes[1], channels_last=channels_last)


def answer_loss(answer: Answer, known: jax.Array) -> tuple[jax.Array, jax.Array]:
    """BCE, dice and the difference of the predicted IoU; and the agreement of the masks.

    Args:
        answer: To Q prompts.
        known: [B, 1, h, w] bool: cells that count.

    Returns:
        The loss [] and the IoU [] of the best masks, both means over valid prompts.
    """
    seen = known[:, :, None]
    weight = seen.astype(jnp.float32)
    wanted = jax.nn.sigmoid(answer.teacher) * weight
    local = (optax.sigmoid_binary_cross_entropy(answer.student, wanted) * weight).sum((-2, -1))
    local = local / jnp.maximum(weight.sum((-2, -1)), 1.0)
    cost = local + dice(jnp.where(seen, answer.student, UNKNOWN), wanted)
    cost = cost + (answer.student_iou - answer.teacher_iou) ** 2  # [B, Q, M]
    valid = answer.valid.astype(jnp.float32)
    return weighted_mean(cost.mean(-1), valid), weighted_mean(agreement(answer, known), valid)


def agreement(answer: Answer, known: jax.Array) -> jax.Array:
    """IoU [B, Q] of the mask that the student believes in most and that of the teacher."""
    mine, theirs = jax.lax.stop_gradient(answer.best())
    return mask_iou(jnp.where(known, mine, UNKNOWN), ((theirs > 0) & known).astype(jnp.float32))


def lessons(talk: Conversation, draws: Draws[jax.Array], corrections: int) -> tuple[jax.Array, jax.Array]:
    """Ask for phase two: clicks, the boxes of what the teacher finds there, and corrections.

    Half of the prompts are corrected from the click on, the others from the box.

    Args:
        talk: The models.
        draws: Chance.
        corrections: Clicks that follow.

    Returns:
        The loss [] and the agreement [], means over the answers.
    """
    known = talk.known()
    if "foreground" not in talk.pair.prompts:
        return answer_loss(_boxed(talk, draws), known)
    clicked, boxes, valid = _clicked(talk, draws, JITTER)
    from_click = jnp.arange(draws.clicks.shape[1]) % 2 == 0
    talks = _Rounds(talk, draws, clicked, boxes, valid, from_click, corrections)
    losses, agreements = talks.each(lambda answer: answer_loss(answer, known))
    loss, agreed = answer_loss(clicked, known)
    return (loss + losses.sum()) / (2 + corrections), (agreed + agreements.sum()) / (2 + corrections)


def examination(talk: Conversation, draws: Draws[jax.Array]) -> dict[str, Answer]:
    """Ask for the results page: one box, one click, three clicks.

    Args:
        talk: The models.
        draws: Chance.

    Returns:
        The answers, by the kind of prompt.
    """
    known = talk.known()

    def judged(answer: Answer) -> Answer:
        something = ((answer.best()[1] > 0) & known).sum((-2, -1)) >= SMALLEST
        return dataclasses.replace(answer, valid=answer.valid & something)

    if "foreground" not in talk.pair.prompts:
        return {BOX: judged(_boxed(talk, draws))}
    clicked, boxes, valid = _clicked(talk, draws, 0.0)
    from_click = jnp.ones(draws.clicks.shape[1], bool)
    every = _Rounds(talk, draws, clicked, boxes, valid, from_click, 2).each(lambda answer: answer)
    boxed, _, three = (jax.tree.map(lambda x, k=k: x[k], every) for k in range(3))
    return {BOX: judged(boxed), CLICK: judged(clicked), CLICKS: judged(three)}


def _boxed(talk: Conversation, draws: Draws[jax.Array]) -> Answer:
    return talk.ask(lone_boxes(draws.boxes), jnp.ones(draws.boxes.shape[:2], bool), multimask=False)


def _clicked(talk: Conversation, draws: Draws[jax.Array], jitter: float) -> tuple[Answer, jax.Array, jax.Array]:
    """Answers to lone clicks, and what `Conversation.found` says of them."""
    clicked = talk.ask(lone_clicks(draws.clicks), jnp.ones(draws.clicks.shape[:2], bool), multimask=True)
    return clicked, *talk.found(clicked, draws, jitter)


@dataclasses.dataclass(frozen=True)
class _Rounds:
    """Boxes, then corrections of the answers to them or to clicks: one loop, so that the program
    holds each decoder once.
    """

    talk: Conversation
    draws: Draws[jax.Array]
    clicked: Answer
    boxes: jax.Array
    valid: jax.Array
    from_click: jax.Array
    """[Q] bool: corrections follow the click, not the box."""
    corrections: int

    def each(self, keep: Callable[[Answer], T]) -> T:
        """Give what ``keep`` takes of each round's answer, with a leading axis of rounds."""
        boxed = lone_boxes(self.boxes, self.corrections)
        start = choose(self.from_click, lone_clicks(self.draws.clicks, self.corrections), boxed)

        def round(
            state: tuple[Prompts, jax.Array, jax.Array], number: jax.Array
        ) -> tuple[tuple[Prompts, jax.Array, jax.Array], T]:
            prompts, mine, theirs = state
            first = number == 0
            key = jax.random.fold_in(jax.random.key(self.draws.seed), number)
            row = FIRST_ROWS + jnp.maximum(number - 1, 0)
            asked = boxed
            if self.corrections:
                asked = choose(first, boxed, self.talk.corrected(prompts, row, mine, theirs, key))
            answer = self.talk.ask(asked, self.valid, multimask=False)
            stays = (first & self.from_click)[:, None, None]
            mine, theirs = (jnp.where(stays, *p) for p in zip((mine, theirs), answer.best(), strict=True))
            mine, theirs = jax.lax.stop_gradient((mine, theirs))
            return (choose(first, prompts, asked), mine, theirs), keep(answer)

        state = start, *jax.lax.stop_gradient(self.clicked.best())
        found: T = jax.lax.scan(jax.checkpoint(round), state, jnp.arange(self.corrections + 1))[1]
        return found
