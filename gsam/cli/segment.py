"""``gsam segment``: images and words in; overlays, JSON and data sets out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from gsam.cli.options import (
    HELP,
    PIPELINE,
    AsJson,
    Boxes,
    Classes,
    Classifier,
    Detector,
    Device,
    DType,
    Images,
    MaxPixels,
    Nms,
    Out,
    Overlap,
    Overwrite,
    Query,
    Quiet,
    Recipe,
    Recursive,
    Refine,
    Reject,
    Resume,
    Segmenter,
    Stretch,
    Threshold,
    Tile,
    WeightsDir,
    command_app,
    given_of,
    images_of,
    output_folder_of,
    queries_of,
)
from gsam.dataset.data_sets import tell_losses
from gsam.dataset.outputs import formats_of
from gsam.dataset.progress import saying
from gsam.dataset.report import describe, hush, tell
from gsam.dataset.run import Run
from gsam.dataset.scene_files import FORMATS, SceneFiles
from gsam.dataset.settings import pipeline_settings
from gsam.dataset.sources import Item
from gsam.dataset.stream import stream
from gsam.runtime.settings import LIMITS, check_numbers

if TYPE_CHECKING:
    from gsam.results.result import Result
    from gsam.types import Json

app = command_app()


@app.command(no_args_is_help=True, context_settings=HELP)
def segment(
    paths: Images,
    query: Query = None,
    classes: Classes = None,
    pipeline: Recipe = PIPELINE,
    out: Out = None,
    formats: Annotated[
        str,
        Option(
            "--format",
            help="Any of json, png (overlay), coco (one file per run), and, as data sets in OUT/FORMAT: "
            f"{', '.join(FORMATS[3:])}.",
        ),
    ] = "json,png",
    threshold: Threshold = None,
    boxes: Boxes = None,
    nms: Nms = None,
    reject: Reject = None,
    tile: Tile = None,
    overlap: Overlap = None,
    refine: Refine = None,
    detector: Detector = None,
    segmenter: Segmenter = None,
    classifier: Classifier = None,
    device: Device = None,
    dtype: DType = None,
    weights_dir: WeightsDir = None,
    as_json: AsJson = False,
    batch_size: Annotated[int | None, Option(min=1, help="Images computed together.  [default: by device]")] = None,
    stretch: Stretch = False,
    max_pixels: MaxPixels = None,
    recursive: Recursive = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Find objects in images by their names.

    For a/scene.png this writes out/scene.png, the image with masks and labels, and out/scene.json.
    Images from a folder keep their place in it.  Exit code 3: some images could not be read; the
    others are done.
    """
    queries = queries_of(query, classes)
    kinds = formats_of(formats, FORMATS)
    limits = given_of(threshold=threshold, boxes=boxes, nms=nms, reject=reject, tile=tile, overlap=overlap)
    models = given_of(detector=detector, segmenter=segmenter, classifier=classifier)
    check_numbers(limits, LIMITS, "--")
    given: Json = {**limits, **models, **given_of(refine=refine, device=device, dtype=dtype)}
    items = images_of(paths, recursive, kinds)
    folder = output_folder_of(out, as_json)
    settings = functools.partial(pipeline_settings, pipeline, queries, {**given, "stretch": stretch or None})
    files = SceneFiles(folder, kinds, items, settings, overwrite=overwrite) if folder is not None else None
    say = _nothing if quiet and not as_json else _json if as_json else _details if len(items) == 1 else _summary
    with Run(items, files, say, resume=resume, as_json=as_json, quiet=quiet) as run:
        if run.todo:
            import gsam

            with saying(f"loading {pipeline}", hush if quiet else tell):
                pipe = gsam.load(pipeline, **given)
            found = stream(pipe, run.todo, queries, batch_size, stretch=stretch, max_pixels=max_pixels)
            run.process(found, batch_size or 1)
        if files is not None:
            files.write_data_sets()
        run.finish()
    if files is not None and not quiet:
        for kind, losses in files.data_sets.losses.items():
            tell_losses(kind, losses)
            if not as_json:
                tell(f"gsam: {files.data_sets.place(kind)}")
    if run.exit_code:
        raise typer.Exit(run.exit_code)


def _nothing(item: Item, result: Result, written: Sequence[Path]) -> None:
    """Say nothing of what is as it should be."""


def _json(item: Item, result: Result, written: Sequence[Path]) -> str:
    from gsam.results.formats import scene_json

    return scene_json.dumps(result.to_dict())


def _summary(item: Item, result: Result, written: Sequence[Path]) -> str:
    return describe(item.path, result.labels, written)


def _details(item: Item, result: Result, written: Sequence[Path]) -> str:
    """Add a line per object."""
    wide = max((len(label) for label in result.labels), default=0)
    lines = [_summary(item, result, written)]
    for label, score, box in zip(result.labels, result.scores, result.xyxy, strict=True):
        lines.append(f"  {label:{wide}}  {score:.2f}  box {' '.join(str(round(float(v))) for v in box)}")
    return "\n".join(lines)
