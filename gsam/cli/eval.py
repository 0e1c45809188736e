"""``gsam eval``: found masks beside true ones, from files or from a pipeline at work."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from gsam.cli.options import (
    HELP,
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
    Reject,
    Segmenter,
    Stretch,
    Threshold,
    Tile,
    WeightsDir,
    command_app,
    complete_recipe,
    given_of,
    queries_of,
)
from gsam.dataset.folder import new_folder
from gsam.dataset.report import explain, hush, tell
from gsam.dataset.run import SOME_FAILED
from gsam.errors import UsageError
from gsam.runtime.settings import LIMITS, check_numbers

if TYPE_CHECKING:
    from gsam.evaluation.compared import Compared, Truth
    from gsam.text.queries import Queries
    from gsam.types import Json

SHOWN = 10
"""Problems that are printed."""
FOUND = "found.jsonl"

app = command_app()


@app.command("eval", no_args_is_help=True, context_settings=HELP)
def evaluate(
    truth: Annotated[
        Path | None, Argument(metavar="TRUTH", help="A data set of true masks, in any format of gsam convert.")
    ] = None,
    found: Annotated[
        str | None,
        Argument(metavar="FOUND", help="The same of what was found, COCO results, or what gsam label wrote (or URL)."),
    ] = None,
    pipeline: Annotated[
        str | None,
        Option(
            "--pipeline",
            "-p",
            help="Instead of FOUND, the recipe, .toml file or folder of `gsam export` that is to be scored.",
            autocompletion=lambda incomplete: complete_recipe(incomplete),
        ),
    ] = None,
    data: Annotated[Path | None, Option(help="With --pipeline, the data set of true masks.")] = None,
    truth_format: Annotated[str | None, Option(help="The format of the true masks.  [default: as it looks]")] = None,
    found_format: Annotated[str | None, Option(help="The format of FOUND.  [default: as it looks]")] = None,
    images: Annotated[
        Path | None,
        Option(help="The folder of the images.  [default: the data set's own, and images/ in it or beside it]"),
    ] = None,
    query: Query = None,
    classes: Classes = None,
    lvis: Annotated[
        bool | None, Option("--lvis/--no-lvis", help="LVIS's rules or COCO's.  [default: as the truth's JSON has them]")
    ] = None,
    program: Annotated[
        str | None, Option("--with", help="pycocotools or hotcoco.  [default: pycocotools, for LVIS hotcoco]")
    ] = None,
    out: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            help=f"A folder for scores.json, precision_recall.png, and {FOUND} of a pipeline; it must not exist.",
        ),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="The numbers as JSON on stdout.")] = False,
    threshold: Threshold = None,
    boxes: Boxes = None,
    nms: Nms = None,
    reject: Reject = None,
    tile: Tile = None,
    overlap: Overlap = None,
    detector: Detector = None,
    segmenter: Segmenter = None,
    classifier: Classifier = None,
    device: Device = None,
    dtype: DType = None,
    weights_dir: WeightsDir = None,
    batch_size: Annotated[int | None, Option(min=1, help="Images computed together.  [default: by device]")] = None,
    stretch: Stretch = False,
    max_pixels: MaxPixels = None,
    quiet: Quiet = False,
) -> None:
    """Score what was found, or a pipeline.

    gsam eval TRUTH FOUND compares two data sets; gsam eval -p nano --data TRUTH runs a pipeline
    over the images of a truth, asking for its classes unless -q or --classes say otherwise.

    Mask and box AP as COCO or LVIS has them, mean IoU and boundary IoU of classes, and cgF1 for
    open vocabularies. Exit code 3: some entries or images could not be read, and were left out.
    """
    from gsam.evaluation.average_precision import PROGRAMS
    from gsam.evaluation.sides import read_found, read_truth

    limits = given_of(threshold=threshold, boxes=boxes, nms=nms, reject=reject, tile=tile, overlap=overlap)
    models = given_of(detector=detector, segmenter=segmenter, classifier=classifier, device=device, dtype=dtype)
    once = given_of(batch_size=batch_size, stretch=stretch or None, max_pixels=max_pixels)
    asked = given_of(query=query or None, classes=classes)
    if program is not None and program not in PROGRAMS:
        raise UsageError(f"--with takes {' or '.join(PROGRAMS)}, not {program!r}", "program_unknown")
    place = _one_form(truth, found, pipeline, data, found_format, {**asked, **limits, **models, **once})
    check_numbers(limits, LIMITS, "--")
    queries = queries_of(query, classes) if asked else None
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_whole_folder(out)) if out is not None else None
        true = read_truth(place, truth_format, images, lvis).held()
        _can_score(true, program)
        if pipeline is not None:
            given = {**limits, **models}
            compared, failed = _run(
                pipeline, given, true, place, images, queries, folder, once, hush if quiet else tell
            )
            problems = [*true.problems, *failed]
        else:
            assert found is not None
            from gsam.evaluation.compared import compare

            other = read_found(found, true, found_format, images)
            compared = compare(true, other)
            problems = [*true.problems, *other.problems]
        problems += compared.problems
        _tell(compared, problems, str(found or pipeline), place)
        _write(compared, program, folder, as_json)
    if problems:
        raise typer.Exit(SOME_FAILED)


def _one_form(
    truth: Path | None,
    found: str | None,
    pipeline: str | None,
    data: Path | None,
    found_format: str | None,
    of_pipelines: Json,
) -> Path:
    """Say where the true masks are; refuse what belongs to the other form."""
    if pipeline is None:
        if data is not None:
            raise UsageError(f"--data {data} is scored with a pipeline: name it with --pipeline", "form_mixed")
        if of_pipelines:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in of_pipelines)
            raise UsageError(f"{names}: only with --pipeline; FOUND is scored as it is", "form_mixed")
        if truth is None or found is None:
            text = "give TRUTH and FOUND, two data sets; or --pipeline and --data, to score a pipeline"
            raise UsageError(text, "form_incomplete")
        return truth
    if truth is not None:
        what = "TRUTH and FOUND are" if found is not None else "TRUTH is"
        text = f"{what} scored without --pipeline; with it, the truth is given by --data: --data {truth}"
        raise UsageError(text, "form_mixed")
    if found_format is not None:
        raise UsageError("--found-format: only with FOUND, not with --pipeline", "form_mixed")
    if data is None:
        raise UsageError("--pipeline needs --data, a data set of true masks", "form_incomplete")
    return data


def _can_score(truth: Truth, program: str | None) -> None:
    """Refuse before hours of work what could not be scored after them."""
    from gsam.evaluation.average_precision import program_of

    program_of(bool(truth.frequencies), program)


def _run(
    pipeline: str,
    given: Json,
    truth: Truth,
    place: Path,
    images: Path | None,
    queries: Queries | None,
    folder: Path | None,
    once: Json,
    say: Any,
) -> tuple[Compared, list[str]]:
    import gsam
    from gsam.dataset.progress import Progress, saying
    from gsam.evaluation import pipelines
    from gsam.evaluation.compared import compare

    task = pipelines.task_of(truth, place, queries, images)
    with saying(f"loading {pipeline}", say):
        pipe = gsam.load(pipeline, **given)
    failed: dict[str, Exception] = {}
    with contextlib.ExitStack() as stack:
        scenes: Iterable[Json] = pipelines.found_by(pipe, task.items, task.groups, failed, **once)
        if say is tell:
            scenes = _counted(scenes, stack.enter_context(Progress(len(task.items))), failed)
        if folder is not None:
            scenes = _kept(scenes, stack.enter_context((folder / FOUND).open("wb")))
        try:
            compared = compare(truth, scenes, task.asked, failed)
        except UsageError:
            for name, error in list(failed.items())[:SHOWN]:
                tell(f"gsam: {name}: {explain(error)}")
            raise
    return compared, [f"{name}: {explain(error)}" for name, error in failed.items()]


def _counted(scenes: Iterable[Json], progress: Any, failed: Json) -> Iterator[Json]:
    given = 0
    for scene in scenes:
        given += 1
        while progress.done < given + len(failed):
            progress.step()
        yield scene
    while progress.done < given + len(failed):
        progress.step()


def _kept(scenes: Iterable[Json], file: IO[bytes]) -> Iterator[Json]:
    from gsam.results.formats import scene_json

    for scene in scenes:
        file.write(scene_json.dumps(scene).encode() + b"\n")
        yield scene


@contextlib.contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    from gsam.files import atomic_folder

    with new_folder(out), atomic_folder(out.absolute()) as folder:
        yield folder


def _tell(compared: Compared, problems: list[str], found: str, truth: Path) -> None:
    for problem in problems[:SHOWN]:
        tell(f"gsam: left out: {problem}")
    if len(problems) > SHOWN:
        tell(f"gsam: and {len(problems) - SHOWN} more were left out")
    if compared.missing:
        count = f"{len(compared.missing)} of {len(compared.images)}"
        tell(f"gsam: {count} images are missing in {found}: nothing found there")
    if compared.unknown:
        some = ", ".join(compared.unknown[:SHOWN])
        tell(f"gsam: {len(compared.unknown)} images or labels of {found} are none of {truth}, and left out: {some}")


def _write(compared: Compared, program: str | None, folder: Path | None, as_json: bool) -> None:
    from gsam.evaluation.report import Report
    from gsam.files import atomic_file
    from gsam.results.draw import overlay

    report = Report.of(compared, program)
    text = json.dumps(report.to_dict(), ensure_ascii=False, indent=1)
    if folder is not None:
        with atomic_file(folder / "scores.json") as file:
            file.write(text.encode() + b"\n")
        overlay.write(report.curve(), folder / "precision_recall.png")
    print(text if as_json else "\n".join(report.lines()))
