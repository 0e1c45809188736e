"""Fine-tune a promptable segmenter on your own masks: data and a model in, a better model out."""

from __future__ import annotations

import dataclasses
import importlib
import json
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
from tqdm import tqdm

from gsam.build.devices import dtype_of
from gsam.dataset.report import tell
from gsam.errors import UsageError
from gsam.models.promptable import PromptableSegmenter
from gsam.registry import FAMILIES, family_of
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.training.data import DataSet, read_checked
from gsam.training.log import read_log
from gsam.training.lora import TARGETS, Lora
from gsam.training.model_folder import Base, load_base, write_model
from gsam.training.report import Score, print_scores, write_report
from gsam.training.run import check_same, describe, read_run
from gsam.training.schedule import TrainConfig
from gsam.training.segmenter.examples import Examples
from gsam.training.segmenter.features import ImageFeatures
from gsam.training.segmenter.parts import What, parts
from gsam.training.segmenter.prompts import rules_for
from gsam.training.segmenter.results import by_class, keep_scores, kept_scores, means_of, worst_cases
from gsam.training.segmenter.task import SegmenterTask
from gsam.training.trainer import train
from gsam.types import Json, Params

SEGMENTERS = ("sam", "sam_hq", "mobile_sam", "efficient_sam", "sam2")
"""Families that can be fine-tuned."""
NAMES = "SAM, SAM-HQ, MedSAM, MobileSAM, EfficientSAM and SAM 2"
RATES: Mapping[str, float] = {"decoder": 1e-4, "lora": 5e-4, "all": 1e-5}
"""Highest learning rates, by what is trained."""
BATCH: Mapping[str, int] = {"decoder": 4, "lora": 2, "all": 2}
"""Images of a batch, by what is trained."""
STEPS = 500
"""Length of a run where nobody says."""
EVALUATIONS = 10
"""Evaluations of a run where nobody says when."""
DECAY, CLIP = 0.01, 1.0


