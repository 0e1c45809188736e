"""Labelling processes that are killed at random moments, and what is there in the end."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.dataset_process import Child, Failed, tell, together, worker

SEED = 18
WORKERS = (1, 2, 4)
ALL = 0.2
"""Share of moments at which all processes are killed, as by a power cut."""
LOOK = 0.01
"""Seconds between two looks at the processes."""
LIMIT = 300.0
"""Seconds without a kill after which processes hang."""
SPAN = 0.95
"""Moments are drawn from this share of an undisturbed run's time."""
ROUNDS = 4
"""A round for each kill and this many more are tried, for one may end before its moment."""


@dataclasses.dataclass
class Killed:
    """The outcome for one number of workers."""

    workers: int
    kills: int = 0
    rounds: int = 0
    seconds: float = 0.0
    undisturbed: float = 0.0
    """Seconds of a run without kills."""
    moments: dict[str, int] = dataclasses.field(default_factory=dict)
    """What those that were killed were at."""
    differences: list[str] = dataclasses.field(default_factory=list)
    """Files that differ from an undisturbed run of one worker, or are in one of them only."""
    leftovers_met: int = 0
    """Files of those that were killed, before the last resume."""


def tree(folder: Path) -> dict[str, str]:
    """Every file of a folder, hidden ones too, and the hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def different(found: Path, wanted: dict[str, str]) -> list[str]:
    """Names of the files that are not as they should be."""
    there = tree(found)
    return sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))


def measure(folder: Path, source: Path, cache: Path, kills: int, given: dict[str, Any]) -> list[Killed]:
    """Kill processes of each number of workers, and compare what is left with an undisturbed run.

    Args:
        folder: For what is written.
        source: The images.
        cache: gsam's cache.
        kills: Kills in all.
        given: Arguments of `benchmarks.harness.dataset_worker.light`.
    """
    moments = random.Random(SEED)
    rows = []
    wanted: dict[str, str] = {}
    for place, workers in enumerate(WORKERS):
        row = Killed(workers)
        share = kills // len(WORKERS) + (place < kills % len(WORKERS))
        plain = folder / f"undisturbed-{workers}"
        ended = together([worker("light", source=source, out=plain, **given)] * workers, cache, LIMIT)
        row.undisturbed = max(one.seconds for one in ended)
        wanted = wanted or tree(plain)
        row.differences += [f"undisturbed/{name}" for name in different(plain, wanted)]
        began = time.perf_counter()
        while row.kills < share and row.rounds < share + ROUNDS:
            tell(f"{workers} workers, {row.kills} of {share} kills")
            row.rounds += 1
            out = folder / f"killed-{workers}-{row.rounds}"
            command = worker("light", source=source, out=out, **given)
            _round(command, out, cache, share, row, moments)
            row.leftovers_met += len(_hidden(out))
            together([command], cache, LIMIT)  # the last resume, of what is complete
            row.differences += [f"{out.name}/{name}" for name in different(out, wanted)]
        row.seconds = time.perf_counter() - began
        rows.append(row)
    return rows


def _round(command: list[str], out: Path, cache: Path, most: int, row: Killed, moments: random.Random) -> None:
    """Start workers, kill and replace them until all kills are used or all is labelled."""
    alive = [Child(command, cache) for _ in range(row.workers)]
    try:
        while alive:
            began = time.perf_counter()
            due = began + moments.uniform(0, SPAN * row.undisturbed)
            while alive and (row.kills >= most or time.perf_counter() < due):
                alive = [child for child in alive if not _ended(child)]
                if time.perf_counter() - began > LIMIT:
                    raise Failed(
                        f"{len(alive)} of {row.workers} processes have not ended after {LIMIT:.0f} s: see {out}"
                    )
                time.sleep(LOOK)
            if not alive:
                return
            chosen = list(alive) if moments.random() < ALL else [moments.choice(alive)]
            for child in chosen[: most - row.kills]:
                at = _moment(child.pid, out)
                alive.remove(child)
                if child.kill().code != -9:  # it ended just before
                    continue
                row.kills += 1
                row.moments[at] = row.moments.get(at, 0) + 1
                alive.append(Child(command, cache))
    finally:
        for child in alive:
            child.kill()


def _ended(child: Child) -> bool:
    ended = child.poll()
    if ended is not None and ended.code:
        raise Failed(f"a process that was not killed ended with {ended.code}:\n{ended.errors[-3000:]}")
    return ended is not None


def _moment(pid: int, out: Path) -> str:
    """What a process is at, by the files."""
    if not (out / "plan.json").exists():
        return "before the plan"
    for claim in (out / "claims").glob("[0-9]*"):
        try:
            if json.loads(claim.read_bytes()).get("pid") == pid:
                return "at a part"
        except (OSError, ValueError):
            continue
    return "with a plan, not at a part"


def _hidden(out: Path) -> list[str]:
    return [name for name in tree(out) if Path(name).name.startswith(".gsam-")] if out.exists() else []
