"""Whole processes in a clean environment: their time and their memory, as seen from outside."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "JAX_PLATFORMS", "GSAM_EMOJI_FONT")
"""Variables that a process is given; nobody's settings of XLA, Python or a compile cache."""
LIMIT = 3600.0
"""Seconds after which a process hangs."""
LOOK = 0.005
"""Seconds between two looks at a process."""
WORKER = "benchmarks.harness.dataset_worker"


class Failed(RuntimeError):
    """A process ended with an error."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """A process that ended."""

    code: int
    """Its exit code; below zero, the signal."""
    seconds: float
    """From its start to its end, by the wall."""
    processor: float
    """Processor seconds of all its threads."""
    peak: int
    """The most bytes that were resident."""
    output: str
    errors: str

    @property
    def answer(self) -> dict[str, Any]:
        """The last line of a worker's output."""
        found: dict[str, Any] = json.loads(self.output.strip().splitlines()[-1])
        return found


class Child:
    """A process that runs.

    Args:
        command: Arguments of this Python.
        cache: gsam's cache, in which compiled programs are kept as a user's are.
    """

    def __init__(self, command: Sequence[str], cache: Path) -> None:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "GSAM_CACHE": str(cache)}
        self._out: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._err: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._ended: Ended | None = None
        self.command = list(command)
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, *command], env=environment, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err
        )
        self.pid = self._process.pid

    def poll(self, options: int = os.WNOHANG) -> Ended | None:
        """Look whether it ended."""
        if self._ended is None:
            pid, status, usage = os.wait4(self.pid, options)  # the only call that tells one child's memory
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._process.returncode = code
                seconds = time.perf_counter() - self.began
                texts = [self._text(file) for file in (self._out, self._err)]
                processor = usage.ru_utime + usage.ru_stime
                self._ended = Ended(code, seconds, processor, usage.ru_maxrss * 1024, *texts)
        return self._ended

    def wait(self, limit: float = LIMIT) -> Ended:
        """Wait for its end.

        Args:
            limit: Seconds since its start after which it is taken to hang.

        Raises:
            Failed: It ended with an error, or hangs.
        """
        while (ended := self.poll()) is None:
            if time.perf_counter() - self.began > limit:
                raise Failed(f"{' '.join(self.command)[:300]} has not ended after {limit:.0f} s")
            time.sleep(LOOK)
        if ended.code:
            raise Failed(f"{' '.join(self.command)[:300]} ended with {ended.code}:\n{ended.errors[-3000:]}")
        return ended

    def kill(self) -> Ended:
        """Send SIGKILL and wait for the end."""
        os.kill(self.pid, signal.SIGKILL)
        ended = self.poll(0)
        assert ended is not None
        return ended

    def _text(self, file: IO[str]) -> str:
        file.seek(0)
        text = file.read()
        file.close()
        return text


def worker(task: str, **given: Any) -> list[str]:
    """Arguments of Python for a task of `benchmarks.harness.dataset_worker`."""
    return ["-m", WORKER, task, json.dumps(given, default=str)]


def label_command(source: Path, query: str, out: Path, part_size: int, *more: str) -> list[str]:
    """Arguments of Python for ``gsam label`` on nano."""
    command = ["-m", "gsam", "label", str(source), "-q", query, "-p", "nano", "-o", str(out)]
    return [*command, "--part-size", str(part_size), "--quiet", *more]


def together(commands: Sequence[Sequence[str]], cache: Path, limit: float = LIMIT) -> list[Ended]:
    """Run processes at once; ``seconds`` of each are from the start of the first.

    Args:
        commands: The arguments of each.
        cache: As for `Child`.
        limit: As for `Child.wait`.

    Raises:
        Failed: As of `Child.wait`; the others are ended.
    """
    children = [Child(command, cache) for command in commands]
    began = children[0].began
    try:
        ended = [child.wait(limit) for child in children]
        return [
            dataclasses.replace(one, seconds=one.seconds + child.began - began)
            for one, child in zip(ended, children, strict=True)
        ]
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()


def in_turns(forms: Mapping[str, Callable[[], dict[str, Any]]], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Call each form ``repeats`` times, in rounds; the form that begins changes.

    Returns:
        The answers of each form.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in forms}
    names = list(forms)
    for number in range(repeats):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            tell(f"{name}, run {number + 1} of {repeats}")
            found[name].append(forms[name]())
    return found


def median(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    """The median of a number over runs."""
    return float(statistics.median(run[key] for run in runs))


def tell(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
