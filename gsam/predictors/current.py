"""The images that a predictor answers about, each thread's its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gsam.predictors.embedding import Embedding


class CurrentImages:
    """The embeddings that were set last, by thread.

    A thread that has set images is answered about those, whatever others set. One that has set
    none sees those of the only thread that has; where several have, nothing tells which it means.
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
        own: Sequence[Embedding] | None = getattr(self._own, "embeddings", None)
        if own is not None:
            return own
        if self._setters > 1:
            raise RuntimeError(
                "several threads have set images on this predictor, and this one has not: call set_image in the "
                "thread that calls predict, or give every thread a predictor (docs/processes.md)"
            )
        return self._last

    def set(self, embeddings: Sequence[Embedding]) -> None:
        """Set the embeddings of this thread; none forgets those it had."""
        with self._lock:
            if not hasattr(self._own, "embeddings"):
                if not embeddings and self._setters <= 1:
                    self._last = ()
                    return
                self._setters += 1
            self._own.embeddings = self._last = tuple(embeddings)
