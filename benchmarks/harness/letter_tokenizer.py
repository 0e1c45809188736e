"""A tokenizer that needs no vocabulary, for models that read BERT's special tokens."""

from __future__ import annotations

import numpy as np


class LetterTokenizer:
    """Turn each character into its code point; ``.``, ``?``, begin and end have BERT's ids."""

    def encode(self, texts: list[str], context: int) -> np.ndarray:
        """Return token ids [B, context] int32, padded with zeros."""
        ids = np.zeros((len(texts), context), np.int32)
        for row, text in zip(ids, texts, strict=True):
            found = [{".": 1012, "?": 1029}.get(c, ord(c)) for c in text if c != " "]
            row[: len(found) + 2] = [101, *found, 102]
        return ids

    def decode(self, ids: list[int]) -> str:
        """Return the tokens of ``ids``, spaces between them."""
        return " ".join(self.spell(ids))

    def spell(self, ids: list[int]) -> list[str]:
        """Return the token of each id."""
        special = {101: "[CLS]", 102: "[SEP]", 1012: ".", 1029: "?"}
        return [special.get(i) or (chr(i) if i else "") for i in ids]
