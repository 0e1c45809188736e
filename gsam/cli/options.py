"""Arguments and options that several commands share, and how their values are read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from gsam.errors import UsageError

if TYPE_CHECKING:
    from gsam.dataset.sources import Item
    from gsam.text.queries import Queries

HELP = {"help_option_names": ["-h", "--help"]}
NO_MATCH = 4
"""Exit code of a run that has no inputs."""

Images = Annotated[list[str], Argument(metavar="PATH...", help="Images, folders of them, or quoted patterns.")]
Out = Annotated[Path | None, Option("--out", "-o", help="Folder for the results.  [default: out]")]
Recursive = Annotated[bool, Option("--recursive", "-r", help="Look into the folders of folders.")]
Stretch = Annotated[
    bool, Option("--stretch", help="Map the range of 16-bit, 32-bit and float pixels to black and white.")
]
MaxPixels = Annotated[
    int | None, Option("--max-pixels", min=1, help="Largest image in pixels; use --tile too.  [default: 100000000]")
]
AsJson = Annotated[bool, Option("--json", help="One line of JSON per image on stdout; no files without -o.")]
Resume = Annotated[
    bool, Option("--resume", help="Skip what an earlier run finished with the same settings; do the rest.")
]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace files in the output folder that gsam did not write; never an input.")
]


def command_app() -> typer.Typer:
    """Make the application of a command."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def output_folder_of(out: Path | None, as_json: bool) -> Path | None:
    """Give the folder for the results: ``out`` by default, none where they go to stdout only."""
    return out if out is not None or as_json else Path("out")


def queries_of(parts: Sequence[str]) -> Queries:
    """Read a ``--query`` that may be repeated.

    Raises:
        QueryError: Nothing is asked for, or what cannot be read.
    """
    from gsam.text.queries import join_queries, parse_queries

    return join_queries([parse_queries(part) for part in parts])


def images_of(paths: Sequence[str], recursive: bool, kinds: Sequence[str]) -> list[Item]:
    """List the images that the arguments name; exit with `NO_MATCH` if there are none."""
    from gsam.dataset.image_files import COCO_STEMS
    from gsam.dataset.sources import collect

    items = collect(paths, recursive, COCO_STEMS if "coco" in kinds else frozenset())
    if not items:
        print(f"gsam: no image matches {' '.join(map(repr, paths))}", file=sys.stderr)
        raise typer.Exit(NO_MATCH)
    return items


def check_share(value: float | None, text: str, *, exclusive: bool = False) -> None:
    """Refuse a number outside 0 to 1, or a 1 where it is ``exclusive``; None is no number.

    Raises:
        UsageError: It begins with ``text``.
    """
    if value is not None and not (0 <= value < 1 if exclusive else 0 <= value <= 1):
        raise UsageError(f"{text}, not {value}")
