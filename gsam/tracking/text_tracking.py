"""Track what a text names: a pipeline detects objects, a tracker carries their masks.

This is Grounded SAM 2.  On a key frame every detection is matched with the masks of the objects
tracked so far.  One that none of them covers becomes an object with a new id, by its box or its
mask; of two objects that cover the same, the younger is closed.  So is an object that has not been
visible for long, and its id is not used again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.inputs.video import Frames
from gsam.nn.prompt import BOTTOM_RIGHT, TOP_LEFT
from gsam.results.masks.low_res import LowResMasks
from gsam.results.result import Result
from gsam.results.tracks import TrackedFrame
from gsam.tracking.config import TrackingConfig
from gsam.tracking.engine import Engine
from gsam.tracking.objects import Points, TrackedObject
from gsam.tracking.session import Session
from gsam.tracking.state import TrackingState, outputs_of, restore
from gsam.types import Json

FindObjects = Callable[[NDArray[np.uint8]], Result]
"""Pixels of a frame -> what a pipeline finds there."""
Bools = NDArray[np.bool_]


@dataclasses.dataclass
class LabeledObject:
    """A tracked object with an id, and the labels that detections gave it."""

    tracked: TrackedObject
    votes: dict[str, float]
    """Labels, weighed by the scores of their detections."""
    score: float
    """The best of a detection."""
    unseen: int = 0
    """Frames in a row without being visible."""
    missed: int = 0
    """Key frames in a row on which it was visible and not detected."""

    @property
    def label(self) -> str:
        return max(self.votes, key=lambda name: self.votes[name])

    def vote(self, label: str, score: float) -> None:
        """Count another detection of the object."""
        self.missed = 0
        self.votes[label] = self.votes.get(label, 0.0) + score
        self.score = max(self.score, score)


class TextTracker:
    """Tracks the objects that a pipeline finds in one video."""

    def __init__(self, engine: Engine, frames: Frames, find_objects: FindObjects, config: TrackingConfig) -> None:
        self.engine, self.find_objects, self.config = engine, find_objects, config
        self.state = Session(frames, "near")
        self.objects: dict[int, LabeledObject] = {}
        self.next_id = 1
        self.last_key_frame: int | None = None
        self.frame: int | None = None

    def run(self, start: TrackedFrame | TrackingState | None = None) -> Iterator[TrackedFrame]:
        """Track frame by frame to the end; after ``start``, if a part was finished before.

        From a state it goes on at once.  A frame alone does not hold what is hidden, so everything
        before it is tracked again, and not given.

        Raises:
            UsageError: ``start`` is a frame, and what is found there is something else
                (``tracking_start_differs``).
        """
        first = 0
        if isinstance(start, TrackingState):
            self.restore(start)
            first = start.frame + 1
        for frame in self.engine.iter_frames(self.state, first, self.state.count):
            if isinstance(start, TrackedFrame) and frame < start.index:
                self.advance(frame)
                continue
            found = self.track_frame(frame)
            if isinstance(start, TrackedFrame) and frame == start.index:
                _check_same(start, found)
                continue
            yield found

    def snapshot(self) -> TrackingState | None:
        """Give the state after the last frame; None before the first, and within one."""
        if self.frame is None:
            return None
        objects: list[Json] = []
        arrays: dict[str, NDArray[np.generic]] = {}
        for number, known in self.objects.items():
            note, own = outputs_of(number, known.tracked)
            counts = {"unseen": known.unseen, "missed": known.missed}
            objects.append({"id": number, "votes": known.votes, "score": known.score, **counts, **note})
            arrays |= own
        note = {"next_id": self.next_id, "last_key_frame": self.last_key_frame, "objects": objects}
        return TrackingState(self.frame, note, arrays)

    def restore(self, known: TrackingState) -> None:
        """Go on from a state that `snapshot` gave."""
        for entry in known.note["objects"]:
            number = entry["id"]
            tracked = restore(number, entry, known.arrays, self.state.arrays, self.engine.mask_size)
            self.state.objects[number] = tracked
            counts = entry["unseen"], entry.get("missed", 0)  # states of 0.9.0 have none
            self.objects[number] = LabeledObject(tracked, dict(entry["votes"]), entry["score"], *counts)
        self.next_id, self.last_key_frame = known.note["next_id"], known.note["last_key_frame"]
        self.frame = known.frame

    def track_frame(self, frame: int) -> TrackedFrame:
        """Go on to the next frame, which may be a key frame, and give what is on it."""
        self.advance(frame)
        return self.frame_result(frame)

    def advance(self, frame: int) -> None:
        """Go on to the next frame, which may be a key frame."""
        self.frame = None  # in between, there is no state to go on from
        self.engine.propagate_frame(self.state, frame)
        visible = self.visible_masks(frame)
        for number, mask in visible.items():
            known = self.objects[number]
            known.unseen = 0 if mask.any() and not self.is_doubted(known) else known.unseen + 1
        if self.last_key_frame is None or frame - self.last_key_frame >= self.config.every:
            self.last_key_frame = frame
            self._detect(frame, visible)
        for number in [n for n, known in self.objects.items() if known.unseen >= self.config.patience]:
            self._close(number)
        self.frame = frame

    def is_doubted(self, known: LabeledObject) -> bool:
        """Whether detections have missed an object for so long that it is hidden."""
        return 0 < self.config.doubt <= known.missed

    def visible_masks(self, frame: int) -> dict[int, Bools]:
        """Low-resolution mask [s, s] of every object over the view, empty where it is not there."""
        side = self.engine.mask_size
        masks = {}
        for number, known in self.objects.items():
            output = known.tracked.latest(frame)
            there = output is not None and output.present
            masks[number] = output.logits > 0 if there and output is not None else np.zeros((side, side), bool)
        return masks

    def frame_result(self, frame: int) -> TrackedFrame:
        """The objects on a frame; a pixel belongs to one of them at most."""
        size = (self.state.height, self.state.width)
        shown = {n: known.tracked for n, known in self.objects.items() if not self.is_doubted(known)}
        outputs = {n: o for n, tracked in shown.items() if (o := tracked.latest(frame)) and o.present}
        view = self.engine.view_size
        masks = np.zeros((len(outputs), *size), bool)
        if outputs:
            low = LowResMasks(
                np.stack([o.logits for o in outputs.values()]), view, (view, view), size, upsample="bilinear"
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

    def _detect(self, frame: int, visible: dict[int, Bools]) -> None:
        """Detect on a key frame, match detections with known objects, and begin new ones."""
        result = self.find_objects(self.state.pixels(frame))
        masks = [sample_mask(result.mask(i), self.engine.mask_size) for i in range(len(result))]
        pairs = sorted(
            ((mask_iou(mask, visible[n]), i, n) for i, mask in enumerate(masks) for n in visible),
            key=lambda pair: -pair[0],
        )
        taken: dict[int, int] = {}
        for iou, i, number in pairs:
            if iou >= self.config.match and i not in taken and number not in taken.values():
                taken[i] = number
        for number in visible:
            self.objects[number].missed += bool(visible[number].any())
        for i, number in taken.items():
            self.objects[number].vote(result.labels[i], float(result.scores[i]))
            if result.scores[i] > self.config.renew:
                self._renew(frame, result, i, number, visible)
        new = [i for i in range(len(result)) if i not in taken]
        for i in new:
            if len(self.objects) < self.config.most and self._is_new(masks[i], result.labels[i], visible):
                self._begin(frame, result, i, visible)
        self.engine.commit_prompts(self.state)
        self._merge(visible)

    def _is_new(self, mask: Bools, label: str, visible: Mapping[int, Bools]) -> bool:
        """Whether enough of a mask lies in no object that has its label and is not hidden."""
        known = [(self.objects[n], m) for n, m in visible.items()]
        own = [m for one, m in known if one.label == label and not self.is_doubted(one)]
        if not mask.any():
            return False
        covered = np.logical_or.reduce(own) if own else np.zeros_like(mask)
        return bool((mask & covered).sum() < self.config.covered * mask.sum())

    def _begin(self, frame: int, result: Result, i: int, visible: dict[int, Bools]) -> None:
        """Begin an object from row ``i`` of a result, unless the tracker finds nothing there."""
        number = self.next_id
        tracked = TrackedObject(number)
        size = self.engine.view_size
        if self.config.prompt == "mask":
            output = self.engine.add_mask(self.state, tracked, frame, sample_mask(result.mask(i), size))
        else:
            scale = size / np.array([self.state.width, self.state.height], np.float64)
            corners = (result.xyxy[i].reshape(2, 2) * scale).astype(np.float32)
            labels = np.array([TOP_LEFT, BOTTOM_RIGHT], np.int32)
            output = self.engine.add_points(self.state, tracked, frame, Points(corners, labels))
        mask = output.logits > 0
        if not output.present or not mask.any():
            return
        self._add(number, result.labels[i], float(result.scores[i]), tracked)
        visible[number] = mask
        self.next_id += 1

    def _renew(self, frame: int, result: Result, i: int, number: int, visible: dict[int, Bools]) -> None:
        """Go on with an object from row ``i`` of a result, unless the tracker finds nothing there.

        Earlier prompts become ordinary memories, which are forgotten in time: an object has one
        prompt however long the video is.
        """
        tracked = self.objects[number].tracked
        output = self.engine.add_mask(self.state, tracked, frame, sample_mask(result.mask(i), self.engine.view_size))
        mask = output.logits > 0
        if not output.present or not mask.any():
            tracked.clear_prompts(frame)
            return
        for earlier in list(tracked.prompted):
            tracked.clear_prompts(earlier)
        visible[number] = mask

    def _add(self, number: int, label: str, score: float, tracked: TrackedObject | None = None) -> LabeledObject:
        tracked = tracked or TrackedObject(number)
        self.state.objects[number] = tracked
        self.objects[number] = LabeledObject(tracked, {label: score}, score)
        return self.objects[number]

    def _merge(self, visible: Mapping[int, Bools]) -> None:
        """Close the younger of two objects that are one; detections of it were the older's."""
        numbers = sorted(n for n in self.objects if n in visible and visible[n].any())
        for i, older in enumerate(numbers):
            for younger in numbers[i + 1 :]:
                if {older, younger} <= self.objects.keys() and mask_iou(
                    visible[older], visible[younger]
                ) > self.config.same:
                    self.objects[older].missed = min(self.objects[n].missed for n in (older, younger))
                    self._close(younger)

    def _close(self, number: int) -> None:
        del self.objects[number]
        del self.state.objects[number]

    def _time(self, frame: int) -> float | None:
        last = self.state.last
        return None if last is None or last.index != frame or last.time is None else float(last.time)


