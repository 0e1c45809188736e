"""Objects that are followed from image to image, whose state is a value between two calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import Picture
from gsam.nn.prompt import PAD
from gsam.predictors.prompts import parse_object_prompt
from gsam.predictors.video import squashed
from gsam.results.masks.low_res import LowResMasks
from gsam.tracking.engine import Engine
from gsam.tracking.memory_selection import select_memory
from gsam.tracking.objects import FrameOutput, Points, TrackedObject
from gsam.tracking.redraw import Redraw
from gsam.tracking.spill_cache import SpillCache
from gsam.types import PyTree

if TYPE_CHECKING:
    import jax

    from gsam.models.promptable import PromptableSegmenter
    from gsam.roles import Tracker


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """An image as the tracker sees it."""

    features: PyTree
    size: tuple[int, int]
    """Height and width in pixels."""
    drawn: PyTree = None
    """Features of the segmenter that draws masks again, if one does."""


@dataclasses.dataclass(frozen=True, eq=False)
class Followed:
    """An object and its memories after an image; following it gives another one."""

    tracked: TrackedObject
    image: int
    """Number of images since it was given."""
    size: tuple[int, int]
    """Height and width of the images."""

    @property
    def nbytes(self) -> int:
        """Bytes of its outputs; what it shares with an earlier state counts too."""
        outputs = [*self.tracked.prompted.values(), *self.tracked.propagated.values()]
        return sum(output.logits.nbytes + output.memory.nbytes for output in outputs)


class Follower:
    """A SAM 2 that is given one image at a time, in any order of calls.

    Where `gsam.VideoPredictor` holds a video, here the caller holds the states: those of many
    videos, for as long as it likes.
    """

    def __init__(self, engine: Engine) -> None:
        self._compiled = engine.compiled

    @classmethod
    def of(cls, tracker: Tracker, device: jax.Device | None = None, redraw: PromptableSegmenter | None = None) -> Self:
        """Follow with a tracker that nobody else has compiled, and a segmenter that draws its masks
        again.
        """
        return cls(Engine.of(tracker, device=device, redraw=None if redraw is None else Redraw(redraw)))

    def look(self, picture: Picture) -> Seen:
        """Compute the features of an image, once for all its objects."""
        height, width = picture.pixels.shape[:2]
        drawn = self._compiled.drawn_features(picture) if self._compiled.redraws else None
        return Seen(self._compiled.features(picture), (height, width), drawn)

    def begin(self, seen: Seen, prompt: Sequence[float] | NDArray[np.bool_]) -> Followed:
        """Take an object up.

        Args:
            seen: The image that it is on.
            prompt: Its box x0 y0 x1 y1 in pixels, or its mask [H, W] bool.

        Returns:
            The state after this image.

        Raises:
            ValueError: The box has no pixel of the image, or the mask is of another size or empty.
        """
        arrays, side = SpillCache(), self._compiled.tracker.view.size
        if isinstance(prompt, np.ndarray):
            if prompt.shape != seen.size or not prompt.any():
                raise ValueError(f"a mask of {list(prompt.shape)} with {int(prompt.sum())} pixels, image {seen.size}")
            view = squashed(prompt, side)
            output = self._compiled.add_mask(seen.features, view, arrays)
        else:
            given = parse_object_prompt(None, None, np.asarray(prompt, np.float64), seen.size, side)
            points = Points(
                np.concatenate([given.xy, np.zeros((1, 2), np.float32)]), np.append(given.labels, np.int32(PAD))
            )
            output = self._compiled.add_points(seen.features, points, None, None, None, arrays)
            self._redraw(seen, [output])
        self._compiled.encode_memory(seen.features, [output])
        return Followed(TrackedObject(None, prompted={0: output}), 0, seen.size)

    def follow(self, seen: Seen, states: Sequence[Followed]) -> list[Followed]:
        """Find objects on the next image, all at once.

        Args:
            seen: The next image of each of them.
            states: After the image before; they stay as they are.

        Returns:
            The states after this image.

        Raises:
            ValueError: The image is not of the size of those before.
        """
        for state in states:
            if state.size != seen.size:
                raise ValueError(f"an image of {seen.size}, those before were {state.size} (height, width)")
        after = []
        for state in states:
            old = state.tracked
            new = TrackedObject(None, prompted=dict(old.prompted), propagated=dict(old.propagated))
            after.append(dataclasses.replace(state, tracked=new, image=state.image + 1))
        memory = self._compiled.memory
        selected = [select_memory(state.tracked, state.image, False, None, memory) for state in after]
        outputs = self._compiled.track(seen.features, selected, None, SpillCache()) if after else []
        self._redraw(seen, outputs)
        far = max((memory.slots + 1) * memory.stride, memory.pointers)
        for state, output in zip(after, outputs, strict=True):
            state.tracked.propagated[state.image] = output
            state.tracked.prune(range(state.image - far, state.image + 1))
        return after

    def _redraw(self, seen: Seen, outputs: Sequence[FrameOutput]) -> None:
        there = [output for output in outputs if output.present]
        if self._compiled.redraws and there:
            self._compiled.redraw(seen.drawn, there)

    def mask_of(self, state: Followed) -> NDArray[np.bool_]:
        """The mask [H, W] of an object on the last image; nothing where it is not seen."""
        output = _last(state)
        if not output.present:
            return np.zeros(state.size, bool)
        side = self._compiled.tracker.view.size
        low = LowResMasks(output.logits[None], side, (side, side), state.size, upsample="bilinear")
        return low.mask_of(0)


def _last(state: Followed) -> FrameOutput:
    output = state.tracked.latest(state.image)
    assert output is not None
    return output
