"""Load a teacher and its student, and refuse two that do not fit before anything is downloaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

from gsam.errors import UsageError
from gsam.models.promptable import PromptableSegmenter
from gsam.registry import family_of
from gsam.training.distillation.pair import FAMILIES, scratch
from gsam.training.model_folder import Base, load_base
from gsam.weights.identify import family_modules, role_module

SCRATCH = "scratch"
"""The word for a student that has learnt nothing yet."""


def load_both(teacher: str, student: str, init: str | None, seed: int) -> tuple[Base, Base]:
    """Load a teacher, and a student with the numbers that it begins with.

    Args:
        teacher: Any name of a model.
        student: Any name of a model.
        init: Any name of a model of the student's family and size, `SCRATCH`, or None for the
            student's own numbers.
        seed: Seed of the numbers of a student from scratch.

    Returns:
        The teacher and the student.

    Raises:
        CheckpointError: A model cannot be found, trusted or understood.
        UsageError: One is of a family that does not fit (``distil_family``), both are the same
            (``distil_same``), or ``init`` is of another family or size (``distil_init``).
    """
    for name, word in ((teacher, "teacher"), (student, "student"), (init, "student")):
        if name is not None and (family := family_of(name)) is not None:
            check_family(family, name, word)
    if teacher == (init or student):
        raise _same(teacher, student)
    large = load_base(teacher)
    check_family(large.family, teacher, "teacher")
    if init == SCRATCH:
        return large, _new(student, large, seed)
    small = load_base(init or student)
    check_family(small.family, init or student, "student")
    if init is not None:
        family, config = _sizes(student)
        if (small.family, small.config) != (family, config):
            raise UsageError(
                f"{init} is {small.family} of other sizes than {student}, or of another family: a student begins "
                "with numbers of a model like it, or from scratch",
                "distil_init",
            )
    if small.sha256 == large.sha256:
        raise _same(teacher, init or student)
    licences = [text for text in dict.fromkeys((small.licence, large.licence)) if text]
    return large, dataclasses.replace(small, licence=" and ".join(licences) or None)


def stage_of(base: Base) -> PromptableSegmenter:
    """Make the segmenter of a model, its numbers on the host."""
    return cast(PromptableSegmenter, role_module(base.family, "segment").build(base.config, base.params, None))


def check_family(family: str, name: str, word: str) -> None:
    """Refuse a model that neither teaches nor learns here.

    Args:
        family: Its family.
        name: What the user calls it.
        word: ``"teacher"`` or ``"student"``.

    Raises:
        UsageError: Its features are not one embedding per image (``distil_family``).
    """
    if family not in FAMILIES:
        raise UsageError(
            f"{name} cannot be a {word}: its features are not one embedding per image, as those of SAM, MedSAM, "
            "MobileSAM and EfficientSAM are, which can",
            "distil_family",
        )


def _same(teacher: str, student: str) -> UsageError:
    also = "" if teacher == student else f" and {student}"
    return UsageError(
        f"{teacher}{also} would teach itself: the student must be another model, or begin from scratch", "distil_same"
    )


def _sizes(name: str) -> tuple[str, Any]:
    """Family and sizes of a model; those of an official one without its weights."""
    family = family_of(name)
    if family is not None and not Path(name).exists():
        return family, family_modules(family)[0].VARIANTS[name]
    base = load_base(name)
    return base.family, base.config


def _new(student: str, large: Base, seed: int) -> Base:
    """A student of random numbers, with those of the teacher's decoder that fit it."""
    family, config = _sizes(student)
    check_family(family, student, "student")
    spec = family_modules(family)[0].spec(config)
    return Base(
        name=large.name,
        family=family,
        config=config,
        params=scratch(spec, large.params, seed),
        spec=spec,
        sha256=large.sha256,
        tokenizer=None,
        variant=student if family_of(student) is not None else None,
        licence=large.licence,
        scratch=True,
    )
