"""Fine-tune CLIP or SigLIP on labelled regions: data and a model in, a better model out."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from typing import cast as typed

import jax
import numpy as np

from gsam.dataset.report import tell
from gsam.errors import UsageError
from gsam.models.region_classifier import RegionClassifier
from gsam.registry import FAMILIES, family_of
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.text.templates import allowed
from gsam.training.finetuned import (
    Finetuned,
    Sides,
    check_names,
    conclude,
    numbers,
    read_sides,
    refuse_other_run,
    schedule,
    tokenizer_of,
    tuned_parts,
)
from gsam.training.lora import TARGETS, Lora
from gsam.training.model_folder import Base, load_base, write_model
from gsam.training.regions.crops import usable
from gsam.training.regions.features import crop_store, keep_crops, text_features
from gsam.training.regions.scores import class_scores, worst_regions
from gsam.training.regions.task import Adapters, CropTask, Head
from gsam.training.run import default_dtype
from gsam.training.step import cast
from gsam.training.trainer import train
from gsam.types import Json

What = Literal["head", "lora"]
CLASSIFIERS = ("clip", "siglip")
"""Families that can be fine-tuned."""
RATES: Mapping[str, float] = {"head": 1e-3, "lora": 5e-4}
"""Highest learning rates, by what is trained."""
BATCH: Mapping[str, int] = {"head": 64, "lora": 16}
"""Regions of a batch, by what is trained."""
STEPS = 300
"""Length of a run where nobody says."""


def finetune_classifier(
    data: str | Path,
    images: str | Path | None = None,
    *,
    model: str | Path,
    out: str | Path,
    what: What = "head",
    rank: int = 8,
    lora_on: str | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    variants: int = 4,
    negatives: Sequence[str] = ("background",),
    rate: float | None = None,
    held_out: float | str | Path = 0.1,
    patience: int | None = None,
    evaluate_every: int | None = None,
    save_every: int | None = None,
    seed: int = 0,
    dtype: str | None = None,
    skip_faults: bool = False,
    quiet: bool = False,
) -> Finetuned:
    """Fine-tune CLIP or SigLIP on labelled regions of images.

    Each object's box is cut out with its context as a pipeline's classifier cuts it, and compared
    with the names of all classes, in wordings that change from step to step; the loss is a cross
    entropy, by softmax for CLIP and by sigmoids for SigLIP.  The result is still a model of images
    and texts, which can be asked for other words too.  A run that was killed goes on where it was
    when it is called again with the same arguments, and gives what it would have given.

    Args:
        data: Labelled images: COCO or LVIS JSON, what `gsam label` wrote, or any other format of
            `gsam convert`; boxes are enough.
        images: The folder of the images; None for the data set's own.
        model: The model to begin with: an official name, a hub id, a folder or a file.
        out: The folder of the run, which is made.
        what: ``"head"`` trains the last layers of both encoders, on features that are computed once
            and kept in ``out/features``; ``"lora"`` trains them and small changes to kernels of the
            image encoder, on crops that are kept there.
        rank: Of these changes.
        lora_on: Regular expression of the kernels that change; None for attention and MLP of the
            image encoder.
        steps: Batches to learn from; None for `STEPS`, unless there are ``minutes``.
        minutes: Minutes to train for, compilation and evaluation not counted.
        batch_size: Regions of a batch, which all local devices share; None for `BATCH`.
        variants: Crops of each object that are kept: its box, and that many less one whose borders
            are moved a little.
        negatives: Texts that no object is to fit, beside the names: those of the recipe that the
            model is for, which else may win against names that were learnt without them.
        rate: The highest learning rate; None for `RATES`.
        held_out: What is scored and not trained on: a share of the images, or another data set.
        patience: Evaluations without a better accuracy after which training ends, with the best
            model; None never ends early.
        evaluate_every: Steps between evaluations; None for a tenth of the run.
        save_every: Steps between checkpoints; None for five minutes.
        seed: Seed of all chance.
        dtype: ``"float32"`` or ``"bfloat16"``: what is computed in, beside parameters that stay
            float32; None for float32 on a CPU and bfloat16 elsewhere.
        skip_faults: Leave faulty images and objects out instead of refusing the data set.
        quiet: Show no progress, and no table.

    Returns:
        The model's folder, the accuracy by class before and after, and the page.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: The model is of another family (``train_family``), cannot tell two
            of the names apart (``names_alike``), there is one class only (``one_class``), the data
            set has faults (``data_faults``, ``data_unusable``), ``out`` holds another run
            (``training_changed``), or an argument is none that is taken.
        gsam.errors.OutputError: The disk is full; the last checkpoint stays.
        gsam.errors.GsamError: Ten steps in a row were not finite (``training_not_finite``).

    Example:
        >>> found = gsam.training.finetune_classifier(
        ...     "train.json", "photos", model="clip_vit_base_patch32", out="run")  # doctest: +SKIP
        >>> pipe = gsam.load("grounded_sam_clip", classifier=str(found.model))  # doctest: +SKIP
    """
    if what not in RATES:
        raise UsageError(f"what is head or lora, not {what!r}", "train_what")
    if variants < 1:
        raise UsageError(f"variants must be at least 1, is {variants}")
    out = Path(out).expanduser()
    check_classifier(str(model), family_of(str(model)))
    sides = read_sides(data, images, held_out, seed, masks=False, skip_faults=skip_faults)
    if len(sides.names) < 2:
        text = f"all objects are called {sides.names[0]!r}" if sides.names else "there are no classes"
        raise UsageError(f"{text}: a classifier learns to tell two classes or more apart", "one_class")
    config = schedule(
        steps=STEPS if steps is None and minutes is None else steps,
        minutes=minutes,
        rate=rate or RATES[what],
        seed=seed,
        watch="accuracy" if any(usable(entry) for entry in sides.held_out) else None,
        patience=patience,
        evaluate_every=evaluate_every,
        save_every=save_every,
        dtype=dtype,
    )
    base = load_base(model, "classify")
    check_classifier(base.name, base.family)
    enable_compilation_cache()
    stage = _stage(base)
    check_names(sides.names, stage.text.tokenize)
    lora = Lora(rank=rank, targets=lora_on or TARGETS) if what == "lora" else None
    settings: Json = {
        **sides.fingerprint,
        "model": base.sha256,
        "what": what,
        "lora": None if lora is None else dataclasses.asdict(lora),
        "batch_size": batch_size or BATCH[what],
        "variants": variants,
        "negatives": list(negatives),
    }
    refuse_other_run(out, config, settings)
    precision = config.dtype or default_dtype()
    task = _task(
        stage, sides, out, base.sha256, lora, precision, settings["batch_size"], variants, negatives, seed, quiet
    )
    start = task.init_params(seed)
    if not quiet:
        count = sum(int(np.size(value)) for value in start.values())
        sizes = f"{len(task.train)} regions to learn from, {len(task.held_out)} held out"
        tell(f"gsam: {sizes}; {count:,} numbers are trained")
    state = train(task, config, out, settings=settings, resume=True, quiet=quiet)
    told: Json = {"model": base.name, "what": what, "steps": int(state.step), "batch size": task.batch_size}
    told |= {
        "learning rate": config.learning_rate,
        "seed": seed,
        "regions": len(task.train),
        "held out": len(task.held_out),
    }
    told |= {} if lora is None else {"rank": rank}
    scores, worst = [], []
    if len(task.held_out):
        labels, found = task.held_out.labels, (task.answers(start), task.answers(state.average))
        scores = class_scores(sides.names, labels, *found)
        worst = worst_regions(sides.names, sides.held_out, labels, *found)
    parts = tuned_parts(state.average, base, lora)
    folder = write_model(out / "model", base, **parts, what=what, settings=told, scores=scores)
    title = f"{base.variant or base.name}, {what}"
    return conclude(out, folder, title=title, told=told, scores=scores, worst=worst, quiet=quiet)


def check_classifier(name: str, family: str | None) -> None:
    """Refuse a model that cannot be tuned as a classifier here.

    Args:
        name: What the user calls it.
        family: Its family; None where that is not known yet.

    Raises:
        UsageError: It is of another family (``train_family``).
    """
    if family is not None and family not in CLASSIFIERS:
        why = f"it is a model to {next(iter(FAMILIES[family].roles))}"
        raise UsageError(f"{name!r} cannot be trained as a classifier: {why}; CLIP and SigLIP can", "train_family")


def _stage(base: Base) -> RegionClassifier:
    module = importlib.import_module(FAMILIES[base.family].roles["classify"])
    return typed(RegionClassifier, module.build(base.config, numbers(base), tokenizer_of(base)))


def _task(
    stage: RegionClassifier,
    sides: Sides,
    out: Path,
    model: str,
    lora: Lora | None,
    dtype: str,
    batch_size: int,
    variants: int,
    negatives: Sequence[str],
    seed: int,
    quiet: bool,
) -> CropTask:
    params = jax.device_put(cast(stage.params, dtype))
    others = [text for text, fair in zip(negatives, allowed(negatives, sides.names), strict=True) if fair]
    text = text_features(stage, params, [*sides.names, *others])
    store = crop_store(stage, out / "features", model, variants, encoded=lora is None)
    train_on, scored = (
        keep_crops(stage, params if lora is None else None, store, some, variants, quiet=quiet, what=what)
        for some, what in ((sides.train.images, "features"), (sides.held_out, "held-out features"))
    )
    given: tuple[Any, ...] = (stage, sides.names, text, store, train_on, scored)
    settings: Json = {"variants": variants, "batch_size": batch_size, "seed": seed}
    return Head(*given, **settings) if lora is None else Adapters(*given, lora=lora, **settings)
