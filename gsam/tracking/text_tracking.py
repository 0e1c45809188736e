"""Text -> tracks: a pipeline finds things on key frames, a tracker carries their masks between them (Grounded SAM 2).

On a key frame every thing found is held against the masks of the objects followed so far.  What none of them covers becomes an
object with a new id, by its box or its mask; what two objects cover both, the younger gives up.  An object that has not been
seen for long is closed, and its id is not used again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.inputs.video import Frames, open_frames
from gsam.nn.prompt import BOTTOM_RIGHT, TOP_LEFT
from gsam.results.masks.low_res import LowResMasks
from gsam.results.result import Result
from gsam.results.tracks import TrackedFrame
from gsam.tracking.engine import Engine
from gsam.tracking.objects import Points, TrackedObject
from gsam.tracking.session import Session

Find = Callable[[NDArray[np.uint8]], Result]
"""Pixels of a frame -> what a pipeline finds there."""
Bools = NDArray[np.bool_]
PROMPTS = "box", "mask"


@dataclasses.dataclass(frozen=True)
class TrackingConfig:
    """When to look, and what is the same."""

    every: int = 10
    """Every n-th frame is a key frame; the first always is."""
    match: float = 0.5
    """A thing that was found is an object that is followed from this mask IoU on."""
    covered: float = 0.7
    """It is nothing new either if so much of it lies in objects with its label."""
    same: float = 0.8
    """Two objects with a larger mask IoU are one."""
    patience: int = 30
    """Frames in a row without being seen after which an object is closed."""
    most: int = 64
    """Objects followed at a time."""
    prompt: str = "box"
    """What the tracker is given of a new object: its ``"box"``, or the ``"mask"`` that the pipeline made of it."""

    def __post_init__(self) -> None:
        for name in ("every", "patience", "most"):
            if (value := getattr(self, name)) != int(value) or value < 1:
                raise UsageError(f"{name} is a whole number of at least 1, not {value!r}")
        for name in ("match", "covered", "same"):
            if not 0 < (value := getattr(self, name)) <= 1:
                raise UsageError(f"{name} is above 0 and at most 1, not {value!r}")
        if self.prompt not in PROMPTS:
            raise UsageError(f"prompt is one of {', '.join(PROMPTS)}, not {self.prompt!r}")


@dataclasses.dataclass
class Followed:
    """One object that has an id."""

    track: TrackedObject
    votes: dict[str, float]
    """What it was found to be, weighed by score."""
    score: float
    """The best it was found with."""
    unseen: int = 0
    """Frames in a row."""

    @property
    def label(self) -> str:
        return max(self.votes, key=lambda name: self.votes[name])


class TextTracker:
    """One video."""

    def __init__(self, engine: Engine, frames: Frames, find: Find, following: TrackingConfig) -> None:
        self.engine, self.find, self.following = engine, find, following
        self.state = Session(frames, "near")
        self.objects: dict[int, Followed] = {}
        self.next_id = 1
        self.looked: int | None = None
        """The last key frame."""

    def run(self, start: TrackedFrame | None = None, next_id: int = 1) -> Iterator[TrackedFrame]:
        """Frame by frame to the end; after ``start``, if a part was finished before."""
        first = 0
        if start is not None:
            self._resume(start, next_id)
            first = start.index + 1
        for frame in self.engine.walk(self.state, first, self.state.count):
            yield self.step(frame)

    def _resume(self, known: TrackedFrame, next_id: int) -> None:
        """A frame that was finished before: its objects are drawn, and keep their ids."""
        for i, (number, label, score) in enumerate(
            zip(known.ids.tolist(), known.labels, known.scores.tolist(), strict=True)
        ):
            mask = known.mask(i)
            if mask.any():
                track = self._add(number, label, float(score)).track
                self.engine.draw(self.state, track, known.index, sampled(mask, self.engine.step.tracker.view.size))
        self.next_id = max(next_id, self.next_id)
        self.engine.commit_prompts(self.state)
        self.looked = known.index - known.index % self.following.every

    def step(self, frame: int) -> TrackedFrame:
        """The next frame."""
        self.engine.follow(self.state, frame)
        seen = self.seen(frame)
        for number, mask in seen.items():
            self.objects[number].unseen = 0 if mask.any() else self.objects[number].unseen + 1
        due = self.looked is None or frame - self.looked >= self.following.every
        if due:
            self.looked = frame
            self._look(frame, seen)
        for number in [n for n, o in self.objects.items() if o.unseen >= self.following.patience]:
            self._close(number)
        return self.told(frame)

    def seen(self, frame: int) -> dict[int, Bools]:
        """What every object covers, over the view at low resolution [s, s]; nothing where it is not there."""
        found = {}
        for number, item in self.objects.items():
            output = item.track.latest(frame)
            side = self.engine.step.side
            there = output is not None and output.score > 0
            found[number] = output.mask > 0 if there and output is not None else np.zeros((side, side), bool)
        return found

    def told(self, frame: int) -> TrackedFrame:
        """What is there on a frame, a pixel belonging to one object at most."""
        size = (self.state.height, self.state.width)
        outputs = {n: output for n, o in self.objects.items() if (output := o.track.latest(frame)) and output.score > 0}
        view = self.engine.step.tracker.view.size
        masks = np.zeros((len(outputs), *size), bool)
        if outputs:
            low = LowResMasks(
                np.stack([o.mask for o in outputs.values()]), view, (view, view), size, upsample="bilinear"
            )
            best = np.zeros(size, np.float32)
            owner = np.full(size, -1)
            for i in range(len(outputs)):
                logits = low.logits_of(i)
                wins = logits > best
                owner[wins], best[wins] = i, logits[wins]
            masks = owner == np.arange(len(outputs))[:, None, None]
        keep = [i for i, mask in enumerate(masks) if mask.any()]
        ids = [number for i, number in enumerate(outputs) if i in keep]
        items = [self.objects[number] for number in ids]
        return TrackedFrame.of(
            frame,
            masks[keep],
            ids,
            [item.label for item in items],
            [item.score for item in items],
            self._time(frame),
        )

    def _look(self, frame: int, seen: dict[int, Bools]) -> None:
        """A key frame."""
        result = self.find(self.state.pixels(frame))
        side = self.engine.step.side
        found = [sampled(result.mask(i), side) for i in range(len(result))]
        pairs = sorted(
            ((overlap(mask, seen[n]), i, n) for i, mask in enumerate(found) for n in seen), key=lambda pair: -pair[0]
        )
        taken: dict[int, int] = {}
        for iou, i, number in pairs:
            if iou >= self.following.match and i not in taken and number not in taken.values():
                taken[i] = number
                item = self.objects[number]
                item.votes[result.labels[i]] = item.votes.get(result.labels[i], 0.0) + float(result.scores[i])
                item.score = max(item.score, float(result.scores[i]))
        new = [i for i in range(len(result)) if i not in taken]
        for i in new:
            if len(self.objects) < self.following.most and self._is_new(found[i], result.labels[i], seen):
                self._begin(frame, result, i, seen)
        self.engine.commit_prompts(self.state)
        self._merge(seen)

    def _is_new(self, mask: Bools, label: str, seen: Mapping[int, Bools]) -> bool:
        """Whether enough of it belongs to nothing that has its label."""
        own = [m for n, m in seen.items() if self.objects[n].label == label]
        if not mask.any():
            return False
        known = np.logical_or.reduce(own) if own else np.zeros_like(mask)
        return bool((mask & known).sum() < self.following.covered * mask.sum())

    def _begin(self, frame: int, result: Result, i: int, seen: dict[int, Bools]) -> None:
        """A new object, row ``i`` of what was found, unless the tracker sees nothing there."""
        number = self.next_id
        track = TrackedObject(number)
        size = self.engine.step.tracker.view.size
        if self.following.prompt == "mask":
            output = self.engine.draw(self.state, track, frame, sampled(result.mask(i), size))
        else:
            scale = size / np.array([self.state.width, self.state.height], np.float64)
            corners = (result.xyxy[i].reshape(2, 2) * scale).astype(np.float32)
            labels = np.array([TOP_LEFT, BOTTOM_RIGHT], np.int32)
            output = self.engine.click(self.state, track, frame, Points(corners, labels))
        mask = output.mask > 0
        if output.score <= 0 or not mask.any():
            return
        self._add(number, result.labels[i], float(result.scores[i]), track)
        seen[number] = mask
        self.next_id += 1

    def _add(self, number: int, label: str, score: float, track: TrackedObject | None = None) -> Followed:
        track = track or TrackedObject(number)
        self.state.tracks[number] = track
        self.objects[number] = Followed(track, {label: score}, score)
        return self.objects[number]

    def _merge(self, seen: Mapping[int, Bools]) -> None:
        """Of two objects that are one the older stays."""
        numbers = sorted(n for n in self.objects if n in seen and seen[n].any())
        for i, older in enumerate(numbers):
            for younger in numbers[i + 1 :]:
                if {older, younger} <= self.objects.keys() and overlap(
                    seen[older], seen[younger]
                ) > self.following.same:
                    self._close(younger)

    def _close(self, number: int) -> None:
        del self.objects[number]
        del self.state.tracks[number]

    def _time(self, frame: int) -> float | None:
        last = self.state.last
        return None if last is None or last.index != frame or last.time is None else float(last.time)


def overlap(a: Bools, b: Bools) -> float:
    """IoU of two masks; 0 where both are empty."""
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 0.0


def sampled(mask: Bools, side: int) -> Bools:
    """A mask [H, W] over a square of ``side`` cells, by the pixels in the middle of cells."""
    rows, columns = (((np.arange(side) + 0.5) / side * length).astype(int) for length in mask.shape)
    return mask[np.ix_(rows, columns)]


def follower(engine: Engine, video: Any, find: Find, following: TrackingConfig) -> TextTracker:
    """Of anything `open_frames` opens."""
    return TextTracker(engine, open_frames(video), find, following)
