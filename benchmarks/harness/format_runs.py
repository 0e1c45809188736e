"""Writes hard scenes in every format, and asks independent readers and gsam's own for them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import format_cases, format_judging
from benchmarks.harness.format_cases import HUGE_BOX, HUGE_MASK
from benchmarks.harness.format_judging import Fates
from benchmarks.harness.format_packages import Reader, readers_of
from benchmarks.harness.format_readers import TRUTH, Found
from gsam.errors import UsageError
from gsam.results.formats import known

ROOT = Path(__file__).parents[2]
KEEP_RUNS = {"jsonl", "coco", "coco_results", "lvis", "sa1b", "parquet"}
"""Formats whose masks are run lengths of the whole image: only they are given a huge one."""
FILL = {"sa1b", "png_masks", "png_ids", "png_palette"}
"""Formats that have masks only, and fill a box: they are not given a huge one."""
MEMORY = 8 << 30
"""Bytes that must be free where the mask of a huge image is read."""


@dataclasses.dataclass
class Written:
    """A case in a format."""

    folder: Path
    truth: list[Found]
    told: list[str]
    error: str = ""
    """Why it could not be written."""
    refused: bool = False
    """Whether the error is one that says what to do."""


@dataclasses.dataclass
class Read:
    """What a reader got of a case."""

    fates: Fates | None = None
    """None where it could not read it."""
    error: str = ""


def tried(name: str, case: str, free: int | None = None) -> bool:
    """Whether a case is given to a format."""
    if case == HUGE_MASK:
        return name in KEEP_RUNS and (free_memory() if free is None else free) >= MEMORY
    return case != HUGE_BOX or name not in FILL


def free_memory() -> int:
    """Bytes that processes can have."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def write(root: Path, cases: Iterable[str], formats: Sequence[str]) -> dict[tuple[str, str], Written]:
    """Write cases in formats, each in a folder of its own; returns them by format and case."""
    found = {}
    for number, case in enumerate(cases):
        scenes = format_cases.CASES[case]()
        place = root / f"case{number}"
        format_cases.draw(scenes, place / "images")
        labels = list(dict.fromkeys(s["label"] for one in scenes for s in one["segments"]))
        truth = {
            "images": [{"id": i, "file_name": one["image"]} | _sides(one) for i, one in enumerate(scenes, 1)],
            "categories": [{"id": i, "name": label} for i, label in enumerate(labels, 1)],
        }
        (place / TRUTH).write_text(json.dumps(truth), "utf-8")
        for name in formats:
            if tried(name, case):
                found[name, case] = write_case(name, scenes, place / name)
    return found


def _sides(scene: Mapping[str, Any]) -> dict[str, int]:
    return {"width": scene["width"], "height": scene["height"]}


def write_case(name: str, scenes: Sequence[Mapping[str, Any]], folder: Path) -> Written:
    """Write images in a format, in a folder that is made."""
    folder.mkdir()
    one = Written(folder, format_judging.written(scenes), [])
    try:
        with known.writer_of(name)(folder) as writer:
            for scene in scenes:
                writer.add(scene)
        one.told = sorted(writer.losses)
    except UsageError as error:
        one.error, one.refused = str(error), True
    except Exception as error:  # a finding, not the end of the page
        one.error = f"{type(error).__name__}: {error}"
    return one


def ask(python: str, question: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ask a process without gsam; answers that it did not give are missing at the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [python, "-m", "benchmarks.harness.format_worker"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=1800,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    return answers


def installed(formats: Sequence[str], pythons: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The Python and the version of each reader that one of several Pythons has."""
    found: dict[str, tuple[str, str]] = {}
    for python in pythons:
        (versions,) = ask(python, {"versions": True, "formats": list(formats)})
        for name, version in versions.items():
            if version is not None:
                found.setdefault(name, (python, version))
    return found


def read_by(reader: Reader, python: str, name: str, written: Mapping[tuple[str, str], Written]) -> dict[str, Read]:
    """Let a reader read every case of a format."""
    cases = [case for n, case in written if n == name and (case != HUGE_MASK or reader.huge)]
    whole = {case: written[name, case] for case in cases if not written[name, case].error}
    folders = [str(one.folder) for one in whole.values()]
    answers = ask(python, {"format": name, "reader": reader.name, "folders": folders}) if folders else []
    answers += [{"error": "it ended the process"}] * (len(folders) - len(answers))
    found = {}
    for (case, one), answer in zip(whole.items(), answers, strict=True):
        if "error" in answer:
            found[case] = Read(error=answer["error"])
        else:
            found[case] = Read(format_judging.compare(one.truth, answer["images"], reader.gives))
    return found


def independent(
    name: str, readers: Mapping[str, tuple[str, str]], written: Mapping[tuple[str, str], Written]
) -> dict[str, dict[str, Read]]:
    """Let every independent reader of a format that is installed read it: by reader and case."""
    there = [reader for reader in readers_of(name) if reader.name in readers]
    return {reader.name: read_by(reader, readers[reader.name][0], name, written) for reader in there}


def own(name: str, written: Mapping[tuple[str, str], Written]) -> tuple[dict[str, Read], dict[str, list[str]]]:
    """Read every case of a format by gsam; also returns what its reader told."""
    found, told = {}, {}
    for (n, case), one in written.items():
        if n != name or one.error:
            continue
        try:
            data = known.read(one.folder, name, one.folder.parent / "images")
            images = format_judging.written(data)
            found[case] = Read(format_judging.compare(one.truth, images, format_judging.FIELDS))
            told[case] = list(data.problems)
        except UsageError as error:
            found[case], told[case] = Read(error=str(error)), [str(error)]
        except Exception as error:  # a finding, not the end of the page
            found[case] = Read(error=f"FAIL: {type(error).__name__}: {error}")
    return found, told
