"""Images that clients click on, encoded once and held within limits of number, memory and age."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import Picture
from gsam.serve.config import ServeConfig
from gsam.serve.problems import ServeError

if TYPE_CHECKING:
    from gsam.pipeline.held import HeldImage
    from gsam.predictors.embedding import Embedding

ANSWERS = 48
"""Masks of a session whose logits are kept as prompts for later ones: 16 answers of three."""
UNKNOWN = "this session is not known, or was forgotten because it was not used: upload the image again"


@dataclasses.dataclass(eq=False)
class Session:
    """An encoded image, and the low-resolution logits of what was last found in it."""

    id: str = dataclasses.field(repr=False)
    embedding: Embedding = dataclasses.field(repr=False)
    used: float
    """When it was last used, on the clock of `Sessions`."""
    users: int = 0
    """Requests that use it now."""
    answers: collections.OrderedDict[str, NDArray[np.float32]] = dataclasses.field(
        default_factory=collections.OrderedDict, repr=False
    )
    """Logits [1, h, w] by the id of their mask, the oldest first."""
    answered: int = 0
    """Masks found so far."""
    words: HeldImage | None = dataclasses.field(default=None, repr=False)
    """The image as the pipeline encodes it, once words were asked."""
    bytes: int = 0
    """Memory that it takes, on the host and on the device."""

    def __post_init__(self) -> None:
        import jax

        arrays = (self.embedding.features, self.embedding.projected, self.embedding.pixels)
        self.bytes = sum(int(array.nbytes) for array in jax.tree.leaves(arrays))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.embedding.size

    @property
    def picture(self) -> Picture:
        """The image."""
        assert self.embedding.pixels is not None
        return Picture(self.embedding.pixels)

    def keep(self, logits: Sequence[NDArray[np.float32]]) -> list[str]:
        """Keep logits [h, w] of masks, in place of the oldest: their ids."""
        first = self.answered + 1
        self.answered += len(logits)
        names = [f"m{first + i}" for i in range(len(logits))]
        for name, own in zip(names, logits, strict=True):
            self.answers[name] = own[None].copy()  # not a view of an array that is larger
            self.bytes += self.answers[name].nbytes
        while len(self.answers) > ANSWERS:
            self.bytes -= self.answers.popitem(last=False)[1].nbytes
        return names

    def logits_of(self, mask: str) -> NDArray[np.float32]:
        """The logits [1, h, w] of an earlier answer.  Raises `ServeError` 422 ``mask_unknown``."""
        try:
            return self.answers[mask]
        except KeyError:
            text = f"mask has to be the id of an earlier answer of this session; the last {ANSWERS} are kept"
            raise ServeError(422, "mask_unknown", text) from None


class Sessions:
    """The sessions of a server.

    The one that was not used for longest goes first; one that a request uses is never taken away
    from it.  Threads may share them.
    """

    def __init__(self, config: ServeConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._known: collections.OrderedDict[str, Session] = collections.OrderedDict()  # the oldest use first
        self._bytes = 0
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def bytes(self) -> int:
        """Memory that all of them take."""
        return self._bytes

    def add(self, embedding: Embedding) -> Session:
        """Hold an image.

        Raises:
            ServeError: 413 ``session_too_large``, or 503 ``sessions_full`` where all are in use.
        """
        session = Session(secrets.token_urlsafe(24), embedding, self._clock())
        with self._lock:
            self.forget_old()
            if session.bytes > self._config.max_session_bytes:
                text = f"this image takes more than the {self._config.max_session_bytes >> 20} MB kept for sessions"
                raise ServeError(413, "session_too_large", text)
            if not self._make_room(session.bytes, 1):
                raise ServeError(503, "sessions_full", "every session is in use: try again", {"Retry-After": "1"})
            self._known[session.id] = session
            self._bytes += session.bytes
        return session

    def find(self, key: str) -> Session:
        """A session, which is not used by that.  Raises `ServeError` 404 ``session_unknown``."""
        with self._lock:
            self.forget_old()
            session = self._known.get(key)
        if session is None:
            raise ServeError(404, "session_unknown", UNKNOWN)
        return session

    @contextlib.contextmanager
    def using(self, key: str) -> Iterator[Session]:
        """Use a session: meanwhile it is not forgotten, and afterwards its age begins anew.

        Raises:
            ServeError: 404 ``session_unknown``.
        """
        with self._lock:
            session = self.find(key)
            session.users += 1
        try:
            yield session
        finally:
            with self._lock:
                session.users -= 1
                session.used = self._clock()
                if key in self._known:  # it may have been deleted
                    self._known.move_to_end(key)
                self._make_room(0, 0)

    def keep(self, session: Session, logits: Sequence[NDArray[np.float32]]) -> list[str]:
        """Keep logits [h, w] of masks as prompts for later ones.

        Returns:
            Their ids, which mean something in this session only.
        """
        with self._grown(session):
            return session.keep(logits)

    def hold_words(self, session: Session, words: HeldImage) -> None:
        """Keep the image as the pipeline encoded it."""
        with self._grown(session):
            session.bytes += words.bytes - (session.words.bytes if session.words is not None else 0)
            session.words = words

    def delete(self, key: str) -> None:
        """Forget a session now.  Raises `ServeError` 404 ``session_unknown``."""
        with self._lock:
            self._forget(self.find(key))

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            for session in list(self._known.values()):
                self._forget(session)

    def expires_in(self, session: Session) -> float:
        """Seconds until it is forgotten, if nobody uses it."""
        left = self._config.session_age - (0.0 if session.users else self._clock() - session.used)
        return round(max(left, 0.0), 1)

    def forget_old(self) -> None:
        """Forget those that were not used for longer than their age."""
        with self._lock:
            before = self._clock() - self._config.session_age
            for session in [s for s in self._known.values() if not s.users and s.used <= before]:
                self._forget(session)

    async def watch(self) -> None:
        """Forget old ones for ever, without a request that asks for it."""
        while True:
            await asyncio.sleep(min(max(self._config.session_age / 8, 0.02), 30.0))
            self.forget_old()

    @contextlib.contextmanager
    def _grown(self, session: Session) -> Iterator[None]:
        """Count the memory that a session takes more, and make room for it."""
        with self._lock:
            before = session.bytes
            yield
            if session.id in self._known:
                self._bytes += session.bytes - before
            self._make_room(0, 0)

    def _make_room(self, size: int, count: int) -> bool:
        """Forget those that are not used, the oldest first, until there is room: False without."""
        most, many = self._config.max_session_bytes, self._config.max_sessions
        while self._bytes + size > most or len(self._known) + count > many:
            session = next((session for session in self._known.values() if not session.users), None)
            if session is None:
                return False
            self._forget(session)
        return True

    def _forget(self, session: Session) -> None:
        del self._known[session.id]
        self._bytes -= session.bytes
