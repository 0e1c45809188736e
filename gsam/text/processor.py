"""The contract of text processors, and the one of a stage without a text encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from gsam.types import PyTree  # which needs JAX; reading a query does not

Encode: TypeAlias = Callable[[Sequence[str]], "PyTree"]
"""Texts -> their features, a pytree of numpy arrays with a leading axis of texts."""
Axes = tuple[tuple[str, ...], ...]
"""For each leaf of a batch's text, the letters of its leading axes whose length varies."""


@runtime_checkable
class TextProcessor(Protocol):
    """Texts to tokens, and the features of texts to what a stage is given of an image's queries.

    The processors of models are in `gsam.text.model_text`; `QueryFeatures` is for a stage of your
    own.
    """

    def tokenize(self, texts: Sequence[str]) -> PyTree:
        """Turn texts into tokens.

        Args:
            texts: Queries, or what the processor asks to be encoded beside them.

        Returns:
            Any pytree of numpy arrays with a leading axis of texts.  They are given to the stage's
            ``embed``; of a stage without one they are the features themselves.
        """

    def pack_text(self, queries: Sequence[str], encode: Encode) -> PyTree:
        """Put together what the stage is given for one image.

        Args:
            queries: What the image is asked for, padded with ``""`` to one of a few numbers C.
            encode: Gives the features of texts, each computed once and then remembered.

        Returns:
            Any pytree of numpy arrays.  Those of several images are stacked; leaves of different
            length are padded with zeros, which must change no result.
        """


@dataclasses.dataclass(frozen=True)
class QueryFeatures:
    """Queries to features by a function: the `TextProcessor` of a stage without a text encoder.

    Example:
        >>> COLOURS = {"red": (1.0, 0.0, 0.0), "blue": (0.0, 0.0, 1.0)}
        >>> text = gsam.QueryFeatures(
        ...     lambda queries: np.array([COLOURS.get(q, (0.0, 0.0, 0.0)) for q in queries])
        ... )
        >>> text.tokenize(["blue", ""]).shape
        (2, 3)
    """

    features: Encode
    """Function from C queries, some of them padding (``""``), to a pytree of arrays [C, ...]."""

    def tokenize(self, texts: Sequence[str]) -> PyTree:
        """Compute the features: there are no tokens.

        Args:
            texts: C texts.

        Returns:
            What the function made of them, [C, ...].
        """
        return self.features(texts)

    def pack_text(self, queries: Sequence[str], encode: Encode) -> PyTree:
        """Stack the features of each query.

        Args:
            queries: The queries of one image, padded with ``""`` to C.
            encode: The features of a list of queries, cached by query.

        Returns:
            The features, [C, ...].
        """
        return encode(queries)
