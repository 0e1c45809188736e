"""Training of nano's segmenter: SAM's classes at 160 pixels, from nothing, on boxes, points and
corrections.

The image is encoded once and answers several prompts.  nano always gives a box its filled self as
mask prompt (`Config.box_mask_prompt`: +6 inside, -6 outside, in between where an edge cuts a cell),
which is worth more than an hour of training at this size; most boxes here come with it, some
without, so that both work.  Some prompts go on for up to `ROUNDS` clicks, each where the last
answer was wrong and with its logits as mask prompt; the last of these answers is learnt from too.
Token 0 answers what is unambiguous, the best of tokens 1 to 3 a lone click.
"""

from __future__ import annotations

import dataclasses
from typing import Generic

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam import bind
from gsam.evaluation.matching import mask_of_box
from gsam.models import sam
from gsam.models.sam.config import Config
from gsam.nano.batches import A, Examples, HostArray, Pool, augment, pixels
from gsam.nano.positions import sincos_positions
from gsam.nano.scenes import IGNORE
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, FOREGROUND, PAD, TOP_LEFT
from gsam.ops.masks import filled
from gsam.ops.views import SAM_MEAN, SAM_STD
from gsam.training import losses
from gsam.training.segmenter import clicks
from gsam.training.task import Metrics
from gsam.types import Params

CORRECTED_PROMPTS = 3
"""Prompts of each image that are corrected."""
ROUNDS = 6
"""Clicks per correction, at most."""
CORRECTION_WEIGHT = 0.6
"""Weight of the loss after corrections, relative to that of first answers."""
FIRST_ROWS = 3
"""Rows of a prompt that are not corrections: two corners and a click."""

KINDS = {"prior": 0.46, "box": 0.08, "point": 0.33, "both": 0.13}
"""Shares of prompts that are a box with its filled self, a box alone, one click, or a box (filled)
and a click.
"""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PromptBatch(Generic[A]):
    """Q prompts on each of B images; rows where ``valid`` is False are padding."""

    objects: A
    """[B, Q] int32: the object, an index into the pool's 8."""
    box: A
    """[B, Q, 4] float32 pixels, jittered."""
    points: A
    """[B, Q, P, 2] float32: two corners, a click, and room for `ROUNDS` corrections."""
    labels: A
    """[B, Q, P] int32 as in `gsam.nn.prompt`."""
    box_mask: A
    """[B, Q] bool: the filled box is given as mask."""
    single_click: A
    """[B, Q] bool: nothing but one click."""
    valid: A
    """[B, Q] bool."""
    rounds: A
    """[B, Q] int32: how many corrections follow, 1 to `ROUNDS`."""
    seed: A
    """[] uint32, for the corrections."""


