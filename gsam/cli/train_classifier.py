"""``gsam train classifier``: fine-tune CLIP or SigLIP on labelled regions of images."""

from __future__ import annotations

import enum
from typing import Annotated

from typer import Option

from gsam.cli.options import DType, Quiet, WeightsDir, queries_of
from gsam.cli.train_options import (
    Data,
    EvaluateEvery,
    HeldOut,
    ImagesFolder,
    LoraOn,
    Minutes,
    Model,
    Patience,
    Rank,
    Rate,
    Run,
    SaveEvery,
    Seed,
    SkipFaults,
    Steps,
    check_length,
    held_out_of,
    needs_training,
)


class What(enum.StrEnum):
    """Parts of a classifier that are trained."""

    head = "head"
    lora = "lora"


def classifier(
    data: Data,
    out: Run,
    images: ImagesFolder = None,
    model: Model = "clip_vit_base_patch32",
    what: Annotated[
        What,
        Option(
            help="head: the last layers of both encoders, on features of the objects that are computed once and kept "
            "on disk; lora: those and small changes to the image encoder's kernels."
        ),
    ] = What.head,
    rank: Rank = 8,
    lora_on: LoraOn = None,
    steps: Steps = None,
    minutes: Minutes = None,
    batch_size: Annotated[int | None, Option(min=1, help="Objects of a batch, which all local devices share.")] = None,
    variants: Annotated[
        int, Option(min=1, help="Crops of each object: its box, and others whose borders are moved a little.")
    ] = 4,
    negatives: Annotated[
        str, Option(help="Texts that no object is to fit, as in the recipe that the model is for.")
    ] = "background",
    rate: Rate = None,
    held_out: HeldOut = "0.1",
    patience: Patience = None,
    evaluate_every: EvaluateEvery = None,
    save_every: SaveEvery = None,
    seed: Seed = 0,
    skip_faults: SkipFaults = False,
    dtype: DType = None,
    weights_dir: WeightsDir = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tune CLIP or SigLIP on labelled regions of images.

    gsam train classifier --data train.json --images photos -m clip_vit_base_patch32 -o run

    Scores the objects of held-out images before and after, by the share that is named right, and
    writes a page, run/index.html, and the model, run/model. Killed at any moment and started again,
    it goes on as if nothing had happened.
    """
    check_length(steps, minutes)
    share = held_out_of(held_out)
    needs_training()
    from gsam.training.regions.finetune import finetune_classifier

    found = finetune_classifier(
        data,
        images,
        model=model,
        out=out,
        what=what.value,
        rank=rank,
        lora_on=lora_on,
        steps=steps,
        minutes=minutes,
        batch_size=batch_size,
        variants=variants,
        negatives=queries_of([negatives]).names if negatives else (),
        rate=rate,
        held_out=share,
        patience=patience,
        evaluate_every=evaluate_every,
        save_every=save_every,
        seed=seed,
        skip_faults=skip_faults,
        dtype=dtype,
        quiet=quiet,
    )
    print(found.model)
