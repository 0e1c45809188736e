"""Options that the commands of ``gsam train`` share, and how their values are read."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

from typer import Option

from gsam.errors import UsageError

Data = Annotated[
    Path,
    Option(
        help="Labelled images: COCO or LVIS JSON, what `gsam label` wrote, a folder of PNG masks, or any other format "
        "of `gsam convert`."
    ),
]
ImagesFolder = Annotated[
    Path | None,
    Option("--images", help="The folder of the images.  [default: the data set's own, and images/ in it or beside it]"),
]
Model = Annotated[
    str,
    Option("--model", "-m", help="The model to begin with: a name of `gsam weights list`, a hub id, a folder or file."),
]
Run = Annotated[
    Path,
    Option("--out", "-o", help="The folder of the run. Started again with the same settings, it goes on where it was."),
]
Rank = Annotated[int, Option(min=1, help="With --what lora, the rank of the change to each kernel.")]
LoraOn = Annotated[
    str | None,
    Option(
        metavar="PATTERN",
        help="With --what lora, a regular expression of the kernels that change.  [default: attention and MLP of the "
        "image encoder]",
    ),
]
Steps = Annotated[int | None, Option(min=1, help="Batches to learn from.")]
Minutes = Annotated[
    float | None, Option(min=0.01, help="Minutes to train for instead; compilation and evaluation do not count.")
]
BatchSize = Annotated[int | None, Option(min=1, help="Images of a batch, which all local devices share.")]
Rate = Annotated[float | None, Option(min=1e-9, help="The highest learning rate.")]
HeldOut = Annotated[
    str,
    Option(
        metavar="FILE|SHARE",
        help="What is not trained on, and scored before and after: another data set, or a share of the images.",
    ),
]
Patience = Annotated[
    int | None, Option(min=1, help="Stop after so many evaluations that are no better.  [default: do not]")
]
EvaluateEvery = Annotated[
    int | None, Option("--evaluate-every", min=1, help="Steps between evaluations.  [default: a tenth of the run]")
]
SaveEvery = Annotated[int | None, Option("--save-every", min=1, help="Steps between checkpoints.  [default: by time]")]
SkipFaults = Annotated[
    bool,
    Option("--skip-faults", help="Leave out faulty images and objects, which `gsam data check` lists, and train."),
]
Seed = Annotated[int, Option(min=0, help="Seed of all chance: order, prompts, augmentation.")]


def needs_training() -> None:
    """Refuse to train where the packages of the extra ``train`` are missing.

    Raises:
        UsageError: They are (``extra_missing``).
    """
    if importlib.util.find_spec("optax") is None:
        raise UsageError("training needs the package optax: pip install 'gsam-jax[train]'", "extra_missing")


def check_length(steps: int | None, minutes: float | None) -> None:
    """Refuse two lengths of one run.

    Args:
        steps: That of ``--steps``.
        minutes: That of ``--minutes``.

    Raises:
        UsageError: Both are given.
    """
    if steps is not None and minutes is not None:
        raise UsageError("--steps and --minutes are two lengths of one run: give one of them")


def held_out_of(text: str) -> float | Path:
    """Read ``--held-out``.

    Args:
        text: A number from 0 up to 1, or a path.

    Returns:
        The share of the images, or the path of another data set.

    Raises:
        UsageError: It is a number that is no share.
    """
    try:
        share = float(text)
    except ValueError:
        return Path(text)
    if not 0.0 <= share < 1.0:
        raise UsageError(f"--held-out is a share from 0 up to 1, or another data set, not {text}")
    return share
