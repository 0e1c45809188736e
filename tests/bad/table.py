"""Bad and odd input -> what happens.  ``python -m tests.bad.table`` writes README.md from it.

Ids are the rows of the project's list of bad inputs, with a letter where one row holds several.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Row:
    id: str
    what: str
    make: Callable[[Path], Run]
    """Given an empty folder, prepares the input and returns the call that meets it."""
    expect: str = "ok"
    """``ok``, or the class of the error and, for gsam's own, its code: ``ImageError image_truncated``."""
    check: Callable[[Any], None] | None = None
    """Of what the call returns, or of the error it raises."""
    exit: int | None = 0
    """Of the command line; None where it cannot happen there."""
    http: int | None = 200
    """Of the server; None where it cannot happen there."""
    says: str | None = None
    """A pattern in the error's message, or in the one warning given."""
    warns: bool = False


def error(
    id: str,
    what: str,
    make: Callable[[Path], Run],
    expect: str,
    says: str,
    exit: int | None = 3,
    http: int | None = 400,
    check: Callable[[Any], None] | None = None,
) -> Row:
    """A row that ends in an error."""
    return Row(id, what, make, expect, check, exit, http, says)


def rows() -> list[Row]:
    """The rows that `test_bad` runs, in order."""
    from tests.bad import clicks, everything, files, geometry, grounding, images, prompts, videos

    every = (images, prompts, geometry, clicks, files, grounding, everything, videos)
    return sorted([row for part in every for row in part.ROWS], key=_place)


def others() -> list[Row]:
    """Those of the command line, which ``tests/cli/test_segment.py`` runs, and of checkpoints, which ``tests/port`` runs."""
    from tests.bad import commands

    found = list(commands.ROWS)
    if importlib.util.find_spec("tests.bad.checkpoints") is not None:
        from tests.bad import checkpoints

        taken = {r.id for r in [*rows(), *found]}
        found += [
            Row(r.id + "'" * (r.id in taken), r.what, r.make, f"{r.error.__name__} {r.code}", exit=r.exit, http=None)
            for r in checkpoints.ROWS
        ]
    return found


def _place(row: Row) -> tuple[int, str]:
    return int("".join(c for c in row.id if c.isdigit())), row.id


def readme() -> str:
    """The table as markdown."""
    head = [
        "# What happens when ...",
        "",
        "Written by `python -m tests.bad.table` from the rows that the tests run.  A bad picture never stops a batch.",
        "",
        "| # | input | what happens | exit code | HTTP |",
        "|---|---|---|---|---|",
    ]

    def cell(value: object) -> str:
        return "–" if value is None else str(value).replace("|", "\\|").replace("<", "&lt;")

    lines = []
    for r in sorted([*rows(), *others()], key=_place):
        happens = "a warning, then a result" if r.warns else "a result" if r.expect == "ok" else f"`{r.expect}`"
        lines.append(f"| {r.id} | {cell(r.what)} | {happens} | {cell(r.exit)} | {cell(r.http)} |")
    return "\n".join([*head, *lines]) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "README.md").write_text(readme(), encoding="utf-8")
