"""Detections and a tracker that follow a script, for tests of tracking by text."""

from __future__ import annotations

from typing import Any

import numpy as np

from gsam.inputs.video import open_frames
from gsam.results.result import CroppedMasks, Result
from gsam.results.tracks import TrackedFrame
from gsam.tracking.engine import Engine
from gsam.tracking.objects import FrameOutput, TrackedObject
from gsam.tracking.text_tracking import TextTracker, TrackingConfig, sample_mask
from tests.tracking import small

Box = tuple[int, int, int, int]
SIDE = 16  # cells of low resolution over 40 x 56 pixels


def rectangle(box: Box) -> np.ndarray:
    mask = np.zeros(small.SIZE, bool)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    return mask


def found(pixels: np.ndarray, things: list[tuple[str, float, Box]]) -> Result:
    """A pipeline's result."""
    labels = [label for label, *_ in things]
    known = list(dict.fromkeys(labels))
    boxes = np.array([box for *_, box in things], np.float32).reshape(-1, 4)
    parts = [np.ones((y1 - y0, x1 - x0), bool) for *_, (x0, y0, x1, y1) in things]
    scores = np.array([score for _, score, _ in things], np.float32)
    masks = CroppedMasks(boxes[:, 1::-1].astype(np.int64), parts, pixels.shape[:2])
    ids = np.array([known.index(label) for label in labels], np.int64)
    return Result(pixels, known, boxes, labels, ids, scores, scores, masks)


class Script:
    """Things by frame: what the detector finds, and where the tracker then sees the object that was
    begun there.
    """

    def __init__(
        self, things: dict[int, list[tuple[str, float, Box]]], paths: dict[Box, dict[int, Box | None]]
    ) -> None:
        self.things, self.paths, self.looked = things, paths, list[int]()
        self.born = dict[int, Box]()

    def follower(self, count: int, **settings: Any) -> TextTracker:
        made = Engine.of(small.made())
        follower = TextTracker(made, open_frames(small.frames(count)), self.find, TrackingConfig(**settings))
        self.session = follower.state
        made.add_points = self.add_points  # type: ignore[method-assign]
        made.propagate_frame = self.propagate_frame  # type: ignore[method-assign]
        made.commit_prompts = lambda state: None  # type: ignore[method-assign]
        return follower

    def find(self, pixels: np.ndarray) -> Result:
        assert self.session.last is not None
        self.looked.append(self.session.last.index)
        return found(pixels, self.things.get(self.session.last.index, []))

    def add_points(self, state: Any, track: TrackedObject, frame: int, points: Any) -> FrameOutput:
        scale = np.array([56, 40]) / 64
        x0, y0, x1, y1 = np.round((points.xy * scale).reshape(-1)).astype(int).tolist()
        self.born[track.id] = (x0, y0, x1, y1)
        output = self.output(state, (x0, y0, x1, y1))
        track.prompted[frame] = output
        return output

    def propagate_frame(self, state: Any, frame: int, reverse: bool = False) -> None:
        for track in state.objects.values():
            birth = self.born[track.id]
            track.propagated[frame] = self.output(state, self.paths.get(birth, {}).get(frame, birth))

    def output(self, state: Any, box: Box | None) -> FrameOutput:
        mask = np.zeros((SIDE, SIDE), bool) if box is None else sample_mask(rectangle(box), SIDE)
        logits = np.where(mask, 5.0, -5.0).astype(np.float32)
        return FrameOutput(state.arrays, -3.0 if box is None else 3.0, 0.9, np.zeros(16, np.float32), logits)


LEFT, RIGHT, LATE = (0, 0, 20, 20), (30, 0, 56, 20), (0, 20, 28, 40)


def ids(frames: list[TrackedFrame]) -> list[list[int]]:
    return [frame.ids.tolist() for frame in frames]
