"""`VideoPredictor`: the vocabulary of SAM 2's video predictor, so that people switch by the import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from gsam.build import tracker
from gsam.errors import UsageError
from gsam.inputs.video import open_frames
from gsam.models.sam2.tracker import ABSENT_LOGIT
from gsam.ops.resize import antialiased
from gsam.predictors import prompts
from gsam.results.masks.low_res import LowResMasks
from gsam.roles import Tracker
from gsam.tracking.compiled import CompiledTracker
from gsam.tracking.engine import Engine
from gsam.tracking.memory_selection import MemoryConfig
from gsam.tracking.objects import Points, TrackedObject
from gsam.tracking.session import Session as Session

Answer = tuple[int, list[Any], NDArray[np.float32]]
"""A frame, the ids of the objects, and the logits of their masks, [N, 1, H, W]."""
SHY = -10.0
"""The greatest logit where another object is more likely, without overlap."""


class VideoPredictor:
    """Follow objects through a video by points, boxes and masks.

    ``state = predictor.init_state(video)``, prompts on any frame, then ``for frame, ids, masks in
    predictor.propagate_in_video(state)``.  Names, order and shapes of arguments and results are the original's
    (sam2/sam2_video_predictor.py), with numpy for torch: masks are float32 logits [N, 1, H, W] at the size of the video, above 0
    is object.

    What differs.  A correction on a frame that was gone over already counts (the original loses it unless
    ``add_all_frames_to_correct_as_cond``, which is on here; turn it off for the original's behaviour).
    ``clear_non_cond_mem_around_input`` works.  Small holes are filled on every machine.  All objects of a frame are one call.
    Frames are read when they are needed, a video file's by Pillow's filter as a folder's are; what is remembered lies in host
    memory, and beyond 128 MB in a temporary file, so that a long video needs no more of it than a short one.
    """

    def __init__(
        self,
        model: str | Tracker,
        *,
        fill_hole_area: int = 8,
        non_overlap_masks: bool = False,
        clear_non_cond_mem_around_input: bool = False,
        add_all_frames_to_correct_as_cond: bool = True,
        binarize_mask_from_pts_for_mem_enc: bool = True,
        memory_temporal_stride_for_eval: int = 1,
        max_cond_frames_in_attn: int = -1,
        progress: bool = True,
        **settings: Any,
    ) -> None:
        """``model``: a name as for `gsam.segmenter`, of a SAM 2, which ``settings`` are for; or a tracker.

        ``fill_hole_area``: holes of so many low-resolution pixels are filled, 0 for none.  ``non_overlap_masks``: a pixel belongs
        to one object at most.  ``memory_temporal_stride_for_eval``: remember every so manieth frame;
        ``max_cond_frames_in_attn``: and at most so many with prompts, -1 for all.  ``progress``: a bar on a terminal.
        """
        if settings and not isinstance(model, str):
            raise TypeError(f"{next(iter(settings))!r} is for a model by name: this one is built already")
        if memory_temporal_stride_for_eval < 1:
            raise UsageError(f"memory_temporal_stride_for_eval is at least 1, not {memory_temporal_stride_for_eval}")
        if max_cond_frames_in_attn != -1 and max_cond_frames_in_attn < 2:
            raise UsageError(f"max_cond_frames_in_attn is -1 or at least 2, not {max_cond_frames_in_attn}")
        self.model = tracker(model, **settings) if isinstance(model, str) else model
        config = self.model.config
        reach = MemoryConfig(
            config.num_maskmem, config.max_obj_ptrs, memory_temporal_stride_for_eval, max_cond_frames_in_attn
        )
        self.non_overlap_masks, self.progress = non_overlap_masks, progress
        self._engine = Engine(
            CompiledTracker(self.model, reach, fill_hole_area, binarize_mask_from_pts_for_mem_enc),
            correct=add_all_frames_to_correct_as_cond,
            forgetful=clear_non_cond_mem_around_input,
        )

    @classmethod
    def from_pretrained(cls, model_id: str, **settings: Any) -> Self:
        """The same as ``VideoPredictor(model_id)``."""
        return cls(model_id, **settings)

    @property
    def programs(self) -> int:
        """How many are compiled: it does not depend on the length of a video."""
        return self._engine.step.programs

    # Videos

    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
        *,
        memory: Literal["all", "near"] = "all",
    ) -> Session:
        """Begin with a video: a file or its bytes, a folder of pictures, a list of pictures, or an iterator of them (live).

        ``memory="near"`` keeps what the next frames need, and not what a correction far back would.  The ``offload`` words and
        ``async_loading_frames`` are the original's: frames and state are always on the host, and read as they are needed.
        Raises `gsam.errors.VideoError`.
        """
        return Session(open_frames(video_path), memory)

    def reset_state(self, inference_state: Session) -> None:
        """Forget all objects and prompts."""
        inference_state.tracks.clear()

    # Prompts

    def add_new_points_or_box(
        self,
        inference_state: Session,
        frame_idx: int,
        obj_id: Any,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: ArrayLike | None = None,
    ) -> Answer:
        """Click on an object, known or new: ``points`` [P, 2] x y, ``labels`` [P] 1 foreground 0 background, ``box`` x0 y0 x1 y1.

        Pixels of the video, or 0..1 without ``normalize_coords``.  With ``clear_old_points`` instead of what was clicked on this
        frame before, otherwise besides; the last answer on the frame is fed back.  Returns all objects' masks on the frame.
        Raises `ValueError`.
        """
        frame = inference_state.check(frame_idx)
        if points is None and box is None:
            raise ValueError("at least one of points or box is needed")
        if box is not None and not clear_old_points:
            raise ValueError("a box comes before points: give it with clear_old_points=True")
        size = (inference_state.height, inference_state.width) if normalize_coords else (1, 1)
        new = self._points(points, labels, box, size)
        known = inference_state.tracks.get(obj_id)
        old = None if known is None or clear_old_points else known.points.get(frame)
        if old is not None:
            new = Points(np.concatenate([old.xy, new.xy]), np.concatenate([old.labels, new.labels]))
        self._engine.features(inference_state, frame)  # before an object is made: it may fail
        track = inference_state.tracks.setdefault(obj_id, TrackedObject(obj_id))
        self._engine.click(inference_state, track, frame, new)
        return self._answer(inference_state, frame)

    def add_new_points(self, *args: Any, **kwargs: Any) -> Answer:
        """The older name of `add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(self, inference_state: Session, frame_idx: int, obj_id: Any, mask: ArrayLike) -> Answer:
        """Give an object's mask on a frame, [H, W] bool, instead of what was asked there.  Returns as `add_new_points_or_box`."""
        frame = inference_state.check(frame_idx)
        drawn = np.asarray(mask)
        if drawn.ndim != 2:
            raise ValueError(f"a mask is [H, W], got {list(drawn.shape)}")
        if drawn.shape != (inference_state.height, inference_state.width):
            size = [inference_state.height, inference_state.width]
            raise ValueError(f"the mask is {list(drawn.shape)}, the video {size}")
        self._engine.features(inference_state, frame)
        track = inference_state.tracks.setdefault(obj_id, TrackedObject(obj_id))
        self._engine.draw(inference_state, track, frame, squashed(drawn, self.model.view.size))
        return self._answer(inference_state, frame)

    def clear_all_prompts_in_frame(
        self, inference_state: Session, frame_idx: int, obj_id: Any, need_output: bool = True
    ) -> Answer | None:
        """Take back what was asked of an object on a frame; what was seen there counts as followed from now on."""
        frame, track = inference_state.check(frame_idx), inference_state.track(obj_id)
        places: tuple[dict[int, Any], ...] = (track.points, track.masks, *track.asked.values())
        for place in places:
            place.pop(frame, None)
        if (output := track.prompted.pop(frame, None)) is not None:
            track.followed[frame] = output
            track.tracked.pop(frame, None)
        return self._answer(inference_state, frame) if need_output else None

    def remove_object(
        self, inference_state: Session, obj_id: Any, strict: bool = False, need_output: bool = True
    ) -> tuple[list[Any], list[tuple[int, NDArray[np.float32]]]]:
        """Forget an object.  Returns the ids that are left, and the masks on frames where the object had a prompt.

        Raises `UsageError` for one that does not exist, if ``strict``.
        """
        if obj_id not in inference_state.tracks and not strict:
            return inference_state.ids, []
        gone = inference_state.track(obj_id)
        del inference_state.tracks[obj_id]
        frames = sorted({*gone.points, *gone.masks}) if need_output and inference_state.tracks else []
        return inference_state.ids, [(f, self._answer(inference_state, f)[2]) for f in frames]

    # TrackingConfig

    def propagate_in_video_preflight(self, inference_state: Session) -> None:
        """Take up the prompts given so far.  Raises `UsageError` for an object that has none."""
        if not inference_state.tracks:
            raise UsageError("there is no object yet: click on one first, or give a box or a mask")
        self._engine.commit_prompts(inference_state)
        for track in inference_state.tracks.values():
            if not track.prompted:
                raise UsageError(f"object {track.id!r} has no prompt: click on it first, or give a box or a mask")

    def propagate_in_video(
        self,
        inference_state: Session,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Answer]:
        """Follow all objects, from ``start_frame_idx`` or the first frame with a prompt, to the end or so many frames further.

        In ``reverse`` towards the first frame; from that itself there is nothing to do, as in the original.
        """
        self.propagate_in_video_preflight(inference_state)
        state = inference_state
        if start_frame_idx is None:
            start_frame_idx = min(frame for track in state.tracks.values() for frame in track.prompted)
        start, stop, step = _range(state.check(start_frame_idx), state.count, max_frame_num_to_track, reverse)
        total = None if stop is None else len(range(start, stop, step))
        quiet = not self.progress or not sys.stderr.isatty()
        with tqdm(total=total, desc="propagate in video", unit="frame", disable=quiet) as bar:
            for frame in self._engine.walk(state, start, stop if stop != -1 else None, step) if total != 0 else ():
                self._engine.follow(state, frame, reverse)
                bar.update()
                yield self._answer(state, frame)

    # Inside

    def _answer(self, state: Session, frame: int) -> Answer:
        """The newest masks of all objects on a frame, as large as the video."""
        outputs = state.outputs(frame)
        known = [output.mask for output in outputs if output is not None]
        masks = np.full((len(outputs), 1, state.height, state.width), ABSENT_LOGIT, np.float32)
        if known:
            size = self.model.view.size
            low = LowResMasks(np.stack(known), size, (size, size), (state.height, state.width), way="bilinear")
            rows = [i for i, output in enumerate(outputs) if output is not None]
            for i, row in enumerate(rows):
                masks[row, 0] = low.logits_of(i)
        if self.non_overlap_masks and len(masks) > 1:
            first = np.arange(len(masks))[:, None, None] == masks[:, 0].argmax(0)
            masks[:, 0] = np.where(first, masks[:, 0], np.minimum(masks[:, 0], SHY))
        return frame, state.ids, masks

    def _points(self, points: Any, labels: Any, box: Any, size: tuple[float, float]) -> Points:
        """Checked, in pixels of the view, the corners of a box first."""
        side = self.model.view.size
        frame = prompts.CoordinateSpace(size, (side, side), frozenset({"foreground", "background", "box"}), lambda: (0, 0))
        given: prompts.Given = (
            None if points is None else [np.asarray(points).reshape(-1, 2)],
            None if labels is None else [np.asarray(labels).reshape(-1)],
            None if box is None else [np.asarray(box)],
            None,
        )
        (found,) = prompts.read(given, frame)
        order = np.argsort(found.kinds < 2, kind="stable")  # corners, then clicks
        order = order[found.kinds[order] >= 0]
        return Points(found.xy[order], found.kinds[order])


def squashed(mask: NDArray[Any], side: int) -> NDArray[np.bool_]:
    """A mask [H, W] over the square view: anti-aliased bilinear, at least a half."""
    return np.asarray(antialiased((mask != 0).astype(np.float32), side, side)) >= 0.5


def _range(start: int, count: int | None, most: int | None, reverse: bool) -> tuple[int, int | None, int]:
    """First frame, the one before which a propagation ends (None: as many as come) and the step."""
    if most is not None and most < 0:
        raise UsageError(f"max_frame_num_to_track is at least 0, not {most}")
    if reverse:
        end = 0 if most is None else max(start - most, 0)
        return (start, end - 1, -1) if start > 0 else (0, 0, -1)
    if count is None:
        return start, None if most is None else start + most + 1, 1
    return start, count if most is None else min(start + most + 1, count), 1
