"""Objects that CVAT's clients follow: held here, under names that nobody can guess.

CVAT gives every answer's states back with the next image.  The memories of SAM 2 are megabytes,
and what comes from outside is never unpacked; so a state is a name, which means nothing elsewhere.
"""

from __future__ import annotations

import collections
import dataclasses
import secrets
import time
from collections.abc import Callable
from typing import Any

from gsam.serve.config import ServeConfig
from gsam.serve.cvat.following import Followed
from gsam.serve.problems import ServeError

MOST = 1024
"""States, at most."""
SHARE = 4
"""They may take this part of what sessions may."""


@dataclasses.dataclass(eq=False)
class Kept:
    """An object after an image."""

    followed: Followed
    box: list[float]
    """Where it was seen last, x0 y0 x1 y1."""
    before: str | None
    """The state that it came of, which still serves if an answer is lost."""
    used: float


class States:
    """The states of a server; that which was not used for longest goes first.

    For the event loop's thread only.
    """

    def __init__(self, config: ServeConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes, self._age, self._clock = config.max_session_bytes // SHARE, config.session_age, clock
        self._known: collections.OrderedDict[str, Kept] = collections.OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def bytes(self) -> int:
        """Memory that they take, at most: what two states share counts twice."""
        return self._bytes

    def keep(self, followed: Followed, box: list[float], before: str | None = None) -> str:
        """Keep a state, in place of the one before ``before``.

        Returns:
            Its name.
        """
        if (parent := self._known.get(before or "")) is not None and parent.before is not None:
            self._forget(parent.before)
            parent.before = None
        name = secrets.token_urlsafe(24)
        self._known[name] = Kept(followed, box, before, self._clock())
        self._bytes += followed.nbytes
        while len(self._known) > 1 and (len(self._known) > MOST or self._bytes > self._most_bytes):
            self._forget(next(iter(self._known)))
        return name

    def find(self, name: Any) -> Kept:
        """A state by its name.  Raises `ServeError` 404 ``state_unknown``."""
        oldest = self._clock() - self._age
        while self._known and next(iter(self._known.values())).used < oldest:
            self._forget(next(iter(self._known)))
        found = self._known.get(name) if isinstance(name, str) else None
        if found is None:
            text = "this state is not known, or was forgotten: switch the object's tracking off and on again"
            raise ServeError(404, "state_unknown", text)
        found.used = self._clock()
        self._known.move_to_end(name)
        return found

    def _forget(self, name: str) -> None:
        if (gone := self._known.pop(name, None)) is not None:
            self._bytes -= gone.followed.nbytes
