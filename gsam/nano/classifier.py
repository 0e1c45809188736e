"""Training of nano's classifier: CLIP's classes on crops of 64 pixels, from nothing, image and text
towers together.

A crop is a box with 15 % of context on each side, squashed to a square, exactly as the pipeline
cuts it.  Every crop is compared with a text for each leaf and for "background"; sometimes the noun
alone stands for its leaves ("apple"), and the crop's mass is shared between the texts that are
right.  Crops of nothing, and of things the names do not know, are "background".
"""

from __future__ import annotations

from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from gsam import bind
from gsam.evaluation.matching import box_overlaps
from gsam.models import clip
from gsam.models.clip.config import Config
from gsam.nano import names
from gsam.nano.batches import A, Examples, HostArray, Pool, augment
from gsam.nano.detector import MEAN, STD
from gsam.nano.positions import sincos_positions
from gsam.nano.prompts import Encode
from gsam.ops.resize import crops
from gsam.training.task import Metrics
from gsam.types import Params

CONTEXT = 0.15
BACKGROUND = "background"
TEXTS = (*names.QUERIES, BACKGROUND)


class CropBatch(NamedTuple, Generic[A]):
    """B scenes, n crops of each, and the C texts they are compared with."""

    examples: Examples[A]
    boxes: A
    """[B, n, 4] float32 pixels, with their context."""
    leaf: A
    """[B, n] int32: what each shows; the last index is background."""
    ids: A
    """[C, T] int32, tokens of the texts."""
    queried: A
    """[C] bool: which of the texts are compared with."""


