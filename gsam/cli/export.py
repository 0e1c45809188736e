"""``gsam export``: a pipeline as StableHLO programs and weights."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from gsam.cli.options import Boxes, Classifier, Detector, Device, DType, Refine, Segmenter, WeightsDir, given_of
from gsam.dataset.folder import new_folder
from gsam.dataset.progress import Progress
from gsam.errors import UsageError

if TYPE_CHECKING:
    from gsam.types import JsonMapping

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def export(
    pipeline: Annotated[
        str, Argument(metavar="PIPELINE", help="A recipe (`gsam recipes` lists them) or a .toml file.")
    ],
    out: Annotated[Path, Option("--out", "-o", help="The folder to write; it must not exist.")],
    device: Device = None,
    dtype: DType = None,
    platform: Annotated[
        list[str] | None, Option(help="cpu, cuda, rocm or tpu. May be repeated.  [default: cpu, cuda and tpu]")
    ] = None,
    canvas: Annotated[
        list[str] | None,
        Option(help="ROWSxCOLUMNS of a detector's rectangles, as 832x1088. May be repeated.  [default: common shapes]"),
    ] = None,
    boxes: Boxes = None,
    detector: Detector = None,
    segmenter: Segmenter = None,
    classifier: Classifier = None,
    refine: Refine = None,
    weights_dir: WeightsDir = None,
) -> None:
    """Write a pipeline as programs and weights.

    `gsam segment -p FOLDER` and `gsam.load(FOLDER)` run them without the models' code.
    """
    canvases = [_canvas(text) for text in canvas] if canvas else None
    with new_folder(out):  # before anything is downloaded
        models = given_of(detector=detector, segmenter=segmenter, classifier=classifier)
        given = {**models, **given_of(boxes=boxes, refine=refine, device=device, dtype=dtype)}
        _export(pipeline, out, platform, canvases, given)


def _export(
    pipeline: str,
    out: Path,
    platform: list[str] | None,
    canvases: list[tuple[int, int]] | None,
    given: JsonMapping,
) -> None:
    import gsam
    from gsam.export.artefact import PLATFORMS
    from gsam.export.write import export as write

    start = time.monotonic()
    pipe = gsam.load(pipeline, **given)
    bar: Progress | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = Progress(total, "program")
        elif done:
            bar.step()

    try:
        write(pipe, out, platforms=tuple(platform or PLATFORMS), canvases=canvases, progress=show)
    finally:
        if bar is not None:
            bar.close()
    seconds = time.monotonic() - start
    programs = sorted((out / "programs").iterdir())
    size = sum(f.stat().st_size for f in programs) / 1e6
    weights = (out / "weights.safetensors").stat().st_size / 1e6
    print(out)
    text = f"gsam: {len(programs)} programs, {size:.1f} MB, and {weights:.1f} MB of weights, {seconds:.1f} s"
    print(text, file=sys.stderr)


def _canvas(text: str) -> tuple[int, int]:
    if not (found := re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())):
        raise UsageError(f"a canvas is ROWSxCOLUMNS, as 832x1088, not {text!r}", "canvas_invalid")
    return int(found[1]), int(found[2])
