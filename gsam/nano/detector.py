"""Training of nano's detector: OWLv2's classes at 240 pixels, from nothing, image and text towers
together.

Every token is compared with every query of the vocabulary.  A box answers to its leaf ("red apple")
and to what that leaf is ("apple"): several targets at once, hence the sigmoid; a softmax over the
leaves at the matched tokens is added because it separates look-alikes faster.  Names and boxes are
learnt one-to-many throughout; which token may claim a thing, one-to-many early and one-to-one late.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from gsam import bind
from gsam.evaluation.matching import box_overlaps
from gsam.models import owl_vit
from gsam.models.owl_vit.config import Config
from gsam.nano import names
from gsam.nano.batches import Examples, HostArray, Pool, augment, pixels
from gsam.nano.positions import sincos_positions
from gsam.nano.prompts import TextPrompts
from gsam.nano.scenes import IGNORE
from gsam.ops.boxes import cxcywh_to_xyxy
from gsam.ops.views import CLIP_MEAN, CLIP_STD
from gsam.training import losses, matching
from gsam.training.task import Metrics
from gsam.types import Params

MEAN = tuple(255.0 * m for m in CLIP_MEAN)
STD = tuple(255.0 * s for s in CLIP_STD)

TOKENS_PER_TRUTH = 4
"""Tokens that learn a name and a box from one truth."""


class Detection:
    """The task of training the detector, see `gsam.training.task.Task`."""

    def __init__(
        self,
        config: Config,
        prompts: TextPrompts,
        train: Pool,
        validation: Pool | None = None,
        *,
        seed: int = 0,
        batch_size: int = 24,
        negatives: int = 12,
    ) -> None:
        self.config, self.prompts, self.train, self.validation = config, prompts, train, validation
        self.count = train.count
        self.seed, self.batch_size, self.negatives = seed, batch_size, negatives
        self.constants: Params = {}
        self.spec = owl_vit.spec(config)
        self.grid = config.image_size // config.patch
        self.centres = matching.cell_centres(self.grid)
        answers = np.asarray(names.ANSWERS, np.float32)  # [L, C]
        self.answers = np.concatenate([answers, np.zeros((len(answers), negatives), np.float32)], 1)
        self.own = np.array([names.QUERIES.index(leaf) for leaf in names.LEAVES], np.int32)
        self.forward = jax.jit(self._forward)

    def names(self, step: int) -> list[str]:
        return self.train.names(step, self.batch_size, self.seed)

    def init_params(self, seed: int) -> Params:
        return initial(bind.random_params(self.spec, seed), self.config)

    def batch(self, rng: np.random.Generator, step: int) -> tuple[Examples[HostArray], NDArray[np.int32]]:
        rows = self.train.order(step, self.batch_size, self.seed)
        return augment(self.train.examples(rows), rng), self.prompts.sample(rng, self.negatives)

    def loss(
        self, params: Params, constants: Params, batch: tuple[Examples[jax.Array], jax.Array], progress: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        examples, ids = batch
        model = self.spec.bind(params)
        tokens = model.image(pixels(examples, MEAN, STD))
        logits = model.logits(tokens, model.text(ids))  # [B, T, C]
        boxes = cxcywh_to_xyxy(model.boxes(tokens))
        truth, leaf = examples.boxes / self.config.image_size, jnp.asarray(examples.leaf)
        assigned, many = self.assignments(logits, boxes, truth, leaf, progress)

        kept = self.may_be_background(examples)
        row, matched, count = _matched(assigned)
        named = jnp.maximum(jnp.take_along_axis(leaf, row, 1), 0)
        wanted = jnp.asarray(self.answers)[named] * matched[..., None]
        kept = jnp.maximum(kept, matched)
        classes = (optax.sigmoid_focal_loss(logits, wanted, alpha=0.5) * kept[..., None]).sum() / count
        objects = (optax.sigmoid_focal_loss(model.objectness(tokens), matched, alpha=0.5) * kept).sum() / count

        row, matched, _ = _matched(many)
        named = jnp.maximum(jnp.take_along_axis(leaf, row, 1), 0)
        leaves = logits[..., self.own]
        naming = losses.weighted_mean(
            optax.softmax_cross_entropy(leaves, jax.nn.one_hot(named, len(self.own))), matched
        )
        target = jnp.take_along_axis(truth, row[..., None], 1)
        near = losses.weighted_mean(losses.box_l1(boxes, target), matched)
        overlap = losses.weighted_mean(1.0 - losses.giou(boxes, target), matched)
        total = 4.0 * classes + naming + 5.0 * near + 4.0 * overlap + objects
        metrics = {"classes": classes, "apart": naming, "l1": near, "giou": overlap, "objects": objects}
        metrics["right"] = losses.weighted_mean((leaves.argmax(-1) == named).astype(jnp.float32), matched)
        return total, metrics

    def assignments(
        self, logits: jax.Array, boxes: jax.Array, truth: jax.Array, leaf: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Assign tokens to truths, [B, T] twice: for scores, and for boxes and names.

        The second has `TOKENS_PER_TRUTH` tokens per truth; the first as many in the beginning, and
        one in the last part.
        """
        repeat = jnp.where(progress < 0.3, TOKENS_PER_TRUTH, jnp.where(progress < 0.55, 2, 1))
        costs = matching.cost(logits, boxes, truth, jnp.asarray(self.own)[jnp.maximum(leaf, 0)])
        allowed = matching.candidates(truth, self.centres)
        assigned = matching.match(costs, allowed, leaf >= 0, repeat)
        return assigned, matching.match(costs, allowed, leaf >= 0, jnp.full_like(repeat, TOKENS_PER_TRUTH))

    def may_be_background(self, examples: Examples[jax.Array]) -> jax.Array:
        """1 where a token may learn that there is nothing, [B, T]: not where most of its patch is
        to be ignored.
        """
        g, p = self.grid, self.config.patch
        ignored = (jnp.asarray(examples.instances) == IGNORE)[:, : g * p, : g * p].reshape(-1, g, p, g, p)
        return (ignored.mean((2, 4)) < 0.5).astype(jnp.float32).reshape(-1, g * g)

    def _forward(self, params: Params, examples: Examples[jax.Array], ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        model = self.spec.bind(params)
        tokens = model.image(pixels(examples, MEAN, STD))
        boxes = cxcywh_to_xyxy(model.boxes(tokens)) * self.config.image_size
        return boxes, jax.nn.sigmoid(model.logits(tokens, model.text(ids))[..., self.own])

    def evaluate(self, params: Params, scenes: int = 400) -> dict[str, float]:
        """Boxes found with the right leaf at IoU 0.5, all leaves asked at once; the threshold is
        the best one here.
        """
        if self.validation is None:
            return {}
        found: list[NDArray[np.float32]] = []
        truths = 0
        covered = 0
        for begin in range(0, min(scenes, self.validation.count) // 40 * 40, 40):
            examples = self.validation.examples(np.arange(begin, begin + 40))
            boxes, scores = (np.asarray(a) for a in self.forward(params, examples, self.prompts.queries[0]))
            for b in range(40):
                real = examples.leaf[b] >= 0
                marks, overlapped = score_scene(boxes[b], scores[b], examples.boxes[b][real], examples.leaf[b][real])
                found.append(marks)
                truths += int(real.sum())
                covered += overlapped
        marks = np.concatenate(found)
        best = {"f1": 0.0}
        for threshold in np.arange(0.05, 0.9, 0.025):
            kept = marks[marks[:, 0] >= threshold]
            hits = float(kept[:, 1].sum())
            f1 = 2 * hits / max(len(kept) + truths, 1)
            if f1 > best["f1"]:
                best = {"f1": f1, "threshold": float(threshold)}
                best |= {"precision": hits / max(len(kept), 1), "recall": hits / max(truths, 1)}
        return best | {"reached": covered / max(truths, 1)}


def _matched(assigned: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Assignments [B, T] -> the row of the truth, 1 where there is one, and how many there are (at
    least 1).
    """
    matched = (assigned >= 0).astype(jnp.float32)
    return jnp.maximum(assigned, 0), matched, jnp.maximum(matched.sum(), 1.0)


def initial(params: Params, config: Config) -> Params:
    """Random parameters, moved to where training from nothing begins well.

    Places are told apart from the first step, boxes begin at about a quarter of the image, almost
    everything is "nothing", and the product with the class token begins close to a sum.
    """
    width, grid = config.vision.width, config.image_size // config.patch
    shift = np.zeros(4, np.float32)
    shift[2:] = 1.2
    table = np.concatenate([np.zeros((1, width)), 0.5 * sincos_positions(grid, width)])
    new = {
        "vision_model/embeddings/position_embedding/embedding": table.astype(np.float32),
        "vision_model/post_layernorm/scale": np.full(width, 0.3, np.float32),
        "vision_model/post_layernorm/bias": np.ones(width, np.float32),
        "box_head/dense2/kernel": 0.1 * np.asarray(params["box_head/dense2/kernel"]),
        "box_head/dense2/bias": shift,
        "class_head/logit_scale/kernel": 0.1 * np.asarray(params["class_head/logit_scale/kernel"]),
        "class_head/logit_scale/bias": np.full(1, 11.0, np.float32),
        "class_head/logit_shift/kernel": 0.1 * np.asarray(params["class_head/logit_shift/kernel"]),
        "class_head/logit_shift/bias": np.full(1, -0.5, np.float32),
        "objectness_head/dense2/bias": np.full(1, -3.0, np.float32),
        "text_model/embeddings/token_embedding/embedding": 10.0
        * np.asarray(params["text_model/embeddings/token_embedding/embedding"]),
    }
    return params | {k: jnp.asarray(v) for k, v in new.items()}


def score_scene(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], truth: NDArray[np.float32], leaf: NDArray[np.int32]
) -> tuple[NDArray[np.float32], int]:
    """Score one scene, suppressed at IoU 0.6.

    Returns:
        [D, 2] score and hit of each box that is left, and how many truths any of them overlaps.
    """
    best, name = scores.max(-1), scores.argmax(-1)
    order = [i for i in np.argsort(-best) if best[i] >= 0.05]
    overlap = box_overlaps(boxes, boxes)
    kept: list[int] = []
    for i in order:
        if all(overlap[i, j] < 0.6 for j in kept):
            kept.append(i)
    with_truth = box_overlaps(boxes[kept], truth) if kept and len(truth) else np.zeros((len(kept), len(truth)))
    free = np.ones(len(truth), bool)
    marks = np.zeros((len(kept), 2), np.float32)
    for row, i in enumerate(kept):
        fits = np.where(free & (leaf == name[i]), with_truth[row], 0.0)
        hit = bool(len(truth)) and fits.max() > 0.5
        if hit:
            free[fits.argmax()] = False
        marks[row] = best[i], hit
    return marks, int((with_truth > 0.5).any(0).sum()) if kept and len(truth) else 0
