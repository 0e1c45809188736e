"""``gsam train detector``: fine-tune OWL-ViT, OWLv2 or Grounding DINO on boxes with names."""

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
    """Parts of a detector that are trained."""

    heads = "heads"
    lora = "lora"


def detector(
    data: Data,
    out: Run,
    images: ImagesFolder = None,
    model: Model = "owlv2_base_patch16_ensemble",
    what: Annotated[
        What,
        Option(
            help="heads: those of names, boxes and objectness, of Grounding DINO its decoder, on image features that "
            "are computed once and kept on disk; lora: those and small changes to the image encoder's kernels."
        ),
    ] = What.heads,
    rank: Rank = 8,
    lora_on: LoraOn = None,
    steps: Steps = None,
    minutes: Minutes = None,
    batch_size: BatchSize = None,
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
    """Fine-tune OWL-ViT, OWLv2 or Grounding DINO on boxes with names.

    gsam train detector --data train.json --images photos -m owlvit_base_patch32 -o run

    Scores held-out images before and after, by average precision at IoU 0.5 (AP50) and by recall,
    and writes a page, run/index.html, and the model, run/model. Killed at any moment and started
    again, it goes on as if nothing had happened.
    """
    check_length(steps, minutes)
    share = held_out_of(held_out)
    needs_training()
    from gsam.training.boxes.finetune import finetune_detector

    found = finetune_detector(
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
