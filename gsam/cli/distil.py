"""``gsam distil``: teach a small segmenter what a large one sees, on images without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from gsam.cli.options import HELP, DType, Quiet, WeightsDir, command_app
from gsam.cli.train_options import (
    BatchSize,
    EvaluateEvery,
    Minutes,
    Patience,
    Rate,
    Run,
    SaveEvery,
    Seed,
    Steps,
    check_length,
    needs_training,
)

app = command_app()


@app.command(no_args_is_help=True, context_settings=HELP)
def distil(
    images: Annotated[Path, Option(help="A folder of images to learn from; folders in it are looked into.")],
    out: Run,
    teacher: Annotated[
        str, Option(help="The model that knows: SAM, MedSAM, MobileSAM or EfficientSAM, by any name.")
    ] = "sam_vit_b",
    student: Annotated[str, Option(help="The model that learns, of one of these families.")] = "mobile_sam",
    init: Annotated[
        str | None,
        Option(
            metavar="MODEL|scratch",
            help="Weights that the student begins with, or scratch for random ones.  [default: the student's own]",
        ),
    ] = None,
    steps: Steps = None,
    minutes: Minutes = None,
    batch_size: BatchSize = None,
    prompts: Annotated[int, Option(min=1, help="Places of an image at which both models are asked.")] = 4,
    corrections: Annotated[int, Option(min=0, max=3, help="Clicks that follow where the two models differ.")] = 1,
    embedding_share: Annotated[
        float, Option(min=0.0, max=1.0, help="Part of the run in which the embeddings alone are learnt.")
    ] = 0.5,
    train_decoder: Annotated[
        bool | None,
        Option(
            "--train-decoder/--keep-decoder",
            help="Train the student's prompt encoder and mask decoder too.  [default: only where the teacher's "
            "cannot be copied]",
        ),
    ] = None,
    rate: Rate = None,
    held_out: Annotated[
        float, Option(help="Share of the images on which the two are compared, before and after.")
    ] = 0.1,
    patience: Patience = None,
    evaluate_every: EvaluateEvery = None,
    save_every: SaveEvery = None,
    seed: Seed = 0,
    dtype: DType = None,
    weights_dir: WeightsDir = None,
    quiet: Quiet = False,
) -> None:
    """Teach a small image encoder what a large one sees, on images that nobody labelled.

    gsam distil --images photos --teacher sam_vit_b --student mobile_sam -o run

    The student learns the teacher's embeddings first, then its masks for random clicks and boxes.
    Compares the two on held-out images before and after, and writes a page, run/index.html, and the
    student, run/model. Killed at any moment and started again, it goes on as if nothing had
    happened.
    """
    check_length(steps, minutes)
    needs_training()
    from gsam.training.distillation.run import BATCH
    from gsam.training.distillation.run import distil as teach

    found = teach(
        images,
        teacher=teacher,
        student=student,
        out=out,
        init=init,
        steps=steps,
        minutes=minutes,
        batch_size=batch_size or BATCH,
        prompts=prompts,
        corrections=corrections,
        embedding_share=embedding_share,
        train_decoder=train_decoder,
        rate=rate,
        held_out=held_out,
        patience=patience,
        evaluate_every=evaluate_every,
        save_every=save_every,
        seed=seed,
        dtype=dtype,
        quiet=quiet,
    )
    print(found.model)
