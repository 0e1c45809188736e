"""Done once, when all parts are there: counts of the whole, a page to look at."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.dataset.label.claims import Claims
from gsam.dataset.label.listing import Entry
from gsam.dataset.label.loading import Loaded, load
from gsam.dataset.label.parts import part_name
from gsam.dataset.label.place import LocalPlace
from gsam.dataset.label.plan import Plan
from gsam.errors import OutputError
from gsam.results.formats.label_parts import read_part
from gsam.results.overview.write import PAGE, Overview, write_overview

if TYPE_CHECKING:
    from gsam.inputs.image import Picture
    from gsam.types import Json

FILE = "summary.json"
SETTLED = 1.0
"""Seconds after which an unfinished file is a dead process's, where no other has a claim."""
ENTRY = "entry"
"""Under this name a row has its entry while the page is made."""


@dataclasses.dataclass(frozen=True)
class Whole:
    """A data set whose parts are all there."""

    images: int
    failed: int
    """Images without a result."""
    errors: list[tuple[str, str]]
    """Id of the first of them, and why."""
    counts: Counter[str]
    """Objects of each class."""
    page: str
    """Where the page is."""
    lines: list[str]
    """The counts as a table for a terminal."""


def finish(plan: Plan, claims: Claims, opened: Callable[[Loaded], Picture], again: bool) -> Whole | None:
    """Count a whole data set and write its page; one process of all does it.

    Args:
        plan: Its plan; all of its parts are there.
        claims: Those of this process: the page is claimed like a part, one after the last.
        opened: Opens an image.
        again: Whether it is to be done though it was done before.

    Returns:
        The counts; None where another process is at it.
    """
    found = None if again else _read(plan)
    try:
        claim = claims.take(plan.parts)
    except OutputError:  # where nothing can be written, nothing has to be
        if found is None:
            raise
        claim = None
    if claim is None:
        return found
    try:
        if found is not None:
            _sweep(plan, claims)
            return found
        errors: list[tuple[str, str]] = []
        overview = _write_page(plan, _rows(plan, errors), opened)
        whole = Whole(
            overview.images, overview.failed, errors, overview.counts, plan.place.path(PAGE), overview.lines()
        )
        kept = dataclasses.asdict(whole) | {"counts": dict(whole.counts), "plan": plan.key}
        del kept["page"]
        plan.place.put(FILE, json.dumps(kept, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace") + b"\n")
        _sweep(plan, claims)
        return whole
    finally:
        claim.release()


def _sweep(plan: Plan, claims: Claims) -> None:
    """Remove what killed processes left; the page is claimed, so that nobody else makes it."""
    plan.place.sweep(SETTLED if claims.alone() else plan.place.dead)


def _read(plan: Plan) -> Whole | None:
    """Counts of an earlier process; None where there is nothing, or nothing of this plan."""
    try:
        kept = json.loads(plan.place.read(FILE))
        if kept.pop("plan") != plan.key or not plan.place.exists(PAGE):
            return None
        kept["errors"] = [(name, why) for name, why in kept["errors"]]
        return Whole(**kept | {"counts": Counter(kept["counts"])}, page=plan.place.path(PAGE))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write_page(plan: Plan, rows: Iterator[Json], opened: Callable[[Loaded], Picture]) -> Overview:
    def open_row(row: Json) -> Picture | None:
        entry: Entry | None = row[ENTRY]
        return None if entry is None else opened(next(load([entry])))

    if isinstance(plan.place, LocalPlace):
        return write_overview(plan.place.folder, rows, open_row)
    with tempfile.TemporaryDirectory() as folder:
        found = write_overview(Path(folder), rows, open_row)
        for file in sorted(Path(folder).rglob("*.*"), reverse=True):  # the page after what it shows
            plan.place.put_file(str(file.relative_to(folder).as_posix()), file)
    return found


def _rows(plan: Plan, errors: list[tuple[str, str]]) -> Iterator[Json]:
    """All rows, each with its entry; those of a shard that was read as a stream have none."""
    for part in range(plan.parts):
        known = {entry.id: entry for entry in plan.entries(part)}
        for row in read_part(plan.place, part_name(plan, part)):
            if row["error"] is not None and len(errors) < 20:
                errors.append((row["id"], row["error"]["message"]))
            entry = known.get(row["id"])
            yield {**row, ENTRY: None if entry is None or entry.shard else entry}
