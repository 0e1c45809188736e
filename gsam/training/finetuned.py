"""Parts of every fine-tune: data in two sides, the schedule, what is written in the end."""

from __future__ import annotations

import dataclasses
import resource
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, overload

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.build.devices import dtype_of
from gsam.dataset.report import tell
from gsam.errors import CheckpointError, UsageError
from gsam.results.training_page.scores import means
from gsam.text.tokenizer import FastTokenizer, load_tokenizer
from gsam.training.data.entries import DataSet, Entry
from gsam.training.data.reading import read, read_checked
from gsam.training.log import read_log
from gsam.training.lora import Lora
from gsam.training.model_folder import Base
from gsam.training.report import Case, Score, print_scores, write_report
from gsam.training.run import check_same, describe, read_run
from gsam.training.schedule import TrainConfig
from gsam.types import Json, Params

EVALUATIONS = 10
"""Evaluations of a run where nobody says when."""


@dataclasses.dataclass(frozen=True)
class Finetuned:
    """The result of fine-tuning.

    Example:
        >>> found = gsam.training.finetune_detector(
        ...     "train.json", model="owlv2_base_patch16", out="run")     # doctest: +SKIP
        >>> pipe = gsam.load("owl_sam", detector=str(found.model))       # doctest: +SKIP
    """

    model: Path
    """Folder of the model, which serves wherever a model is named."""
    scores: tuple[Score, ...]
    """Figures before and after, by class and measure; none if nothing was held out."""
    before: Mapping[str, float]
    """Each measure over all that was held out before training, such as ``"one box"`` (mean IoU),
    ``"AP50"`` or ``"accuracy"``."""
    after: Mapping[str, float]
    """Each measure after training."""
    page: Path
    """Page of the results."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sides:
    """A data set in two sides."""

    names: tuple[str, ...]
    """The classes."""
    train: DataSet
    """Images to learn from."""
    held_out: Sequence[Entry]
    """Images to score, whose labels are indices into ``names``."""
    fingerprint: Json
    """Plain values by which a resume knows that the data are the same."""


def read_sides(
    data: str | Path,
    images: str | Path | None,
    held_out: float | str | Path,
    seed: int,
    *,
    masks: bool,
    skip_faults: bool = False,
) -> Sides:
    """Read and check a data set, and hold a part of it out.

    Args:
        data: Any data set that `gsam.training.data.read` reads.
        images: The folder of its images; None for its own.
        held_out: A share of the images, or another data set; 0 for none.  Images of another one
            are in its own folder, or, where that has none of them, in ``images`` too.
        seed: Another one holds out others.
        masks: Whether objects need masks.
        skip_faults: Leave faulty images and objects out instead of refusing the data set.

    Returns:
        Both sides; of a single image the second is empty.

    Raises:
        UsageError: A data set has faults (``data_faults``), or is none; the other data set has
            none of the classes (``held_out_names``).
    """
    whole = read_checked(data, images, masks=masks, skip_faults=skip_faults)
    if isinstance(held_out, str | Path):
        own = images is None or len(read(held_out, masks=masks)) > 0
        other = read_checked(held_out, None if own else images, masks=masks, skip_faults=skip_faults)
        told: Json = {"data": whole.fingerprint, "held_out": other.fingerprint}
        return Sides(whole.names, whole, Relabelled(other, whole.names), told)
    train, scored = whole.split(held_out, seed)
    train, scored = (train, scored) if train.counts.any() else (scored, train)
    told = {"data": train.fingerprint, "held_out": scored.fingerprint if len(scored) else None}
    return Sides(whole.names, train, scored.images, told)


class Relabelled(Sequence[Entry]):
    """The images of one data set with the class numbers of another; other classes are left out."""

    def __init__(self, data: DataSet, names: Sequence[str]) -> None:
        """Match the names of classes.

        Args:
            data: The data set.
            names: Classes of the other one.

        Raises:
            UsageError: They have no name in common (``held_out_names``).
        """
        self.data, numbers = data, {name: index for index, name in enumerate(names)}
        self.labels = {index: numbers[name] for index, name in enumerate(data.names) if name in numbers}
        if not self.labels:
            theirs, ours = (", ".join(list(some)[:5]) for some in (data.names, names))
            text = f"the held-out data set has none of the classes trained on: it has {theirs}, the other {ours}"
            raise UsageError(text, "held_out_names")

    def __len__(self) -> int:
        return len(self.data)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._renamed(self.data.images[index])

    def __iter__(self) -> Iterator[Entry]:
        return map(self._renamed, self.data.images)

    def _renamed(self, entry: Entry) -> Entry:
        kept = tuple(
            dataclasses.replace(one, label=self.labels[one.label]) for one in entry.objects if one.label in self.labels
        )
        return dataclasses.replace(entry, objects=kept)


def check_names(names: Sequence[str], tokenize: Callable[[Sequence[str]], NDArray[np.int32]]) -> None:
    """Refuse classes that a model's text encoder cannot tell apart.

    Args:
        names: The classes.
        tokenize: Turns texts into token ids [C, ...].

    Raises:
        UsageError: Two became the same (``names_alike``): words that a small vocabulary lacks, or
            names that differ in case or marks alone.
    """
    with warnings.catch_warnings(record=True) as told:
        tokens = tokenize(names)
    seen: dict[bytes, str] = {}
    for name, ids in zip(names, tokens, strict=True):
        other = seen.setdefault(np.ascontiguousarray(ids).tobytes(), name)
        if other != name:
            text = f"the model reads {other!r} and {name!r} as the same text, so it cannot tell them apart"
            raise UsageError(
                f"{text}: rename or merge the classes, or take a model that knows the words", "names_alike"
            )
    for one in told:
        warnings.warn(one.message, stacklevel=2)


def schedule(
    *,
    steps: int | None,
    minutes: float | None,
    rate: float,
    seed: int,
    watch: str | None,
    patience: int | None,
    evaluate_every: int | None,
    save_every: int | None,
    dtype: str | None,
) -> TrainConfig:
    """Make the schedule of a fine-tune: AdamW, ten evaluations unless somebody says otherwise.

    Args:
        steps: Batches to learn from; one of this and ``minutes`` is given.
        minutes: Minutes to train for.
        rate: The highest learning rate.
        seed: Seed of all chance.
        watch: The figure by which evaluations are compared; None where nothing is held out.
        patience: Evaluations without a better figure before an early end.
        evaluate_every: Steps between evaluations.
        save_every: Steps between checkpoints.
        dtype: ``"float32"`` or ``"bfloat16"``; None for the device's.

    Raises:
        UsageError: Patience without anything held out (``held_out_missing``), or a type that is
            not computed in (``dtype_unknown``).
    """
    if patience is not None and watch is None:
        raise UsageError("--patience needs held-out images, and there are none", "held_out_missing")
    return TrainConfig(
        steps=steps,
        minutes=minutes,
        seed=seed,
        learning_rate=rate,
        weight_decay=0.01,
        muon=False,
        dtype=computed_dtype(dtype),
        log_every=min(10, steps or 10),
        save_steps=save_every,
        evaluate_steps=evaluate_every or (None if steps is None else max(steps // EVALUATIONS, 1)),
        evaluate_minutes=10.0 if minutes is None else minutes / EVALUATIONS,
        watch=watch,
        patience=patience,
    )


def computed_dtype(dtype: str | None) -> Literal["float32", "bfloat16"] | None:
    """Read the type that training is to compute in.

    Args:
        dtype: Any name of float32 or bfloat16; None leaves it to the device.

    Raises:
        UsageError: It is none of them (``dtype_unknown``).
    """
    if dtype is None:
        return None
    name = jnp.dtype(dtype_of(dtype, jax.local_devices())).name
    if name not in ("float32", "bfloat16"):
        raise UsageError(f"training computes in float32 or bfloat16, not {name}", "dtype_unknown")
    return cast(Literal["float32", "bfloat16"], name)


def refuse_other_run(out: Path, config: TrainConfig, settings: Json) -> None:
    """Refuse to go on with a run of other settings, before work is done for it.

    Args:
        out: Folder of the run.
        config: The schedule.
        settings: All else that decides what is learnt.

    Raises:
        UsageError: ``out`` holds another run (``training_changed``).
    """
    before = read_run(out)
    if before is not None:
        config = dataclasses.replace(config, dtype=config.dtype or before["config"].get("dtype"))
        check_same(out, before, describe(config, settings))


def numbers(base: Base) -> Params:
    """Give a model's parameters as a stage takes them; they stay on the host."""
    return cast(Params, dict(base.params))


