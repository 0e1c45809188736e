"""Queries one by one, as OWL reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.text.cleaning import clean
from gsam.text.processor import Axes, Encode
from gsam.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class SingleQueries:
    """Each query in a sentence, by itself.  See `gsam.text.processor.TextProcessor`."""

    tokenizer: Tokenizer | None
    context: int
    """Number of tokens that the model reads."""
    template: str = "{}"

    @property
    def axes(self) -> Axes:
        """Axes of each leaf of a batch's text that vary: [B, C, D], see `gsam.export.programs`."""
        return (("b", "c"),)

    @property
    def token_axes(self) -> tuple[str, ...]:
        """Axes of the tokens that vary."""
        return ("c",)

    def tokenize(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Tokenize texts, cleaned as in training: ids [C, context]."""
        if self.tokenizer is None:
            raise ValueError("this detector was loaded without a tokenizer, so it cannot read text")
        return self.tokenizer.encode([clean(self.template.replace("{}", q)) for q in texts], self.context)

    def pack_text(self, queries: Sequence[str], encode: Encode) -> np.ndarray:
        """Stack the features of each query, [C, D]."""
        return encode(queries)
