"""Label images part by part: `gsam.dataset.label.engine.label` is behind ``gsam label``."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gsam.dataset import signals
from gsam.dataset.label.claims import Claims
from gsam.dataset.label.listing import Entry, list_entries
from gsam.dataset.label.parts import form_of, is_done, write_part
from gsam.dataset.label.plan import Plan
from gsam.dataset.label.workers import Worker, worker_of
from gsam.dataset.settings import pipeline_settings
from gsam.dataset.sources import Item
from gsam.dataset.stream import stream
from gsam.errors import GsamError
from gsam.results.formats.label_parts import read_parts
from gsam.text.queries import Query, parse_queries
from gsam.types import Json, JsonMapping

PART_SIZE = 256
"""Images of a part by default: what a kill can cost."""


@dataclasses.dataclass
class Summary:
    """The work of a process, and what is there of the whole."""

    worker: Worker | None
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
    """Images without a result, in all parts that are there."""
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Objects of each class, in all parts that are there."""

    @property
    def complete(self) -> bool:
        """Whether every part is there."""
        return self.elsewhere == 0


def label(
    sources: str | Path | Sequence[str | Path],
    query: Query,
    out: str | Path,
    pipeline: str = "grounded_sam",
    *,
    recursive: bool = True,
    part_size: int = PART_SIZE,
    parts: str | None = None,
    worker: str | None = None,
    batch_size: int | None = None,
    stretch: bool = False,
    max_pixels: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
    load: Callable[..., Any] | None = None,
    **given: Any,
) -> Summary:
    """Label images, in parts that any number of processes share; what is there is not done again.

    Args:
        sources: Folders, files, patterns, and manifests (``.jsonl``, ``.csv``).
        query: What to find, as `gsam.Pipeline` takes it; a row of a manifest may have its own.
        out: The folder of the results, the same for all processes.
        pipeline: A recipe, a ``.toml`` or an exported folder.
        recursive: Whether to look into the folders of folders.
        part_size: Images of a part.
        parts: ``"parquet"`` or ``"jsonl"``; by default Parquet where pyarrow is installed.
        worker: ``"3/8"``: this process begins with every eighth part; by default what a scheduler's
            variables say. When its own are done, it helps the others.
        batch_size: Images computed together, as for `gsam.Pipeline.stream`.
        stretch: As for `gsam.Pipeline.stream`.
        max_pixels: As for `gsam.Pipeline.stream`.
        progress: Called with the number of images of the plan that are done, and of all.
        say: Called with lines about what goes on.
        load: Loads the pipeline when a part needs it; by default `gsam.load`.
        **given: Arguments of `gsam.load`.

    Returns:
        Counts, and the first errors.

    Raises:
        gsam.errors.UsageError: The folder has the results of another plan, a setting is wrong, or
            no image is there.
    """
    tell = say or (lambda _: None)
    listed = [str(s) for s in ([sources] if isinstance(sources, str | Path) else sources)]
    queries = parse_queries(query)
    me = worker_of(worker)
    if me is not None:
        tell(f"worker {me.index}/{me.count} (from {me.told_by})")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    settings = pipeline_settings(pipeline, queries, given) | {
        "sources": listed,
        "recursive": recursive,
        "stretch": stretch,
        "max_pixels": max_pixels,
        "parts": form_of(parts),
    }
    plan = Plan.of(folder, settings, lambda: list_entries(listed, recursive), part_size)
    found = Summary(me, plan.parts)
    done = {part for part in range(plan.parts) if is_done(plan, part)}
    found.done_before = len(done)
    claims = Claims(folder / "claims")
    pipe = None
    for part in _order(plan.parts, me):
        if part in done:
            continue
        with claims.held(part) as mine:
            if not mine:
                continue
            if is_done(plan, part):  # since this process began
                done.add(part)
                continue
            if pipe is None:
                tell(f"loading {pipeline}")
                pipe = (load or _load)(pipeline, **given)
            rows = []
            how = {"batch_size": batch_size, "stretch": stretch, "max_pixels": max_pixels}
            with signals.deferred():
                for row in _rows(pipe, plan.entries(part), queries, how):
                    rows.append(row)
                    found.images += 1
                    if progress is not None:
                        progress(min(len(done) * part_size + len(rows), plan.count), plan.count)
                    signals.check()
                write_part(plan, part, rows)
            done.add(part)
    found.elsewhere = sum(not is_done(plan, part) for part in range(plan.parts) if part not in done)
    for row in read_parts(folder):
        found.counts.update(segment["label"] for segment in row["segments"])
        if row["error"] is not None:
            found.failed += 1
            if len(found.errors) < 20:
                found.errors.append((row["id"], row["error"]["message"]))
    return found


def _load(pipeline: str, **given: Any) -> Any:
    from gsam.build import pipelines

    return pipelines.load(pipeline, **given)


def _order(parts: int, me: Worker | None) -> Iterator[int]:
    """A worker's own parts first, then those of the others, from the last."""
    if me is None:
        return iter(range(parts))
    own = range(me.index, parts, me.count)
    return itertools.chain(own, (part for part in reversed(range(parts)) if part % me.count != me.index))


def _rows(pipe: Any, entries: Sequence[Entry], query: Query, how: Mapping[str, Any]) -> Iterator[Json]:
    """The rows of entries, in order; those with a query of their own are asked apart."""
    for own, some in itertools.groupby(entries, key=lambda entry: entry.query):
        several = list(some)
        items = [Item(Path(entry.path), entry.id, entry.id) for entry in several]
        for entry, (_, answer) in zip(several, stream(pipe, items, own or query, **how), strict=True):
            yield _row(entry, answer)


def _row(entry: Entry, answer: Any) -> Json:
    if isinstance(answer, Exception):
        code = answer.code if isinstance(answer, GsamError) else "internal"
        message = " ".join(str(answer).split())
        nothing: JsonMapping = {"image": entry.id, "width": None, "height": None}
        return {
            "id": entry.id,
            **nothing,
            "error": {"code": code, "message": message},
            "pipeline": None,
            "queries": [],
            "segments": [],
        }
    scene = answer.to_dict()
    size = {key: scene.pop(key) for key in ("image", "width", "height")}
    return {"id": entry.id, **size, "error": None, **scene}