def tokenizer_of(base: Base) -> FastTokenizer:
    """Load the tokenizer of a model that reads text.

    Args:
        base: The model, whose configuration has ``vocab``, or that of its ``bert``.

    Raises:
        CheckpointError: It has none (``tokenizer_missing``), or another model's
            (``tokenizer_mismatch``, when it is used).
    """
    if base.tokenizer is None:
        text = f"{base.name} has no tokenizer, and it reads text: copy tokenizer.json beside its weights"
        raise CheckpointError(text, "tokenizer_missing")
    tokenizer = load_tokenizer(base.tokenizer)
    tokenizer.limit = getattr(base.config, "vocab", None) or base.config.bert.vocab
    return tokenizer


def tuned_parts(trained: Params, base: Base, lora: Lora | None) -> dict[str, Any]:
    """Part what was trained as `write_model` takes it: whole parameters, and adapters.

    Args:
        trained: Parameters of ``base``, and adapters beside them.
        base: The model before training.
        lora: What made the adapters; None for none.
    """
    plain = {name: np.asarray(value) for name, value in trained.items()}
    params = {name: value for name, value in plain.items() if name in base.params}
    if lora is None:
        return {"params": params}
    return {"params": params, "adapters": {k: v for k, v in plain.items() if k not in params}, "lora": lora}


def conclude(
    out: Path,
    model: Path,
    *,
    title: str,
    told: Json,
    scores: Sequence[Score],
    worst: Sequence[Case],
    quiet: bool,
) -> Finetuned:
    """Write the page of a run whose model is written, and print its scores.

    Args:
        out: Folder of the run.
        model: Folder of the model.
        title: Heading of the page.
        told: Settings that the page shows.
        scores: Figures by class.
        worst: Cases that the page shows.
        quiet: Print nothing.
    """
    seconds = max((float(row.get("seconds", 0.0)) for row in read_log(out)), default=0.0)
    page = write_report(
        out, title=title, settings=told, scores=scores, worst=worst, seconds=seconds, peak_memory=peak_memory()
    )
    if not quiet:
        print_scores(scores)
        tell(f"gsam: the model is {model}, the results are {page}")
    overall = means(scores)
    before, after = ({m.prompt: getattr(m, side) for m in overall} for side in ("before", "after"))
    return Finetuned(model, tuple(scores), before, after, page)


def peak_memory() -> int | None:
    """The most memory that this process used, in bytes: of its accelerator, or of the machine."""
    statistics: Any = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return int(statistics["peak_bytes_in_use"])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
