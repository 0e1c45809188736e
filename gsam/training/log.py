"""The log of a training run: JSON lines, and the same curves for TensorBoard."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TypeAlias

from gsam.files import Closing, atomic_file
from gsam.training.run import LOG, TENSORBOARD, writing
from gsam.training.tensorboard import Events
from gsam.types import Json, JsonMapping

Loggable: TypeAlias = str | float | list[str] | None


class Log(Closing):
    """Adds lines to ``log.jsonl``.

    Every line has ``event``: ``step`` (means since the last such line), ``skipped`` (a step that
    was not finite, with its images), ``evaluate``, ``end``.  Numbers that are not finite are
    written as text.

    Args:
        folder: The run's.
        step: Steps that the run has done.  Lines of later ones are dropped, and an ``end`` unless
            it is of this step: a resumed run writes them again.
        evaluated: The step of the last evaluation that the run knows; later ones are dropped too.
    """

    def __init__(self, folder: Path, step: int = 0, evaluated: int = 0) -> None:
        self.folder = folder
        last = {"evaluate": evaluated}
        with writing(folder):
            kept = [row for row in read_log(folder) if 0 < row["step"] <= last.get(row["event"], step)]
            kept = [row for row in kept if row["event"] != "end" or row["step"] == step]
            self.ended = bool(kept) and kept[-1]["event"] == "end"
            """True after the run came to its end."""
            with atomic_file(folder / LOG) as file:
                file.write("".join(json.dumps(row) + "\n" for row in kept).encode())
            self._file = (folder / LOG).open("ab", buffering=0)
            self._board = Events(folder / TENSORBOARD)
            for row in kept:
                self._board.add(row["step"], _scalars(row))

    def write(self, event: str, step: int, **values: Loggable) -> None:
        """Add a line.

        Args:
            event: What it is about.
            step: Steps done.
            values: The rest of the line, by name.

        Raises:
            OutputError: The disk is full.
        """
        row = {"event": event, "step": step, **{k: _plain(v) for k, v in values.items()}}
        with writing(self.folder):
            self._file.write(json.dumps(row).encode() + b"\n")
            self._board.add(step, _scalars(row))
        if event == "end":
            self.ended = True

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._board.close()


def read_log(folder: Path) -> list[Json]:
    """The lines of a run's log, without one that was cut short; ``[]`` where there is none."""
    try:
        lines = (folder / LOG).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "event" in row and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def _scalars(row: JsonMapping) -> dict[str, float]:
    """The numbers of a line by their tags: ``train/...`` of steps, ``evaluate/...``."""
    group = "train" if row["event"] == "step" else "evaluate"
    numbers = {k: v for k, v in row.items() if k != "step" and isinstance(v, int | float)}
    return {f"{group}/{k}": v for k, v in numbers.items()} if row["event"] != "skipped" else {}


def _plain(value: Loggable) -> Loggable:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
