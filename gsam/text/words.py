"""Queries one by one, as OWL reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Tokenizer(Protocol):
    def encode(self, texts: Sequence[str], context: int) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Words:
    """Each query in a sentence, by itself."""

    tokenizer: Tokenizer | None
    context: int
    """How many tokens the model reads."""
    template: str = "{}"

    @property
    def axes(self) -> Any:
        """What varies in the text of a batch, by the letters of `gsam.export.write`: [B, C, D]."""
        return ("b", "c")

    @property
    def token_axes(self) -> tuple[str, ...]:
        """What varies in `encode`'s tokens."""
        return ("c",)

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        """Queries -> token ids [C, context], int32."""
        if self.tokenizer is None:
            raise ValueError("this detector was loaded without a tokenizer, so it cannot read text")
        return self.tokenizer.encode([self.template.format(q) for q in queries], self.context)
