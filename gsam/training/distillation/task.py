"""The task of teaching an image encoder, see `gsam.training.task.Task`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Generic

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import content, make_view
from gsam.training.distillation.answers import (
    Answer,
    Conversation,
    agreement,
    examination,
    lessons,
)
from gsam.training.distillation.images import TeacherEmbeddings, Unlabelled
from gsam.training.distillation.pair import Pair
from gsam.training.distillation.prompts import A, Draws, HostArray, draw
from gsam.training.order import rows_of
from gsam.training.segmenter.results import means_of
from gsam.training.segmenter.scores import ObjectScore
from gsam.training.segmenter.task import FIGURES, INTERIM
from gsam.training.step import cast
from gsam.training.task import Metrics
from gsam.types import Images, Params

AGREEMENT = "agreement"
"""Name in the log of the mean IoU with the teacher in training."""
WATCHED = "iou"
"""The figure of `Distillation.evaluate` over all kinds of prompts."""
EXAM_PROMPTS = 8
"""Places of each held-out image at which the models are compared."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DistilBatch(Generic[A]):
    """B images, what the teacher sees in them, and chance for prompts."""

    pixels: A
    """[B, S, S, 3], the student's view."""
    content: A
    """[B, 2] int32 rows and columns of it that are image."""
    teacher_content: A
    """[B, 2] int32 those of the teacher's view."""
    size: A
    """[B, 2] int32 height and width of the images."""
    target: A
    """[B, h, w, D] bfloat16, the teacher's embeddings."""
    draws: Draws[A]


@dataclasses.dataclass(frozen=True, eq=False)
class Distillation:
    """A student that learns a teacher's embeddings, then its answers."""

    pair: Pair
    embeddings: TeacherEmbeddings
    images: Sequence[Unlabelled]
    held_out: Sequence[Unlabelled]
    seed: int
    batch_size: int
    prompts: int
    """Places of each image at which both models are asked in phase two."""
    corrections: int
    """Clicks that follow where the answers differ."""
    share: float
    """Fraction of the run that learns embeddings alone."""
    dtype: str
    """The type of the computation, ``"float32"`` or ``"bfloat16"``."""

    @functools.cached_property
    def constants(self) -> Params:
        return self.pair.constants()

    @functools.cached_property
    def _examine(self) -> Callable[..., tuple[dict[str, Answer], dict[str, jax.Array]]]:
        return jax.jit(self._exam)

    def init_params(self, seed: int) -> Params:
        return self.pair.split(self.pair.start())[0]

    def batch(self, rng: np.random.Generator, step: int) -> DistilBatch[HostArray]:
        return self._load([self.images[row] for row in self._rows(step)], draw(rng, self.batch_size, self.prompts))

    def names(self, step: int) -> Sequence[str]:
        return [self.images[row].name for row in self._rows(step)]

    def loss(
        self, params: Params, constants: Params, batch: DistilBatch[jax.Array], progress: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        talk = self.conversation(self.pair.whole_student(params, constants), constants, batch)
        embedding = talk.embedding_error()

        def asked(draws: Draws[jax.Array]) -> tuple[jax.Array, jax.Array]:
            return lessons(talk, draws, self.corrections)

        def silent(draws: Draws[jax.Array]) -> tuple[jax.Array, jax.Array]:
            return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)

        if 0.0 < self.share < 1.0:
            masks, iou = jax.lax.cond(progress >= self.share, asked, silent, batch.draws)
        else:
            masks, iou = asked(batch.draws) if self.share <= 0.0 else silent(batch.draws)
        return embedding + masks, {"embedding": embedding, "masks": masks, AGREEMENT: iou}

    def conversation(self, student: Params, constants: Params, batch: DistilBatch[jax.Array]) -> Conversation:
        """Put both models before a batch.  Pure."""
        pair = self.pair
        view = pair.student.view.key
        images = Images({view: batch.pixels}, {view: batch.content}, batch.size)
        features = pair.student.features(student, images)
        return Conversation(
            pair,
            pair.student.spec.bind(student),
            pair.teacher.spec.bind(pair.teacher_decoder(constants)),  # type: ignore[arg-type]
            features,
            batch.target.astype(features.dtype),
            batch.content,
            batch.teacher_content,
        )

    def evaluate(self, params: Params) -> dict[str, float]:
        """Mean IoU with the teacher on held-out images: over kinds of prompts, and of each."""
        student = self.pair.whole_student(params, self.constants)
        found = means_of(list(self.measure(student, self.held_out[:INTERIM])))
        return {WATCHED: sum(found.values()) / len(found), **{FIGURES[k]: v for k, v in found.items()}} if found else {}

    def measure(self, student: Params, images: Sequence[Unlabelled]) -> Iterator[ObjectScore]:
        """Compare a student with the teacher on images.

        Args:
            student: All parameters of the student.
            images: Those that are asked about; what is asked depends on the image alone.

        Yields:
            The IoU of the two models' masks for each prompt, but where the teacher finds nothing.
            The row of a score is that of the prompt among those of the image.
        """
        for image, answers, ious in self._examined(images, student):
            found = {prompt: (answer.valid, ious[prompt]) for prompt, answer in answers.items()}
            for prompt, (valid, iou) in jax.device_get(found).items():
                for row in np.flatnonzero(valid[0]).tolist():
                    yield ObjectScore(image.name, row, 0, prompt, float(iou[0, row]))

    def answers(self, image: Unlabelled, student: Params) -> dict[str, Answer]:
        """Give the answers about an image that `measure` compares, on the host."""
        ((_, answers, _),) = self._examined([image], student)
        on_host: dict[str, Answer] = jax.device_get(answers)
        return on_host

    def _examined(
        self, images: Sequence[Unlabelled], student: Params
    ) -> Iterator[tuple[Unlabelled, dict[str, Answer], dict[str, jax.Array]]]:
        params, constants = jax.device_put(
            (cast(student, self.dtype), cast(self.constants, self.dtype)), jax.local_devices()[0]
        )
        for image in images:
            rng = np.random.default_rng([self.seed, int(image.sha256[:8], 16)])
            batch = self._load([image], draw(rng, 1, EXAM_PROMPTS))
            yield image, *self._examine(params, constants, batch)

    def _exam(
        self, student: Params, constants: Params, batch: DistilBatch[jax.Array]
    ) -> tuple[dict[str, Answer], dict[str, jax.Array]]:
        talk = self.conversation(student, constants, batch)
        answers = examination(talk, batch.draws)
        return answers, {prompt: agreement(answer, talk.known()) for prompt, answer in answers.items()}

    def _rows(self, step: int) -> NDArray[np.int64]:
        return rows_of(step, self.batch_size, len(self.images), self.seed)

    def _load(self, images: Sequence[Unlabelled], draws: Draws[HostArray]) -> DistilBatch[HostArray]:
        views = self.pair.student.view, self.pair.teacher.view
        pictures = [image.open().pixels for image in images]
        sizes = [(p.shape[0], p.shape[1]) for p in pictures]
        mine, theirs = (np.array([content(view, size) for size in sizes], np.int32) for view in views)
        return DistilBatch(
            np.stack([make_view(p, views[0]) for p in pictures]),
            mine,
            theirs,
            np.array(sizes, np.int32),
            np.stack([self.embeddings.get(image) for image in images]),
            draws,
        )
