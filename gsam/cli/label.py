"""``gsam label``: a whole data set, by any number of processes, killed and resumed."""

from __future__ import annotations

import time
from typing import Annotated

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
    MaxPixels,
    Nms,
    Overlap,
    Query,
    Quiet,
    Recipe,
    Refine,
    Reject,
    Segmenter,
    Stretch,
    Threshold,
    Tile,
    WeightsDir,
    given_of,
    queries_of,
)
from gsam.dataset.progress import Counted
from gsam.dataset.report import tell
from gsam.dataset.run import SOME_FAILED
from gsam.runtime.settings import LIMITS, check_numbers

SHOWN = 10
"""Failed images that are named."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(no_args_is_help=True, context_settings=HELP)
def label(
    sources: Annotated[
        list[str],
        Argument(
            metavar="SOURCE...",
            help="Folders, files, patterns, manifests (.jsonl, .csv, .txt), tars, Parquet; also on buckets (gs://).",
        ),
    ],
    out: Annotated[
        str, Option("--out", "-o", help="The folder of the results, the same for all processes; gs:// and s3:// too.")
    ],
    query: Query = None,
    classes: Classes = None,
    pipeline: Recipe = PIPELINE,
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
    batch_size: Annotated[
        int | None, Option(min=1, help="Images computed together on each device.  [default: 8, of a CPU 1]")
    ] = None,
    part_size: Annotated[int, Option(min=1, help="Images of a part, which is done as a whole.")] = 256,
    parts: Annotated[str | None, Option(help="parquet or jsonl.  [default: parquet with pyarrow]")] = None,
    worker: Annotated[
        str | None, Option(help="Number from 0 and count, as 3/8.  [default: as a scheduler says, or none]")
    ] = None,
    wait: Annotated[
        bool, Option(help="Wait in the end for the parts of other processes, and take over those of dead ones.")
    ] = True,
    page: Annotated[bool, Option(help="Write index.html, a page to look at the results, in the end.")] = True,
    allow_urls: Annotated[
        bool, Option("--allow-urls", help="Fetch images from the http(s) addresses in SOURCE, with limits.")
    ] = False,
    image_column: Annotated[
        str | None, Option(help="Column of images in manifests and Parquet.  [default: image, path, url, ...]")
    ] = None,
    id_column: Annotated[str | None, Option(help="Column of their ids.  [default: id, key, ...]")] = None,
    stretch: Stretch = False,
    max_pixels: MaxPixels = None,
    quiet: Quiet = False,
) -> None:
    """Label a data set.

    Run it as often and on as many machines as you like with the same -o: parts that are there are
    not done again, and those of a process that died are taken over. Exit code 3: some images could
    not be read; they are rows with their error.
    """
    import gsam
    from gsam.dataset.label.engine import label as run

    queries = queries_of(query, classes)
    limits = given_of(threshold=threshold, boxes=boxes, nms=nms, reject=reject, tile=tile, overlap=overlap)
    check_numbers(limits, LIMITS, "--")
    given = {
        **limits,
        **given_of(detector=detector, segmenter=segmenter, classifier=classifier),
        **given_of(refine=refine, device=device, dtype=dtype),
    }
    began = time.monotonic()
    with Counted(quiet) as shown:
        found = run(
            sources,
            queries,
            out,
            pipeline,
            part_size=part_size,
            parts=parts,
            worker=worker,
            wait=wait,
            page=page,
            allow_urls=allow_urls,
            image_column=image_column,
            id_column=id_column,
            batch_size=batch_size,
            stretch=stretch,
            max_pixels=max_pixels,
            progress=shown,
            say=lambda text: shown.say(f"gsam: {text}"),
            load=lambda *arguments, **more: gsam.load(*arguments, **more),  # imported when it is needed
            **given,
        )
    for name, why in found.errors[:SHOWN]:
        tell(f"gsam: {name}: {why}")
    if not quiet:
        for line in found.lines:
            tell(line)
        counts = ", ".join(f"{count} {name}" for name, count in found.counts.most_common(SHOWN)) or "nothing"
        at_work = f"; {found.elsewhere} parts are at work elsewhere" if found.elsewhere else ""
        failed = f"; {found.failed} images failed" if found.failed else ""
        before = f"; {found.done_before} of {found.parts} parts were there before" if found.done_before else ""
        seconds = time.monotonic() - began
        tell(f"gsam: {found.images} images in {seconds:.1f} s: {counts}{failed}{before}{at_work}; results in {out}")
    print(found.page or out)
    if found.failed:
        raise typer.Exit(SOME_FAILED)