class TrackedVideoFrames(Iterator[TrackedFrame]):
    """The frames of a video as they are tracked, with the state that others can go on from.

    Args:
        tracker: Tracks the video.
        start: Where it goes on, see `TextTracker.run`; None for the beginning.
    """

    def __init__(self, tracker: TextTracker, start: TrackedFrame | TrackingState | None = None) -> None:
        self._tracker, self._frames = tracker, tracker.run(start)
        self._last: TrackedFrame | None = None

    def __next__(self) -> TrackedFrame:
        self._last = next(self._frames)
        return self._last

    @property
    def last(self) -> TrackedFrame | None:
        """The frame that was given last; None before the first."""
        return self._last

    def state(self) -> TrackingState | None:
        """Give the state after the frame that was given last.

        Returns:
            What ``start`` of `gsam.Pipeline.track` takes; None before the first frame.
        """
        return self._tracker.snapshot()


SAME_RUN = 0.8
"""Mask IoU of an object on one frame in two runs that are the same but for rounding."""


def _check_same(start: TrackedFrame, found: TrackedFrame) -> None:
    known = {n: start.mask(i) for i, n in enumerate(start.ids.tolist()) if start.areas[i]}
    again = {n: found.mask(i) for i, n in enumerate(found.ids.tolist())}
    if known.keys() != again.keys() or any(mask_iou(known[n], again[n]) < SAME_RUN for n in known):
        text = f"frame {start.index} shows objects {sorted(known)}, tracked again {sorted(again)} or other masks"
        raise UsageError(
            f"{text}: go on with the video, query and settings that it was made with", "tracking_start_differs"
        )


def mask_iou(a: Bools, b: Bools) -> float:
    """IoU of two masks; 0 where both are empty."""
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 0.0


def sample_mask(mask: Bools, side: int) -> Bools:
    """Sample a mask [H, W] at the middles of ``side`` x ``side`` cells: [side, side]."""
    rows, columns = (((np.arange(side) + 0.5) / side * length).astype(int) for length in mask.shape)
    return mask[np.ix_(rows, columns)]
