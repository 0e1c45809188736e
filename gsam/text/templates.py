"""Sentences around a query, and which names mean the same, before anything is encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

ENSEMBLE = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
"""Seven templates that served CLIP best together: ``template="ensemble"``.

From openai/CLIP's notebook on prompts for ImageNet.
"""

PLURALS = ("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man")
"""Endings of English plurals and of their words."""
IRREGULAR = {
    "men": "man", "people": "person", "children": "child", "mice": "mouse", "geese": "goose", "feet": "foot",
    "teeth": "tooth", "oxen": "ox",
}  # fmt: skip

Template = str | Sequence[str]
"""A sentence with ``{}`` where the query goes; several, which are averaged; or ``"ensemble"``."""


def templates(template: Template) -> tuple[str, ...]:
    """List the sentences of a template.

    Raises:
        ValueError: There is none, or one without ``{}``.
    """
    if isinstance(template, str):
        found: tuple[str, ...] = ENSEMBLE if template == "ensemble" else (template,)
    else:
        found = tuple(template)
    if not found or any("{}" not in t or set("{}") & set(t.replace("{}", "")) for t in found):
        raise ValueError(f"a template has a place for the query, {{}}, and no other brackets: {template!r} will not do")
    return found


def fill(template: Template, queries: Sequence[str]) -> list[str]:
    """Put every query into every sentence: K sentences per query, one query after the other."""
    sentences = templates(template)
    return [sentence.replace("{}", query) for query in queries for sentence in sentences]


def allowed(negatives: Sequence[str], queries: Sequence[str]) -> np.ndarray:
    """Tell which negatives [K] may stand against the queries.

    One that shares all its words with a query, or has all of the query's, may not.  A word and its
    English plural count as one: "dog" would take half of the probability of "dogs".
    """
    split = [[text.lower().split() for text in texts] for texts in (negatives, queries)]
    known = {word for texts in split for words in texts for word in words}
    one = {word: next((s for s in _singulars(word) if s in known), word) for word in known}
    against, asked = ([{one[word] for word in words} for words in texts] for texts in split)
    return np.asarray([not any(n <= q or q <= n for q in asked if q) for n in against], bool)


def _singulars(word: str) -> Iterator[str]:
    """List the words that ``word`` may be the plural of."""
    if word in IRREGULAR:
        yield IRREGULAR[word]
    for many, single in PLURALS:
        if word.endswith(many):
            yield word.removesuffix(many) + single
