"""Queries in sentences and with negatives beside them, as CLIP and SigLIP read them."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from gsam.text.templates import Template, allowed, fill, templates

END, BEGIN = 1, 2
"""SigLIP's end mark, of both versions, and SigLIP 2's begin mark, which it was trained without."""


class Tokenizer(Protocol):
    def encode(self, texts: Sequence[str], context: int, pad: int = 0) -> np.ndarray: ...


class Marks(Protocol):
    @property
    def version(self) -> int: ...
    @property
    def pad(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Each query in one sentence or several, and negatives beside the queries."""

    tokenizer: Tokenizer | None
    context: int
    """How many tokens the model reads."""
    template: Template = "{}"
    negatives: tuple[str, ...] = ()

    @property
    def axes(self) -> Any:
        """What varies in the text of a batch, by the letters of `gsam.export.write`."""
        return {"queries": ("b", "c"), "negatives": ("b",), "allowed": ("b",)}

    @property
    def token_axes(self) -> tuple[str, ...]:
        """What varies in `encode`'s tokens."""
        return ("c",)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of each text in each of the K templates, [C, K, T]."""
        if self.tokenizer is None:
            raise ValueError("this classifier was loaded without a tokenizer, so it cannot read text")
        ids = self.tokens(self.tokenizer, fill(self.template, texts))
        return ids.reshape(len(texts), len(templates(self.template)), self.context)

    def tokens(self, tokenizer: Tokenizer, sentences: Sequence[str]) -> np.ndarray:
        """[n, T]."""
        return tokenizer.encode(sentences, self.context)

    def arrange(self, queries: Sequence[str], embedded: Callable[[Sequence[str]], Any]) -> dict[str, Any]:
        """Unit vectors of the queries [C, P] and of the negatives [K, P], and which negatives may be used [K]."""
        both = embedded([*queries, *self.negatives])
        return {
            "queries": both[: len(queries)],
            "negatives": both[len(queries) :],
            "allowed": allowed(self.negatives, queries),
        }


@dataclasses.dataclass(frozen=True)
class Marked(Sentences):
    """SigLIP's: texts are made plain first, and end in exactly one mark."""

    version: int = 1
    pad: int = 1

    def tokens(self, tokenizer: Tokenizer, sentences: Sequence[str]) -> np.ndarray:
        """[n, T]."""
        plain = [canonical(s, self.version) for s in sentences]
        return finished(tokenizer.encode(plain, self.context, pad=self.pad), self)


def canonical(text: str, version: int) -> str:
    """A text as the model was trained to see it: in lower case, and for SigLIP without punctuation."""
    text = text.lower()
    if version == 1:
        text = text.translate(str.maketrans("", "", string.punctuation))
    return " ".join(text.split())


def finished(ids: np.ndarray, marks: Marks) -> np.ndarray:
    """Token ids [n, T] with exactly one end mark, which a text that is cut keeps, and then the padding.

    Whether a ``tokenizer.json`` adds the marks depends on who wrote it.
    """
    out = np.full_like(ids, marks.pad)
    for row, found in zip(out, ids, strict=True):
        words = found[~np.isin(found, (END,) if marks.version == 1 else (0, END, BEGIN))][: len(row) - 1]
        row[: len(words)] = words
        row[len(words)] = END
    return out
