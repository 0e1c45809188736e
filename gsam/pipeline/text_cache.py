"""Queries -> what the stages read: every text is embedded once, then remembered."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gsam.runtime.program import Program
from gsam.types import Params

ROWS = 16
"""Texts embedded at a time, so that one program serves any number of them."""
REMEMBERED = 4096


class TextEncoderCache:
    """A stage's texts: the embedding of each, and what the stage made of lists of them."""

    def __init__(self, stage: Any, params: Callable[[], Params]) -> None:
        self._stage = stage
        self._params = params
        self._rows: collections.OrderedDict[str, Any] = collections.OrderedDict()
        self.embed = Program(stage.embed) if hasattr(stage, "embed") else None
        self.read = 0
        """How many texts have been embedded so far."""

    def ask(self, queries: Sequence[str]) -> Any:
        """The text of one picture, for queries padded with ``""``: numpy leaves."""
        if hasattr(self._stage, "arrange"):
            return self._stage.arrange(queries, self.embedded)
        return self.embedded(queries)

    def embedded(self, texts: Sequence[str]) -> Any:
        """What ``embed`` makes of each text, stacked [len(texts), ...]; shorter leaves are padded with zeros."""
        missing = [t for t in dict.fromkeys(texts) if t not in self._rows]
        for start in range(0, len(missing), ROWS):
            part = missing[start : start + ROWS]
            tokens = self._stage.encode([*part, *[""] * (ROWS - len(part))])
            found = tokens if self.embed is None else self.embed(self._params(), tokens)
            found = jax.device_get(found)
            for i, text in enumerate(part):
                self._rows[text] = jax.tree.map(lambda x, i=i: np.asarray(x[i]), found)
            self.read += len(part)
        for text in texts:
            self._rows.move_to_end(text)
        stacked = stack([self._rows[t] for t in texts])
        while len(self._rows) > REMEMBERED:
            self._rows.popitem(last=False)
        return stacked


def stack(values: Sequence[Any]) -> Any:
    """Pytrees of one structure -> their leaves with a new leading axis, padded with zeros to the largest of each axis."""
    return jax.tree.map(lambda *leaves: _stack(leaves), *values)


def _stack(leaves: Sequence[np.ndarray]) -> np.ndarray:
    shape = tuple(np.max([leaf.shape for leaf in leaves], axis=0)) if leaves[0].ndim else ()
    if all(leaf.shape == shape for leaf in leaves):
        return np.stack(leaves)
    out = np.zeros((len(leaves), *shape), leaves[0].dtype)
    for row, leaf in zip(out, leaves, strict=True):
        row[tuple(slice(n) for n in leaf.shape)] = leaf
    return out


def text_caches(stages: Mapping[str, Any], params: Callable[[], Mapping[str, Params]]) -> dict[str, TextEncoderCache]:
    """One for each stage that reads text."""
    return {
        slot: TextEncoderCache(stage, lambda slot=slot: params()[slot])  # type: ignore[misc]
        for slot, stage in stages.items()
        if hasattr(stage, "encode")
    }
