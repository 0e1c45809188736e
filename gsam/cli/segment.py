"""``gsam segment``: pictures and words in; overlays, JSON and COCO out."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer import Argument, Option

from gsam.cli import signals
from gsam.cli.inputs import Item, collect
from gsam.cli.progress import Progress
from gsam.errors import UsageError

if TYPE_CHECKING:
    from gsam.results.formats.coco import Coco
    from gsam.results.result import Result

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
FORMATS = ("json", "png", "coco")
COCO = "coco.json"


@app.command(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def segment(
    paths: Annotated[list[str], Argument(metavar="PATH...", help="Pictures, folders of them, or quoted patterns.")],
    query: Annotated[
        list[str],
        Option(
            "--query", "-q", help='What to find: "cat. yellow school bus"; . , or newlines separate. May be repeated.'
        ),
    ],
    pipeline: Annotated[str, Option("--pipeline", "-p", help="A recipe's name or a .toml file.")] = "nano",
    out: Annotated[Path | None, Option("--out", "-o", help="Folder for the results.  [default: out]")] = None,
    formats: Annotated[str, Option("--format", help="Any of json, png (overlay), coco (one file a run).")] = "json,png",
    threshold: Annotated[float | None, Option(help="Lowest score to keep, 0 to 1.  [default: the recipe's]")] = None,
    tile: Annotated[
        int | None,
        Option(min=0, help="Look at larger pictures in tiles of so many pixels too.  [default: the recipe's]"),
    ] = None,
    overlap: Annotated[
        float | None, Option(help="How much of a tile the next sees too, 0 to 1.  [default: 0.2]")
    ] = None,
    as_json: Annotated[
        bool, Option("--json", help="One line of JSON a picture on stdout; no files without -o.")
    ] = False,
    batch_size: Annotated[int | None, Option(min=1, help="Pictures computed together.  [default: by device]")] = None,
    recursive: Annotated[bool, Option("--recursive", "-r", help="Look into the folders of folders.")] = False,
    resume: Annotated[bool, Option("--resume/--overwrite", help="Skip pictures whose results are all there.")] = False,
) -> None:
    """Find things in pictures by their names.

    For a/scene.png this writes out/scene.png, the picture with masks and labels, and out/scene.json.  Pictures from a folder
    keep their place in it.  Exit code 3: some pictures could not be read; the others are done.
    """
    from gsam.text.queries import parse_queries

    queries = [name for part in query for name in parse_queries(part).names] if len(query) > 1 else query[0]
    names = parse_queries(queries).names
    kinds = formats_of(formats, FORMATS)
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"a threshold is between 0 and 1, not {threshold}")
    if overlap is not None and not 0 <= overlap < 1:
        raise UsageError(f"an overlap is a share of a tile, 0 to 1, not {overlap}")
    limits = {k: v for k, v in {"threshold": threshold, "tile": tile, "overlap": overlap}.items() if v is not None}
    items = collect(paths, recursive, {Path(COCO).stem} if "coco" in kinds else frozenset())
    if not items:
        print(f"gsam: no picture matches {' '.join(map(repr, paths))}", file=sys.stderr)
        raise typer.Exit(4)
    folder = out if out is not None or as_json else Path("out")
    with ExitStack() as stack:
        outputs = None
        if folder is not None:
            outputs = Outputs(folder, kinds, items, stack)
        done = outputs.finished(items, names, Path(pipeline).stem) if outputs and resume else set()
        run = Run(outputs, as_json, len(items), len(done))
        todo = [item for item in items if item not in done]
        if todo:
            run.go(_load(pipeline, limits), todo, names, batch_size)
        run.close()
    if run.failed:
        raise typer.Exit(3)


class Outputs:
    """The files of a run."""

    def __init__(self, folder: Path, kinds: Sequence[str], items: Sequence[Item], stack: ExitStack) -> None:
        from gsam.cli.folder import output_folder, sweep

        self.folder, self.kinds = folder, kinds
        inputs = {os.path.realpath(item.path) for item in items}
        for item in items:
            for path in self.paths(item):
                if os.path.realpath(path) in inputs:
                    raise UsageError(f"{path} would overwrite a picture to read: choose another -o", "output_is_input")
        stack.enter_context(output_folder(folder))
        sweep({path.parent for item in items for path in self.paths(item)} | {folder})
        self.coco: Coco | None = None
        if "coco" in kinds:
            from gsam.results.formats.coco import Coco

            self.coco = Coco()

    def paths(self, item: Item) -> list[Path]:
        return [self.folder / f"{item.stem}.{kind}" for kind in self.kinds if kind != "coco"]

    def finished(self, items: Sequence[Item], queries: Sequence[str], pipeline: str) -> set[Item]:
        """Those whose files are all there and, as far as the JSON tells, answer the same question."""
        if "coco" in self.kinds and "json" not in self.kinds:
            return set()
        found = set()
        for item in items:
            if not all(path.is_file() for path in self.paths(item)):
                continue
            if "json" in self.kinds:
                try:
                    scene = json.loads((self.folder / f"{item.stem}.json").read_text(encoding="utf-8"))
                    same = scene["queries"] == list(queries) and scene["pipeline"] == pipeline
                    if same and self.coco:
                        self.coco.add(scene)
                except (ValueError, KeyError, TypeError):
                    same = False
                if not same:
                    continue
            found.add(item)
        return found

    def write(self, item: Item, result: Result) -> list[Path]:
        from gsam.results.draw import overlay
        from gsam.results.formats import scene_json

        if "png" in self.kinds:
            overlay.write(result.plot(), self.folder / f"{item.stem}.png")
        if "json" in self.kinds:
            scene_json.write(result.to_dict(), self.folder / f"{item.stem}.json")
        if self.coco:
            self.coco.add(result.to_dict())
        return self.paths(item)

    def close(self) -> Path | None:
        if self.coco is None:
            return None
        self.coco.write(self.folder / COCO)
        return self.folder / COCO


class Run:
    """What happens to the pictures, and what is told about it."""

    def __init__(self, outputs: Outputs | None, as_json: bool, total: int, skipped: int) -> None:
        self.outputs, self.as_json, self.total, self.skipped = outputs, as_json, total, skipped
        self.pictures = self.objects = 0
        self.failed: list[Item] = []
        self.silent = False
        self.started = time.monotonic()

    def go(self, pipe: Any, items: Sequence[Item], queries: Sequence[str], batch_size: int | None) -> None:
        size = batch_size or _batch_size(pipe, len(items))
        bad: set[Path] = set()
        bar = Progress(len(items))

        def refuse(source: Any, error: Exception) -> None:
            bad.add(source)
            self.refuse(next(i for i in items if i.path == source), error, bar)

        signals.finish_batch(True)
        try:
            results = pipe.stream([i.path for i in items], list(queries), batch_size=size, on_error=refuse)
            for n, (item, result) in enumerate(_matched(items, results, bad), 1):
                result = dataclasses.replace(result, image=item.name)
                written = self.outputs.write(item, result) if self.outputs else []
                self.pictures += 1
                self.objects += len(result)
                self.tell(item, result, written)
                bar.step()
                if n % size == 0:
                    signals.check()
            signals.check()
        except signals.Interrupted:
            bar.close()
            if self.outputs:
                self.outputs.close()
            raise
        except OSError as error:
            self.unwritten(error, bar)
        finally:
            signals.finish_batch(False)
            bar.close()

    def refuse(self, item: Item, error: Exception, bar: Progress) -> None:
        """A picture that cannot be read."""
        self.failed.append(item)
        code = getattr(error, "code", "image_unreadable")
        where = "" if str(error).startswith(shown(item.path)) else f"{shown(item.path)}: "
        bar.say(f"gsam: {where}{error} [{code}]")
        bar.step()

    def unwritten(self, error: OSError, bar: Progress) -> NoReturn:
        """The disk is full, or something like it: the run ends."""
        if isinstance(error, BrokenPipeError):
            raise error
        bar.close()
        what = f": {error.filename}" if error.filename else ""
        print(f"gsam: cannot write{what}: {error.strerror or error} [output_failed]", file=sys.stderr)
        raise typer.Exit(1) from None

    def tell(self, item: Item, result: Result, written: Sequence[Path]) -> None:
        """One picture on stdout."""
        if self.as_json:
            from gsam.results.formats import scene_json

            self.say(scene_json.dumps(result.to_dict()))
        else:
            self.say(_summary(item, result, written, details=self.total == 1))

    def say(self, text: str) -> None:
        """A line on stdout.  When nobody reads it any more, files are still written."""
        if self.silent:
            return
        try:
            print(text, flush=True)
        except BrokenPipeError:
            if self.outputs is None:
                raise
            self.silent = True

    def close(self) -> None:
        coco = self.outputs.close() if self.outputs else None
        if self.total > 1 or self.failed:
            seconds = time.monotonic() - self.started
            parts = [f"{self.pictures} of {self.total} pictures, {self.objects} objects, {seconds:.1f} s"]
            parts += [f"{self.skipped} were done before"] if self.skipped else []
            parts += (
                [f"{len(self.failed)} failed: {', '.join(shown(i.path) for i in self.failed)}"] if self.failed else []
            )
            parts += [f"results in {self.outputs.folder}"] if self.outputs else []
            print("gsam: " + "; ".join(parts), file=sys.stderr)
        if coco and not self.as_json:
            print(f"gsam: {coco}", file=sys.stderr)


def _matched(items: Sequence[Item], results: Iterator[Result], bad: set[Path]) -> Iterator[tuple[Item, Result]]:
    """Results come in order without the bad ones, which are known before any later result comes."""
    waiting = iter(items)
    for result in results:
        yield next(i for i in waiting if i.path not in bad), result


def formats_of(text: str, known: Sequence[str]) -> list[str]:
    """The formats that are named, each once.  Raises `UsageError`."""
    kinds = list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if unknown := [k for k in kinds if k not in known]:
        raise UsageError(f"no format {unknown[0]!r}; there are {', '.join(known)}", "format_unknown")
    if not kinds:
        raise UsageError(f"no format is named; there are {', '.join(known)}", "format_unknown")
    return kinds


def _load(pipeline: str, limits: Mapping[str, Any]) -> Any:
    import gsam

    return gsam.load(pipeline, **limits)


def _batch_size(pipe: Any, count: int) -> int:
    """Batches pay on accelerators; on CPU they only cost memory."""
    devices = getattr(pipe, "devices", ())
    each = 1 if all(getattr(d, "platform", "cpu") == "cpu" for d in devices) else 8
    wanted = each * max(len(devices), 1)
    while wanted >= 2 * count:
        wanted //= 2
    return max(wanted, 1)


def _summary(item: Item, result: Result, written: Sequence[Path], details: bool) -> str:
    counts = {label: result.labels.count(label) for label in dict.fromkeys(result.labels)}
    found = ", ".join(f"{n} {label}" for label, n in counts.items()) or "nothing"
    places = f" -> {', '.join(map(shown, written))}" if written else ""
    lines = [f"{shown(item.path)}: {found}{places}"]
    if details:
        wide = max((len(label) for label in result.labels), default=0)
        for label, score, box in zip(result.labels, result.scores, result.xyxy, strict=True):
            lines.append(f"  {label:{wide}}  {score:.2f}  box {' '.join(str(round(float(v))) for v in box)}")
    return "\n".join(lines)


def shown(path: Path) -> str:
    """A path for a line of text, whatever its name."""
    text = str(path)
    return text if text.isprintable() else repr(text)
