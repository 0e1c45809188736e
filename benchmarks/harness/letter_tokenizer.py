"""A tokenizer for tests of models that read BERT's marks."""

from __future__ import annotations

import numpy as np


class LetterTokenizer:
    """A tokenizer without a vocabulary: the n-th letter is id n, marks are BERT's."""

    def encode(self, texts: list[str], context: int) -> np.ndarray:
        ids = np.zeros((len(texts), context), np.int32)
        for row, text in zip(ids, texts, strict=True):
            found = [{".": 1012, "?": 1029}.get(c, ord(c)) for c in text if c != " "]
            row[: len(found) + 2] = [101, *found, 102]
        return ids

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.spell(ids))

    def spell(self, ids: list[int]) -> list[str]:
        marks = {101: "[CLS]", 102: "[SEP]", 1012: ".", 1029: "?"}
        return [marks.get(i) or (chr(i) if i else "") for i in ids]
