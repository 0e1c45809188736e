"""Rows 19 and 41 to 48 as the command line meets them.  ``tests/cli/test_segment.py`` runs
these.
"""

from __future__ import annotations

from pathlib import Path

from tests.bad.table import Row, Run


def elsewhere(_: Path) -> Run:
    raise NotImplementedError("tests/cli/test_segment.py")


def command(id: str, what: str, expect: str, exit: int) -> Row:
    return Row(id, what, elsewhere, expect, exit=exit, http=None)


ROWS = [
    command("19a", "two pictures of one name in two folders: both have their results", "ok", 0),
    command("19b", "a.png and a.jpg in one folder: both have their results", "ok", 0),
    command("19c", "one bad picture in a folder of twenty: nineteen results", "ImageError image_unreadable", 3),
    command("19d", "no picture in the folder, none matches the pattern", "a message", 4),
    command(
        "41b", "a file for the output folder: refused before a model is loaded", "UsageError output_not_a_folder", 2
    ),
    command("41c", "an output folder that cannot be written", "UsageError output_not_writable", 2),
    command("41d", "the root of the file system for the output folder", "UsageError output_root", 2),
    command("41e", "an output folder where results would replace the pictures", "UsageError output_is_input", 2),
    command("43a", "two runs on one output folder: the second", "UsageError output_locked", 2),
    command("43b", "a run on a folder whose last run was killed", "ok", 0),
    command("44", "killed at any point, then --resume: as if never killed", "ok", 0),
    command("45a", "SIGINT: the batch is finished; a second one kills", "a message", 130),
    command("45b", "SIGTERM: the batch is finished; a second one kills", "a message", 143),
    command("46", "stdout closed: quiet, and the files are written", "ok", 0),
    command("47", "another locale, another time zone: the same bytes", "ok", 0),
    command("48", "a home that cannot be written, or none: GSAM_CACHE works", "ok", 0),
]
