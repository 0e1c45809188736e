"""Arguments and options that several commands share, and how their values are read."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from gsam.dataset.run import Run
from gsam.errors import ImageError, UsageError, VideoError
from gsam.inputs.paths import expanded, missing

if TYPE_CHECKING:
    from gsam.dataset.sources import Item
    from gsam.text.queries import Queries

HELP = {"help_option_names": ["-h", "--help"]}
NO_MATCH = 4
"""Exit code of a run that has no inputs."""
VIDEOS = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"})
"""Suffixes of videos, which are looked at before a model is loaded."""
PIPELINE, TRACKING, EVERYTHING = "grounded_sam", "grounded_sam2", "sam_vit_b"
"""The recipes of `gsam segment` and `gsam track`, and the model of `gsam everything`."""

Images = Annotated[
    list[str],
    Argument(metavar="PATH...", help="Images, folders of them, quoted patterns, http(s) addresses, or - for stdin."),
]
Out = Annotated[Path | None, Option("--out", "-o", help="Folder for the results.  [default: out]")]
Recursive = Annotated[bool, Option("--recursive", "-r", help="Look into the folders of folders, linked ones too.")]
Stretch = Annotated[
    bool, Option("--stretch", help="Map the range of 16-bit, 32-bit and float pixels to black and white.")
]
MaxPixels = Annotated[
    int | None, Option("--max-pixels", min=1, help="Largest image in pixels; use --tile too.  [default: 100000000]")
]
AsJson = Annotated[bool, Option("--json", help="One line of JSON per image on stdout; no files without -o.")]
Query = Annotated[
    list[str] | None,
    Option(
        "--query",
        "-q",
        help='What to find: "cat. yellow school bus"; . , or newlines separate, a name in double quotes is one. '
        "May be repeated.",
    ),
]
Classes = Annotated[Path | None, Option(help="A file with a name per line, before those of -q.")]
Recipe = Annotated[
    str,
    Option(
        "--pipeline",
        "-p",
        help="A recipe (`gsam recipes` lists them), a .toml file, or a folder of `gsam export`.",
        autocompletion=lambda incomplete: complete_recipe(incomplete),
    ),
]
_MODEL = "another model in its place: a name of `gsam weights list`, a hub id, a folder or a file."
Detector = Annotated[str | None, Option(help=f"The recipe's detector: {_MODEL}")]
Segmenter = Annotated[str | None, Option(help=f"The recipe's segmenter: {_MODEL}")]
Classifier = Annotated[str | None, Option("--classifier", "-c", help=f"The recipe's classifier: {_MODEL}")]
Tracker = Annotated[str | None, Option(help=f"The recipe's tracker: {_MODEL}")]
Device = Annotated[str | None, Option(help="cpu, gpu (cuda) or tpu, or one of theirs: cuda:0.  [default: JAX's]")]
DType = Annotated[str | None, Option(help="float32, bfloat16 or float16.  [default: float32 on a CPU, else bfloat16]")]
Threshold = Annotated[float | None, Option(help="Lowest score to keep, 0 to 1.  [default: the recipe's]")]
Boxes = Annotated[int | None, Option(help="Objects per image, at most.  [default: the recipe's]")]
Nms = Annotated[
    float | None,
    Option(help="IoU above which the better of two boxes with one label is kept.  [default: the recipe's]"),
]
Reject = Annotated[
    float | None, Option(help="Drop what the classifier believes in less than this.  [default: the recipe's]")
]
Tile = Annotated[
    int | None, Option(help="Look at larger images in tiles of this many pixels too.  [default: the recipe's]")
]
Overlap = Annotated[float | None, Option(help="Share of a tile that the next one covers too.  [default: the recipe's]")]
Refine = Annotated[
    bool | None,
    Option(
        "--refine/--no-refine",
        help="Segment small things again, each in a window of its own (docs/refine.md).  [default: the recipe's]",
    ),
]
Quiet = Annotated[bool, Option("--quiet", help="Print errors only.")]
WeightsDir = Annotated[
    Path | None,
    Option(
        help="Where downloaded weights are and go.  [default: ~/.cache/gsam/weights]",
        callback=lambda folder: use_weights(folder),
    ),
]
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


def use_weights(folder: Path | None) -> Path | None:
    """Let weights be looked for, and downloaded to, a folder."""
    if folder is not None:
        os.environ["GSAM_WEIGHTS"] = str(folder.expanduser().absolute())
    return folder


def complete_recipe(incomplete: str) -> list[str]:
    """List the recipes that begin so, for a shell's completion."""
    from gsam.build.recipes import recipes

    return [name for name in recipes() if name.startswith(incomplete)]


def given_of(**options: object) -> dict[str, Any]:
    """Keep the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def queries_of(parts: Sequence[str] | None, classes: Path | None = None) -> Queries:
    """Read a ``--query`` that may be repeated, and a file of class names.

    Raises:
        QueryError: Nothing is asked for, or what cannot be read.
        UsageError: The file cannot be read (``classes_unreadable``).
    """
    from gsam.text.queries import join_queries, parse_queries
    from gsam.text.query_files import is_query_file, read_queries

    found = [read_queries(part) if is_query_file(part) else parse_queries(part) for part in parts or ()]
    if classes is not None:
        found.insert(0, read_queries(classes))
    if not found:
        raise UsageError("nothing is asked for: give --query 'cat. bus', or --classes FILE with a name per line")
    return join_queries(found)


def images_of(paths: Sequence[str], recursive: bool, kinds: Sequence[str]) -> list[Item]:
    """List the images that the arguments name; exit with `NO_MATCH` if there are none."""
    from gsam.dataset.brought import brought
    from gsam.dataset.image_files import COCO_STEMS
    from gsam.dataset.sources import collect

    items = collect(brought(paths), recursive, COCO_STEMS if "coco" in kinds else frozenset())
    if not items:
        print(f"gsam: no image matches {' '.join(map(repr, paths))}", file=sys.stderr)
        raise typer.Exit(NO_MATCH)
    refuse_all_bad(items)
    return items


def refuse_all_bad(items: Sequence[Item], noun: str = "image") -> None:
    """End the run, before a model is loaded or a folder made, where no input can be read.

    Args:
        items: The inputs.
        noun: ``"image"`` or ``"video"``.

    Raises:
        typer.Exit: None is there, or all are videos and should be images; each was reported.
    """
    failures: list[tuple[Item, Exception]] = []
    for item in items:
        if item.path.exists() and (noun == "video" or item.path.suffix.lower() not in VIDEOS):
            return
        if not os.path.lexists(expanded(item.path)):  # told without what would open it
            failures.append((item, missing(item.path, VideoError if noun == "video" else ImageError)))
            continue
        try:
            if noun == "video":
                from gsam.inputs.video import open_frames

                open_frames(item.path).close()
            else:
                from gsam.inputs.image import open_image

                open_image(item.path)
        except Exception as error:
            failures.append((item, error))
        else:
            return
    run: Run[list[object]] = Run(items, None, lambda *_: None, noun=noun)
    for item, failure in failures:
        run.record_failure(item, failure)
    run.finish()
    raise typer.Exit(run.exit_code)
