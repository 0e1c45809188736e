"""Lines of text about what a run found and where it put it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gsam.errors import GsamError


def tell(text: str) -> None:
    """Print a line on stderr; where nobody reads it any more, nothing happens."""
    with contextlib.suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)


def hush(text: str) -> None:
    """Print nothing, in place of `tell`."""


def explain(error: Exception) -> str:
    """Say in one line what went wrong, with its code.

    Args:
        error: One of gsam's own, the system's, or any other: then its kind is named too.

    Returns:
        ``"a.png: no such file [image_missing]"``.
    """
    if isinstance(error, GsamError):
        return f"{error} [{error.code}]"
    if isinstance(error, OSError) and error.strerror:
        where = (
            f"{display_path(Path(os.fsdecode(error.filename)))}: " if isinstance(error.filename, str | bytes) else ""
        )
        return f"{where}{error.strerror} [system]"
    return " ".join([f"{type(error).__name__}:", *str(error).split()[:60]]) + " [internal]"


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
