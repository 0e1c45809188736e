"""What a frozen encoder made of each image, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from gsam.errors import OutputError
from gsam.types import JsonMapping
from gsam.weights import ported


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