@dataclasses.dataclass(frozen=True)
class Finetuned:
    """The result of fine-tuning."""

    model: Path
    """Folder of the model, which serves wherever a model is named."""
    scores: tuple[Score, ...]
    """Mean IoU before and after, by class and prompt; none if nothing was held out."""
    before: Mapping[str, float]
    """Mean IoU over held-out objects before training, by prompt: ``"one box"``, ``"one click"``,
    ``"three clicks"``."""
    after: Mapping[str, float]
    """The same after training."""
    page: Path
    """Page of the results."""


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
    check_family(str(model))
    train_on, scored = read_sides(data, images, held_out, seed, skip_faults)
    if patience is not None and not len(scored):
        raise UsageError("--patience needs held-out images, and there are none", "held_out_missing")
    base = load_base(model)
    check_loaded(base)
    enable_compilation_cache()
    stage = stage_of(base)
    lora = None if what != "lora" else Lora(rank=rank, targets=lora_on or TARGETS)
    rules = rules_for(stage, prompts, objects, corrections, always_several=base.family == "efficient_sam")
    if steps is None and minutes is None:
        steps = STEPS
    batch = batch_size or BATCH[what]
    config = TrainConfig(
        steps=steps,
        minutes=minutes,
        seed=seed,
        learning_rate=rate or RATES[what],
        weight_decay=DECAY,
        clip_norm=CLIP,
        muon=False,
        dtype=_computed(dtype),
        log_every=min(10, steps or 10),
        save_steps=save_every,
        evaluate_steps=evaluate_every or (None if steps is None else max(steps // EVALUATIONS, 1)),
        evaluate_minutes=10.0 if minutes is None else minutes / EVALUATIONS,
        watch="iou" if len(scored) else None,
        patience=patience,
    )
    settings: Json = {
        "data": train_on.fingerprint,
        "held_out": scored.fingerprint if len(scored) else None,
        "model": base.sha256,
        "what": what,
        "lora": None if lora is None else dataclasses.asdict(lora),
        "batch_size": batch,
        "prompts": dataclasses.asdict(rules),
        "augment": augment,
    }
    refuse_other_run(out, config, settings)
    found_parts = parts(stage)
    kernels = set() if lora is None else set(lora.kernels(base.params))
    keeps = not (kernels | set(found_parts.trained(what))) & found_parts.features
    features = ImageFeatures(stage, out / "features", base.sha256) if keeps else None
    precision = dtype_of(config.dtype, jax.local_devices())
    side = stage_side(stage)
    examples = Examples(train_on, stage, rules, side, batch, seed, features, augment)
    task = SegmenterTask(
        stage, found_parts, rules, examples, scored, what=what, lora=lora, features=features, dtype=precision
    )
    start = task.init_params(seed)
    if not quiet:
        count = sum(int(value.size) for value in start.values())
        kept = "; features of images are kept in the run's folder" if keeps else ""
        told_of = f"{len(train_on)} images to learn from, {len(scored)} held out"
        tell(f"gsam: {told_of}; {count:,} numbers are trained{kept}")
    if features is not None:
        every = task.model(start)
        _encode(features, every, train_on, augment, "features", quiet)
        _encode(features, every, scored, False, "held-out features", quiet)
        del every
    key = json.dumps(settings, sort_keys=True)
    before = kept_scores(out, key)
    if before is None:
        before = task.score(start)
        keep_scores(out, key, before)
    state = train(task, config, out, params=start, settings=settings, resume=True, quiet=quiet)
    after = task.score(state.average)
    scores = by_class(scored.names, before, after)
    told = {"model": base.name, "what": what, "steps": int(state.step), "batch_size": batch, "objects": objects}
    told |= {"rate": config.learning_rate, "seed": seed, "images": len(train_on), "held_out": len(scored)}
    told |= {"data": train_on.fingerprint[:16], "prompts": ", ".join(rules.kinds), "corrections": rules.corrections}
    told |= {} if lora is None else {"rank": rank, "kernels": len(kernels)}
    folder = _write(out, base, state.average, lora, what, told, scores)
    page = write_report(
        out,
        title=f"{base.variant or base.name}, {what}",
        settings=told,
        scores=scores,
        worst=list(worst_cases(task, scored, start, state.average, before, after)),
        seconds=max((float(row.get("seconds", 0.0)) for row in read_log(out)), default=0.0),
        peak_memory=peak_memory(),
    )
    if not quiet:
        print_scores(scores)
        tell(f"gsam: the model is {folder}, the results are {page}")
    return Finetuned(folder, tuple(scores), means_of(before), means_of(after), page)


def check_family(name: str) -> None:
    """Refuse an official model that cannot be fine-tuned here, before anything is downloaded.

    Raises:
        UsageError: It is of another family (``train_family``).
    """
    family = family_of(name)
    if family is not None and family not in SEGMENTERS:
        raise _other_family(name, family)


def check_loaded(base: Base) -> None:
    """Refuse a model of another family, whatever it is called; see `check_family`."""
    if base.family not in SEGMENTERS:
        raise _other_family(base.name, base.family)


def _other_family(name: str, family: str) -> UsageError:
    if family == "fast_sam":
        why = "FastSAM finds everything by itself and answers no prompts, so it has nothing that is trained here"
    else:
        why = f"it is a model to {next(iter(FAMILIES[family].roles))}"
    return UsageError(f"{name!r} cannot be trained as a segmenter: {why}; {NAMES} can", "train_family")


def read_sides(
    data: str | Path, images: str | Path | None, held_out: float | str | Path, seed: int, skip_faults: bool
) -> tuple[DataSet, DataSet]:
    """Read the images to learn from, and those that are held out.

    Args:
        data: See `finetune`.
        images: See `finetune`.
        held_out: A share of the images, or another data set.
        seed: Another one holds out others.
        skip_faults: See `finetune`.

    Returns:
        Images with at least one mask each; those held out may be none.

    Raises:
        UsageError: A data set has faults, or is none.
    """
    whole = read_checked(data, images, masks=True, skip_faults=skip_faults).labelled()
    if isinstance(held_out, str | Path):
        return whole, read_checked(held_out, images, masks=True, skip_faults=skip_faults).labelled()
    train_on, scored = whole.split(held_out, seed)
    return (train_on, scored) if len(train_on) else (scored, train_on)


def stage_of(base: Base) -> PromptableSegmenter:
    """Make the segmenter of a model, its numbers on the host."""
    module = importlib.import_module(FAMILIES[base.family].roles["segment"])
    return cast(PromptableSegmenter, module.build(base.config, base.params, None))


def stage_side(stage: PromptableSegmenter) -> int:
    """Side of a segmenter's answers in pixels; nothing is computed."""
    from gsam.training.segmenter.parts import abstract, answer, one_image

    shapes = abstract(stage)
    like = jax.eval_shape(stage.features, shapes, one_image(stage))
    logits, _ = jax.eval_shape(lambda *given: answer(stage, False, *given), shapes, like)
    return int(logits.shape[-1])


def refuse_other_run(out: Path, config: TrainConfig, settings: Json) -> None:
    """Refuse to go on with a run of other settings, before work is done for it.

    Raises:
        UsageError: ``out`` holds one (``training_changed``).
    """
    before = read_run(out)
    if before is not None:
        config = dataclasses.replace(config, dtype=config.dtype or before["config"].get("dtype"))
        check_same(out, before, describe(config, settings))


def peak_memory() -> int | None:
    """The most memory that this process used, in bytes: of its accelerator, or of the machine."""
    statistics: Any = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return int(statistics["peak_bytes_in_use"])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _encode(features: ImageFeatures, params: Params, data: DataSet, mirrored: bool, what: str, quiet: bool) -> None:
    hidden = quiet or not sys.stderr.isatty()
    for _ in tqdm(features.compute(params, data.images, mirrored=mirrored), what, len(data), False, disable=hidden):
        pass


def _computed(dtype: str | None) -> Literal["float32", "bfloat16"] | None:
    if dtype is None:
        return None
    name = jnp.dtype(dtype_of(dtype, jax.local_devices())).name
    if name not in ("float32", "bfloat16"):
        raise UsageError(f"training computes in float32 or bfloat16, not {name}", "dtype_unknown")
    return cast(Literal["float32", "bfloat16"], name)


def _write(
    out: Path, base: Base, trained: Params, lora: Lora | None, what: str, told: Json, scores: Sequence[Score]
) -> Path:
    given: dict[str, Any] = {"params": trained} if lora is None else {"adapters": trained, "lora": lora}
    card = ""
    return write_model(out / "model", base, **given, what=what, settings=told, card=card)
