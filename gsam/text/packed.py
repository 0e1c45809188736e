"""The arrays that text becomes: pytrees of numpy arrays on the host, of JAX's in a program."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

Array = TypeVar("Array")


class PhraseTokens(NamedTuple, Generic[Array]):
    """Each text as a caption of its own, as BERT reads it: ``[CLS] text . [SEP]``."""

    ids: Array
    """[C, T] int32 token ids; 0 is padding."""
    block: Array
    """[C, T] int32: tokens see those of their own block only; 0 is padding."""
    position: Array
    """[C, T] int32: place of a token in its block."""


class EncodedPhrases(NamedTuple, Generic[Array]):
    """`PhraseTokens` and what BERT made of them."""

    ids: Array
    block: Array
    position: Array
    features: Array
    """[C, T, D]."""


class Captions(NamedTuple, Generic[Array]):
    """The phrases of an image packed side by side, in one caption or several (K)."""

    ids: Array
    """[K, T] int32 token ids; 0 is padding."""
    block: Array
    """[K, T] int32, as in `PhraseTokens`."""
    position: Array
    """[K, T] int32."""
    query: Array
    """[K, T] int32: 1 + the query that a token is a word of, 0 for marks and padding."""
    features: Array
    """[K, T, D]."""


class RegionText(NamedTuple, Generic[Array]):
    """The unit vectors that regions of an image are compared with."""

    queries: Array
    """[C, P] float."""
    negatives: Array
    """[K, P] float."""
    allowed: Array
    """[K] bool: negatives that may be used beside these queries."""


KINDS = (PhraseTokens, EncodedPhrases, Captions, RegionText)
"""All of them, for who writes them to files."""
