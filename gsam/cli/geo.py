"""``gsam geo``: aerial and satellite images of any size, objects with their places out."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from gsam.cli.options import (
    HELP,
    PIPELINE,
    Boxes,
    Classes,
    Classifier,
    Detector,
    Device,
    DType,
    Nms,
    Query,
    Quiet,
    Recipe,
    Reject,
    Segmenter,
    Threshold,
    WeightsDir,
    command_app,
    given_of,
    queries_of,
)
from gsam.dataset.progress import Progress
from gsam.dataset.report import count_labels, display_path, explain, hush, tell
from gsam.dataset.run import SOME_FAILED
from gsam.errors import ImageError, UsageError
from gsam.runtime.settings import LIMITS, check_numbers

SHOWN = 10
"""Failed tiles that are named."""

app = command_app()


@app.command(no_args_is_help=True, context_settings=HELP)
def geo(
    scenes: Annotated[list[Path], Argument(metavar="SCENE...", help="GeoTIFF (COG, BigTIFF), JPEG 2000, Imagine.")],
    out: Annotated[Path, Option("--out", "-o", help="The folder of the results.")] = Path("out"),
    query: Query = None,
    classes: Classes = None,
    pipeline: Recipe = PIPELINE,
    formats: Annotated[
        str | None,
        Option("--format", help="gpkg, geojson, tif (255 where an object is), ids.  [default: gpkg,geojson,tif]"),
    ] = None,
    tile: Annotated[int, Option(help="Side of a tile in pixels.")] = 1024,
    overlap: Annotated[float, Option(help="Share of a tile that the next one covers too.")] = 0.2,
    bands: Annotated[
        str | None, Option(help="Bands for red, green, blue, or one for grey, from 1: 4,3,2.  [default: the file's]")
    ] = None,
    stretch: Annotated[
        bool, Option("--stretch", help="Map each band's 2nd to 98th percentile to black and white; 8 bits stay.")
    ] = False,
    span: Annotated[
        str | None, Option("--range", metavar="LOW,HIGH", help="Values that become black and white: 0,3000.")
    ] = None,
    nodata: Annotated[float | None, Option(help="Value of pixels not measured.  [default: the file's]")] = None,
    simplify: Annotated[
        str, Option(help="What outlines may be off, in pixels, or in metres: 0.5m.  [default: 0, every pixel]")
    ] = "0",
    threshold: Threshold = None,
    boxes: Boxes = None,
    nms: Nms = None,
    reject: Reject = None,
    detector: Detector = None,
    segmenter: Segmenter = None,
    classifier: Classifier = None,
    device: Device = None,
    dtype: DType = None,
    weights_dir: WeightsDir = None,
    batch_size: Annotated[int | None, Option(min=1, help="Tiles computed together.  [default: by device]")] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace results of other settings, and files that gsam did not write.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Find objects in aerial and satellite images.

    A run that was killed goes on with the same command. Exit code 3: some tiles, or images, could
    not be read; the rest is there.
    """
    from gsam.dataset.geo.engine import Summary, segment

    queries = queries_of(query, classes)
    limits = given_of(threshold=threshold, boxes=boxes, nms=nms, reject=reject)
    check_numbers(limits, LIMITS, "--")
    given = {
        **limits,
        **given_of(detector=detector, segmenter=segmenter, classifier=classifier, device=device, dtype=dtype),
    }
    stems = [scene.stem for scene in scenes]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise UsageError(f"several images are called {twice[0]}: give each its own -o", "names_differ_not")
    looked: dict[str, Any] = {
        "bands": _numbers(bands, int, "--bands 4,3,2"),
        "span": _numbers(span, float, "--range 0,3000"),
        "formats": None if formats is None else [name.strip() for name in formats.split(",")],
    }
    looked |= {"tile": tile, "overlap": overlap, "stretch": stretch, "nodata": nodata, "simplify": simplify}
    looked |= {"batch_size": batch_size, "overwrite": overwrite}
    say = hush if quiet else lambda text: tell(f"gsam: {text}")
    failed = False
    load = functools.cache(_load)  # once for all images
    for scene in scenes:
        bar: Progress | None = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = Progress(0 if quiet else total, "tile")
                bar.done = done - 1
            bar.step()

        try:
            found: Summary = segment(
                scene, queries, out, pipeline, progress=show, say=say, load=load, **looked, **given
            )
        except ImageError as error:
            tell(f"gsam: {explain(error)}")
            failed = True
            continue
        finally:
            if bar is not None:
                bar.close()
        _report(found, say)
        failed |= bool(found.errors)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _report(found: Any, say: Any) -> None:
    """One line on stdout; on stderr, whatever is worth knowing."""
    for (top, left, bottom, right), why in found.errors[:SHOWN]:
        place = "" if "rows" in why else f"rows {top} to {bottom}, columns {left} to {right}: "
        tell(f"gsam: {place}{why}")
    if len(found.errors) > SHOWN:
        tell(f"gsam: and {len(found.errors) - SHOWN} more tiles failed")
    if found.done_before:
        say(f"{found.done_before} of {found.tiles} tiles were done before")
    if found.empty:
        say(f"{found.empty} of {found.tiles} tiles hold nothing that was measured")
    if found.full:
        say(f"{found.full} tiles hold as many objects as are kept: give more --boxes, or a smaller --tile")
    files = ", ".join(display_path(file) for file in found.files)
    print(f"{display_path(found.path)}: {count_labels(list(found.counts.elements()))} -> {files}", flush=True)


def _load(pipeline: str, **given: Any) -> Any:
    import gsam

    return gsam.load(pipeline, **given)


def _numbers(text: str | None, kind: Any, example: str) -> tuple[Any, ...] | None:
    """Numbers with commas between them.

    Raises:
        UsageError: They are none.
    """
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"not numbers with commas between them: {text!r}; it should be like {example}") from None
