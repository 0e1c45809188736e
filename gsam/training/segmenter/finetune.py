"""Fine-tune a promptable segmenter on your own masks: data and a model in, a better model out."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import jax
import numpy as np
from tqdm import tqdm

from gsam.dataset.report import tell
from gsam.errors import UsageError
from gsam.models.promptable import PromptableSegmenter
from gsam.registry import FAMILIES, family_of
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.training.data.entries import Entry
from gsam.training.finetuned import (
    Finetuned,
    Sides,
    conclude,
    numbers,
    read_sides,
    refuse_other_run,
    schedule,
    tuned_parts,
)
from gsam.training.lora import TARGETS, Lora
from gsam.training.model_folder import Base, load_base, write_model
from gsam.training.run import default_dtype
from gsam.training.segmenter.examples import Examples
from gsam.training.segmenter.features import ImageFeatures
from gsam.training.segmenter.parts import What, abstract, answer, one_image, parts
from gsam.training.segmenter.prompts import Rules, rules_for
from gsam.training.segmenter.results import by_class, keep_scores, kept_scores, worst_cases
from gsam.training.segmenter.scores import ObjectScore
from gsam.training.segmenter.task import SegmenterTask
from gsam.training.trainer import train
from gsam.types import Json, Params

SEGMENTERS = ("sam", "sam_hq", "mobile_sam", "efficient_sam", "sam2")
"""Families that can be fine-tuned."""
NAMES = "SAM, SAM-HQ, MedSAM, MobileSAM, EfficientSAM and SAM 2"
RATES: Mapping[str, float] = {"decoder": 1e-4, "lora": 5e-4, "all": 1e-5}
"""Highest learning rates, by what is trained."""
BATCH: Mapping[str, int] = {"decoder": 2, "lora": 2, "all": 2}
"""Images of a batch, by what is trained."""
STEPS = 500
"""Length of a run where nobody says."""


def finetune(
    data: str | Path,
    images: str | Path | None = None,
    *,
    model: str | Path,
    out: str | Path,
    what: What = "decoder",
    rank: int = 8,
    lora_on: str | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    objects: int = 8,
    prompts: Sequence[str] | None = None,
    corrections: int = 7,
    rate: float | None = None,
    held_out: float | str | Path = 0.1,
    patience: int | None = None,
    evaluate_every: int | None = None,
    save_every: int | None = None,
    augment: bool = True,
    seed: int = 0,
    dtype: str | None = None,
    skip_faults: bool = False,
    quiet: bool = False,
) -> Finetuned:
    """Fine-tune SAM, SAM-HQ, MedSAM, MobileSAM, EfficientSAM or SAM 2 on masks.

    Each object is asked for by a box that is a little off, by a click, or by both, and some answers
    are corrected by simulated clicks; the loss is SAM's, focal 20 : dice 1 : IoU 1.  A run that was
    killed goes on where it was when it is called again with the same arguments, and gives what it
    would have given.

    Args:
        data: Labelled images: COCO or LVIS JSON, what `gsam label` wrote, a folder of PNG masks, or
            any other format of `gsam convert`.
        images: The folder of the images; None for the data set's own.
        model: The model to begin with: an official name, a hub id, a folder or a file.
        out: The folder of the run, which is made.
        what: ``"decoder"`` trains prompts and mask decoder, on image features that are computed
            once and kept in ``out/features``; ``"lora"`` trains small changes to kernels;
            ``"all"`` trains every parameter.
        rank: Of these changes.
        lora_on: Regular expression of the kernels that change; None for attention and MLP of the
            image encoder.
        steps: Batches to learn from; None for `STEPS`, unless there are ``minutes``.
        minutes: Minutes to train for, compilation and evaluation not counted.
        batch_size: Images of a batch, which all local devices share; None for `BATCH`.
        objects: Prompts for objects of each image of a batch.
        prompts: Kinds of first prompts, among ``"box"``, ``"click"`` and ``"both"``; None for those
            that the model takes.
        corrections: Clicks that correct an answer, at most.
        rate: The highest learning rate; None for `RATES`.
        held_out: What is scored and not trained on: a share of the images, or another data set.
        patience: Evaluations without a better score after which training ends, with the best
            model; None never ends early.
        evaluate_every: Steps between evaluations; None for a tenth of the run.
        save_every: Steps between checkpoints; None for five minutes.
        augment: Whether images are mirrored, and cropped and lit by chance where their features are
            not kept.
        seed: Seed of all chance.
        dtype: ``"float32"`` or ``"bfloat16"``: what is computed in, beside parameters that stay
            float32; None for float32 on a CPU and bfloat16 elsewhere.
        skip_faults: Leave faulty images and objects out instead of refusing the data set.
        quiet: Show no progress, and no table.

    Returns:
        The model's folder, the scores, and the page.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: The model is of another family (``train_family``), the data set has
            faults (``data_faults``, ``data_unusable``), ``out`` holds another run
            (``training_changed``), or an argument is none that is taken.
        gsam.errors.OutputError: The disk is full; the last checkpoint stays.
        gsam.errors.GsamError: Ten steps in a row were not finite (``training_not_finite``).

    Example:
        >>> found = gsam.training.finetune(
        ...     "train.json", "photos", model="sam_vit_b", out="run", steps=300)  # doctest: +SKIP
        >>> gsam.Predictor(str(found.model))                                      # doctest: +SKIP
    """
    if what not in RATES:
        raise UsageError(f"what is decoder, lora or all, not {what!r}", "train_what")
    out = Path(out).expanduser()
    check_segmenter(str(model), family_of(str(model)))
    sides = read_sides(data, images, held_out, seed, masks=True, skip_faults=skip_faults)
    config = schedule(
        steps=STEPS if steps is None and minutes is None else steps,
        minutes=minutes,
        rate=rate or RATES[what],
        seed=seed,
        watch="iou" if len(sides.held_out) else None,
        patience=patience,
        evaluate_every=evaluate_every,
        save_every=save_every,
        dtype=dtype,
    )
    base = load_base(model)
    check_segmenter(base.name, base.family)
    enable_compilation_cache()
    stage = stage_of(base)
    rules = rules_for(stage, prompts, objects, corrections, always_several=base.family == "efficient_sam")
    lora = Lora(rank=rank, targets=lora_on or TARGETS) if what == "lora" else None
    settings: Json = {
        **sides.fingerprint,
        "model": base.sha256,
        "what": what,
        "lora": None if lora is None else dataclasses.asdict(lora),
        "batch_size": batch_size or BATCH[what],
        "prompts": dataclasses.asdict(rules),
        "augment": augment,
    }
    refuse_other_run(out, config, settings)
    task = _task(stage, base, sides, out, what, lora, rules, settings, seed, config.dtype or default_dtype())
    start = task.init_params(seed)
    told: Json = {"model": base.name, "what": what, "batch size": task.batch_size, "prompts per image": rules.objects}
    told |= {"kinds of prompts": ", ".join(rules.kinds), "corrections": rules.corrections}
    told |= {"learning rate": config.learning_rate, "seed": seed, "computed in": task.dtype.name}
    told |= {"numbers trained": sum(int(np.size(value)) for value in start.values())}
    told |= {"images": len(task.examples.data), "held-out images": len(sides.held_out)}
    told |= {"data": sides.fingerprint["data"]} | ({} if lora is None else {"rank": rank})
    if not quiet:
        sizes = f"{told['images']} images to learn from, {told['held-out images']} held out"
        tell(f"gsam: {sizes}; {told['numbers trained']:,} numbers are trained")
    before = _begun(task, start, out, json.dumps(settings, sort_keys=True), quiet)
    state = train(task, config, out, params=start, settings=settings, resume=True, quiet=quiet)
    after = task.score(state.average)
    told["steps"] = int(state.step)
    scores = by_class(sides.names, before, after)
    folder = write_model(
        out / "model", base, **tuned_parts(state.average, base, lora), what=what, settings=told, scores=scores
    )
    worst = list(worst_cases(task, start, state.average, before, after))
    title = f"{base.variant or base.name}, {what}"
    return conclude(out, folder, title=title, told=told, scores=scores, worst=worst, quiet=quiet)


def _task(
    stage: PromptableSegmenter,
    base: Base,
    sides: Sides,
    out: Path,
    what: What,
    lora: Lora | None,
    rules: Rules,
    settings: Json,
    seed: int,
    dtype: str,
) -> SegmenterTask:
    """Put the task together; features are kept where nothing that is trained makes them."""
    of_what = parts(stage)
    changed = set(of_what.trained(what)) | set(lora.kernels(base.params) if lora is not None else ())
    features = None if changed & of_what.features else ImageFeatures(stage, out / "features", base.sha256)
    images = sides.train.labelled()
    given = (settings["batch_size"], seed, features, settings["augment"])
    examples = Examples(images, stage, rules, side_of(stage), *given)
    of_run = stage, of_what, rules, examples, sides.held_out
    return SegmenterTask(*of_run, what=what, lora=lora, features=features, dtype=np.dtype(dtype))


def _begun(task: SegmenterTask, start: Params, out: Path, settings: str, quiet: bool) -> list[ObjectScore]:
    """Encode the images that are not yet, and give the scores before training."""
    if task.features is not None:
        every = task.model(start)
        mirrored = task.examples.augment
        _encode(task.features, every, task.examples.data.images, mirrored, "features", quiet)
        _encode(task.features, every, task.held_out, False, "held-out features", quiet)
    before = kept_scores(out, settings)
    if before is None:
        before = task.score(start)
        keep_scores(out, settings, before)
    return before


def check_segmenter(name: str, family: str | None) -> None:
    """Refuse a model that cannot be tuned as a segmenter here.

    Args:
        name: What the user calls it.
        family: Its family; None where that is not known yet.

    Raises:
        UsageError: It is of another family (``train_family``).
    """
    if family is None or family in SEGMENTERS:
        return
    if family == "fast_sam":
        why = "FastSAM finds everything by itself and answers no prompts, so there is nothing to teach it here"
    else:
        why = f"it is a model to {next(iter(FAMILIES[family].roles))}"
    raise UsageError(f"{name!r} cannot be trained as a segmenter: {why}; {NAMES} can", "train_family")


def stage_of(base: Base) -> PromptableSegmenter:
    """Make the segmenter of a model, its numbers on the host."""
    module = importlib.import_module(FAMILIES[base.family].roles["segment"])
    return cast(PromptableSegmenter, module.build(base.config, numbers(base), None))


def side_of(stage: PromptableSegmenter) -> int:
    """Return the side of a segmenter's answers in pixels; nothing is computed."""
    shapes = abstract(stage)
    like = jax.eval_shape(stage.features, shapes, one_image(stage))
    logits, _ = jax.eval_shape(lambda *given: answer(stage, False, *given), shapes, like)
    return int(logits.shape[-1])


def _encode(
    features: ImageFeatures, params: Params, entries: Sequence[Entry], mirrored: bool, what: str, quiet: bool
) -> None:
    hidden = quiet or not sys.stderr.isatty()
    for _ in tqdm(features.compute(params, entries, mirrored=mirrored), what, len(entries), False, disable=hidden):
        pass
