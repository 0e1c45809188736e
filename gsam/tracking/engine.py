"""Prompt and propagate a video's objects frame by frame, by a compiled tracker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import Picture
from gsam.nn.prompt import PAD
from gsam.roles import Tracker
from gsam.tracking.compiled import CompiledTracker
from gsam.tracking.memory_selection import select_memory
from gsam.tracking.objects import FrameOutput, Points, TrackedObject
from gsam.tracking.redraw import Redraw
from gsam.tracking.session import EndOfFrames, Session
from gsam.types import PyTree


class Engine:
    """Prompts become outputs, outputs memories, and objects are propagated from frame to frame."""

    def __init__(
        self,
        compiled: CompiledTracker,
        *,
        corrections_are_prompts: bool = True,
        clear_memory_near_prompts: bool = False,
        redraws: bool = False,
    ) -> None:
        """Work with a compiled tracker.

        Args:
            compiled: The tracker.
            corrections_are_prompts: Whether a prompt on a frame that a propagation went over makes
                it a frame with a prompt.
            clear_memory_near_prompts: Whether what was propagated near a frame with a prompt is
                dropped.
            redraws: Whether masks of points and boxes, and those that are propagated, are drawn
                again.
        """
        self.compiled = compiled
        self.corrections_are_prompts = corrections_are_prompts
        self.clear_memory_near_prompts = clear_memory_near_prompts
        self.redraws = redraws

    @classmethod
    def of(
        cls,
        tracker: Tracker,
        fill_hole_area: int = 8,
        device: jax.Device | None = None,
        redraw: Redraw | None = None,
    ) -> Self:
        """Make an engine with the original's settings; `redrawing` is one that uses ``redraw``."""
        return cls(CompiledTracker(tracker, tracker.memory, fill_hole_area, True, device, redraw=redraw))

    def redrawing(self) -> Self:
        """Make an engine with the same programs that draws masks again."""
        return type(self)(
            self.compiled,
            corrections_are_prompts=self.corrections_are_prompts,
            clear_memory_near_prompts=self.clear_memory_near_prompts,
            redraws=True,
        )

    @property
    def view_size(self) -> int:
        """Side S in pixels of the square that the tracker sees."""
        return self.compiled.tracker.view.size

    @property
    def mask_size(self) -> int:
        """Rows and columns s of the logits of an output."""
        return self.compiled.tracker.mask_size

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        return self.compiled.compilations

    def add_points(self, state: Session, tracked: TrackedObject, frame: int, points: Points) -> FrameOutput:
        """Prompt with points in place of earlier prompts on a frame, and feed its output back."""
        features, memory = self.features(state, frame), self.compiled.memory
        tracked.points[frame] = points
        tracked.masks.pop(frame, None)
        previous = tracked.latest(frame)
        selected = None
        if frame in tracked.visited and tracked.prompted:
            selected = select_memory(tracked, frame, tracked.visited[frame], state.count, memory)
        padded = Points(
            np.concatenate([points.xy, np.zeros((1, 2), np.float32)]), np.append(points.labels, np.int32(PAD))
        )
        mask = None if previous is None else previous.logits
        output = self.compiled.add_points(features, padded, mask, selected, state.count, state.arrays)
        self._redraw(state, frame, [output])
        return self._hold(tracked, frame, output)

    def add_mask(self, state: Session, tracked: TrackedObject, frame: int, mask: NDArray[np.bool_]) -> FrameOutput:
        """Prompt with a mask [S, S] over the view in place of earlier prompts on a frame."""
        features = self.features(state, frame)
        tracked.masks[frame] = mask
        tracked.points.pop(frame, None)
        return self._hold(tracked, frame, self.compiled.add_mask(features, mask, state.arrays))

    def commit_prompts(self, state: Session) -> None:
        """Encode the memories of pending prompts, which count from now on."""
        objects = state.objects.values()
        for frame in sorted({f for tracked in objects for outputs in tracked.pending.values() for f in outputs}):
            found = [
                (tracked, prompted, outputs.pop(frame))
                for tracked in objects
                for prompted, outputs in tracked.pending.items()
                if frame in outputs
            ]
            self.compiled.encode_memory(self.features(state, frame), [output for *_, output in found])
            for tracked, prompted, output in found:
                (tracked.prompted if prompted else tracked.propagated)[frame] = output
                self._clear_near(tracked, frame)
        for tracked in objects:
            for frame in tracked.prompted:
                tracked.propagated.pop(frame, None)

    def propagate_frame(self, state: Session, frame: int, reverse: bool = False) -> None:
        """Find all objects without a prompt on this frame, by their memories."""
        features, memory = self.features(state, frame), self.compiled.memory
        todo = [tracked for tracked in state.objects.values() if tracked.prompted and frame not in tracked.prompted]
        if todo:
            selected = [select_memory(tracked, frame, reverse, state.count, memory) for tracked in todo]
            outputs = self.compiled.track(features, selected, state.count, state.arrays)
            self._redraw(state, frame, outputs)
            for tracked, output in zip(todo, outputs, strict=True):
                tracked.propagated[frame] = output
        for tracked in state.objects.values():
            tracked.visited[frame] = reverse
            if frame in tracked.prompted:
                self._clear_near(tracked, frame)
            if state.memory == "near":
                far = max((memory.slots + 1) * memory.stride, memory.pointers)
                tracked.prune(range(frame - far, frame + far + 1))

    def iter_frames(self, state: Session, start: int, stop: int | None, step: int = 1) -> Iterator[int]:
        """Iterate over frames from ``start`` on, the features of each ready; a live source ends."""
        if state.frames.seekable:
            for frame in state.frames.walk(start, stop, step):
                state.last = frame
                self.features(state, frame.index)
                yield frame.index
            return
        number = start
        while stop is None or number < stop:
            try:
                self.features(state, number)
            except EndOfFrames:
                return
            yield number
            number += 1

    def features(self, state: Session, frame: int) -> PyTree:
        """Features of a frame; those used last are kept."""
        if frame in state.features:
            state.features.move_to_end(frame)
            return state.features[frame]
        return state.features.add(frame, self.compiled.features(Picture(state.pixels(frame))))

    def _redraw(self, state: Session, frame: int, outputs: list[FrameOutput]) -> None:
        """Draw masks again; memories of what is propagated stay the tracker's own."""
        there = [output for output in outputs if output.present and (output.logits > 0).any()]
        if not self.redraws or not there:
            return
        if frame not in state.drawn:
            state.drawn.add(frame, self.compiled.drawn_features(Picture(state.pixels(frame))))
        self.compiled.redraw(state.drawn[frame], there)

    def _hold(self, tracked: TrackedObject, frame: int, output: FrameOutput) -> FrameOutput:
        """Keep an output until its prompt is committed."""
        tracked.pending[self.corrections_are_prompts or frame not in tracked.visited][frame] = output
        return output

    def _clear_near(self, tracked: TrackedObject, frame: int) -> None:
        if self.clear_memory_near_prompts:
            memory = self.compiled.memory
            tracked.forget_near(frame, memory.slots * memory.stride)
