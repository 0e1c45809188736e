"""Bad and odd input and its outcome, as a table; ``python -m tests.bad.table`` writes
docs/errors.md from it.

Ids number the kinds of input, with a letter where one kind has several rows and a prime where a
checkpoint's row would have an id that is taken.  They are stable: tests and messages of commits
refer to them.
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
    """``ok``, or the class of the error and, for gsam's own, its code: ``ImageError
    image_truncated``.
    """
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
    from tests.bad import (
        addresses,
        arrays,
        clicks,
        datasets,
        depths,
        distillation,
        everything,
        files,
        geometry,
        grounding,
        images,
        labelling,
        prompts,
        refine,
        segmenter_training,
        sharing,
        training,
        training_data,
        tuned,
        tuned_finders,
        videos,
    )

    every = (
        addresses,
        images,
        arrays,
        depths,
        prompts,
        geometry,
        clicks,
        files,
        grounding,
        everything,
        videos,
        sharing,
        datasets,
        labelling,
        training_data,
        distillation,
        tuned,
        segmenter_training,
        training,
        tuned_finders,
        refine,
    )
    return sorted([row for part in every for row in part.ROWS], key=_place)


def others() -> list[Row]:
    """Those of the command line, which ``tests/cli/test_segment.py`` runs, and of checkpoints,
    which ``tests/weights`` runs.
    """
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


PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
HEAD = """# Errors

Every error about your input is a `gsam.GsamError` with a `code` that stays the same from version to
version. The message is one line and says what to do.

| class | about | also a | exit code |
|---|---|---|---|
| `ImageError` | an image that cannot be used | `ValueError` | 3, and the run goes on with the next image |
| `VideoError` | a video that cannot be used, or not to its end | `ValueError` | 3 |
| `QueryError` | text that asks for nothing, or for too much | `ValueError` | 2 |
| `UsageError` | a name, setting or recipe that does not exist or does not fit | `ValueError` | 2 |
| `CheckpointError` | weights that cannot be found, trusted or understood | | 1 |
| `OutputError` | results that cannot be written: a full disk, for instance | | 1 |

They are in `gsam.errors`. Wrong types and shapes in Python raise `TypeError` and `ValueError`.

```python
import gsam

try:
    gsam.load("nano")("nowhere.png", "dog")
except gsam.GsamError as error:
    print(error.code, error)                     # image_missing nowhere.png: no such file
```

The command line prints `gsam: message [code]` on stderr. Its exit codes: 0 done (finding nothing
included), 1 failed, 2 usage, 3 some images failed, 4 no file matched, 130 and 143 after SIGINT and
SIGTERM. An error that is not about your input is reported as `[internal]` or `[system]`;
`GSAM_TRACEBACK=1` shows where it happened.

A bad image never stops a batch: `gsam segment` lists it and goes on, and `pipe.stream` passes it to
`on_error`. No half-written file is ever left under its final name.

## Every bad or odd input

Written by `python -m tests.bad.table` from the rows that the tests run; change it there.

| # | input | outcome | exit code |
|---|---|---|---|
"""


def page() -> str:
    """The page as markdown."""

    def cell(value: object) -> str:
        return "–" if value is None else str(value).replace("|", "\\|").replace("<", "&lt;")

    lines = []
    for r in sorted([*rows(), *others()], key=_place):
        outcome = "a warning, then a result" if r.warns else "a result" if r.expect == "ok" else f"`{r.expect}`"
        lines.append(f"| {r.id} | {cell(r.what)} | {outcome} | {cell(r.exit)} |\n")
    return HEAD + "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
