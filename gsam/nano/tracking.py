"""Training of nano's tracker: SAM 2's classes at 224 pixels, on clips of moving pictograms.

The frames of a clip are encoded together.  Some of its objects are prompted on the first by a
click, a box or a mask, and followed to the last with the model's own masks as memory; gradients go
through all frames.  What the first answer has wrong is clicked on for `ROUNDS` corrections, and
some objects go on from their corrected mask.  Clips of one frame teach the image's side alone,
which is cheap and comes first (``--frames 1``), with nano's segmenter as `Teacher`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from gsam import bind
from gsam.models.sam2 import tracker
from gsam.models.sam2.config import Config
from gsam.models.sam2.model import Answer, Features
from gsam.nano.batches import HostArray
from gsam.nano.clip_batches import ClipBatch, clip_batch
from gsam.nano.scenes import IGNORE
from gsam.nano.teacher import Teacher
from gsam.nn.prompt import ABSENT, PAD
from gsam.ops.resize import antialiased, bicubic
from gsam.ops.views import IMAGENET_MEAN, IMAGENET_STD, normalise
from gsam.training import losses
from gsam.training.segmenter import clicks
from gsam.training.task import Metrics
from gsam.types import Bank, Params

TEACHER_WEIGHT = 2.0
"""Weight of the distance to the teacher's embedding at the beginning; it falls to 0."""
FIRST_FRAME_WEIGHT = 2.0
"""Weight of the first frame's mask loss, relative to a later one's: all that follows rests on it.
"""
ROUNDS = 2
"""Corrections of the first answer."""
FROM_CORRECTED = 0.3
"""Fraction of objects that are followed from their corrected mask; the others from their first one.
"""
LOGIT_CLIP = 32.0
"""Logits of an earlier answer are cut to this on both sides, as in the original."""

