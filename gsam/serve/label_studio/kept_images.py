"""Encoded images by their address, so that a second click on one costs the decoder only."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import threading

from gsam.predictors.embedding import Embedding
from gsam.serve.config import ServeConfig
from gsam.serve.problems import ServeError
from gsam.serve.sessions import Sessions

SHARE = 4
"""One part in so many of the memory of sessions."""


class KeptImages:
    """A bounded store: what was not used for longest goes first, and what is old in any case.

    Args:
        config: Has the limits of sessions.
    """

    def __init__(self, config: ServeConfig) -> None:
        most = max(config.max_session_bytes // SHARE, 1)
        self._sessions = Sessions(dataclasses.replace(config, max_session_bytes=most))
        self._most = 4 * config.max_sessions
        self._keys: collections.OrderedDict[bytes, str] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, address: str) -> Embedding | None:
        """The image of an address, if it is still there."""
        with (
            self._lock,
            contextlib.suppress(KeyError, ServeError),
            self._sessions.using(self._keys[_key(address)]) as s,
        ):
            return s.embedding
        return None

    def keep(self, address: str, embedding: Embedding) -> None:
        """Keep an image, where it is not too large to be kept."""
        with self._lock, contextlib.suppress(ServeError):
            self._keys[_key(address)] = self._sessions.add(embedding).id
            self._keys.move_to_end(_key(address))
            while len(self._keys) > self._most:
                self._keys.popitem(last=False)


def _key(address: str) -> bytes:
    return hashlib.sha256(address.encode("utf-8", "surrogatepass")).digest()
