"""Rows 19 and 41 to 48 as the command line meets them.  ``tests/cli/test_segment.py``,
``test_processes.py``, ``test_results_are_kept.py``, ``test_track.py`` and ``test_track_resume.py``
and ``tests/dataset/test_outputs.py`` run these.
"""

from __future__ import annotations

from pathlib import Path

from tests.bad.table import Row, Run


def elsewhere(_: Path) -> Run:
    raise NotImplementedError("tests/cli/test_segment.py")


def command(id: str, what: str, expect: str, exit: int) -> Row:
    return Row(id, what, elsewhere, expect, exit=exit, http=None)


ROWS = [
    command("19e", "a file of names that is not there or is no text", "UsageError classes_unreadable", 2),
    command("19a", "two pictures of one name in two folders: both have their results", "ok", 0),
    command("19b", "a.png and a.jpg in one folder: both have their results", "ok", 0),
    command("19c", "one bad picture in a folder of twenty: nineteen results", "ImageError image_unreadable", 3),
    command("19d", "no picture in the folder, none matches the pattern", "a message", 4),
    command(
        "41b",
        "a file, or the name of one, for the output folder: refused before a model is loaded",
        "UsageError output_not_a_folder",
        2,
    ),
    command("41c", "an output folder that cannot be written", "UsageError output_not_writable", 2),
    command("41d", "the root of the file system for the output folder", "UsageError output_root", 2),
    command("41e", "an output folder where results would replace the pictures", "UsageError output_is_input", 2),
    command("41f", "a file that gsam did not write where a result should be", "UsageError output_exists", 2),
    command("41g", "a result that was changed since gsam wrote it", "UsageError output_changed", 2),
    command("41h", "another command's result, or that of another input", "UsageError output_of_another", 2),
    command(
        "41i",
        "a file that comes while a run works: it stays, the other files are written",
        "UsageError output_exists",
        3,
    ),
    command("41j", "other numbered images in a folder of masks or frames: they stay", "ok", 0),
    command("41k", "--overwrite where a result would replace an input", "UsageError output_is_input", 2),
    command("41l", "a COCO or YouTube-VIS file about inputs that this run lacks", "UsageError output_of_another", 2),
    command("41m", "export or weights port where something is", "UsageError output_exists", 2),
    command("41n", "an object id above 254 for DAVIS, above 999 for MOTS: numbered anew", "ok", 0),
    command("41o", "more than 254 objects for DAVIS: the other formats are written", "UsageError davis_too_many", 3),
    command("41p", "more than 999 objects of a class for MOTS: the same", "UsageError mots_too_many", 3),
    command("41q", "a format that fails: the other formats and inputs are written", "a message", 3),
    command("41s", "a result that would be in the folder of a data set", "UsageError output_taken", 2),
    command("43a", "two runs on one output folder: the second", "UsageError output_locked", 2),
    command("43b", "a run on a folder whose last run was killed", "ok", 0),
    command("43c", "export or weights port of a folder that another run makes", "UsageError output_locked", 2),
    command("44", "killed at any point, then --resume: as if never killed", "ok", 0),
    command("44a", "images resumed with other settings, weights or contents: done again, and told", "ok", 0),
    command("44b", "tracks resumed with other settings, or of a video that changed", "UsageError resume_differs", 2),
    command("44c", "unfinished tracks that no manifest knows, resumed", "UsageError resume_unknown", 2),
    command("44d", "tracks of another video or other queries, resumed", "UsageError tracks_of_another", 2),
    command("44e", "a damaged state of a tracker: it starts from the beginning", "ok", 0),
    command("45a", "SIGINT: the batch is finished; a second one kills", "a message", 130),
    command("45b", "SIGTERM: the batch is finished; a second one kills", "a message", 143),
    command("46", "stdout closed: quiet, and the files are written", "ok", 0),
    command("46a", "a reader that leaves (| head -1), in every command", "ok", 0),
    command("46b", "stdout and stderr closed from the beginning", "ok", 0),
    command("47", "another locale, another time zone: the same bytes", "ok", 0),
    command("48", "a home that cannot be written, or none: GSAM_CACHE works", "ok", 0),
]
