"""Reads data sets in a process that has no gsam: ``python -m benchmarks.harness.format_worker``.

The input is ``{"versions": true}``, or a format, a reader and folders; the output is a line of JSON
for each, so that what was read is there when a reader takes the process down.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer the question of the standard input."""
    answers, sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8"), sys.stderr
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from benchmarks.harness import format_packages

    asked: dict[str, Any] = json.load(sys.stdin)
    if asked.get("versions"):
        known = {r.name: r.version for name in asked["formats"] for r in format_packages.readers_of(name)}
        print(json.dumps(known), file=answers)
        return
    (reader,) = (r for r in format_packages.readers_of(asked["format"]) if r.name == asked["reader"])
    for folder in asked["folders"]:
        found: dict[str, Any]
        try:
            with contextlib.redirect_stdout(sys.stderr):
                found = {"images": reader.read(Path(folder))}
        except Exception as error:  # any that a package has
            found = {"error": _reason(error)}
        assert "gsam" not in sys.modules, "the reader is not independent"
        print(json.dumps(found), file=answers, flush=True)


def _reason(error: BaseException) -> str:
    """The first cause of an error, on one line without the name of a temporary folder."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    text = re.sub(rf"{re.escape(tempfile.gettempdir())}/tmp\w+/", "", str(error).strip().split("\n")[0])
    return f"{type(error).__name__}: {text}"[:200].rstrip(": ")


if __name__ == "__main__":
    main()