class Classification:
    """The task of training the classifier, see `gsam.training.task.Task`."""

    def __init__(
        self,
        config: Config,
        encode: Encode,
        train: Pool,
        validation: Pool | None = None,
        *,
        seed: int = 0,
        scenes: int = 16,
        crops_per_scene: int = 8,
    ) -> None:
        self.config, self.train, self.validation = config, train, validation
        self.count = train.count
        self.seed, self.batch_size, self.crops = seed, scenes, crops_per_scene
        self.constants: Params = {}
        self.spec = clip.spec(config)
        wordings = [encode([w.format(t) for t in TEXTS]) for w in names.PROMPTS]
        self.texts: NDArray[np.int32] = np.stack(wordings)  # [W, C + 1, T]
        answers = np.zeros((len(names.LEAVES) + 1, len(TEXTS)), np.float32)
        answers[:-1, :-1] = names.ANSWERS
        answers[-1, -1] = 1.0
        self.answers = answers  # [leaf or background, text]
        self.leaf_texts = np.array([TEXTS.index(leaf) for leaf in (*names.LEAVES, BACKGROUND)])
        self.forward = jax.jit(self._forward)

    def names(self, step: int) -> list[str]:
        return self.train.names(step, self.batch_size, self.seed)

    def init_params(self, seed: int) -> Params:
        return initial(bind.random_params(self.spec, seed), self.config)

    def batch(self, rng: np.random.Generator, step: int) -> CropBatch[HostArray]:
        examples = augment(self.train.examples(self.train.order(step, self.batch_size, self.seed)), rng, zoom=0.3)
        boxes, leaf = self.sample_crops(rng, examples, 0.08)
        wording = np.where(rng.random(len(TEXTS)) < 0.6, 0, rng.integers(0, len(self.texts), len(TEXTS)))
        # A generic and its leaves compete in a softmax, so a step asks for a noun either with or
        # without its colours.
        queried = np.ones(len(TEXTS), bool)
        for generic in names.GENERICS:
            leaves = [TEXTS.index(leaf) for leaf in names.LEAVES if names.answers(leaf, generic)]
            both = [TEXTS.index(generic), *(i for i in leaves if TEXTS[i] != generic)]
            queried[both if generic not in names.LEAVES else both[1:]] = True
            chance = rng.random()
            if chance < 0.6:
                queried[TEXTS.index(generic)] = generic in names.LEAVES
            elif chance < 0.8:
                queried[[i for i in leaves if TEXTS[i] != generic]] = False
        return CropBatch(examples, boxes, leaf, self.texts[wording, np.arange(len(TEXTS))], queried)

    def sample_crops(
        self, rng: np.random.Generator, examples: Examples[HostArray], spread: float
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Choose boxes [B, n, 4] with their context, and the leaf each shows [B, n] (the last
        index: background).
        """
        batch = len(examples.leaf)
        boxes = np.zeros((batch, self.crops, 4), np.float32)
        leaf = np.full((batch, self.crops), len(names.LEAVES), np.int32)
        for b in range(batch):
            present = np.flatnonzero(examples.leaf[b] >= 0)
            h, w = (float(v) for v in examples.content[b])
            for q in range(self.crops):
                if present.size and rng.random() < 0.78:
                    k = present[(q + int(rng.integers(len(present)))) % len(present)]
                    size = np.tile(examples.boxes[b, k, 2:] - examples.boxes[b, k, :2], 2)
                    box = examples.boxes[b, k] + size * rng.normal(0, spread, 4).clip(-2.5 * spread, 2.5 * spread)
                    leaf[b, q] = examples.leaf[b, k]
                else:
                    box = self._background_box(rng, examples, b, h, w)
                box = np.clip(box, 0, [w, h, w, h])
                size = np.maximum(box[2:] - box[:2], 1.0)
                boxes[b, q] = box + CONTEXT * np.concatenate([-size, size])
        return boxes, leaf

    def _background_box(
        self, rng: np.random.Generator, examples: Examples[HostArray], b: int, h: float, w: float
    ) -> NDArray[np.float32]:
        """A box that shows no object well: anywhere, or shifted off one."""
        truth = examples.boxes[b][examples.leaf[b] >= 0]
        for _ in range(8):
            side = np.exp(rng.uniform(np.log(0.06), np.log(0.56), 2)) * max(h, w)
            if len(truth) and rng.random() < 0.4:
                near = truth[rng.integers(len(truth))]
                size = near[2:] - near[:2]
                centre = (near[:2] + near[2:]) / 2 + size * rng.uniform(0.6, 1.2, 2) * rng.choice([-1, 1], 2)
                side = size * np.exp(rng.uniform(-0.4, 0.4, 2))
            else:
                centre = rng.uniform(0, [w, h])
            box = np.concatenate([centre - side / 2, centre + side / 2]).clip(0, [w, h, w, h]).astype(np.float32)
            if (box[2:] - box[:2]).min() < 0.04 * max(h, w):
                continue
            if not len(truth) or (box_overlaps(box[None], truth).max() < 0.25 and _largest_cover(box, truth) < 0.5):
                return box
        return np.array([0, 0, 8, 8], np.float32)

    def crop_images(self, examples: Examples[jax.Array], boxes: jax.Array) -> jax.Array:
        """Crops [B * n, S, S, 3], lit and normalised."""
        lit = examples.rgb.astype(jnp.float32) * examples.gain[:, None, None] + examples.shift[:, None, None, None]
        line = jnp.arange(examples.rgb.shape[1])
        inside = (line < examples.content[:, :1])[:, :, None] & (line < examples.content[:, 1:])[:, None, :]
        lit = jnp.where(inside[..., None], jnp.clip(lit, 0.0, 255.0), 0.0)
        size = self.config.image_size
        cut = jax.vmap(lambda p, b: crops(p, b, size, "bicubic"))(lit, boxes).reshape(-1, size, size, 3)
        return (cut - jnp.asarray(MEAN, jnp.float32)) / jnp.asarray(STD, jnp.float32)

    def loss(
        self, params: Params, constants: Params, batch: CropBatch[jax.Array], progress: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        examples, boxes, leaf, ids, queried = batch
        model = self.spec.bind(params)
        seen = model.image(self.crop_images(examples, boxes))
        logits = jnp.exp(params["logit_scale"]) * seen @ model.text(ids).T
        logits = jnp.where(queried, logits, -1e4)
        targets = jnp.asarray(self.answers)[leaf.reshape(-1)] * queried
        targets = targets / jnp.maximum(targets.sum(-1, keepdims=True), 1.0)
        cost = optax.softmax_cross_entropy(logits, 0.95 * targets + 0.05 * queried / queried.sum())
        correct = jnp.take_along_axis(targets, logits.argmax(-1)[:, None], 1)[:, 0] > 0
        return cost.mean(), {"right": correct.astype(jnp.float32).mean()}

    def _forward(self, params: Params, examples: Examples[jax.Array], boxes: jax.Array) -> jax.Array:
        model = self.spec.bind(params)
        return (
            model.image(self.crop_images(examples, boxes)) @ model.text(jnp.asarray(self.texts[0, self.leaf_texts])).T
        )

    def evaluate(self, params: Params, scenes: int = 320) -> dict[str, float]:
        """Share of crops named right among all leaves and "background": all crops, objects, and
        nothing.
        """
        if self.validation is None:
            return {}
        rng, hits, nothing = np.random.default_rng(0), [], []
        for begin in range(0, min(scenes, self.validation.count) // 16 * 16, 16):
            examples = self.validation.examples(np.arange(begin, begin + 16))
            boxes, leaf = self.sample_crops(rng, examples, 0.06)
            hits.append(np.asarray(self.forward(params, examples, boxes)).argmax(-1) == leaf.reshape(-1))
            nothing.append(leaf.reshape(-1) == len(names.LEAVES))
        hit, empty = np.concatenate(hits), np.concatenate(nothing)
        return {
            "right": float(hit.mean()),
            "objects": float(hit[~empty].mean()),
            "background": float(hit[empty].mean()),
        }


def _largest_cover(box: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """The largest part of any truth that lies in ``box``."""
    side = np.clip(np.minimum(box[2:], truth[:, 2:]) - np.maximum(box[:2], truth[:, :2]), 0, None)
    return float((side.prod(-1) / np.maximum((truth[:, 2:] - truth[:, :2]).prod(-1), 1e-6)).max())


def initial(params: Params, config: Config) -> Params:
    """Random parameters, moved to where training from nothing begins well: places and words told
    apart, scale 10.
    """
    places, words = (
        "vision_model/embeddings/position_embedding/embedding",
        "text_model/embeddings/token_embedding/embedding",
    )
    table = np.concatenate(
        [
            np.zeros((1, config.vision.width)),
            0.5 * sincos_positions(config.image_size // config.patch, config.vision.width),
        ]
    )
    new = {
        places: table.astype(np.float32),
        words: 10.0 * np.asarray(params[words]),
        "logit_scale": np.asarray(np.log(10.0), np.float32),
    }
    return params | {k: jnp.asarray(v) for k, v in new.items()}
