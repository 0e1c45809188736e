"""A teacher and its student: which fit, what is copied from one to the other, what is trained."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam import bind
from gsam.errors import UsageError
from gsam.models.promptable import PromptableSegmenter
from gsam.types import Params

FAMILIES = ("sam", "mobile_sam", "efficient_sam")
"""Families whose features are one embedding per image, [h, w, D], and nothing else."""
ENCODER, DECODER = ("image_encoder/",), ("prompt_encoder/", "mask_decoder/")
"""Beginnings of the names of parameters that make the embedding, and that read it."""
FIXED = ("positional_encoding_gaussian_matrix", "running_mean", "running_var")
"""Ends of the names of parameters that are never trained."""
TEACHER, STUDENT = "teacher/", "student/"
"""Beginnings of the names of a task's constants."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two segmenters of which one learns from the other."""

    teacher: PromptableSegmenter
    student: PromptableSegmenter
    embedding: tuple[int, int, int]
    """Shape [h, w, D] of the embedding of both."""
    copied: bool
    """True if the student has the teacher's prompt encoder and mask decoder."""
    train_decoder: bool
    """Whether the student's prompt encoder and mask decoder learn too."""

    @property
    def prompts(self) -> frozenset[str]:
        """Kinds of prompts that both take."""
        return self.teacher.prompt_types & self.student.prompt_types

    @property
    def same_geometry(self) -> bool:
        """True if a cell of one embedding shows what that cell of the other shows."""
        return self.teacher.view.fit == self.student.view.fit

    def without_teacher_encoder(self) -> Pair:
        """Forget the teacher's image encoder, whose embeddings are on disk."""
        read = {k: v for k, v in self.teacher.params.items() if k.startswith(DECODER)}
        return dataclasses.replace(self, teacher=dataclasses.replace(self.teacher, params=read))

    def start(self) -> Params:
        """Give all parameters of the student before the first step, the teacher's copied.

        Where the decoders are of different kinds, the student keeps its own.
        """
        params = dict(self.student.params)
        if self.copied:
            params |= {k: v for k, v in self.teacher.params.items() if k.startswith(DECODER)}
        return params

    def is_trained(self, name: str) -> bool:
        """Say whether a parameter of the student learns."""
        return name.startswith(ENCODER + DECODER * self.train_decoder) and not name.endswith(FIXED)

    def split(self, params: Params) -> tuple[Params, Params]:
        """Part the student's parameters into those that learn and those that do not."""
        trained = {k: v for k, v in params.items() if self.is_trained(k)}
        return trained, {k: v for k, v in params.items() if k not in trained}

    def constants(self) -> Params:
        """Give what the loss reads and training leaves alone, of both models.

        The teacher's image encoder is not among it: its embeddings are kept on disk.
        """
        read = {TEACHER + k: v for k, v in self.teacher.params.items() if k.startswith(DECODER)}
        return read | {STUDENT + k: v for k, v in self.split(self.start())[1].items()}

    def whole_student(self, params: Mapping[str, jax.Array], constants: Mapping[str, jax.Array]) -> Params:
        """Put the student's parameters together again."""
        return {**params, **_without(STUDENT, constants)}

    def teacher_decoder(self, constants: Mapping[str, jax.Array]) -> Mapping[str, jax.Array | jax.ShapeDtypeStruct]:
        """Give the teacher's parameters, with shapes alone in place of its image encoder's."""
        return {**self.teacher.spec.shapes, **_without(TEACHER, constants)}


def pair(
    teacher: PromptableSegmenter,
    student: PromptableSegmenter,
    names: tuple[str, str],
    *,
    train_decoder: bool | None = None,
) -> Pair:
    """Check that a student can learn from a teacher.

    Args:
        teacher: The large model.
        student: The small one.
        names: What the user calls the two.
        train_decoder: Whether the student's prompt encoder and mask decoder learn too; by default
            only where the teacher's cannot be copied.

    Returns:
        The pair.

    Raises:
        UsageError: Their embeddings have different shapes (``distil_shapes``).
    """
    shapes = _embedding(teacher), _embedding(student)
    if shapes[0] != shapes[1]:
        told = [" x ".join(map(str, shape)) for shape in shapes]
        raise UsageError(
            f"the embedding of {names[0]} is {told[0]} and that of {names[1]} is {told[1]}: a student learns from a "
            "teacher whose embedding has the shape of its own",
            "distil_shapes",
        )
    copied = _decoder(teacher) == _decoder(student)
    return Pair(teacher, student, shapes[0], copied, not copied if train_decoder is None else train_decoder)


def scratch(spec: bind.Spec[Any], teacher: Mapping[str, Any], seed: int) -> dict[str, NDArray[np.float32]]:
    """Draw a student's parameters, and copy those of the teacher's decoder that fit by name.

    Args:
        spec: The student, see `gsam.bind.spec`.
        teacher: The teacher's parameters.
        seed: Seed of the random numbers.

    Returns:
        All parameters of the student.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for name, shape in spec.shapes.items():
        known = teacher.get(name) if name.startswith(DECODER) else None
        if known is not None and known.shape == shape.shape:
            found[name] = np.asarray(known, np.float32)
        else:
            found[name] = _drawn(name, shape.shape, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    return found


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Numbers that keep activations at unit order, see `gsam.bind.random_params`; on the host."""
    leaf = name.rsplit("/", 1)[-1]
    if leaf in ("scale", "running_var"):
        return np.ones(shape, np.float32)
    if leaf in ("bias", "running_mean"):
        return np.zeros(shape, np.float32)
    noise = rng.normal(size=shape).astype(np.float32)
    if leaf == "kernel":
        return np.clip(noise, -2.0, 2.0) / np.float32(math.prod(shape[:-1]) ** 0.5)
    return noise if leaf == FIXED[0] else np.float32(0.02) * noise


def _embedding(stage: PromptableSegmenter) -> tuple[int, int, int]:
    config = stage.config
    return config.grid, config.grid, config.out_chans


def _decoder(stage: PromptableSegmenter) -> dict[str, tuple[int, ...]]:
    return {k: s.shape for k, s in stage.spec.shapes.items() if k.startswith(DECODER)}


def _without(prefix: str, params: Mapping[str, jax.Array]) -> Params:
    return {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}
