"""``gsam segment``: images and words in; overlays, JSON and COCO out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from gsam.cli.options import (
    HELP,
    AsJson,
    Images,
    MaxPixels,
    Out,
    Overwrite,
    Recursive,
    Resume,
    Stretch,
    check_share,
    command_app,
    images_of,
    output_folder_of,
    queries_of,
)
from gsam.dataset.outputs import formats_of
from gsam.dataset.progress import saying
from gsam.dataset.report import describe
from gsam.dataset.run import Run
from gsam.dataset.scene_files import FORMATS, SceneFiles
from gsam.dataset.settings import pipeline_settings
from gsam.dataset.sources import Item
from gsam.dataset.stream import stream

if TYPE_CHECKING:
    from gsam.results.result import Result
    from gsam.types import Json

app = command_app()


@app.command(no_args_is_help=True, context_settings=HELP)
def segment(
    paths: Images,
    query: Annotated[
        list[str],
        Option(
            "--query", "-q", help='What to find: "cat. yellow school bus"; . , or newlines separate. May be repeated.'
        ),
    ],
    pipeline: Annotated[str, Option("--pipeline", "-p", help="A recipe's name or a .toml file.")] = "nano",
    out: Out = None,
    formats: Annotated[
        str, Option("--format", help="Any of json, png (overlay), coco (one file per run).")
    ] = "json,png",
    threshold: Annotated[float | None, Option(help="Lowest score to keep, 0 to 1.  [default: the recipe's]")] = None,
    tile: Annotated[
        int | None,
        Option(min=0, help="Look at larger images in tiles of this many pixels too.  [default: the recipe's]"),
    ] = None,
    overlap: Annotated[
        float | None, Option(help="Share of a tile that the next one covers too, 0 to 1.  [default: 0.2]")
    ] = None,
    as_json: AsJson = False,
    batch_size: Annotated[int | None, Option(min=1, help="Images computed together.  [default: by device]")] = None,
    stretch: Stretch = False,
    max_pixels: MaxPixels = None,
    recursive: Recursive = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Find objects in images by their names.

    For a/scene.png this writes out/scene.png, the image with masks and labels, and out/scene.json.
    Images from a folder keep their place in it.  Exit code 3: some images could not be read; the
    others are done.
    """
    queries = queries_of(query)
    kinds = formats_of(formats, FORMATS)
    check_share(threshold, "a threshold is between 0 and 1")
    check_share(overlap, "an overlap is a share of a tile, 0 to 1", exclusive=True)
    given: Json = {"threshold": threshold, "tile": tile, "overlap": overlap}
    items = images_of(paths, recursive, kinds)
    folder = output_folder_of(out, as_json)
    settings = functools.partial(pipeline_settings, pipeline, queries, {**given, "stretch": stretch or None})
    files = SceneFiles(folder, kinds, items, settings, overwrite=overwrite) if folder is not None else None
    say = _json if as_json else _details if len(items) == 1 else _summary
    with Run(items, files, say, resume=resume, as_json=as_json) as run:
        if run.todo:
            import gsam

            with saying(f"loading {pipeline}"):
                pipe = gsam.load(pipeline, **{k: v for k, v in given.items() if v is not None})
            found = stream(pipe, run.todo, queries, batch_size, stretch=stretch, max_pixels=max_pixels)
            run.process(found, batch_size or 1)
        run.finish()
    if run.exit_code:
        raise typer.Exit(run.exit_code)


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
