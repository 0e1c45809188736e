"""A data set of one format as one of another, image by image."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from gsam.dataset.folder import new_folder
from gsam.errors import UsageError
from gsam.files import atomic_folder
from gsam.results.formats import known

SPLITS = ("train", "val", "test")
"""The folders of the parts of a split, in order."""


@dataclasses.dataclass
class Converted:
    """The outcome of a conversion."""

    images: int = 0
    segments: int = 0
    parts: dict[str, int] = dataclasses.field(default_factory=dict)
    """Images of each part of a split."""
    losses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Properties that the format cannot hold, and how often they were met."""
    problems: list[str] = dataclasses.field(default_factory=list)
    """Why something was left out, each with its place."""


def convert(
    source: Path | str,
    out: Path | str,
    to: str,
    *,
    format: str | None = None,
    images: Path | None = None,
    split: Sequence[float] = (),
    progress: Callable[[int], None] | None = None,
) -> Converted:
    """Write a data set in another format.

    What is read and written is held image by image, whatever the size of the set.

    Args:
        source: A file or folder of one of `gsam.results.formats.known.FORMATS`, or the
            folder or URL of what ``gsam label`` wrote.
        out: The folder to write; there may be nothing yet, and it is there whole or not at all.
        to: The format to write.
        format: The format of ``source``; by default the one it looks like.
        images: The folder of the images, for a format that does not tell their sizes (YOLO).
        split: Shares of the images that go to the folders ``train``, ``val`` and ``test``, by the
            hash of their names: an image stays in its part when others come or go.
        progress: Called with the number of images after each.

    Returns:
        Counts, losses and problems.

    Raises:
        gsam.errors.UsageError: A format does not exist, ``source`` is not of it, ``out`` is there
            already, or shares are not 2 or 3 numbers that make 1.

    Example:
        >>> from gsam.dataset.convert import convert
        >>> convert("out", "yolo", "yolo", split=(0.9, 0.1)).losses  # doctest: +SKIP
        Counter({'scores': 17})
    """
    out = Path(out)
    make, data = known.writer_of(to), known.read(source, format, images)
    names = _names(split)
    found = Converted(parts=dict.fromkeys(names, 0))
    with new_folder(out), atomic_folder(out.absolute()) as folder, contextlib.ExitStack() as stack:
        places = [folder / name for name in names] or [folder]
        for place in places:
            place.mkdir(exist_ok=True)
        writers = [make(place, data.labels) for place in places]
        for scene in data:
            part = _part(scene["image"] or str(found.images), split)
            writers[part].add(scene)
            found.images += 1
            found.segments += len(scene["segments"])
            if names:
                found.parts[names[part]] += 1
            if progress is not None:
                progress(found.images)
        for writer in writers:
            stack.callback(writer.close)
    for writer in writers:
        found.losses.update(writer.losses)
    found.problems = data.problems
    return found


def parse_split(text: str) -> list[float]:
    """Read shares as ``0.9/0.1``.

    Raises:
        gsam.errors.UsageError: They are no numbers that make 1 (``split_invalid``).
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        raise UsageError(f"a split is shares of 1, as 0.9/0.1, not {text!r}", "split_invalid") from None
    _names(shares)
    return shares


def _names(split: Sequence[float]) -> Sequence[str]:
    if not split:
        return ()
    if not 2 <= len(split) <= len(SPLITS) or min(split) < 0 or abs(sum(split) - 1) > 1e-6:
        shares = "/".join(f"{share:g}" for share in split)
        raise UsageError(f"a split is 2 or 3 shares that make 1, as 0.9/0.1, not {shares}", "split_invalid")
    return SPLITS[: len(split)]


def _part(name: str, split: Sequence[float]) -> int:
    at = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
    for i, share in enumerate(split):
        at -= share
        if at < 0:
            return i
    return max(len(split) - 1, 0)
