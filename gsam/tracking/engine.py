"""What is done to a video's objects, frame by frame: between the words of `gsam.VideoPredictor` and the compiled steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import Picture
from gsam.nn.prompt import PAD
from gsam.roles import Tracker
from gsam.tracking.compiled import CompiledTracker
from gsam.tracking.memory_selection import MemoryConfig, recall
from gsam.tracking.objects import FrameOutput, Points, TrackedObject
from gsam.tracking.session import EndOfFrames, Session


class Engine:
    """Prompts become outputs, outputs memories, and objects are followed from frame to frame."""

    def __init__(self, step: CompiledTracker, *, correct: bool = True, forgetful: bool = False) -> None:
        """``correct``: a prompt on a frame that was gone over makes it a frame with a prompt.  ``forgetful``: near a frame with
        a prompt, what was followed is forgotten."""
        self.step, self.reach, self.correct, self.forgetful = step, step.reach, correct, forgetful

    def click(self, state: Session, track: TrackedObject, frame: int, points: Points) -> FrameOutput:
        """``points`` instead of what was asked on this frame; the last answer there is fed back."""
        features = self.features(state, frame)
        track.points[frame] = points
        track.masks.pop(frame, None)
        earlier = track.latest(frame)
        recalled = None
        if frame in track.tracked and track.prompted:
            recalled = recall(track, frame, track.tracked[frame], state.count, self.reach)
        padded = Points(
            np.concatenate([points.xy, np.zeros((1, 2), np.float32)]), np.append(points.labels, np.int32(PAD))
        )
        mask = None if earlier is None else earlier.mask
        return self._asked(track, frame, self.step.click(features, padded, mask, recalled, state.count, state.shelf))

    def draw(self, state: Session, track: TrackedObject, frame: int, mask: NDArray[np.bool_]) -> FrameOutput:
        """A mask [S, S] over the view, instead of what was asked on this frame."""
        features = self.features(state, frame)
        track.masks[frame] = mask
        track.points.pop(frame, None)
        return self._asked(track, frame, self.step.draw(features, mask, state.shelf))

    def commit_prompts(self, state: Session) -> None:
        """What was asked since the last time is remembered, and counts from now on."""
        frames = sorted({frame for track in state.tracks.values() for asked in track.asked.values() for frame in asked})
        for frame in frames:
            found = [
                (track, prompted, asked.pop(frame))
                for track in state.tracks.values()
                for prompted, asked in track.asked.items()
                if frame in asked
            ]
            self.step.remember(self.features(state, frame), [output for *_, output in found])
            for track, prompted, output in found:
                (track.prompted if prompted else track.followed)[frame] = output
                if self.forgetful:
                    track.forget_around(frame, self.reach.slots * self.reach.stride)
        for track in state.tracks.values():
            for frame in track.prompted:
                track.followed.pop(frame, None)

    def follow(self, state: Session, frame: int, reverse: bool = False) -> None:
        """All objects without a prompt on this frame, by what they remember."""
        features = self.features(state, frame)
        todo = [track for track in state.tracks.values() if track.prompted and frame not in track.prompted]
        if todo:
            recalled = [recall(track, frame, reverse, state.count, self.reach) for track in todo]
            outputs = self.step.track(features, recalled, state.count, state.shelf)
            for track, output in zip(todo, outputs, strict=True):
                track.followed[frame] = output
        for track in state.tracks.values():
            track.tracked[frame] = reverse
            if self.forgetful and frame in track.prompted:
                track.forget_around(frame, self.reach.slots * self.reach.stride)
            if state.memory == "near":
                far = max((self.reach.slots + 1) * self.reach.stride, self.reach.pointers)
                track.prune(range(frame - far, frame + far + 1))

    def walk(self, state: Session, start: int, stop: int | None, step: int = 1) -> Iterator[int]:
        """Frames from ``start`` on, the features of each ready; those of a live source until it ends."""
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

    def features(self, state: Session, frame: int) -> Any:
        """Of a frame; those used last are kept."""
        if frame in state.cache:
            state.cache.move_to_end(frame)
            return state.cache[frame]
        return state.cache.keep(frame, self.step.features(Picture(state.pixels(frame))))

    def _asked(self, track: TrackedObject, frame: int, output: FrameOutput) -> FrameOutput:
        track.asked[self.correct or frame not in track.tracked][frame] = output
        return output


def engine(tracker: Tracker, fill_hole_area: int = 8) -> Engine:
    """With the original's settings."""
    reach = MemoryConfig(tracker.config.num_maskmem, tracker.config.max_obj_ptrs)
    return Engine(CompiledTracker(tracker, reach, fill_hole_area, True))
