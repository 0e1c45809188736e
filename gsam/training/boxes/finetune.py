"""Fine-tune a detector on boxes with names: data and a model in, a better model out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.dataset.report import tell
from gsam.errors import UsageError
from gsam.models.grounding_dino import GroundingDinoDetector
from gsam.models.owl_vit import OwlDetector
from gsam.registry import FAMILIES, family_of
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.runtime.process import make_room_for_callbacks
from gsam.text.packed import PhraseTokens
from gsam.training.boxes import grounding_tasks, owl_tasks
from gsam.training.boxes.grounding_features import caption_of, fused_store, keep_fused
from gsam.training.boxes.owl_features import embeddings, keep_tokens, token_store
from gsam.training.boxes.scores import box_scores, class_scores, worst_boxes
from gsam.training.boxes.task import BoxTask
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
from gsam.training.model_folder import load_base, write_model
from gsam.training.run import default_dtype
from gsam.training.step import cast
from gsam.training.trainer import train
from gsam.types import Json

What = Literal["heads", "lora"]
STAGES: Mapping[str, type[OwlDetector] | type[GroundingDinoDetector]] = {
    "owl_vit": OwlDetector,
    "grounding_dino": GroundingDinoDetector,
}
"""Families that are trained here."""
RATES: Mapping[str, Mapping[str, float]] = {
    "owl_vit": {"heads": 3e-4, "lora": 3e-4},
    "grounding_dino": {"heads": 1e-4, "lora": 1e-4},
}
"""Highest learning rates, by family and what is trained."""
BATCH: Mapping[str, Mapping[str, int]] = {
    "owl_vit": {"heads": 8, "lora": 4},
    "grounding_dino": {"heads": 4, "lora": 2},
}
"""Images of a batch, by family and what is trained."""
STEPS = 500
"""Length of a run where nobody says."""


def finetune_detector(
    data: str | Path,
    images: str | Path | None = None,
    *,
    model: str | Path,
    out: str | Path,
    what: What = "heads",
    rank: int = 8,
    lora_on: str | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
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
    """Fine-tune OWL-ViT, OWLv2 or Grounding DINO on boxes with names.

    The classes' names are what the tuned model is asked for; every object of these classes is taken
    to be in the annotations.  Names are learnt by focal sigmoids, boxes by L1 and GIoU, patches or
    queries matched to true boxes one to one, as the models were trained.  A run that was killed
    goes on where it was when it is called again with the same arguments, and gives what it would
    have given.

    Args:
        data: Labelled images: COCO or LVIS JSON, what `gsam label` wrote, or any other format of
            `gsam convert`; boxes are enough.
        images: The folder of the images; None for the data set's own.
        model: The model to begin with: an official name, a hub id, a folder or a file.
        out: The folder of the run, which is made.
        what: ``"heads"`` trains the heads of names, boxes and objectness, of Grounding DINO the
            decoder with its heads, on image features that are computed once, mirrored too, and kept
            in ``out/features``; ``"lora"`` trains them and small changes to kernels of the image
            encoder.
        rank: Of these changes.
        lora_on: Regular expression of the kernels that change; None for attention and MLP of the
            image encoder.
        steps: Batches to learn from; None for `STEPS`, unless there are ``minutes``.
        minutes: Minutes to train for, compilation and evaluation not counted.
        batch_size: Images of a batch, which all local devices share; None for `BATCH`.
        rate: The highest learning rate; None for `RATES`.
        held_out: What is scored and not trained on: a share of the images, or another data set.
        patience: Evaluations without a better AP50 after which training ends, with the best model;
            None never ends early.
        evaluate_every: Steps between evaluations; None for a tenth of the run.
        save_every: Steps between checkpoints; None for five minutes.
        seed: Seed of all chance.
        dtype: ``"float32"`` or ``"bfloat16"``: what is computed in, beside parameters that stay
            float32; None for float32 on a CPU and bfloat16 elsewhere.
        skip_faults: Leave faulty images and objects out instead of refusing the data set.
        quiet: Show no progress, and no table.

    Returns:
        The model's folder, AP50 and recall by class before and after, and the page.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: The model is of another family (``train_family``), cannot tell two
            of the names apart (``names_alike``) or read all of them at once (``names_too_many``),
            the data set has faults (``data_faults``,
            ``data_unusable``), ``out`` holds another run (``training_changed``), or an argument is
            none that is taken.
        gsam.errors.OutputError: The disk is full; the last checkpoint stays.
        gsam.errors.GsamError: Ten steps in a row were not finite (``training_not_finite``).

    Example:
        >>> found = gsam.training.finetune_detector(
        ...     "train.json", "photos", model="owlv2_base_patch16", out="run")  # doctest: +SKIP
        >>> pipe = gsam.load("owl_sam", detector=str(found.model))     # doctest: +SKIP
    """
    if what not in ("heads", "lora"):
        raise UsageError(f"what is heads or lora, not {what!r}", "train_what")
    cramped = make_room_for_callbacks()
    out = Path(out).expanduser()
    check_detector(str(model), family_of(str(model)))
    sides = read_sides(data, images, held_out, seed, masks=False, skip_faults=skip_faults)
    base = load_base(model, "detect")
    check_detector(base.name, base.family)
    config = schedule(
        steps=STEPS if steps is None and minutes is None else steps,
        minutes=minutes,
        rate=rate or RATES[base.family][what],
        seed=seed,
        watch="AP50" if any(entry.objects for entry in sides.held_out) else None,
        patience=patience,
        evaluate_every=evaluate_every,
        save_every=save_every,
        dtype=dtype,
    )
    enable_compilation_cache()
    stage = STAGES[base.family].from_params(base.config, numbers(base), tokenizer_of(base))
    check_names(sides.names, lambda names: token_ids(stage.text.tokenize(names)))
    if cramped is not None:
        raise cramped
    lora = Lora(rank=rank, targets=lora_on or TARGETS) if what == "lora" else None
    settings: Json = {
        **sides.fingerprint,
        "model": base.sha256,
        "what": what,
        "lora": None if lora is None else dataclasses.asdict(lora),
        "batch_size": batch_size or BATCH[base.family][what],
    }
    refuse_other_run(out, config, settings)
    task = _task(
        stage, sides, out, base.sha256, lora, config.dtype or default_dtype(), settings["batch_size"], seed, quiet
    )
    start = task.init_params(seed)
    if not quiet:
        count = sum(int(np.size(value)) for value in start.values())
        sizes = f"{len(sides.train)} images to learn from, {len(sides.held_out)} held out"
        tell(f"gsam: {sizes}; {count:,} numbers are trained")
    state = train(task, config, out, settings=settings, resume=True, quiet=quiet)
    told: Json = {"model": base.name, "what": what, "steps": int(state.step), "batch size": task.batch_size}
    told |= {
        "learning rate": config.learning_rate,
        "seed": seed,
        "images": len(sides.train),
        "held out": len(sides.held_out),
    }
    told |= {} if lora is None else {"rank": rank}
    scores, worst = [], []
    if len(sides.held_out):
        found = task.detect(start), task.detect(state.average)
        before, after = (box_scores(sides.names, sides.held_out, each) for each in found)
        scores = class_scores(sides.names, before, after)
        worst = worst_boxes(sides.names, sides.held_out, *found, after.threshold)
        told["best threshold"] = after.threshold
        if not quiet and after.threshold:
            tell(f"gsam: F1 is best with the boxes that score above {after.threshold} (threshold=)")
    folder = write_model(
        out / "model", base, **tuned_parts(state.average, base, lora), what=what, settings=told, scores=scores
    )
    title = f"{base.variant or base.name}, {what}"
    return conclude(out, folder, title=title, told=told, scores=scores, worst=worst, quiet=quiet)


def check_detector(name: str, family: str | None) -> None:
    """Refuse a model that cannot be tuned as a detector here.

    Args:
        name: What the user calls it.
        family: Its family; None where that is not known yet.

    Raises:
        UsageError: It is of another family (``train_family``).
    """
    if family is None or family in STAGES:
        return
    why = f"it is a model to {next(iter(FAMILIES[family].roles))}"
    known = "OWL-ViT, OWLv2 and Grounding DINO can"
    raise UsageError(f"{name!r} cannot be trained as a detector: {why}; {known}", "train_family")


def token_ids(tokens: NDArray[np.int32] | PhraseTokens[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Pick the ids [C, T] out of what a text processor gives."""
    return tokens.ids if isinstance(tokens, PhraseTokens) else tokens


