"""Sentences around a query, and which names mean the same: on the host, before anything is embedded."""

from __future__ import annotations

from collections.abc import Sequence

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
"""The seven that served CLIP best together (openai/CLIP, the notebook on prompts for ImageNet): ``template="ensemble"``."""

Template = str | Sequence[str]
"""A sentence with ``{}`` where the query goes, several whose embeddings are averaged, or ``"ensemble"``."""


def templates(template: Template) -> tuple[str, ...]:
    """The sentences.  Raises `ValueError` for none, and for one without ``{}``."""
    if isinstance(template, str):
        found: tuple[str, ...] = ENSEMBLE if template == "ensemble" else (template,)
    else:
        found = tuple(template)
    if not found or any("{}" not in t for t in found):
        raise ValueError(f"a template has a place for the query, {{}}: {template!r} will not do")
    return found


def fill(template: Template, queries: Sequence[str]) -> list[str]:
    """Every query in every sentence: K sentences a query, one query after the other."""
    sentences = templates(template)
    return [sentence.replace("{}", query) for query in queries for sentence in sentences]


def allowed(negatives: Sequence[str], queries: Sequence[str]) -> np.ndarray:
    """Which negatives [K] may stand against the queries: not one that shares all its words with a query, or has them all."""
    asked = [set(q.lower().split()) for q in queries if q]
    words = [set(n.lower().split()) for n in negatives]
    return np.asarray([not any(n <= q or q <= n for q in asked) for n in words], bool)
