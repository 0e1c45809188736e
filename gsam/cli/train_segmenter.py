"""``gsam train segmenter``: fine-tune a promptable segmenter on masks."""

from __future__ import annotations

import enum
from typing import Annotated

from typer import Option

from gsam.cli.options import DType, Quiet, WeightsDir
from gsam.cli.train_options import (
    BatchSize,
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
    """Parts of a segmenter that are trained."""

    decoder = "decoder"
    lora = "lora"
    all = "all"


def segmenter(
    data: Data,
    out: Run,
    images: ImagesFolder = None,
    model: Model = "sam_vit_b",
    what: Annotated[
        What,
        Option(
            help="decoder: prompts and masks, on image features that are computed once and kept on disk; lora: small "
            "changes to kernels, by default the image encoder's; all: every parameter."
        ),
    ] = What.decoder,
    rank: Rank = 8,
    lora_on: LoraOn = None,
    steps: Steps = None,
    minutes: Minutes = None,
    batch_size: BatchSize = None,
    objects: Annotated[int, Option(min=1, help="Prompts for objects of each image and step.")] = 8,
    prompts: Annotated[
        str | None, Option(help="Kinds of prompts to learn: box, click, both.  [default: those the model takes]")
    ] = None,
    corrections: Annotated[
        int, Option(min=0, max=16, help="Simulated clicks where the answer was wrong, at most.")
    ] = 7,
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
    """Fine-tune SAM, SAM-HQ, MedSAM, MobileSAM, EfficientSAM or SAM 2 on masks.

    gsam train segmenter --data train.json --images photos -m sam_vit_b -o run

    Scores held-out images before and after, for one box, one click and three clicks, and writes a
    page, run/index.html, and the model, run/model. Killed at any moment and started again, it goes
    on as if nothing had happened.
    """
    check_length(steps, minutes)
    share = held_out_of(held_out)
    needs_training()
    from gsam.training.segmenter.finetune import finetune

    found = finetune(
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
        objects=objects,
        prompts=None if prompts is None else [word for word in prompts.replace(",", " ").split() if word],
        corrections=corrections,
        rate=rate,
        held_out=share,
        patience=patience,
        evaluate_every=evaluate_every,
        save_every=save_every,
        seed=seed,
        dtype=dtype,
        skip_faults=skip_faults,
        quiet=quiet,
    )
    print(found.model)