class Segmentation:
    """The task of training the segmenter, see `gsam.training.task.Task`."""

    def __init__(
        self,
        config: Config,
        train: Pool,
        validation: Pool | None = None,
        *,
        seed: int = 0,
        batch_size: int = 8,
        prompts_per_image: int = 5,
        spread: float = 0.12,
    ) -> None:
        self.config, self.train, self.validation = config, train, validation
        self.count = train.count
        self.seed, self.batch_size, self.prompts_per_image, self.spread = seed, batch_size, prompts_per_image, spread
        self.constants: Params = {}
        self.spec = sam.spec(config)
        self.side = 4 * config.grid
        self.forward = jax.jit(self._forward)
        self.click_ious = jax.jit(self._click_ious)

    def names(self, step: int) -> list[str]:
        return self.train.names(step, self.batch_size, self.seed)

    def init_params(self, seed: int) -> Params:
        return initial(bind.random_params(self.spec, seed), self.config)

    def batch(self, rng: np.random.Generator, step: int) -> tuple[Examples[HostArray], PromptBatch[HostArray]]:
        examples = augment(self.train.examples(self.train.order(step, self.batch_size, self.seed)), rng, zoom=0.3)
        return examples, sample_prompts(rng, examples, self.prompts_per_image, self.spread)

    def loss(
        self,
        params: Params,
        constants: Params,
        batch: tuple[Examples[jax.Array], PromptBatch[jax.Array]],
        progress: jax.Array,
    ) -> tuple[jax.Array, Metrics]:
        examples, prompts = batch
        model = self.spec.bind(params)
        features = model.image_encoder(pixels(examples, SAM_MEAN, SAM_STD))
        truth, known = self.truth(examples, prompts.objects)
        valid = prompts.valid.astype(jnp.float32)
        box_masks = self.box_masks(prompts.box)
        logits, guess = jax.vmap(model.decode)(features, prompts.points, prompts.labels, box_masks, prompts.box_mask)
        first, iou = mask_loss(logits, guess, truth, known, prompts.single_click)
        some = slice(None), slice(CORRECTED_PROMPTS)
        previous = jnp.where(
            prompts.single_click[..., None, None], _pick(logits[:, :, 1:], guess[:, :, 1:]), logits[:, :, 0]
        )
        fixed = jax.lax.stop_gradient((params, features, previous[some]))
        points, labels, previous = self.with_corrections(*fixed, prompts, truth[some], known[some])
        given = jnp.ones(previous.shape[:2], bool)
        again, guess = jax.vmap(model.decode)(features, points, labels, previous, given)
        second, better = mask_loss(again, guess, truth[some], known[some], ~given)
        metrics = {"first": losses.weighted_mean(first, valid), "second": losses.weighted_mean(second, valid[some])}
        metrics |= {"iou": losses.weighted_mean(iou, valid), "corrected": losses.weighted_mean(better, valid[some])}
        return metrics["first"] + CORRECTION_WEIGHT * metrics["second"], metrics

    def box_masks(self, box: jax.Array) -> jax.Array:
        """The mask prompts that boxes [B, Q, 4] bring: [B, Q, 4h, 4w] logits."""
        flat = filled(box.reshape(-1, 4), self.config.image_size, self.side)
        return self.config.box_mask_prompt * flat.reshape(*box.shape[:2], self.side, self.side)

    def truth(self, examples: Examples[jax.Array], objects: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Covered area and whether it is known, both [B, Q, 4h, 4w] in 0..1, averaged down to the
        decoder's output.
        """
        ratio = self.config.image_size // self.side
        instances = jnp.asarray(examples.instances)[:, None]  # [B, 1, S, S]

        def shrink(mask: jax.Array) -> jax.Array:
            return mask.reshape(*mask.shape[:2], self.side, ratio, self.side, ratio).mean((3, 5), dtype=jnp.float32)

        return shrink(instances == objects[..., None, None] + 1), shrink(instances != IGNORE) > 0.5

    def with_corrections(
        self,
        params: Params,
        features: jax.Array,
        previous: jax.Array,
        prompts: PromptBatch[jax.Array],
        truth: jax.Array,
        known: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Correct the first Q prompts of each image.

        Returns points, labels, and the logits [B, Q, h, w] that the last clicks correct.

        Each round clicks where ``previous`` is wrong; all but the last are answered here, which
        nothing is learnt from.
        """
        decode = jax.vmap(self.spec.bind(params).decode)
        count = previous.shape[1]
        rounds = jnp.asarray(prompts.rounds)[:, :count]
        want, given = truth > 0.5, jnp.ones(previous.shape[:2], bool)
        points, labels = jnp.asarray(prompts.points)[:, :count], jnp.asarray(prompts.labels)[:, :count]
        step = self.config.image_size / self.side

        def click(
            round: int | jax.Array, points: jax.Array, labels: jax.Array, previous: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            keys = jax.random.split(jax.random.fold_in(jax.random.key(prompts.seed), round), len(previous))
            cell, label = jax.vmap(clicks.correction)(keys, previous > 0, want, known)
            xy = (cell.astype(jnp.float32) + 0.5) * step - 0.5
            due = round < rounds
            at = FIRST_ROWS + round
            return (
                points.at[:, :, at].set(jnp.where(due[..., None], xy, points[:, :, at])),
                labels.at[:, :, at].set(jnp.where(due, label, labels[:, :, at])),
            )

        def answer(round: int | jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            points, labels, previous = state
            points, labels = click(round, points, labels, previous)
            logits, _ = decode(features, points, labels, previous, given)
            return points, labels, jnp.where((round < rounds - 1)[..., None, None], logits[:, :, 0], previous)

        points, labels, previous = jax.lax.fori_loop(0, ROUNDS - 1, answer, (points, labels, previous))
        return *click(ROUNDS - 1, points, labels, previous), previous

    def _forward(
        self, params: Params, examples: Examples[jax.Array], prompts: PromptBatch[jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        model = self.spec.bind(params)
        features = model.image_encoder(pixels(examples, SAM_MEAN, SAM_STD))
        logits, guess = jax.vmap(model.decode)(
            features, prompts.points, prompts.labels, self.box_masks(jnp.asarray(prompts.box)), prompts.box_mask
        )
        best = jnp.where(
            prompts.single_click[..., None, None], _pick(logits[:, :, 1:], guess[:, :, 1:]), logits[:, :, 0]
        )
        size = self.config.image_size
        large = jax.image.resize(best, (*best.shape[:2], size, size), "linear")
        return large > 0, jnp.where(prompts.single_click, guess[:, :, 1:].max(-1), guess[:, :, 0])

    def evaluate(self, params: Params, scenes: int = 160) -> dict[str, float]:
        """Mean IoU at full resolution: jittered boxes with their prior, without, clicks, and the
        filled box itself.
        """
        if self.validation is None:
            return {}
        metrics: dict[str, float] = self.evaluate_clicks(params, scenes)
        for kind in ("prior", "box", "point"):
            rng = np.random.default_rng(0)
            ious, errors, plain = [], [], []
            for begin in range(0, min(scenes, self.validation.count) // 16 * 16, 16):
                examples = self.validation.examples(np.arange(begin, begin + 16))
                prompts = sample_prompts(rng, examples, 6, self.spread, {kind: 1.0})
                masks, guess = (np.asarray(a) for a in self.forward(params, examples, prompts))
                for b, q in np.argwhere(prompts.valid):
                    want = examples.instances[b] == prompts.objects[b, q] + 1
                    ious.append(_iou(masks[b, q], want))
                    errors.append(abs(ious[-1] - guess[b, q]))
                    plain.append(_iou(mask_of_box(prompts.box[b, q], want.shape), want))
            metrics |= {kind: float(np.mean(ious)), f"{kind}_above_75": float(np.mean(np.array(ious) > 0.75))}
            metrics |= {f"{kind}_guess_error": float(np.mean(errors)), "filled_box": float(np.mean(plain))}
        return metrics

    def evaluate_clicks(self, params: Params, scenes: int) -> dict[str, float]:
        """Mean IoU, at low resolution, of the answers to 1 and to 1 + `ROUNDS` clicks."""
        assert self.validation is not None
        rng = np.random.default_rng(0)
        found: list[list[float]] = [[], []]
        for begin in range(0, min(scenes, self.validation.count) // 16 * 16, 16):
            examples = self.validation.examples(np.arange(begin, begin + 16))
            prompts = sample_prompts(rng, examples, CORRECTED_PROMPTS, 0.0, {"point": 1.0})
            prompts = dataclasses.replace(prompts, rounds=np.full_like(prompts.rounds, ROUNDS))
            for every, ious in zip(found, self.click_ious(params, examples, prompts), strict=True):
                every += np.asarray(ious)[prompts.valid].tolist()
        return {f"clicks_{k}": float(np.mean(v)) for k, v in zip((1, 1 + ROUNDS), found, strict=True)}

    def _click_ious(
        self, params: Params, examples: Examples[jax.Array], prompts: PromptBatch[jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        model = self.spec.bind(params)
        features = model.image_encoder(pixels(examples, SAM_MEAN, SAM_STD))
        truth, known = self.truth(examples, prompts.objects)
        logits, guess = jax.vmap(model.decode)(features, jnp.asarray(prompts.points), jnp.asarray(prompts.labels))
        first = _pick(logits[:, :, 1:], guess[:, :, 1:])
        points, labels, previous = self.with_corrections(params, features, first, prompts, truth, known)
        last, _ = jax.vmap(model.decode)(features, points, labels, previous, jnp.ones(previous.shape[:2], bool))
        first, last = (losses.mask_iou(jnp.where(known, m, -20.0), truth * known) for m in (first, last[:, :, 0]))
        return first, last


def mask_loss(
    logits: jax.Array, guess: jax.Array, truth: jax.Array, known: jax.Array, single_click: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The loss [B, Q] of four masks [B, Q, 4, h, w] and their predicted IoU, and the true IoU of
    the mask that counts.
    """
    cost, iou = losses.mask_cost(logits, truth[:, :, None], known[:, :, None], alpha=0.5)  # [B, Q, 4]
    miss = (guess - iou) ** 2
    chosen = losses.best_mask(cost[..., 1:])
    several = (cost[..., 1:] * chosen).sum(-1) + 0.05 * cost[..., 1:].mean(-1) + miss[..., 1:].mean(-1)
    single = cost[..., 0] + miss[..., 0]
    # A lone click trains all four tokens, and everything else token 0 and, lightly, the others.
    loss = jnp.where(single_click, several + 0.3 * single, single + 0.1 * several)
    return loss, jnp.where(single_click, (iou[..., 1:] * chosen).sum(-1), iou[..., 0])


def sample_prompts(
    rng: np.random.Generator,
    examples: Examples[HostArray],
    per_image: int,
    spread: float,
    kinds: dict[str, float] = KINDS,
) -> PromptBatch[HostArray]:
    """Choose prompts for some objects of each scene.

    The sides of a box move by a normal share of its size, ``spread``.
    """
    batch = len(examples.leaf)
    objects = np.zeros((batch, per_image), np.int32)
    box = np.tile(np.array([0, 0, 8, 8], np.float32), (batch, per_image, 1))
    room = FIRST_ROWS + ROUNDS
    points, labels = (
        np.zeros((batch, per_image, room, 2), np.float32),
        np.full((batch, per_image, room), ABSENT, np.int32),
    )
    box_mask, single_click, valid = (np.zeros((batch, per_image), bool) for _ in range(3))
    for b in range(batch):
        present = np.flatnonzero(examples.leaf[b] >= 0)
        if not present.size:
            labels[b, :, 2] = FOREGROUND
            continue
        picked = rng.permutation(present)
        repeats = -(-per_image // len(picked))
        for q, k in enumerate(np.tile(picked, repeats)[:per_image]):
            kind = rng.choice(list(kinds), p=list(kinds.values()))
            valid[b, q] = len(kinds) > 1 or q < len(picked)
            objects[b, q] = k
            box[b, q] = _jitter(rng, examples.boxes[b, k], examples.content[b], spread)
            if kind != "point":
                points[b, q, :2] = box[b, q].reshape(2, 2)
                labels[b, q, :2] = TOP_LEFT, BOTTOM_RIGHT
            if kind in ("point", "both"):
                rows, columns = np.nonzero(examples.instances[b] == k + 1)
                at = rng.integers(len(rows))
                points[b, q, 2], labels[b, q, 2] = (columns[at], rows[at]), FOREGROUND
            single_click[b, q] = kind == "point"
            box_mask[b, q] = kind in ("prior", "both")
            if kind == "point":
                labels[b, q, 0] = PAD
    following = rng.integers(1, ROUNDS + 1, (batch, per_image)).astype(np.int32)
    return PromptBatch(
        objects,
        box,
        points,
        labels,
        box_mask,
        single_click,
        valid,
        following,
        np.asarray(rng.integers(2**32), np.uint32),
    )


def _jitter(
    rng: np.random.Generator, box: NDArray[np.float32], content: NDArray[np.int32], spread: float
) -> NDArray[np.float32]:
    size = np.tile(box[2:] - box[:2], 2)
    heavy = spread * (2.0 if rng.random() < 0.2 else 1.0)
    moved = box + size * rng.normal(0, heavy, 4).clip(-3 * spread, 3 * spread)
    h, w = content
    moved = moved.clip(0, [w, h, w, h])
    return (moved if (moved[2:] - moved[:2] > 3).all() else box).astype(np.float32)


def _pick(logits: jax.Array, guess: jax.Array) -> jax.Array:
    """The mask that thinks best of itself: [B, Q, M, h, w], [B, Q, M] -> [B, Q, h, w]."""
    best = guess.argmax(-1)
    return jnp.take_along_axis(logits, best[..., None, None, None], 2)[:, :, 0]


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def initial(params: Params, config: Config) -> Params:
    """Random parameters, moved to where training from nothing begins well: places told apart, IoU
    guessed as a half.
    """
    code = "prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"
    place = 0.5 * sincos_positions(config.grid, config.width).reshape(1, config.grid, config.grid, config.width)
    head = "mask_decoder/iou_prediction_head/layers/2/"
    new = {
        "image_encoder/pos_embed": place.astype(np.float32),
        code: 50.0 * np.asarray(params[code]),  # unit normal, as in the original; random() gives 0.02
        head + "kernel": 0.1 * np.asarray(params[head + "kernel"]),
        head + "bias": np.full(4, 0.5, np.float32),
    }
    tokens = [k for k in params if k.endswith("/embedding")]
    new |= {k: 50.0 * np.asarray(params[k]) for k in tokens}  # torch draws embeddings from a unit normal
    return params | {k: jnp.asarray(v) for k, v in new.items()}
