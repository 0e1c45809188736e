"""Claims on parts: any number of processes share them, and a dead one's are taken over."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from gsam.dataset.folder import runs
from gsam.dataset.label.place import Place
from gsam.errors import GsamError
from gsam.files import Closing
from gsam.types import Json

FOLDER = "claims"


class Claim:
    """A part that this process is at, until it is released."""

    def __init__(self, claims: Claims, part: int) -> None:
        """Made by `Claims.take`."""
        self.part = part
        self._claims = claims

    def release(self) -> None:
        """Let others have the part; a second time does nothing."""
        self._claims._release(self.part)


class Claims(Closing):
    """The claims of one process in a place.

    Two processes that do the same part write the same bytes, so a claim that was wrongly taken
    over costs time and nothing else.  One thread gives the signs of life of all that are held.
    """

    def __init__(self, place: Place, beat: float | None = None, dead: float | None = None) -> None:
        """Begin.

        Args:
            place: Where the results go.
            beat: Seconds between two signs of life; by default the place's.
            dead: Seconds without one after which a claim counts no more; by default the place's.
        """
        self._place = place
        self._beat = place.beat if beat is None else beat
        self._dead = place.dead if dead is None else dead
        self.me: Json = {"host": _host(), "pid": os.getpid(), "run": uuid.uuid4().hex}
        self._held: dict[int, list[int]] = {}  # number of the claim, signs of life given
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._living: threading.Thread | None = None
        self._seen: dict[int, tuple[bytes, float | None, float]] = {}

    def take(self, part: int) -> Claim | None:
        """Claim a part; None where another process is at it, or this one already.

        A claim that is taken over stays, and the new one is a file with the next number: it is
        created exclusively, so of several that try it at once, one does it.
        """
        with self._lock:
            if part in self._held:
                return None
        number = self._free(part)
        if number is None or not self._place.put_once(_name(part, number), self._content(0)):
            return None
        with self._lock:
            self._seen.pop(part, None)
            self._held[part] = [number, 0]
            if self._living is None:
                self._living = threading.Thread(target=self._live, name="gsam-claims", daemon=True)
                self._living.start()
        return Claim(self, part)

    @contextlib.contextmanager
    def held(self, part: int) -> Iterator[bool]:
        """Claim a part while the block runs; False where another process is at it."""
        claim = self.take(part)
        try:
            yield claim is not None
        finally:
            if claim is not None:
                claim.release()

    def close(self) -> None:
        """Release every claim that is held."""
        with self._lock:
            parts = list(self._held)
        for part in parts:
            self._release(part)

    def sweep(self, done: Collection[int]) -> None:
        """Remove the claims of parts that are done: of processes that died between the two."""
        for name in self._place.names(FOLDER):
            part = name.partition(".")[0]
            if part.isdecimal() and int(part) in done:
                self._place.remove(f"{FOLDER}/{name}")

    def alone(self) -> bool:
        """Whether no other process has a claim."""
        with self._lock:  # with those that ours took over
            ours = {_name(part, number) for part, held in self._held.items() for number in range(held[0] + 1)}
        return {f"{FOLDER}/{name}" for name in self._place.names(FOLDER)} <= ours

    def _content(self, beat: int) -> bytes:
        return json.dumps({**self.me, "beat": beat}).encode()

    def _release(self, part: int) -> None:
        with self._lock:  # not while a sign of life is being given, which would bring it back
            if (held := self._held.pop(part, None)) is None:
                return
            self._wake.notify_all()
            with contextlib.suppress(OSError, GsamError, ValueError, AttributeError):
                if json.loads(self._place.read(_name(part, held[0]))).get("run") == self.me["run"]:
                    for number in range(held[0] + 1):  # those that were taken over first
                        self._place.remove(_name(part, number))

    def _live(self) -> None:
        due = time.monotonic() + self._beat
        while True:
            with self._lock:
                self._wake.wait_for(lambda: not self._held, due - time.monotonic())
                if not self._held:
                    self._living = None
                    return
                for part, held in self._held.items():
                    held[1] += 1
                    with contextlib.suppress(OSError, GsamError):
                        self._place.touch(_name(part, held[0]), self._content(held[1]))
            due = time.monotonic() + self._beat

    def _free(self, part: int) -> int | None:
        """Number that a claim would have; None where a process that lives is at the part."""
        number, judged, written = 0, b"", None
        while True:
            try:
                content = self._place.read(_name(part, number))
                time_of = self._place.modified(_name(part, number))
            except FileNotFoundError:
                time_of = None
            if time_of is None:
                break
            number, judged, written = number + 1, content, time_of
        return number if written is None or self._is_dead(part, judged, written) else None

    def _is_dead(self, part: int, judged: bytes, written: float) -> bool:
        try:
            holder = json.loads(judged)
            if holder["host"] == self.me["host"] and not runs(int(holder["pid"])):
                return True
        except (ValueError, LookupError, TypeError):
            pass
        # watched by a clock that is never set: ages mean nothing where the store's was set back
        seen = self._seen.get(part)
        if seen is None or seen[:2] != (judged, written):
            self._seen[part] = seen = (judged, written, time.monotonic())
        if time.monotonic() - seen[2] > self._dead:
            return True
        return self._place.now() - written > self._dead


def _name(part: int, number: int = 0) -> str:
    return f"{FOLDER}/{part:06d}" + (f".{number}" if number else "")


def _host() -> str:
    """A name for all processes that see each other's numbers: a container has its own."""
    told = [socket.gethostname()]
    with contextlib.suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        told.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(told)
