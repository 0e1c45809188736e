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

from tests.bad.sending import Sendable, Sent

Run = Callable[[], Any]
UNSAID = 0


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
    http: int | None = UNSAID
    """Of the server; None where it cannot happen there.  By default 200, or 400 for an error, where
    ``make`` says how the input is sent, and None where it does not.
    """
    says: str | None = None
    """A pattern in the error's message, or in the one warning given."""
    warns: bool = False

    def __post_init__(self) -> None:
        if self.http == UNSAID:
            status = 200 if self.expect == "ok" else 400
            object.__setattr__(self, "http", None if self.sent is None else status)

    @property
    def sent(self) -> Sent | None:
        """The request with this input, if there can be one."""
        return self.make.sent if isinstance(self.make, Sendable) else None


def error(
    id: str,
    what: str,
    make: Callable[[Path], Run],
    expect: str,
    says: str,
    exit: int | None = 3,
    http: int | None = UNSAID,
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
    """Those of the command line, which ``tests/cli/test_segment.py`` runs, of checkpoints, which
    ``tests/weights`` runs, and of a server, which ``tests/serve/test_bad_over_http.py`` runs.
    """
    from tests.bad import commands, serving

    found = list(commands.ROWS)
    found += [
        Row(c.id, c.what, _elsewhere, f"ServeError {c.code}" if c.code else "ok", exit=None, http=c.http)
        for c in serving.CASES
    ]
    if importlib.util.find_spec("tests.bad.checkpoints") is not None:
        from tests.bad import checkpoints

        taken = {r.id for r in [*rows(), *found]}
        found += [
            Row(r.id + "'" * (r.id in taken), r.what, r.make, f"{r.error.__name__} {r.code}", exit=r.exit, http=None)
            for r in checkpoints.ROWS
        ]
    return found


def _elsewhere(_: Path) -> Run:
    raise NotImplementedError("tests/serve/test_bad_over_http.py makes it")


def _place(row: Row) -> tuple[int, str]:
    return int("".join(c for c in row.id if c.isdigit())), row.id


PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
HEAD = """# Errors

Every error about your input is a `gsam.GsamError` with a `code` that stays the same from version to
version. The message is one line and says what to do.

| class | about | also a | exit code | HTTP |
|---|---|---|---|---|
| `ImageError` | an image that cannot be used | `ValueError` | 3, and the run goes on with the next image | 400, 413 |
| `VideoError` | a video that cannot be used, or not to its end | `ValueError` | 3 | 400 |
| `QueryError` | text that asks for nothing, or for too much | `ValueError` | 2 | 422 |
| `UsageError` | a name, setting or recipe that does not exist or does not fit | `ValueError` | 2 | 422 |
| `CheckpointError` | weights that cannot be found, trusted or understood | | 1 | 503 |
| `OutputError` | results that cannot be written: a full disk, for instance | | 1 | |
| `ServeError` | a request that `gsam serve` refuses | | | as the table below says |

They are in `gsam.errors`, but for `ServeError`, which only `gsam serve` has; it answers each of
them with `{"error": {"code": ..., "message": ...}}`. Wrong types and shapes in Python raise
`TypeError` and `ValueError`.

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

Written by `python -m tests.bad.table` from the rows that the tests run; change it there. The last
column is the status of a server that is sent the same, with its code where it has one of its own;
– where that cannot be.

| # | input | outcome | exit code | HTTP |
|---|---|---|---|---|
"""


def page() -> str:
    """The page as markdown."""

    def cell(value: object) -> str:
        return "–" if value is None else str(value).replace("|", "\\|").replace("<", "&lt;")

    def own(row: Row) -> str:
        """The code of the server where it is not that of the library."""
        return f" `{row.sent.code}`" if row.http is not None and row.sent is not None and row.sent.code else ""

    lines = []
    for r in sorted([*rows(), *others()], key=_place):
        outcome = "a warning, then a result" if r.warns else "a result" if r.expect == "ok" else f"`{r.expect}`"
        lines.append(f"| {r.id} | {cell(r.what)} | {outcome} | {cell(r.exit)} | {cell(r.http)}{own(r)} |\n")
    return HEAD + "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
