"""One object through a video: its prompts, and the model's output on each frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.tracking.spill_cache import SpillCache


class FrameOutput:
    """The model's output for one object on one frame.

    Its large arrays lie in a `SpillCache`, under this object's identity, and leave it with the
    object.
    """

    def __init__(
        self,
        cache: SpillCache,
        score: float,
        iou: float,
        pointer: NDArray[np.float32],
        logits: NDArray[np.float32],
        memory: np.ndarray | None = None,
    ) -> None:
        """Store an output.

        Args:
            cache: Where ``logits`` and ``memory`` are kept.
            score: Logit of the object's presence: above 0 it is there.
            iou: Predicted IoU of the mask.
            pointer: [D], the object pointer.
            logits: [4h, 4w] over the view, holes filled.
            memory: [h w, E] bfloat16, where it is known already.
        """
        self.cache, self.score, self.iou, self.pointer = cache, score, iou, pointer
        cache[id(self), "logits"] = logits
        if memory is not None:
            self.memory = memory

    def __del__(self) -> None:
        for name in ("logits", "memory"):
            self.cache.pop((id(self), name))

    def copied(self, cache: SpillCache) -> FrameOutput:
        """Copy the output.

        Args:
            cache: Where the large arrays of the copy are kept.

        Returns:
            One of the same numbers.
        """
        memory = self.memory if self.has_memory else None
        return FrameOutput(cache, self.score, self.iou, self.pointer, self.logits, memory)

    @property
    def logits(self) -> NDArray[np.float32]:
        """[4h, 4w] over the view, holes filled."""
        return self.cache[id(self), "logits"]

    @logits.setter
    def logits(self, logits: NDArray[np.float32]) -> None:
        self.cache[id(self), "logits"] = logits

    @property
    def present(self) -> bool:
        """Whether the object is there."""
        return self.score > 0

    @property
    def has_memory(self) -> bool:
        """Whether later frames can read it."""
        return (id(self), "memory") in self.cache

    @property
    def memory(self) -> np.ndarray:
        """[h w, E] bfloat16.  Raises `KeyError` where there is none."""
        return self.cache[id(self), "memory"]

    @memory.setter
    def memory(self, memory: np.ndarray) -> None:
        self.cache[id(self), "memory"] = memory


@dataclasses.dataclass
class Points:
    """Clicks on one frame, the corners of a box first."""

    xy: NDArray[np.float32]
    """[P, 2] pixels of the view."""
    labels: NDArray[np.int32]
    """[P] as in `gsam.nn.prompt`."""


@dataclasses.dataclass
class TrackedObject:
    """One object: prompts and outputs by the number of their frame."""

    id: Any
    """Any hashable value that names the object."""
    points: dict[int, Points] = dataclasses.field(default_factory=dict)
    """Points and corners of a box, in pixels of the view."""
    masks: dict[int, NDArray[np.bool_]] = dataclasses.field(default_factory=dict)
    """Mask prompts, [S, S] over the view."""
    prompted: dict[int, FrameOutput] = dataclasses.field(default_factory=dict)
    """The original's ``cond_frame_outputs``."""
    propagated: dict[int, FrameOutput] = dataclasses.field(default_factory=dict)
    """The original's ``non_cond_frame_outputs``."""
    pending: dict[bool, dict[int, FrameOutput]] = dataclasses.field(default_factory=lambda: {False: {}, True: {}})
    """Outputs of prompts before they are committed, to `propagated` (False) or `prompted` (True).

    The original's ``temp_output_dict``.
    """
    visited: dict[int, bool] = dataclasses.field(default_factory=dict)
    """Frames that a propagation went over, and whether in reverse."""

    def copied(self, cache: SpillCache) -> TrackedObject:
        """Copy the object.

        Args:
            cache: Where the large arrays of the copy are kept.

        Returns:
            One with outputs of its own.
        """
        known: dict[int, FrameOutput] = {}

        def own(place: dict[int, FrameOutput]) -> dict[int, FrameOutput]:
            for output in place.values():
                if id(output) not in known:
                    known[id(output)] = output.copied(cache)
            return {frame: known[id(output)] for frame, output in place.items()}

        return dataclasses.replace(
            self,
            points=dict(self.points),
            masks=dict(self.masks),
            prompted=own(self.prompted),
            propagated=own(self.propagated),
            pending={kind: own(place) for kind, place in self.pending.items()},
            visited=dict(self.visited),
        )

    def latest(self, frame: int) -> FrameOutput | None:
        """Find the newest output on a frame.

        Args:
            frame: The frame, from 0.

        Returns:
            The output, None if there is none.
        """
        places = (self.pending[True], self.pending[False], self.prompted, self.propagated)
        return next((place[frame] for place in places if frame in place), None)

    def forget_near(self, frame: int, distance: int) -> None:
        """Drop the outputs that were propagated near a frame.

        Args:
            frame: The frame, from 0.
            distance: Frames before and after it.
        """
        for near in range(frame - distance, frame + distance + 1):
            self.propagated.pop(near, None)

    def clear_prompts(self, frame: int) -> None:
        """Take back the prompts on a frame; an output that is committed counts as propagated.

        Args:
            frame: The frame, from 0.
        """
        places: tuple[dict[int, Any], ...] = (self.points, self.masks, *self.pending.values())
        for place in places:
            place.pop(frame, None)
        if (output := self.prompted.pop(frame, None)) is not None:
            self.propagated[frame] = output
            self.visited.pop(frame, None)

    def prune(self, keep: Iterable[int]) -> None:
        """Drop the outputs that were propagated on other frames.

        Args:
            keep: The frames whose outputs stay.
        """
        wanted = set(keep)
        for frame in [f for f in self.propagated if f not in wanted]:
            del self.propagated[frame]
