"""``gsam convert``: a data set in another format."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from gsam.cli.options import HELP
from gsam.dataset.data_sets import tell_losses
from gsam.dataset.report import tell
from gsam.dataset.run import SOME_FAILED
from gsam.results.formats.names import FORMATS

SHOWN = 20
"""Problems that are printed."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(no_args_is_help=True, context_settings=HELP)
def convert(
    source: Annotated[
        str,
        Argument(metavar="IN", help="A file or folder of labelled images, or the URL of what gsam label wrote."),
    ],
    out: Annotated[Path, Argument(metavar="OUT", help="The folder to write; it must not exist.")],
    to: Annotated[
        str,
        Option("--to", help=f"One of {', '.join(FORMATS)}."),
    ],
    of: Annotated[str | None, Option("--from", help="The format of IN.  [default: as it looks]")] = None,
    images: Annotated[
        Path | None, Option(help="The folder of the images, whose sizes YOLO does not tell.  [default: beside labels]")
    ] = None,
    split: Annotated[
        str | None, Option(help="Shares for the folders train, val and test, as 0.9/0.1; by the hash of names.")
    ] = None,
) -> None:
    """Write a data set in another format.

    What the new format cannot hold is counted and said. Exit code 3: some entries could not be
    read; the others are there.
    """
    from gsam.dataset.convert import convert as write
    from gsam.dataset.convert import parse_split

    shares = parse_split(split) if split is not None else ()
    began = last = time.monotonic()

    def show(done: int) -> None:
        nonlocal last
        if time.monotonic() - last > 2:
            last = time.monotonic()
            tell(f"gsam: {done} images, {done / (last - began):.0f} a second")

    found = write(source, out, to, format=of, images=images, split=shares, progress=show)
    print(out)
    for problem in found.problems[:SHOWN]:
        tell(f"gsam: left out: {problem}")
    if len(found.problems) > SHOWN:
        tell(f"gsam: and {len(found.problems) - SHOWN} more were left out")
    tell_losses(to, found.losses)
    parts = "".join(f", {count} in {name}" for name, count in found.parts.items())
    tell(f"gsam: {found.images} images, {found.segments} objects{parts}, {time.monotonic() - began:.1f} s")
    if found.problems:
        sys.stdout.flush()
        raise typer.Exit(SOME_FAILED)
