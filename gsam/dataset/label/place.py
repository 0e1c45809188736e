"""Where the results of many processes go: a folder that they share, or a bucket."""

from __future__ import annotations

from pathlib import Path

from gsam.dataset.label.local import LocalPlace, Place

__all__ = ["LocalPlace", "Place", "place_of"]


def place_of(out: str | Path) -> Place:
    """The place that a path or URL names; nothing is made or asked yet.

    Args:
        out: A folder, or a URL that fsspec knows: ``gs://bucket/run``, ``s3://``, ``az://``,
            ``memory://``.

    Raises:
        UsageError: The URL is of no known kind (``store_unknown``), or the package for it is
            missing (``extra_missing``).
    """
    text = str(out)
    protocol, separator, rest = text.partition("://")
    if isinstance(out, Path) or not separator:
        return LocalPlace(Path(out))
    if protocol in ("file", "local"):
        return LocalPlace(Path(rest))
    from gsam.dataset.label.bucket import BucketPlace

    return BucketPlace(text)
