"""Lines of text about what a run found and where it put it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def display_path(path: Path) -> str:
    """Give a path as text for one line, whatever the file is called.

    Args:
        path: Any path.

    Returns:
        The path, quoted with escapes where it holds what cannot be printed.
    """
    text = str(path)
    return text if text.isprintable() else repr(text)


def count_labels(labels: Sequence[str]) -> str:
    """Count labels in words.

    Args:
        labels: One per object.

    Returns:
        ``"2 dog, 1 cat"`` in the order of first appearance; ``"nothing"`` for none.
    """
    return ", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels)) or "nothing"


def describe(path: Path, labels: Sequence[str], written: Sequence[Path]) -> str:
    """Say in one line what was found in an image and where the results are.

    Args:
        path: The image.
        labels: One per object.
        written: The files of its results, if there are any.

    Returns:
        ``"a.jpg: 2 dog -> out/a.json, out/a.png"``.
    """
    places = f" -> {', '.join(map(display_path, written))}" if written else ""
    return f"{display_path(path)}: {count_labels(labels)}{places}"
