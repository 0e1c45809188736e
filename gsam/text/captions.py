"""The captions Grounding DINO reads: phrases that end in a point, packed side by side.

A phrase sees only itself (the original's sub-sentence masks, ``bertwarper.py``), so what BERT makes
of it does not depend on its neighbours: each query is encoded alone and remembered, and captions
are put together from that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from gsam.text.packed import Captions, EncodedPhrases, PhraseTokens
from gsam.text.processor import Axes, Encode
from gsam.text.tokenizer import Caption, Tokenizer

LENGTHS = (8, 16, 32, 64, 128, 256)
"""Captions and phrases are padded to the next of these."""
BEGIN, END, POINT, QUESTION = 101, 102, 1012, 1029
"""Ids in BERT's uncased vocabulary: the marks that end a phrase."""


@dataclasses.dataclass(frozen=True)
class CaptionPacker:
    """All queries as one caption of phrases, or several where they are many.

    See `gsam.text.processor.TextProcessor`.
    """

    tokenizer: Tokenizer | None
    """BERT's tokenizer; None reads no text."""
    context: int
    """Tokens of the longest caption."""
    longest: int
    """Tokens of the longest query."""
    template: str = "{}"
    """The phrase around a query."""
    labels: Literal["queries", "phrases"] = "queries"
    """Labels to decode: the user's queries, or phrases as in the original's demo."""

    @property
    def axes(self) -> Axes:
        """Axes of each leaf of a batch's text that vary, see `gsam.export.programs`."""
        return (("b", "k", "t"),) * len(Captions._fields)

    @property
    def token_axes(self) -> tuple[str, ...]:
        """Axes of the tokens that vary."""
        return ("c", "t")

    def tokenize(self, texts: Sequence[str]) -> PhraseTokens[np.ndarray]:
        """Tokenize each query as a caption of its own.

        Args:
            texts: C queries.

        Returns:
            The tokens of each.
        """
        phrases = [self.template.replace("{}", q) if q else q for q in texts]
        return tokenize(phrases, self._tokenizer, self.longest)

    def pack_text(self, queries: Sequence[str], encode: Encode) -> Captions[np.ndarray]:
        """Pack the captions of one image.

        Args:
            queries: The queries, padded with ``""`` to C.
            encode: The encoded tokens of a list of queries, cached by query.

        Returns:
            Arrays [captions, T, ...], see `pack`.
        """
        return pack(encode(queries), [bool(q) for q in queries], self.context)

    def caption(self, queries: Sequence[str]) -> Caption:
        """Find the tokens at each place of `gsam.types.Labels.tokens`.

        Args:
            queries: The queries of one image.

        Returns:
            The caption as the detector reads it.
        """
        tokenizer = self._tokenizer
        tokens = self.tokenize(queries)
        phrases = EncodedPhrases(*tokens, np.zeros((*tokens.ids.shape, 0)))
        packed = pack(phrases, [bool(q) for q in queries], self.context)
        ids = packed.ids.reshape(-1).tolist()
        count, length = packed.ids.shape
        return Caption(ids, tokenizer.spell(ids), tokenizer.decode, frozenset({BEGIN}), (count, length))

    @property
    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ValueError("this detector was loaded without a tokenizer, so it cannot read text")
        return self.tokenizer


def tokenize(texts: Sequence[str], tokenizer: Tokenizer, longest: int) -> PhraseTokens[np.ndarray]:
    """Tokenize each text as a caption of its own.

    Args:
        texts: C phrases.
        tokenizer: BERT's.
        longest: At most this many tokens per text.

    Returns:
        The tokens of each.
    """
    ids = tokenizer.encode([f"{text.lower()} ." for text in texts], longest)
    ids = ids[:, : _padded(int((ids > 0).sum(1).max()))]
    block, position = np.zeros_like(ids), np.zeros_like(ids)
    for row, b, p in zip(ids, block, position, strict=True):
        count, start, number = int((row > 0).sum()), 1, 2
        b[0] = 1
        for i in range(1, count):
            if row[i] in (BEGIN, END, POINT, QUESTION) or i == count - 1:
                b[start : i + 1], p[start : i + 1] = number, np.arange(i + 1 - start)
                start, number = i + 1, number + 1
    return PhraseTokens(ids, block, position)


def pack(phrases: EncodedPhrases[np.ndarray], asked: Sequence[bool], longest: int) -> Captions[np.ndarray]:
    """Pack queries into captions.

    Args:
        phrases: C queries, encoded one by one.
        asked: Which of them to pack; the others are padding.
        longest: At most this many tokens per caption.

    Returns:
        One caption or more, as many as a power of two.
    """
    spans: list[list[int]] = [[]]
    used = 2
    counts = (phrases.ids > 0).sum(1) - 2
    for i in np.flatnonzero(asked):
        if spans[-1] and used + counts[i] > longest:
            spans.append([])
            used = 2
        spans[-1].append(int(i))
        used += int(counts[i])
    length = _padded(max(2 + int(sum(counts[i] for i in span)) for span in spans))
    shape = 1 << (len(spans) - 1).bit_length(), length
    features = np.zeros((*shape, phrases.features.shape[-1]), phrases.features.dtype)
    ids, block, position, query = (np.zeros(shape, np.int32) for _ in range(4))
    out = Captions(ids, block, position, query, features)
    for k, span in enumerate(spans):
        _fill(Captions(*(leaf[k] for leaf in out)), phrases, span, counts)
    return out


def _fill(
    caption: Captions[np.ndarray], phrases: EncodedPhrases[np.ndarray], span: list[int], counts: np.ndarray
) -> None:
    at, block = 1, 1
    first = span[0] if span else 0
    ids, features = (caption.ids, phrases.ids), (caption.features, phrases.features)
    for into, rows in (ids, features):
        into[0] = rows[first, 0]
    caption.block[0] = 1
    for i in span:
        here, there = slice(at, at + int(counts[i])), slice(1, 1 + int(counts[i]))
        for into, rows in (ids, features, (caption.position, phrases.position)):
            into[here] = rows[i, there]
        caption.block[here] = phrases.block[i, there] - 1 + block
        block = int(caption.block[here].max(initial=block))
        words = ~np.isin(phrases.ids[i, there], (BEGIN, END, POINT, QUESTION))
        caption.query[here] = np.where(words, i + 1, 0)
        at = here.stop
    for into, rows in (ids, features):
        into[at] = rows[first, 1 + int(counts[first])]
    caption.block[at] = block + 1


def _padded(count: int) -> int:
    return next((n for n in LENGTHS if n >= count), LENGTHS[-1])
