"""Tables of text, their columns aligned in a terminal whatever script their labels are in."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

WIDEST = 40
"""Columns of a terminal that a label has at most, by default."""


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the cells of rows: the first to the left, the others to the right.

    Args:
        rows: [R] rows of one or more cells, the same number in each.

    Returns:
        [R] lines.

    Example:
        >>> for line in aligned([["label", "objects"], ["dog", "12"]]):
        ...     print(line)
        label  objects
        dog         12
    """
    wide = [max(columns(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(cell, wide[k], k > 0) for k, cell in enumerate(row)) for row in rows]


def in_one_line(label: str, widest: int = WIDEST) -> str:
    """Show a label in one line of few columns, without what would control a terminal.

    Args:
        label: Any text.
        widest: Columns it may have; what is longer ends in an ellipsis.
    """
    text = "".join(letter if letter.isprintable() else " " for letter in label) or "(no name)"
    if columns(text) <= widest:
        return text
    while columns(text) > widest - 1:
        text = text[: min(len(text) - 1, widest)]
    return text + "…"


def columns(text: str) -> int:
    """Count the columns of a terminal that a text fills."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def _padded(cell: str, wide: int, right: bool) -> str:
    space = " " * (wide - columns(cell))
    return space + cell if right else cell + space
