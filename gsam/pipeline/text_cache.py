"""From queries to what the stages are given: every text is encoded once, then remembered."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, TypeVar

import jax
import numpy as np

from gsam.roles import EncodesText, ReadsText
from gsam.runtime.program import Program
from gsam.text.model_text import ModelText
from gsam.text.processor import TextProcessor
from gsam.text.sentences import Sentences
from gsam.text.tokenizer import FastTokenizer
from gsam.text.vocabulary import Told
from gsam.types import Params, PyTree

ROWS = 16
"""Texts embedded at a time, so that one program serves any number of them."""
REMEMBERED = 4096
R = TypeVar("R", bound=Sized)


class TextEncoderCache:
    """The features of a stage's texts, each computed once."""

    def __init__(self, stage: ReadsText, params: Callable[[], Params]) -> None:
        """``params`` gives the stage's parameters, on the devices, when they are needed."""
        self._text = stage.text
        self._params = params
        self._rows: collections.OrderedDict[str, PyTree] = collections.OrderedDict()
        self.embed: Program[PyTree] | None = (
            Program(stage.embed, owner=stage) if isinstance(stage, EncodesText) else None
        )
        self.encoded = 0
        """Number of texts encoded so far."""
        self._tokenizer = _tokenizer_of(stage.text)
        self.told = self._tokenizer.told if self._tokenizer is not None else Told()
        """Record of the words that were told as unknown."""

    def share(self, told: Told) -> None:
        """Keep the record with the texts of other stages, where the vocabulary is closed."""
        if self._tokenizer is not None and self.told.small:
            self.told = self._tokenizer.told = told

    def encode(self, queries: Sequence[str]) -> PyTree:
        """The text of one image as the stage is given it.

        Args:
            queries: What the image is asked for, padded with ``""``.

        Returns:
            A pytree of numpy arrays, see `gsam.text.processor.TextProcessor.pack_text`.
        """
        return self._text.pack_text(queries, self.features)

    def features(self, texts: Sequence[str]) -> PyTree:
        """Encode each text; stacked [len(texts), ...], shorter leaves padded with zeros."""
        missing = [t for t in dict.fromkeys(texts) if t not in self._rows]
        with self.told.together():
            self._encode(missing)
        for text in texts:
            self._rows.move_to_end(text)
        stacked = stack([self._rows[t] for t in texts])
        while len(self._rows) > REMEMBERED:
            self._rows.popitem(last=False)
        return stacked

    def _encode(self, missing: Sequence[str]) -> None:
        """Encode texts that are new, some at a time."""
        for start in range(0, len(missing), ROWS):
            part = missing[start : start + ROWS]
            tokens = self._text.tokenize([*part, *[""] * (ROWS - len(part))])
            found = tokens if self.embed is None else self.embed(self._params(), tokens)
            found = jax.device_get(found)
            for i, text in enumerate(part):
                self._rows[text] = jax.tree.map(lambda x, i=i: np.asarray(x[i]), found)
            self.encoded += len(part)


def stack(values: Sequence[Any]) -> PyTree:
    """Stack pytrees of one structure, leaves padded with zeros to the largest of each axis."""
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
    """One for each stage that reads text; those of small vocabularies share what was said of
    them.
    """
    found = {
        slot: TextEncoderCache(stage, lambda slot=slot: params()[slot])  # type: ignore[misc]
        for slot, stage in stages.items()
        if isinstance(stage, ReadsText)
    }
    texts = [stage.text for stage in stages.values() if isinstance(stage, ReadsText)]
    things = [thing for text in texts if isinstance(text, Sentences) for thing in text.negatives]
    shared = Told(small=True, things=tuple(thing for thing in dict.fromkeys(things) if thing != "background"))
    for cache in found.values():
        cache.share(shared)
    return found


def _tokenizer_of(text: TextProcessor) -> FastTokenizer | None:
    tokenizer = text.tokenizer if isinstance(text, ModelText) else None
    return tokenizer if isinstance(tokenizer, FastTokenizer) else None


def tell_of_nothing(results: list[R], caches: Mapping[str, TextEncoderCache]) -> list[R]:
    """Say once, where a result is empty, what a model that knows few words is for."""
    if not all(map(len, results)):
        for cache in caches.values():
            cache.told.nothing()
    return results
