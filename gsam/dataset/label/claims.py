"""Claims on parts: any number of processes share them, and a dead one's are taken over."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from gsam.dataset.label.plan import appear_once

BEAT = 15.0
"""Seconds between two signs of life."""
DEAD = 120.0
"""Seconds without one after which a claim counts no more."""


class Claims:
    """The claims of one process in a folder.

    Two processes that do the same part write the same bytes, so a claim that was wrongly taken
    over costs time and nothing else.
    """

    def __init__(self, folder: Path, beat: float = BEAT, dead: float = DEAD) -> None:
        """Begin; ``folder`` is made.  ``beat`` and ``dead`` are seconds."""
        self._folder, self._beat, self._dead = folder, beat, dead
        folder.mkdir(parents=True, exist_ok=True)
        self._me = {"host": socket.gethostname(), "pid": os.getpid()}

    @contextlib.contextmanager
    def held(self, part: int) -> Iterator[bool]:
        """Claim a part while the block runs; False where another process is at it."""
        path = self._folder / f"{part:06d}"
        if not appear_once(path, json.dumps(self._me).encode()) and not self._taken_over(path):
            yield False
            return
        over = threading.Event()
        living = threading.Thread(target=self._live, args=(path, over), name="gsam-claim", daemon=True)
        living.start()
        try:
            yield True
        finally:
            over.set()
            living.join()
            with contextlib.suppress(OSError):
                path.unlink()

    def _live(self, path: Path, over: threading.Event) -> None:
        while not over.wait(self._beat):
            with contextlib.suppress(OSError):
                os.utime(path)

    def _taken_over(self, path: Path) -> bool:
        """Take the claim of a process that is dead; of several that try, one does."""
        try:
            holder = json.loads(path.read_text(encoding="utf-8"))
            age = self._now() - path.stat().st_mtime
        except FileNotFoundError:
            return appear_once(path, json.dumps(self._me).encode())
        except (OSError, ValueError):
            holder, age = {}, 0.0
        here = holder.get("host") == self._me["host"]
        if not (age > self._dead or (here and not _runs(holder.get("pid")))):
            return False
        mine = path.with_name(f".{path.name}.{self._me['host']}.{self._me['pid']}")
        try:
            os.rename(path, mine)
        except OSError:  # another was quicker
            return False
        mine.unlink(missing_ok=True)
        return appear_once(path, json.dumps(self._me).encode())

    def _now(self) -> float:
        """The file system's time: clocks of machines differ, and are set back."""
        probe = self._folder / f".now.{self._me['host']}.{os.getpid()}"
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError:
            return time.time()
        finally:
            probe.unlink(missing_ok=True)


def _runs(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
