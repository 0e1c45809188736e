"""Teach a small segmenter what a large one sees: images without labels in, a better model out."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gsam.dataset.report import hush, tell
from gsam.errors import UsageError
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.training.distillation.images import (
    TeacherEmbeddings,
    Unlabelled,
    check_count,
    fingerprint,
    listed,
    split,
)
from gsam.training.distillation.models import SCRATCH, load_both, stage_of
from gsam.training.distillation.pair import pair
from gsam.training.distillation.task import WATCHED, Distillation
from gsam.training.distillation.worst import ALL, worst_cases
from gsam.training.finetuned import Finetuned, conclude, refuse_other_run, schedule
from gsam.training.model_folder import write_model
from gsam.training.run import default_dtype, read_run
from gsam.training.segmenter.results import by_class, keep_scores, kept_scores
from gsam.training.trainer import train
from gsam.types import Json

STEPS, BATCH = 2000, 4
"""Length of a run and images of a batch where nobody says."""
RATES: Mapping[bool, float] = {False: 2e-4, True: 1e-3}
"""Highest learning rates of a student that knows something, and of one from scratch."""


def distil(
    images: str | Path,
    *,
    teacher: str | Path,
    student: str | Path,
    out: str | Path,
    init: str | Path | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int = BATCH,
    prompts: int = 4,
    corrections: int = 1,
    embedding_share: float = 0.5,
    train_decoder: bool | None = None,
    rate: float | None = None,
    held_out: float = 0.1,
    patience: int | None = None,
    evaluate_every: int | None = None,
    save_every: int | None = None,
    seed: int = 0,
    dtype: str | None = None,
    quiet: bool = False,
) -> Finetuned:
    """Teach a small segmenter what a large one sees, on images that nobody labelled.

    First the student learns the teacher's embeddings, which are computed once and kept in
    ``out/features``; then both are asked about random places, and the student learns the teacher's
    masks, also of clicks where the two differ.  The teacher's prompt encoder and mask decoder
    become the student's where the two are of one kind.  A run that was killed goes on where it was
    when it is called again with the same arguments, and gives what it would have given.

    Args:
        images: A folder of images; folders in it are looked into.
        teacher: The large model, SAM, MedSAM, MobileSAM or EfficientSAM: an official name, a hub
            id, a folder or a file.
        student: The small one, of one of these families too.
        out: The folder of the run, which is made.
        init: The weights that the student begins with: a model of its family and size, or
            ``"scratch"`` for random numbers; None for its own.
        steps: Batches to learn from; None for `STEPS`, unless there are ``minutes``.
        minutes: Minutes to train for, compilation and evaluation not counted.
        batch_size: Images of a batch, which all local devices share.
        prompts: Places of an image at which both models are asked.
        corrections: Clicks that follow where the two differ, 0 to 3.
        embedding_share: Part of the run in which the embeddings alone are learnt, 0 to 1.
        train_decoder: Whether prompt encoder and mask decoder are trained too; None for only where
            the teacher's cannot be copied.
        rate: The highest learning rate; None for `RATES`.
        held_out: Share of the images on which the two are compared and which are not learnt from.
        patience: Evaluations without a better agreement after which training ends, with the best
            model; None never ends early.
        evaluate_every: Steps between evaluations; None for a tenth of the run.
        save_every: Steps between checkpoints; None for five minutes.
        seed: Seed of all chance.
        dtype: ``"float32"`` or ``"bfloat16"``: what is computed in, beside parameters that stay
            float32; None for float32 on a CPU and bfloat16 elsewhere.
        quiet: Show no progress, and no table.

    Returns:
        The student's folder, its mean IoU with the teacher before and after by kind of prompt, and
        the page.

    Raises:
        gsam.errors.CheckpointError: A model cannot be found, trusted or understood.
        gsam.errors.UsageError: The models do not fit (``distil_family``, ``distil_same``,
            ``distil_shapes``, ``distil_init``), there are too few images (``distil_no_images``,
            ``distil_one_image``), ``out`` holds another run (``training_changed``), or an argument
            is none that is taken.
        gsam.errors.OutputError: The disk is full; the last checkpoint stays.
        gsam.errors.GsamError: Ten steps in a row were not finite (``training_not_finite``).

    Example:
        >>> found = gsam.training.distil(
        ...     "photos", teacher="sam_vit_b", student="mobile_sam", out="run")  # doctest: +SKIP
        >>> found.before["one box"], found.after["one box"]                     # doctest: +SKIP
        >>> gsam.Predictor(str(found.model))                                    # doctest: +SKIP
    """
    out, folder = Path(out).expanduser(), Path(images).expanduser()
    _check_numbers(batch_size, prompts, corrections, embedding_share, held_out)
    enable_compilation_cache()
    names = str(teacher), str(student)
    large, small = load_both(*names, None if init is None else str(init), seed)
    both = pair(stage_of(large), stage_of(small), names, train_decoder=train_decoder)
    every = listed(folder)
    if steps is None and minutes is None:
        steps = STEPS
    config = schedule(
        steps=steps,
        minutes=minutes,
        rate=rate or RATES[small.scratch],
        seed=seed,
        watch=WATCHED,
        patience=patience,
        evaluate_every=evaluate_every,
        save_every=save_every,
        dtype=dtype,
    )
    settings: Json = {
        "images": fingerprint(every),
        "teacher": large.sha256,
        "student": f"{small.family} {small.config!r}" if small.scratch else small.sha256,
        "init": SCRATCH if small.scratch else str(init or student),
        "batch_size": batch_size,
        "prompts": prompts,
        "corrections": corrections,
        "embedding_share": embedding_share,
        "train_decoder": both.train_decoder,
        "held_out": held_out,
    }
    refuse_other_run(out, config, settings)
    say = hush if quiet else tell
    begun = read_run(out)
    computed = config.dtype or (begun["config"]["dtype"] if begun else default_dtype())
    embeddings = TeacherEmbeddings(both.teacher, large.sha256, out / "features", computed)
    readable = _embedded(embeddings, every, folder, quiet)
    large, both = dataclasses.replace(large, params={}), both.without_teacher_encoder()
    learnt, held = split(readable, held_out, seed)
    task = Distillation(
        both, embeddings, learnt, held, seed, batch_size, prompts, corrections, embedding_share, computed
    )
    start = task.init_params(seed)
    count = sum(int(np.size(value)) for value in start.values())
    kind = "the teacher's decoder" if both.copied else "its own decoder"
    say(f"gsam: {len(learnt)} images to learn from, {len(held)} held out; {count:,} parameters learn, with {kind}")
    key = json.dumps(settings, sort_keys=True)
    begin, before = dict(both.student.params), kept_scores(out, key)
    if before is None:
        before = list(task.measure(begin, held))
        keep_scores(out, key, before)
    state = train(task, config, out, params=start, settings=settings, resume=True, quiet=quiet)
    end = both.whole_student(state.average, task.constants)
    after = list(task.measure(end, held))
    scores = tuple(by_class((ALL,), before, after))
    told: Json = {"teacher": names[0], "student": names[1], "init": settings["init"], "steps": int(state.step)}
    told |= {"batch_size": batch_size, "rate": config.learning_rate, "seed": seed, "images": len(learnt)}
    told |= {"held_out": len(held), "data": settings["images"][:16], "prompts": prompts, "corrections": corrections}
    told |= {"embedding_share": embedding_share, "train_decoder": both.train_decoder, "decoder": kind}
    model = write_model(out / "model", small, end, what="distil", settings=told, scores=scores)
    title = f"{small.variant or Path(names[1]).name}, taught by {large.variant or Path(names[0]).name}"
    worst = list(worst_cases(task, begin, end, before, after))
    return conclude(out, model, title=title, told=told, scores=scores, worst=worst, quiet=quiet)


def _check_numbers(batch_size: int, prompts: int, corrections: int, embedding_share: float, held_out: float) -> None:
    if batch_size < 1 or prompts < 1:
        raise UsageError("batch_size and prompts are 1 or more")
    if not 0 <= corrections <= 3:
        raise UsageError(f"corrections are 0 to 3, not {corrections}")
    if not 0.0 <= embedding_share <= 1.0:
        raise UsageError(f"embedding_share is a part of the run, 0 to 1, not {embedding_share}")
    if not 0.0 < held_out < 1.0:
        raise UsageError(f"held_out is a share of the images, above 0 and below 1, not {held_out}")


def _embedded(
    embeddings: TeacherEmbeddings, images: Sequence[Unlabelled], folder: Path, quiet: bool
) -> list[Unlabelled]:
    """The images that can be read, when the teacher's embeddings of all are there."""
    say = hush if quiet else tell
    with tqdm(total=len(images), desc="teacher", leave=False, disable=quiet, file=sys.stderr, unit="image") as bar:
        readable = list(embeddings.compute(images, lambda text: say(f"gsam: {text}"), lambda: bar.update()))
    check_count(len(readable), folder)
    return readable