Corrected = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""Points, labels, logits and pointers after a correction."""


class Tracking:
    """The task of training the tracker, see `gsam.training.task.Task`."""

    def __init__(
        self,
        config: Config,
        train: dict[str, HostArray],
        validation: dict[str, HostArray] | None = None,
        *,
        seed: int = 0,
        batch_size: int = 3,
        objects_per_clip: int = 3,
        frames: int = 8,
        teacher: Teacher | None = None,
    ) -> None:
        self.config, self.pool, self.validation = config, train, validation
        self.seed, self.batch_size, self.objects_per_clip, self.frames = seed, batch_size, objects_per_clip, frames
        self.teacher = teacher
        self.count = len(train["leaf"])
        self.spec = tracker.spec(config)
        self.side = 4 * config.grid
        self.track_all = jax.jit(
            lambda params, batch: self.track(
                params, batch, self.features_of(params, self.frames_of(batch)), unroll=False
            )
        )

    def init_params(self, seed: int) -> Params:
        params = initial(bind.random_params(self.spec, seed))
        return self.teacher.initialise(params) if self.teacher else params

    @property
    def constants(self) -> Params:
        return self.teacher.params if self.teacher else {}

    def rows(self, step: int) -> NDArray[np.int64]:
        """Clips of a step."""
        at = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = np.random.default_rng([self.seed, int(at[0]) // self.count])
        return epochs.permutation(self.count)[at % self.count]

    def names(self, step: int) -> list[str]:
        return [f"clip {row}" for row in self.rows(step)]

    def batch(self, rng: np.random.Generator, step: int) -> ClipBatch[HostArray]:
        return clip_batch(rng, self.pool, self.rows(step), self.frames, self.objects_per_clip)

    def loss(
        self, params: Params, constants: Params, batch: ClipBatch[jax.Array], progress: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        frames = self.frames_of(batch)
        features = self.features_of(params, frames)
        cost, iou, score, visible = self.track(params, batch, features)
        valid = jnp.broadcast_to(jnp.asarray(batch.valid)[..., None], cost.shape).astype(jnp.float32)
        metrics = {
            "mask": losses.weighted_mean(cost, (valid * visible).at[..., 0].multiply(FIRST_FRAME_WEIGHT)),
            "there": losses.weighted_mean(optax.sigmoid_binary_cross_entropy(score, visible), valid),
            "first": losses.weighted_mean(iou[..., 0], valid[..., 0]),
            "last": losses.weighted_mean(iou[..., -1], (valid * visible)[..., -1]),
        }
        loss = metrics["mask"] + metrics["there"]
        if self.teacher is not None:
            want = self.teacher.embedding(constants, frames.reshape(-1, *frames.shape[2:]), self.config.grid)
            own = features.embedding.reshape(want.shape)
            metrics["taught"] = ((own - want) ** 2).mean() / want.var()
            loss = loss + TEACHER_WEIGHT * (1.0 - progress) * metrics["taught"]
        return loss, metrics

    def evaluate(self, params: Params, clips: int = 32) -> dict[str, float]:
        """Click on objects in the first frame and follow them.

        Returns:
            Mean IoU, at low resolution and where an object is visible, in the first frame, in all
            and in the last; and how often it is right whether the object is there.
        """
        if self.validation is None:
            return {}
        rng = np.random.default_rng(0)
        frames = self.validation["rgb"].shape[1] if self.frames > 1 else 1
        metrics: dict[str, list[float]] = {"first": [], "every": [], "last": [], "there": []}
        for begin in range(0, min(clips, len(self.validation["leaf"])) // 4 * 4, 4):
            rows = np.arange(begin, begin + 4)
            batch = clip_batch(rng, self.validation, rows, frames, self.objects_per_clip, {"click": 1.0}, still=True)
            _, ious, scores, seens = (np.asarray(x) for x in self.track_all(params, batch))
            for b, q in np.argwhere(batch.valid):
                iou, score, visible = ious[b, q], scores[b, q], seens[b, q] > 0
                metrics["first"].append(iou[0])
                metrics["every"] += iou[visible].tolist()
                metrics["last"] += iou[-1:][visible[-1:]].tolist()
                metrics["there"] += ((score > 0) == visible).tolist()
        return {name: float(np.mean(values)) for name, values in metrics.items()}

    def features_of(self, params: Params, frames: jax.Array) -> Features:
        """Features of frames [B, T, S, S, 3], 0..255: [B, T, ...]."""
        b, t = frames.shape[:2]
        pixels = normalise(frames / 255.0, IMAGENET_MEAN, IMAGENET_STD, jnp.dtype(jnp.float32))
        features = self.spec.bind(params).encode(pixels.reshape(b * t, *pixels.shape[2:]))
        return Features(*(y.reshape(b, t, *y.shape[1:]) for y in features))

    def track(
        self, params: Params, batch: ClipBatch[jax.Array], features: Features, *, unroll: bool = True
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Follow every object through its clip.

        Args:
            params: The model's.
            batch: Clips and prompts.
            features: Of all frames, [B, T, ...].
            unroll: Put frames one after the other into the program.  The gradient through a loop
                takes a CPU more than twice as long, but compiling takes minutes without one.

        Returns:
            Per object and frame, [B, Q, T]: the loss of its mask, the IoU of the mask that is
            chosen, the object score, and whether it is visible.
        """
        model = self.spec.bind(params)
        instances = jnp.asarray(batch.instances)[:, None]
        objects = jnp.asarray(batch.objects)[..., None, None, None] + 1
        masks = (instances == objects).astype(jnp.float32)  # [B, Q, T, s, s]
        truth = jnp.clip(antialiased(masks, self.side, self.side), 0.0, 1.0)  # rounding leaves it
        known = antialiased((instances != IGNORE).astype(jnp.float32), self.side, self.side) > 0.99
        scale = self.config.image_size / batch.rgb.shape[2]
        points = jnp.asarray(batch.points) * scale

        def clip_loss(
            features: Features, truth: jax.Array, known: jax.Array, seed: jax.Array, full: jax.Array, *prompt: jax.Array
        ) -> tuple[jax.Array, ...]:
            own = ClipLoss(self.config, model, Features(*features), truth, known, jax.random.key(seed), unroll)
            return own(full, *prompt)

        full = (antialiased(masks[:, :, 0], self.config.image_size, self.config.image_size) >= 0.5).astype(jnp.float32)
        known = jnp.broadcast_to(known, truth.shape)
        prompt = points, jnp.asarray(batch.labels), jnp.asarray(batch.mask_prompt)
        cost, iou, score = jax.vmap(clip_loss)(features, truth, known, jnp.asarray(batch.seed), full, *prompt)
        return cost, iou, score, ((truth > 0.5).any((-2, -1))).astype(jnp.float32)

    def frames_of(self, batch: ClipBatch[jax.Array]) -> jax.Array:
        """Frames of the model's size in the light of the batch, [B, T, S, S, 3] float32, 0..255."""
        size = self.config.image_size
        x = jnp.asarray(batch.rgb).astype(jnp.float32)
        x = x * jnp.asarray(batch.gain)[:, None, None, None] + jnp.asarray(batch.shift)[:, None, None, None, None]
        if x.shape[2] != size:
            x = bicubic(x.transpose(0, 1, 4, 2, 3), size, size).transpose(0, 1, 3, 4, 2)
        return jnp.clip(x, 0.0, 255.0)


