"""``gsam data``: look at a data set before training with it."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from gsam.cli.options import HELP, command_app
from gsam.dataset.report import tell
from gsam.dataset.run import SOME_FAILED
from gsam.results.formats.names import FORMATS

if TYPE_CHECKING:
    from gsam.results.formats.streamed import StreamedList
    from gsam.training.data import Report
    from gsam.types import Json

CLASSES = 20
"""Classes whose objects are printed, the most frequent first."""
WIDEST = 110
"""Columns of an example."""
app = command_app()


@app.callback(no_args_is_help=True, context_settings=HELP)
def data() -> None:
    """Look at a data set before training with it."""


@app.command(no_args_is_help=True, context_settings=HELP)
def check(
    data: Annotated[
        str,
        Argument(
            metavar="DATA",
            help="COCO or LVIS JSON, what gsam label wrote, a folder of PNG masks, or any format of gsam convert.",
        ),
    ],
    images: Annotated[
        Path | None,
        Option(help="The folder of the images.  [default: the data set's own, and images/ in it or beside it]"),
    ] = None,
    of: Annotated[
        str | None, Option("--from", help=f"The format: {', '.join(FORMATS)}.  [default: as it looks]")
    ] = None,
    boxes: Annotated[
        bool, Option("--boxes", help="Boxes are enough, as for gsam train detector and classifier.")
    ] = False,
    quick: Annotated[bool, Option("--quick", help="Read the heads of image files only, not their pixels.")] = False,
    examples: Annotated[int, Option(min=0, help="Examples of each kind that are printed.")] = 3,
    as_json: Annotated[bool, Option("--json", help="Every fault and note, as JSON on stdout.")] = False,
) -> None:
    """List every fault of a data set: images, masks, boxes and classes.

    gsam train does the same before its first step, and refuses what would be left out. Exit code 3:
    there are faults; notes are none.
    """
    from gsam.results.formats.streamed import StreamedList
    from gsam.training.data import check as run

    began = last = time.monotonic()

    def show(done: int) -> None:
        nonlocal last
        if time.monotonic() - last > 2:
            last = time.monotonic()
            tell(f"gsam: {done} images, {done / (last - began):.0f} a second")

    every = StreamedList(Path(tempfile.gettempdir()))
    given: Json = {"masks": not boxes, "format": of, "pixels": not quick, "progress": show}
    report = run(data, images, tell=lambda fault: every.add(fault.to_dict()) if as_json else None, **given)
    if as_json:
        _write(data, report, every)
    else:
        print("\n".join(_lines(data, report, examples)))
    if report.count_of("stops", "left out", "used"):
        sys.stdout.flush()
        raise typer.Exit(SOME_FAILED)


def _lines(data: str, report: Report, examples: int) -> list[str]:
    from gsam.results.terminal_table import aligned, in_one_line
    from gsam.training.data.faults import KINDS, WEIGHTS

    objects = sum(report.classes.values())
    lines = [f"{data}: {report.images} images and {objects} objects can be used"]
    most = sorted(report.classes.items(), key=lambda item: -item[1])
    if most:
        shown = [(in_one_line(name), f"{count}") for name, count in most[:CLASSES]]
        lines += ["", *aligned([("class", "objects"), *shown])]
    if len(most) > CLASSES:
        lines.append(f"and {len(most) - CLASSES} more classes")
    kinds = [(kind, weight) for weight in WEIGHTS for kind in KINDS if report.count_of(weight, kind=kind)]
    if kinds:
        rows = [(kind, f"{report.count_of(weight, kind=kind)}", weight) for kind, weight in kinds]
        lines += ["", *aligned([("kind", "number", "in training"), *rows])]
    for kind in dict.fromkeys(kind for kind, _ in kinds) if examples else ():
        lines += ["", f"{kind}: {KINDS[kind]}"]
        for fault in report.examples[kind][:examples]:
            lines.append(f"  {in_one_line(fault.text, WIDEST)}")
        if (more := report.counts[kind] - examples) > 0:
            lines.append(f"  and {more} more")
    faults, lost = report.count_of("stops", "left out", "used"), report.count_of("stops", "left out")
    notes = report.count_of("note")
    lines += ["", f"faults: {faults}, of which {lost} leave something out; notes: {notes}"]
    return lines


def _write(data: str, report: Report, every: StreamedList) -> None:
    from gsam.results.formats.scene_json import dumps

    sys.stdout.write(dumps({"data": data, **report.to_dict()})[:-1] + ', "faults": ')
    sys.stdout.flush()
    every.pour(sys.stdout.buffer)
    sys.stdout.buffer.write(b"}\n")
