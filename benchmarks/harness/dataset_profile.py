"""Where the time of a process goes: samples of its threads' stacks, and their processor time."""

from __future__ import annotations

import collections
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

EVERY = 0.005
"""Seconds between two samples."""
CPU_EVERY = 20
"""Samples between two looks at the processor time of threads."""
GROUPS = {
    "MainThread": "main",
    "gsam-read": "readers",
    "gsam-ahead": "lister",
    "gsam-rows": "rows",
    "gsam-parts": "parts",
    "gsam-claims": "claims",
    "overview": "overview",
}
"""Beginning of a thread's name -> its group."""
STAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "main": (
        ("_text", "text of the queries"),
        ("collect", "waiting for the device, and its results to the host"),
        ("_begin", "images to the device, and its start"),
        ("dispatch", "images to the device, and its start"),
        ("put", "waiting until results may go to be written"),
        ("read_ahead", "waiting for images that are read"),
        ("__next__", "waiting for the list of images"),
        ("finish", "waiting for the last parts"),
    ),
    "readers": (("open_image", "reading and decoding"), ("prepared", "views for the models")),
    "rows": (("row_of", "masks to run lengths, and rows"),),
    "parts": (("write_part", "writing parts"),),
    "lister": (("_tasks", "listing"),),
    "claims": (),
    "overview": (),
}
"""Group -> functions and what a thread in one of them is at; the first that is met counts."""
IDLE = ("threading.py", "queue.py", f"futures{os.sep}thread.py", f"futures{os.sep}_base.py", "selectors.py")
"""Files in which a thread waits."""


class Sampler:
    """Samples every thread of this process but its own, from `start` to `stop`."""

    def __init__(self) -> None:
        self._seconds: collections.Counter[tuple[str, str]] = collections.Counter()
        self._cpu: dict[int, tuple[str, float]] = {}
        self._first: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._began = 0.0

    def start(self) -> None:
        """Begin; a second time does nothing."""
        if not self._began:
            self._began = time.perf_counter()
            self._first = {tid: seconds for tid, _, seconds in _threads()}
            self._thread.start()

    def stop(self) -> dict[str, Any]:
        """End.

        Returns:
            Seconds in all, seconds of stages by the group of threads, and processor seconds of
            groups.
        """
        self._look()
        self._over.set()
        self._thread.join()
        cpu: collections.Counter[str] = collections.Counter()
        for tid, (group, seconds) in self._cpu.items():
            cpu[group] += seconds - self._first.get(tid, 0.0)  # type: ignore[assignment]
        stages = [[group, stage, seconds] for (group, stage), seconds in self._seconds.most_common()]
        return {"seconds": time.perf_counter() - self._began, "stages": stages, "processor": dict(cpu)}

    def _run(self) -> None:
        last = time.perf_counter()
        number = 0
        while not self._over.wait(EVERY):
            now = time.perf_counter()
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                group = _group(names.get(ident, ""))
                if group is not None:
                    self._seconds[group, stage_of(group, frame)] += now - last  # type: ignore[assignment]
            last, number = now, number + 1
            if number % CPU_EVERY == 0:
                self._look()

    def _look(self) -> None:
        own = {thread.native_id: thread.name for thread in threading.enumerate()}
        for tid, name, seconds in _threads():
            known = self._cpu.get(tid)
            group = known[0] if known else (_group(own.get(tid, "")) or own.get(tid) or _compiled(name))
            self._cpu[tid] = (group, seconds)


def stage_of(group: str, frame: FrameType | None) -> str:
    """Tell what a thread is at.

    Args:
        group: Its group.
        frame: Its innermost frame.
    """
    frames = list(_outwards(frame))
    idle = bool(frames) and frames[0].f_code.co_filename.endswith(IDLE)
    if idle and group != "main":
        return "waiting"
    names = {one.f_code.co_name for one in frames}
    for name, stage in STAGES[group]:
        if name in names:
            return stage
    return "waiting" if idle else "other"


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _group(name: str) -> str | None:
    return next((group for start, group in GROUPS.items() if name.startswith(start)), None)


def _compiled(name: str) -> str:
    return "compiled programs (XLA's threads)" if "XLA" in name or name.startswith(("tf_", "jax")) else "other threads"


def _threads() -> Iterator[tuple[int, str, float]]:
    """Number, name and processor seconds of every thread, those without Python too."""
    tick = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc/self/task").iterdir():
        try:
            text = (folder / "stat").read_text()
        except OSError:  # it ended
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        yield int(folder.name), name, (int(fields[11]) + int(fields[12])) / tick