@dataclasses.dataclass
class ClipLoss:
    """One clip and its Q objects, frame by frame."""

    config: Config
    model: tracker.Sam2
    features: Features
    """[T, ...]."""
    truth: jax.Array
    """[Q, T, s, s] in 0..1."""
    known: jax.Array
    """[Q, T, s, s] bool."""
    key: jax.Array
    """For the places of corrections."""
    unroll: bool = True
    """See `Tracking.follow`."""

    def __call__(
        self, full: jax.Array, points: jax.Array, labels: jax.Array, mask_prompt: jax.Array
    ) -> tuple[jax.Array, ...]:
        """Loss, IoU and object score, [Q, T] each; ``full`` [Q, S, S] are the masks on the first
        frame.
        """
        q, t = self.truth.shape[:2]
        first, *at_first = self.first_frame(full, points, labels, mask_prompt)
        if t == 1:
            return tuple(x[:, None] for x in at_first)
        memory, pointer = first
        bank = Bank(
            memory=jnp.zeros((q, t, *memory.shape[1:])).at[:, 0].set(memory),
            age=jnp.zeros((q, t), jnp.int32),
            keep=jnp.zeros((q, t), bool),
            pointers=jnp.zeros((q, t, pointer.shape[1])).at[:, 0].set(pointer),
            offsets=jnp.zeros((q, t)),
            kept=jnp.zeros((q, t), bool),
            span=jnp.full(q, float(min(t, self.config.max_obj_ptrs) - 1)),
        )
        later = jax.tree.map(lambda y: y[1:], self.features)
        turned = (x.swapaxes(0, 1)[1:] for x in (self.truth, self.known))
        _, rest = jax.lax.scan(self.next_frame, bank, (later, *turned, jnp.arange(1, t)), unroll=self.unroll)
        return tuple(jnp.concatenate([a[:, None], b.swapaxes(0, 1)], 1) for a, b in zip(at_first, rest, strict=True))

    def first_frame(
        self, full: jax.Array, points: jax.Array, labels: jax.Array, mask_prompt: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array, jax.Array, jax.Array]:
        """Answer the prompts: memory and pointers, loss, IoU and object score."""
        q = len(points)
        frame = jax.tree.map(lambda y: y[0], self.features)
        points = jnp.concatenate([points, jnp.zeros((q, ROUNDS + 1, 2))], 1)
        later = jnp.full((q, ROUNDS + 1), ABSENT, jnp.int32).at[:, -1].set(PAD)
        labels = jnp.concatenate([labels, later], 1)
        truth, known = self.truth[:, 0], self.known[:, 0]
        given = self.model.without_memory(frame)
        several = self.model.decode(given, points, labels, multimask=True)
        single = self.model.decode(given, points, labels, multimask=False, dynamic=False)
        lone = labels[:, 0] == ABSENT
        costs, ious, logits, pointers = zip(
            *(self.mask_loss(answer, truth, known) for answer in (several, single)), strict=True
        )
        cost = jnp.where(lone, costs[0] + 0.3 * costs[1], costs[1] + 0.1 * costs[0])
        iou = jnp.where(lone, ious[0], ious[1])
        low = jnp.where(lone[:, None, None], logits[0], logits[1])
        pointer = jnp.where(lone[:, None], pointers[0], pointers[1])
        repaired, repaired_pointer, more = self.with_corrections(given, points, labels, low, truth, known)
        cost = cost + 0.5 * more
        goes_on = jax.random.bernoulli(self.key, FROM_CORRECTED, (q,))
        low = jnp.where(goes_on[:, None, None], repaired, low)
        pointer = jnp.where(goes_on[:, None], repaired_pointer, pointer)
        as_drawn = self.model.from_mask(frame, full)
        low = jnp.where(mask_prompt[:, None, None], as_drawn.logits, low)
        pointer = jnp.where(mask_prompt[:, None], as_drawn.pointer, pointer)
        score = jnp.where(mask_prompt, as_drawn.score, several.object_score)
        memory = self.model.encode_memory(frame, low, score, jnp.ones(q, bool))
        return (memory, pointer), cost, iou, several.object_score

    def with_corrections(
        self,
        given: Features,
        points: jax.Array,
        labels: jax.Array,
        previous: jax.Array,
        truth: jax.Array,
        known: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Correct masks ``previous`` [Q, s, s], given as logits, by `ROUNDS` clicks on what is
        wrong.

        The clicks take the places of ``points`` before the last.

        Returns:
            Logits, pointers [Q, D] and the mean loss [Q] of all answers.
        """
        step = self.config.image_size / previous.shape[-1]
        has_mask = jnp.ones(len(previous), bool)

        def again(state: Corrected, xs: tuple[jax.Array, jax.Array]) -> tuple[Corrected, jax.Array]:
            points, labels, previous, _ = state
            key, at = xs
            cell, label = clicks.correction(key, previous > 0, truth > 0.5, known)
            points = points.at[:, at].set((cell.astype(jnp.float32) + 0.5) * step - 0.5)
            labels = labels.at[:, at].set(label)
            earlier = jax.lax.stop_gradient(jnp.clip(previous, -LOGIT_CLIP, LOGIT_CLIP))
            answer = self.model.decode(given, points, labels, earlier, has_mask, multimask=False, dynamic=False)
            cost, _, logits, pointer = self.mask_loss(answer, truth, known)
            return (points, labels, logits, pointer), cost

        none = jnp.zeros((len(previous), self.config.width))
        places = points.shape[1] - 1 - ROUNDS + jnp.arange(ROUNDS)
        rounds = (jax.random.split(jax.random.fold_in(self.key, 1), ROUNDS), places)
        started = points, labels, previous, none
        (_, _, logits, pointer), costs = jax.lax.scan(again, started, rounds, unroll=self.unroll)
        return logits, pointer, costs.mean(0)

    def next_frame(
        self, bank: Bank, xs: tuple[Features, jax.Array, jax.Array, jax.Array]
    ) -> tuple[Bank, tuple[jax.Array, jax.Array, jax.Array]]:
        """Follow the objects into a later frame by memory: the memory with it, and loss, IoU and
        object score.
        """
        features, truth, known, number = xs
        features = Features(*features)
        frames = jnp.arange(bank.keep.shape[1])
        ago = number - frames
        last = self.config.num_maskmem - 1
        now = dataclasses.replace(
            bank,
            age=jnp.broadcast_to(jnp.where(frames == 0, last, jnp.clip(ago - 1, 0, last - 1)), bank.age.shape),
            keep=jnp.broadcast_to((ago > 0) & ((ago <= last) | (frames == 0)), bank.keep.shape),
            offsets=jnp.broadcast_to(ago.astype(jnp.float32), bank.offsets.shape),
            kept=jnp.broadcast_to((ago > 0) & ((ago < self.config.max_obj_ptrs) | (frames == 0)), bank.kept.shape),
        )
        started = self.model.memory_attention.begin(features.embedding)
        own = jax.vmap(lambda one: self.model.read_memory(started, one))(now)
        q = len(truth)
        answer = self.model.decode(features._replace(embedding=own), *tracker.no_prompt(q), multimask=True)
        cost, iou, logits, pointer = self.mask_loss(answer, truth, known)
        memory = self.model.encode_memory(features, logits, answer.object_score, jnp.zeros(q, bool))
        bank = dataclasses.replace(
            bank,
            memory=bank.memory.at[:, number].set(memory),
            pointers=bank.pointers.at[:, number].set(pointer),
        )
        return bank, (cost, iou, answer.object_score)

    def mask_loss(self, answer: Answer, truth: jax.Array, known: jax.Array) -> tuple[jax.Array, ...]:
        """Score M masks per object.

        Returns:
            The loss [Q] of the best and of all predicted IoUs; and of the mask whose predicted IoU
            is highest the IoU [Q], logits [Q, s, s] and pointer [Q, D], as inference has them.
        """
        visible = known[:, None].astype(jnp.float32)
        want = truth[:, None] * visible
        quiet = jnp.where(known[:, None], answer.logits, -20.0)
        local = (optax.sigmoid_focal_loss(answer.logits, want, alpha=0.5) * visible).sum((-2, -1)) / visible.sum(
            (-2, -1)
        )
        costs = 20.0 * local + losses.dice(quiet, want)  # [Q, M]
        iou = losses.mask_iou(jax.lax.stop_gradient(quiet), want)
        cost = (costs * losses.best_mask(costs)).sum(-1) + 0.05 * costs.mean(-1)
        cost = cost + ((answer.iou - iou) ** 2).mean(-1)
        best, chosen = answer.iou.argmax(1)[:, None], self.model.best_masks(answer)
        return cost, jnp.take_along_axis(iou, best, 1)[:, 0], chosen.logits, chosen.pointer


def initial(params: Params) -> Params:
    """Random parameters, moved to where training from nothing begins well: places told apart,
    objects taken to be there.
    """
    code = "sam_prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"
    score = "sam_mask_decoder/pred_obj_score_head/layers/2/bias"
    new = {
        code: 50.0 * np.asarray(params[code]),  # unit normal, as in the original; random() gives 0.02
        score: np.full_like(params[score], 2.0),
    }
    new |= {k: 50.0 * np.asarray(v) for k, v in params.items() if k.endswith("/embedding")}
    new |= {k: np.full_like(v, 0.1) for k, v in params.items() if k.endswith("/gamma")}
    return params | {k: jnp.asarray(v) for k, v in new.items()}
