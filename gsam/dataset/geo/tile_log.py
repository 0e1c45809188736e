"""The tiles of a raster that are done, in a file that a run goes on with after a kill."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from gsam.dataset.fingerprint import Fingerprint
from gsam.dataset.geo.merge import Piece
from gsam.dataset.manifest import describe_difference
from gsam.errors import UsageError
from gsam.files import Closing
from gsam.pipeline.tile import Rectangle
from gsam.types import Json

FOLDER = ".gsam-geo"
"""In the output folder."""
VERSION = 1


class TileLog(Closing):
    """One line for the plan, then one for each tile, written when the tile is done.

    Attributes:
        path: The file.
        fresh: Whether there was none.
        done: Numbers of the tiles that are done, as opposed to failed.
    """

    def __init__(self, path: Path, settings: Json, source: Path, *, overwrite: bool) -> None:
        """Open the log of an earlier run, or begin one.

        Args:
            path: The file.
            settings: Everything that tiles depend on but the raster.
            source: The raster.
            overwrite: Whether the log of another plan is replaced.

        Raises:
            UsageError: The log is of another plan (``plan_differs``).
        """
        self.path, self.done = path, set[int]()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("a+b")
        try:
            whole = sum(len(line) for line, _ in _lines(path))
            os.truncate(path, whole)  # a line that was being written when the process ended
            self.fresh = whole == 0
            if not self.fresh:
                why = self._difference(settings, source)
                if why is not None and not overwrite:
                    raise UsageError(
                        f"{path.parent.parent} has the results of another plan for {source.name}: {why}. "
                        "Choose another -o, or give --overwrite",
                        "plan_differs",
                    )
                if why is not None:
                    os.truncate(path, 0)
                    self.fresh = True
            if self.fresh:
                found = Fingerprint.of(source)
                self._put({"gsam_geo": VERSION, "settings": settings, "source": found and found.to_dict()})
            self.done = {row["tile"] for row in self.rows() if "error" not in row}
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def put(self, tile: int, row: Json, *, sync: bool = True) -> None:
        """Note that a tile is done.

        Args:
            tile: Its number.
            row: ``found``, or ``error``.
            sync: Whether to wait until the disk has it.
        """
        self._put({"tile": tile, **row}, sync)
        if "error" not in row:
            self.done.add(tile)

    def rows(self) -> Iterator[Json]:
        """Read the tiles' lines, in the order in which they were done."""
        lines = _lines(self.path)
        next(lines, None)
        return (row for _, row in lines)

    def pieces(self, tiles: Sequence[Rectangle], labels: list[str]) -> list[Piece]:
        """Read everything that was found, tile by tile.

        Args:
            tiles: The tiles' rectangles.
            labels: The labels that were asked for; others that were found are added.
        """
        others = {one["label"] for row in self.rows() for one in row.get("found", ())}
        labels += sorted(others - set(labels))
        number = {label: i for i, label in enumerate(labels)}
        found: dict[int, list[Piece]] = {}
        for row in self.rows():
            at = row["tile"]
            found[at] = [
                Piece(
                    at,
                    tiles[at],
                    number[one["label"]],
                    one["score"],
                    one["mask_score"],
                    tuple(one["area"]),
                    one["pixels"],
                    one["counts"],
                )
                for one in row.get("found", ())
            ]
        return [piece for at in sorted(found) for piece in found[at]]

    def _difference(self, settings: Json, source: Path) -> str | None:
        first = next(_lines(self.path))[1]
        if first.get("gsam_geo") != VERSION:
            return "it is of another gsam"
        if first["settings"] != settings:
            return describe_difference(first["settings"], settings)
        known = Fingerprint.parse(first["source"])
        return None if known is not None and known.fits(source) else "the raster was changed"

    def _put(self, row: Json, sync: bool = True) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._file.flush()
        if sync:
            os.fsync(self._file.fileno())


def _lines(path: Path) -> Iterator[tuple[bytes, Json]]:
    """Whole lines from the first on, until one is damaged."""
    with path.open("rb") as file, contextlib.suppress(ValueError):
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line, json.loads(line)
