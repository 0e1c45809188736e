"""CLIP's tokenizer, formulated anew from its description: the oracle of awkward texts."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Mapping, Sequence

PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def cleaned(text: str) -> str:
    """Mended, unescaped twice, blanks made one, in lower case."""
    import ftfy

    text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text)).strip()
    return re.sub(r"\s+", " ", text).strip().lower()


def encode(
    text: str, letters: Sequence[str], vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]
) -> list[int]:
    """Token ids of a text with both marks: bytes are letters, pairs merge in the list's order."""
    import regex

    ranks = {pair: i for i, pair in enumerate(merges)}
    ids = [vocabulary["<|startoftext|>"]]
    for piece in regex.findall(PIECES, cleaned(text), regex.IGNORECASE):
        if piece in vocabulary and piece.startswith("<|"):
            ids.append(vocabulary[piece])
            continue
        word = [letters[b] for b in piece.encode()]
        word[-1] += "</w>"
        while pairs := [(ranks[p], i) for i, p in enumerate(itertools.pairwise(word)) if p in ranks]:
            first = merges[min(pairs)[0]]
            joined, i = [], 0
            while i < len(word):
                both = tuple(word[i : i + 2]) == first
                joined.append(word[i] + word[i + 1] if both else word[i])
                i += 2 if both else 1
            word = joined
        ids += [vocabulary[w] for w in word]
    return [*ids, vocabulary["<|endoftext|>"]]