def _task(
    stage: OwlDetector | GroundingDinoDetector,
    sides: Sides,
    out: Path,
    model: str,
    lora: Lora | None,
    dtype: str,
    batch_size: int,
    seed: int,
    quiet: bool,
) -> BoxTask:
    params = jax.device_put(cast(stage.params, dtype))
    common: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    kept = (sides.train.images, "features"), (sides.held_out, "held-out features")
    if isinstance(stage, OwlDetector):
        given: tuple[Any, ...] = (
            stage,
            sides.names,
            embeddings(stage, params, sides.names),
            *(some for some, _ in kept),
        )
        if lora is not None:
            return owl_tasks.Adapters(*given, lora=lora, **common)
        store = token_store(stage, out / "features", model)
        keys, scored = (
            keep_tokens(stage, params, store, some, batch_size, quiet=quiet, what=what) for some, what in kept
        )
        return owl_tasks.Heads(*given, store=store, keys=keys, held_out_keys=scored, **common)
    caption = caption_of(stage, params, sides.names)
    given = (stage, sides.names, caption, *(some for some, _ in kept))
    if lora is not None:
        return grounding_tasks.Adapters(*given, lora=lora, **common)
    store = fused_store(stage, out / "features", model, caption)
    keys, scored = (
        keep_fused(stage, params, store, some, caption, batch_size, quiet=quiet, what=what) for some, what in kept
    )
    return grounding_tasks.Decoding(*given, store=store, keys=keys, held_out_keys=scored, **common)
