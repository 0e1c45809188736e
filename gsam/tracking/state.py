"""The state of tracking by text after a frame: a value that can be kept in a file and resumed.

A line of results holds what is visible.  What is hidden just then, the votes for labels, how long
an object was not seen, and the memories are here.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.tracking.objects import FrameOutput, TrackedObject
from gsam.tracking.spill_cache import SpillCache

if TYPE_CHECKING:
    from gsam.types import Json

FORMAT = "gsam tracking state 1"
NOTE = "note"
PLACES = "prompted", "propagated"


@dataclasses.dataclass(frozen=True, eq=False)
class TrackingState:
    """Everything that the frames after ``frame`` depend on, besides the video and the settings.

    `gsam.Pipeline.track` goes on from it exactly: ids, labels and masks are those of a run that was
    never interrupted.
    """

    frame: int
    """The last frame that was finished."""
    note: Json
    """Ids, labels and scores of the objects, and which outputs they have."""
    arrays: dict[str, NDArray[np.generic]]
    """Memories and pointers of the outputs, by ``<object>/<place>/<frame>/<name>``."""

    def write(self, path: Path) -> None:
        """Write the state to a file, whole or not at all.

        Args:
            path: The file.
        """
        note = json.dumps({"format": FORMAT, "frame": self.frame, **self.note})
        arrays = {k: v.view(np.uint16) if v.dtype == ml_dtypes.bfloat16 else v for k, v in self.arrays.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **{NOTE: np.frombuffer(note.encode(), np.uint8)}, **arrays)  # type: ignore[arg-type]
        with atomic_file(path) as file:
            file.write(buffer.getbuffer())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a state.

        Args:
            path: The file that `write` wrote.

        Returns:
            The state.

        Raises:
            gsam.errors.UsageError: It is no such file, or damaged (``tracking_state_unreadable``).
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            note = json.loads(found.pop(NOTE).tobytes())
            if note.pop("format") != FORMAT:
                raise ValueError("another format")
            arrays = {k: v.view(ml_dtypes.bfloat16) if v.dtype == np.uint16 else v for k, v in found.items()}
            return cls(int(note.pop("frame")), note, arrays)
        except (OSError, ValueError, LookupError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: is no state of a tracker ({error})", "tracking_state_unreadable") from None


def outputs_of(number: int, tracked: TrackedObject) -> tuple[Json, dict[str, NDArray[np.generic]]]:
    """Give the outputs that later frames may read, apart from their masks.

    Args:
        number: The object's id.
        tracked: The object.

    Returns:
        A note of their scores, and their arrays.
    """
    note: Json = {}
    arrays: dict[str, NDArray[np.generic]] = {}
    for place in PLACES:
        found: dict[int, FrameOutput] = getattr(tracked, place)
        note[place] = [[frame, output.score, output.iou] for frame, output in found.items()]
        for frame, output in found.items():
            key = f"{number}/{place}/{frame}"
            arrays[f"{key}/pointer"] = np.asarray(output.pointer)
            if output.has_memory:
                arrays[f"{key}/memory"] = np.asarray(output.memory)
    return note, arrays


def restore(
    number: int, note: Json, arrays: dict[str, NDArray[np.generic]], cache: SpillCache, side: int
) -> TrackedObject:
    """Make an object of what `outputs_of` gave.

    Args:
        number: The object's id.
        note: Of its outputs.
        arrays: Of all objects' outputs.
        cache: Where large arrays are kept.
        side: Rows and columns of an output's logits; they are empty, no later frame reads them.

    Returns:
        The object.
    """
    tracked = TrackedObject(number)
    for place in PLACES:
        for frame, score, iou in note[place]:
            key = f"{number}/{place}/{frame}"
            pointer, memory = np.array(arrays[f"{key}/pointer"]), arrays.get(f"{key}/memory")
            logits = np.full((side, side), -1.0, np.float32)
            output = FrameOutput(cache, score, iou, pointer, logits, None if memory is None else np.array(memory))
            getattr(tracked, place)[frame] = output
    return tracked
