"""The scenes of a run, until what is made of all of them is written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from gsam.types import Json, JsonMapping


class SceneStore:
    """Scenes by the stems of their images, in an unnamed file: memory does not grow with masks.

    Args:
        folder: Where the file is; the system's folder for such files where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder if folder.is_dir() else None)  # noqa: SIM115
        self._at: dict[str, int] = {}

    def add(self, stem: str, scene: JsonMapping) -> None:
        """Keep a scene, in place of one of the same stem.  Raises `ValueError` for a NaN."""
        from gsam.results.formats.scene_json import dumps

        text = dumps(scene).encode()
        at = self._file.seek(0, 2)
        self._file.write(text + b"\n")
        self._at[stem] = at

    def of(self, stems: Iterable[str]) -> Iterator[Json]:
        """Give the scenes that are there of these, in this order."""
        for stem in stems:
            if stem in self._at:
                self._file.seek(self._at[stem])
                scene: Json = json.loads(self._file.readline())
                yield scene
