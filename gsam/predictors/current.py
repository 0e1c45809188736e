"""The images that a predictor answers about, each thread's its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from gsam.predictors.embedding import Embedding


class CurrentImages:
    """The embeddings that were set last, by thread.

    A thread that has set images is answered about those, whatever others set. One that has set
    none sees those of the only thread that has; where several have, nothing tells which it means.
    Within `using`, a thread is answered about the images given there, which sets none.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._lock = threading.Lock()
        self._setters = 0
        self._last: Sequence[Embedding] = ()

    def get(self) -> Sequence[Embedding]:
        """The embeddings that this thread means, none where nothing is set.

        Raises:
            RuntimeError: Several threads have set images, and this one has not.
        """
        lent: Sequence[Embedding] | None = getattr(self._own, "lent", None)
        if lent is not None:
            return lent
        own: Sequence[Embedding] | None = getattr(self._own, "embeddings", None)
        if own is not None:
            return own
        if self._setters > 1:
            raise RuntimeError(
                "several threads have set images on this predictor, and this one has not: call set_image in the "
                "thread that calls predict, or give every thread a predictor (docs/processes.md)"
            )
        return self._last

    @contextlib.contextmanager
    def using(self, embeddings: Sequence[Embedding]) -> Iterator[None]:
        """Let this thread mean other embeddings for a while; those that are set stay."""
        before: Sequence[Embedding] | None = getattr(self._own, "lent", None)
        self._own.lent = tuple(embeddings)
        try:
            yield
        finally:
            self._own.lent = before

    def set(self, embeddings: Sequence[Embedding]) -> None:
        """Set the embeddings of this thread; none forgets those it had.

        Raises:
            RuntimeError: Within `using`.
        """
        if getattr(self._own, "lent", None) is not None:
            raise RuntimeError("no image can be set or forgotten within predictor.using(...)")
        with self._lock:
            if not hasattr(self._own, "embeddings"):
                if not embeddings and self._setters <= 1:
                    self._last = ()
                    return
                self._setters += 1
            self._own.embeddings = self._last = tuple(embeddings)
