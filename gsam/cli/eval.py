"""``gsam eval``: found masks beside true ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from gsam.cli.options import HELP
from gsam.dataset.folder import new_folder
from gsam.dataset.report import tell
from gsam.dataset.run import SOME_FAILED

SHOWN = 10
"""Problems that are printed."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command("eval", no_args_is_help=True, context_settings=HELP)
def evaluate(
    truth: Annotated[Path, Argument(metavar="TRUTH", help="A data set of true masks, in any format of gsam convert.")],
    found: Annotated[Path, Argument(metavar="FOUND", help="The same of what was found, or what gsam label wrote.")],
    truth_format: Annotated[str | None, Option(help="The format of TRUTH.  [default: as it looks]")] = None,
    found_format: Annotated[str | None, Option(help="The format of FOUND.  [default: as it looks]")] = None,
    images: Annotated[Path | None, Option(help="The folder of the images, whose sizes YOLO does not tell.")] = None,
    out: Annotated[
        Path | None, Option("--out", "-o", help="A folder for scores.json and precision_recall.png; it must not exist.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="The numbers as JSON on stdout.")] = False,
) -> None:
    """Score what was found.

    Mask and box AP as COCO has them, mean IoU and boundary IoU of classes, and cgF1 for
    open vocabularies. Exit code 3: some entries could not be read, and were left out.
    """
    from gsam.evaluation.compared import compare
    from gsam.evaluation.report import Report
    from gsam.files import atomic_file, atomic_folder
    from gsam.results.draw import overlay
    from gsam.results.formats import known

    true, other = known.read(truth, truth_format, images), known.read(found, found_format, images)
    compared = compare(true, other)
    problems = [*true.problems, *other.problems]
    for problem in problems[:SHOWN]:
        tell(f"gsam: left out: {problem}")
    if len(problems) > SHOWN:
        tell(f"gsam: and {len(problems) - SHOWN} more were left out")
    if compared.missing:
        tell(
            f"gsam: {len(compared.missing)} of {len(compared.images)} images are missing in {found}: nothing found there"
        )
    if compared.unknown:
        some = ", ".join(compared.unknown[:SHOWN])
        tell(f"gsam: {len(compared.unknown)} images or labels of {found} are none of {truth}, and left out: {some}")
    report = Report.of(compared)
    text = json.dumps(report.to_dict(), ensure_ascii=False, indent=1)
    if out is not None:
        with new_folder(out), atomic_folder(out.absolute()) as folder:
            with atomic_file(folder / "scores.json") as file:
                file.write(text.encode() + b"\n")
            overlay.write(report.curve(), folder / "precision_recall.png")
    print(text if as_json else "\n".join(report.lines()))
    if problems:
        raise typer.Exit(SOME_FAILED)
