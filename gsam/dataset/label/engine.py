"""Label images part by part: `gsam.label` and ``gsam label``."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gsam.dataset import signals
from gsam.dataset.ahead import Ahead
from gsam.dataset.label.finish import finish
from gsam.dataset.label.listed import list_entries
from gsam.dataset.label.loading import Loaded, load, opener, own_query
from gsam.dataset.label.manifests import Columns
from gsam.dataset.label.part_writer import Counts, PartWriter
from gsam.dataset.label.parts import form_of
from gsam.dataset.label.place import place_of
from gsam.dataset.label.plan import Plan
from gsam.dataset.label.turns import Turns
from gsam.dataset.label.workers import Worker, worker_of
from gsam.dataset.settings import pipeline_settings, plain, settings_of
from gsam.dataset.stream import answers
from gsam.runtime.settings import COUNT
from gsam.text.queries import Queries, Query, parse_queries
from gsam.text.query_files import read_queries

if TYPE_CHECKING:
    from gsam.pipeline import Pipeline
    from gsam.types import Json

PART_SIZE = 256
"""Images of a part by default: the most that a kill can cost."""
AHEAD = 16
"""Images that are listed, and read where shards are streams, before a device asks for them."""
MOST_SOURCES = 64
"""Sources that a plan names; of more, it has their hash."""


@dataclasses.dataclass
class Summary:
    """The work of a process, and what is there of the whole."""

    worker: Worker | None
    """Which of how many workers it was; None for any."""
    parts: int
    """Parts of the plan."""
    images: int = 0
    """Images that this process labelled."""
    done_before: int = 0
    """Parts that were there when it began."""
    elsewhere: int = 0
    """Parts that other processes are at, and that are not there yet."""
    errors: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """Id of the first images without a result, and why."""
    failed: int = 0
    """Images without a result."""
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    """Objects of each class."""
    page: str | None = None
    """Where the page about the whole is, if this process has seen it."""
    lines: list[str] = dataclasses.field(default_factory=list)
    """The counts of the whole as a table for a terminal."""

    @property
    def complete(self) -> bool:
        """Whether every part is there."""
        return self.elsewhere == 0


@dataclasses.dataclass(frozen=True)
class Task:
    """An image of a part."""

    part: int
    loaded: Loaded
    last: bool
    """Whether it is the last of the part."""


def label(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    query: Query | os.PathLike[str],
    out: str | os.PathLike[str],
    pipeline: str | Pipeline = "grounded_sam",
    *,
    recursive: bool = True,
    image_column: str | None = None,
    id_column: str | None = None,
    allow_urls: bool = False,
    part_size: int = PART_SIZE,
    parts: str | None = None,
    worker: str | None = None,
    wait: bool = True,
    page: bool = True,
    batch_size: int | None = None,
    stretch: bool = False,
    max_pixels: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    say: Callable[[str], None] | None = None,
    load: Callable[..., Pipeline] | None = None,
    **given: Any,
) -> Summary:
    """Label images, in parts that any number of processes share; what is there is not done again.

    Args:
        sources: Folders, files, patterns, manifests (``.jsonl``, ``.csv``, ``.tsv``, ``.txt``),
            tars, Parquet files, also at addresses that fsspec reaches (``gs://``, ``s3://``); see
            docs/label.md.
        query: What to find, as `gsam.Pipeline` takes it, or the path of a file of names or of an
            ontology (``.toml``: query = label); a row of a manifest may have its own.
        out: The folder of the results, the same for all processes; it may be on a store.
        pipeline: A recipe, a ``.toml``, an exported folder, or a pipeline that you made.
        recursive: Whether to look into the folders of folders.
        image_column: The column of images in manifests and Parquet files; by default ``image``,
            ``path``, ``url`` and other usual names.
        id_column: The column of ids.
        allow_urls: Whether images may be at http and https addresses, which are fetched with
            limits (`gsam.inputs.remote.fetch`).
        part_size: Images of a part.
        parts: ``"parquet"`` or ``"jsonl"``; by default Parquet where pyarrow is installed.
        worker: ``"3/8"``: this process begins with every eighth part; by default what a scheduler's
            variables say. When its own are done, it helps the others.
        wait: Whether to wait in the end for the parts of others, and take over those of dead ones.
        page: Whether to write ``index.html`` and the counts of the whole in the end.
        batch_size: Images computed together on each device; by default 8 on an accelerator, 1 on
            a CPU.
        stretch: As for `gsam.Pipeline.stream`.
        max_pixels: As for `gsam.Pipeline.stream`.
        progress: Called with the number of images of the plan that are done, and of all; None
            where shards do not tell theirs.
        say: Called with lines about what goes on.
        load: Loads the pipeline when a part needs it; by default `gsam.load`.
        **given: Arguments of `gsam.load`.

    Returns:
        Counts, and the first errors: of the whole data set where it is complete, unless another
        process is just counting; else of this process.

    Raises:
        gsam.errors.UsageError: The folder has the results of another plan, a setting is wrong, or
            a source is not there.
        gsam.errors.OutputError: Results cannot be written.

    Example:
        >>> found = gsam.label("notebooks/scene.png", "dog. pizza", "set", "nano")  # doctest: +SKIP
        >>> found.counts  # doctest: +SKIP
        Counter({'dog': 1, 'pizza': 1})
    """
    tell = say or (lambda _: None)
    listed = [os.fspath(s) for s in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    queries = read_queries(query) if isinstance(query, os.PathLike) else parse_queries(query)
    me = worker_of(worker)
    if me is not None:
        tell(f"worker {me.index}/{me.count} (from {me.told_by})")
    settings = {
        **(
            pipeline_settings(pipeline, queries, given) if isinstance(pipeline, str) else settings_of(pipeline, queries)
        ),
        "sources": _sources_settings(listed),
        **_computed(pipeline, given, batch_size),
        "columns": plain(dataclasses.asdict(columns := Columns(image_column, id_column))),
        "recursive": recursive,
        "allow_urls": allow_urls,
        "stretch": stretch,
        "max_pixels": max_pixels,
        "parts": form_of(parts),
    }
    plan = Plan.of(
        place_of(os.fspath(out)), settings, lambda: list_entries(listed, recursive, columns, allow_urls), part_size
    )
    opened = opener(stretch, max_pixels)
    with Turns(plan, me, wait, tell) as turns:
        found = Summary(me, plan.parts, done_before=len(turns.done))
        made, show = Counts(), _progress(plan, found.done_before, part_size, progress)
        while True:
            claimed = iter(turns)
            first = next(claimed, None)
            if first is not None:
                if isinstance(pipeline, str):
                    tell(f"loading {pipeline}")
                    pipeline = (load or _load)(pipeline, **given)
                tasks = _tasks(plan, itertools.chain([first], claimed), queries)
                _work(pipeline, plan, turns, tasks, lambda task: opened(task.loaded), made, show)
            if not turns.again():
                break
        found.images, found.failed = made.images, made.failed
        found.errors, found.counts = made.errors, made.objects
        found.elsewhere = plan.parts - len(turns.done)
        if page and found.complete:
            whole = finish(plan, turns.claims, opened, again=made.images > 0)
            if whole is not None:
                found.failed, found.errors, found.counts = whole.failed, whole.errors, whole.counts
                found.page, found.lines = whole.page, whole.lines
    return found


def _work(
    pipe: Pipeline,
    plan: Plan,
    turns: Turns,
    tasks: Iterable[tuple[Task, Queries]],
    opened: Callable[[Task], Any],
    made: Counts,
    show: Callable[[int], None],
) -> None:
    """Label images as they are listed; the device does not wait between parts."""
    before = made.images
    together = plan.settings["batch_size"] * max(len(pipe.devices), 1)
    with (
        signals.deferred(),
        Ahead(tasks, AHEAD, signals.check) as ahead,
        PartWriter(plan, turns.finished, made) as writer,
        contextlib.closing(answers(pipe, ahead, opened, together, fixed=True)) as answered,  # type: ignore[type-var]
    ):
        for images, (task, answer) in enumerate(answered, before + 1):
            writer.put(task.part, task.loaded.entry, answer, task.last)
            show(images)
            signals.check()
        writer.finish()


def _tasks(plan: Plan, parts: Iterable[int], queries: Queries) -> Iterator[tuple[Task, Queries]]:
    """The images of parts, each with its query."""
    for part in parts:
        images = load(plan.entries(part))
        loaded = next(images, None)
        while loaded is not None:
            following = next(images, None)
            asked = own_query(loaded.entry.query) if loaded.entry.query else queries
            if not isinstance(asked, Queries):
                loaded, asked = Loaded(loaded.entry, asked), queries
            yield Task(part, loaded, following is None), asked
            loaded = following


def _progress(
    plan: Plan, before: int, part_size: int, progress: Callable[[int, int | None], None] | None
) -> Callable[[int], None]:
    """Tell progress in images: those of parts that were there before, and those of this process."""

    def show(images: int) -> None:
        if progress is not None:
            known = plan.count if not plan.shards else None
            progress(images if known is None else min(before * part_size + images, known), known)

    return show


def _computed(pipeline: str | Pipeline, given: Mapping[str, Any], batch_size: int | None) -> Json:
    """Settings of the computation on which the last digits of results depend."""
    from gsam.build.devices import devices_of
    from gsam.runtime.shapes import default_batch_size

    devices = devices_of(given.get("device")) if isinstance(pipeline, str) else pipeline.devices
    if batch_size is not None:
        COUNT.check("batch_size", batch_size)
    return {
        "platform": devices[0].platform,
        "batch_size": batch_size or default_batch_size(devices) // len(devices),
    }


def _sources_settings(sources: Sequence[str]) -> list[str] | Json:
    if len(sources) <= MOST_SOURCES:
        return list(sources)
    return {
        "count": len(sources),
        "sha256": hashlib.sha256("\0".join(sources).encode(errors="surrogateescape")).hexdigest(),
    }


def _load(pipeline: str, **given: Any) -> Pipeline:
    from gsam.build import pipelines

    return pipelines.load(pipeline, **given)
