"""Features of images from a frozen encoder, computed once and kept on disk."""

from __future__ import annotations

import collections
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from gsam.errors import OutputError
from gsam.files import sha256
from gsam.types import JsonMapping
from gsam.weights import ported

T = TypeVar("T")
L = TypeVar("L")
READERS = 4
"""Images read at a time."""


class KeptFeatures:
    """Arrays by image, one safetensors file each, which appear whole or not at all.

    What was made otherwise (another model, another view) lies in another folder, so that nothing
    stale is read; a run that was killed goes on with the files that are there.

    Example:
        >>> import tempfile
        >>> store = KeptFeatures(Path(tempfile.mkdtemp()), {"model": "sha256 of it", "views": 2})
        >>> store.put("street.jpg", {"tokens": np.ones((2, 4, 8), np.float32)})
        >>> store.get("street.jpg", "tokens", row=1).shape
        (4, 8)
    """

    def __init__(self, folder: Path, made_by: JsonMapping) -> None:
        """Open a store.

        Args:
            folder: Where the folders of all stores are.
            made_by: All that decides the arrays beside the image: the model's hash, its view, the
                number of variants.
        """
        text = json.dumps(made_by, sort_keys=True).encode()
        self.folder = folder / hashlib.sha256(text).hexdigest()[:16]

    def file(self, name: str) -> Path:
        """Return the file of an image, whether it is there or not.

        Args:
            name: Whatever tells images apart, its content's hash for instance.
        """
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.safetensors"

    def has(self, name: str) -> bool:
        """Return True if the arrays of an image are there and can be read; see `file`."""
        file = self.file(name)
        if not file.is_file():
            return False
        try:
            with safe_open(str(file), framework="numpy"):
                return True
        except (SafetensorError, OSError):
            return False

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the arrays of an image, floating-point ones as bfloat16.

        Args:
            name: As for `file`.
            arrays: By name.

        Raises:
            OutputError: The disk is full or read-only.
        """
        small = {
            k: v.astype(ml_dtypes.bfloat16) if np.issubdtype(v.dtype, np.floating) else v for k, v in arrays.items()
        }
        try:
            ported.write(small, self.file(name))
        except OSError as error:
            raise OutputError(f"{self.folder}: features cannot be kept: {error.strerror or error}") from error

    def get(self, name: str, key: str, row: int | None = None) -> NDArray[Any]:
        """Read an array of an image, or a row of it alone.

        Args:
            name: As for `file`.
            key: The array's name.
            row: Index on the first axis; by default the whole array.

        Returns:
            The array, bfloat16 where it was floating-point.
        """
        with safe_open(str(self.file(name)), framework="numpy") as opened:
            if row is None:
                return np.asarray(opened.get_tensor(key))
            return np.asarray(opened.get_slice(key)[row : row + 1][0])


def content_names(paths: Iterable[Path]) -> list[str]:
    """Name images by what is in their files, wherever they lie.

    Args:
        paths: The files.

    Returns:
        The SHA-256 of each.
    """
    with ThreadPoolExecutor(READERS, "gsam-features") as pool:
        return list(pool.map(sha256, paths))


def fill(
    store: KeptFeatures,
    items: Sequence[T],
    names: Sequence[str],
    load: Callable[[T], L],
    compute: Callable[[Sequence[L]], Sequence[Mapping[str, NDArray[Any]]]],
    batch: int,
    *,
    quiet: bool = False,
    what: str = "features",
) -> None:
    """Compute what a store has not yet; the next images are read while the device works.

    Args:
        store: Where it is kept.
        items: The images, or whatever ``load`` takes.
        names: Name of each in the store; what has one name is computed once.
        load: Reads an item on the host, in a thread.
        compute: Makes the arrays of ``batch`` items, the last of which are repeated to fill up.
        batch: Items computed together.
        quiet: Show no progress on stderr.
        what: What the progress is called.
    """
    missing = [i for name, i in {name: i for i, name in enumerate(names)}.items() if not store.has(name)]
    if not missing:
        return
    hidden = quiet or not sys.stderr.isatty()
    bar = tqdm(total=len(missing), desc=what, unit="image", file=sys.stderr, leave=False, disable=hidden)
    with bar, ThreadPoolExecutor(READERS, "gsam-features") as pool:
        waiting: collections.deque[tuple[list[int], list[Future[L]]]] = collections.deque()
        groups = (missing[start : start + batch] for start in range(0, len(missing), batch))
        try:
            while True:
                while len(waiting) < 2 and (group := next(groups, None)) is not None:
                    waiting.append((group, [pool.submit(load, items[i]) for i in group]))
                if not waiting:
                    return
                group, futures = waiting.popleft()
                loaded = [future.result() for future in futures]
                made = compute([*loaded, *[loaded[-1]] * (batch - len(loaded))])
                for i, arrays in zip(group, made, strict=False):
                    store.put(names[i], arrays)
                bar.update(len(group))
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()
