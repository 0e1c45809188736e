"""The vocabulary of SAM 2's video predictor, so that people switch by the import."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Hashable, Iterator
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from tqdm import tqdm

from gsam.build.devices import devices_of
from gsam.build.stages import by_name
from gsam.errors import UsageError
from gsam.inputs.video import open_frames
from gsam.models.promptable import PromptableSegmenter
from gsam.ops.resize import antialiased
from gsam.predictors import prompts
from gsam.predictors.pretrained import Pretrained
from gsam.predictors.video_state import KeepsStates
from gsam.results.masks.low_res import LowResMasks
from gsam.roles import Tracker
from gsam.tracking.compiled import CompiledTracker
from gsam.tracking.engine import Engine
from gsam.tracking.frame_range import frame_range
from gsam.tracking.objects import Points, TrackedObject
from gsam.tracking.redraw import Redraw
from gsam.tracking.session import Session as Session

Answer = tuple[int, list[Any], NDArray[np.float32]]
"""A frame, the ids of the objects, and the logits of their masks, [N, 1, H, W] float32."""
SHY = -10.0
"""The greatest logit where another object is more likely, without overlap."""


class VideoPredictor(Pretrained, KeepsStates):
    """Follow objects through a video by points, boxes and masks.

    ``state = predictor.init_state(video)``, prompts on any frame, then ``for frame, ids, masks in
    predictor.propagate_in_video(state)``. Names, order and shapes of arguments and results are the
    original's, with numpy for torch: masks are float32 logits [N, 1, H, W] at the size of the
    video, above 0 is object.

    The differences: a correction on a frame that was gone over already counts (the original loses
    it unless ``add_all_frames_to_correct_as_cond``, which is on here; turn it off for the
    original's behaviour; but what ``add_new_points_or_box`` and ``add_new_mask`` return for such a
    frame is always the newest mask, where the original returns the old one).
    ``clear_non_cond_mem_around_input`` works. Small holes are filled on every machine. All objects
    of a frame are one call. Frames are read when they are needed, a video file's by Pillow's filter
    as a folder's are; memories lie in host memory, and beyond 128 MB in a temporary file, so that a
    long video needs no more of it than a short one.

    Source: ``sam2/sam2_video_predictor.py``.

    Args:
        model: Any name of a SAM 2 that `gsam.tracker` takes, or a tracker that is built already.
        fill_hole_area: Fill holes of up to so many low-resolution pixels; 0 fills none.
        non_overlap_masks: Whether a pixel belongs to one object at most.
        clear_non_cond_mem_around_input: Whether memories of frames near a new prompt, which were
            made without it, are forgotten.
        add_all_frames_to_correct_as_cond: Whether a prompt on a frame that was gone over makes it a
            frame with a prompt, whose memory later frames read.
        binarize_mask_from_pts_for_mem_enc: Whether a mask made from points is remembered as 0 and 1
            instead of as probabilities.
        memory_temporal_stride_for_eval: Remember every n-th frame.
        max_cond_frames_in_attn: How many frames with prompts are read, the nearest; -1 for all.
        redraw: A segmenter of images, any that `gsam.segmenter` takes or one that is built already,
            which draws every mask again that the tracker finds (`gsam.tracking.redraw`).
        progress: Whether a bar is shown on a terminal.
        device: Where it computes, as in `gsam.load`: the first, if that is several.
        dtype: The type that it computes in, as in `gsam.load`, for a model by name only.
        **settings: Settings of the tracker, for a model by name only.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model, it is no SAM 2, or a setting is out of
            range.
        TypeError: ``dtype`` or ``settings`` are given for a model that is built already.

    Example:
        >>> predictor = gsam.VideoPredictor("nano_sam2", progress=False)
        >>> state = predictor.init_state([np.zeros((48, 64, 3), np.uint8)] * 3)
        >>> frame, ids, masks = predictor.add_new_points_or_box(state, 0, "left", [[20, 20]], [1])
        >>> for frame, ids, masks in predictor.propagate_in_video(state):
        ...     print(frame, ids, masks.shape)
        0 ['left'] (1, 1, 48, 64)
        1 ['left'] (1, 1, 48, 64)
        2 ['left'] (1, 1, 48, 64)
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
        redraw: str | PromptableSegmenter | None = None,
        progress: bool = True,
        device: str | jax.Device | None = None,
        dtype: DTypeLike | None = None,
        **settings: Any,
    ) -> None:
        if memory_temporal_stride_for_eval < 1:
            raise UsageError(f"memory_temporal_stride_for_eval is at least 1, not {memory_temporal_stride_for_eval}")
        if max_cond_frames_in_attn != -1 and max_cond_frames_in_attn < 2:
            raise UsageError(f"max_cond_frames_in_attn is -1 or at least 2, not {max_cond_frames_in_attn}")
        place = devices_of(device)[0]
        self.model: Tracker = by_name("track", model, place, dtype, settings)
        self.name = model if isinstance(model, str) else type(model).__name__
        memory = dataclasses.replace(
            self.model.memory, stride=memory_temporal_stride_for_eval, prompted=max_cond_frames_in_attn
        )
        self.non_overlap_masks, self.progress = non_overlap_masks, progress
        kind = dtype if isinstance(redraw, str) else None
        again = None if redraw is None else Redraw(by_name("segment", redraw, place, kind, {}))
        self._engine = Engine(
            CompiledTracker(
                self.model, memory, fill_hole_area, binarize_mask_from_pts_for_mem_enc, place, redraw=again
            ),
            redraws=again is not None,
            corrections_are_prompts=add_all_frames_to_correct_as_cond,
            clear_memory_near_prompts=clear_non_cond_mem_around_input,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far, which does not depend on the length of a video."""
        return self._engine.compilations

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
        """Open a video.

        Args:
            video_path: A video file or its bytes, a folder of images, a list of images, or an
                iterator of them (a live source: each frame once, of unknown number).
            offload_video_to_cpu: The original's word; frames are always on the host, read as
                needed.
            offload_state_to_cpu: The original's word; the state is always on the host.
            async_loading_frames: The original's word; frames are always read ahead.
            memory: ``"all"`` keeps the memory of every frame, ``"near"`` keeps what the next frames
                need, and not what a correction far back would.

        Returns:
            The state that every other method takes.

        Raises:
            gsam.errors.VideoError: The video cannot be opened.
        """
        return Session(open_frames(video_path), memory)

    def reset_state(self, inference_state: Session) -> None:
        """Forget all objects and prompts.

        Args:
            inference_state: What `init_state` returned.
        """
        inference_state.objects.clear()

    # Prompts

    def add_new_points_or_box(
        self,
        inference_state: Session,
        frame_idx: int,
        obj_id: Hashable,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: ArrayLike | None = None,
    ) -> Answer:
        """Prompt an object, known or new, with points or a box on a frame.

        The last answer on the frame is fed back to the model.

        Args:
            inference_state: What `init_state` returned.
            frame_idx: The frame, from 0.
            obj_id: Hashable hashable value that names the object.
            points: [P, 2] x y in pixels of the video; None for no points.
            labels: [P], 1 for foreground and 0 for background.
            clear_old_points: Whether these points replace the object's earlier ones on this frame.
            normalize_coords: False if coordinates are in 0..1 already instead of in pixels.
            box: [4], x0 y0 x1 y1 in pixels of the video; None for no box.

        Returns:
            The frame, the ids of all objects, and the logits [N, 1, H, W] of their masks on the
            frame, -1024 where an object is not known there.

        Raises:
            gsam.errors.UsageError: There is no such frame.
            ValueError: Neither points nor a box are given, or they are not valid.
        """
        frame = inference_state.check(frame_idx)
        if points is None and box is None:
            raise ValueError("at least one of points or box is needed")
        if box is not None and not clear_old_points:
            raise ValueError("a box comes before points: give it with clear_old_points=True")
        size = (inference_state.height, inference_state.width) if normalize_coords else (1, 1)
        new = prompts.parse_object_prompt(points, labels, box, size, self._engine.view_size)
        known = inference_state.objects.get(obj_id)
        old = None if known is None or clear_old_points else known.points.get(frame)
        if old is not None:
            new = Points(np.concatenate([old.xy, new.xy]), np.concatenate([old.labels, new.labels]))
        self._engine.features(inference_state, frame)  # before an object is made: it may fail
        tracked = inference_state.objects.setdefault(obj_id, TrackedObject(obj_id))
        self._engine.add_points(inference_state, tracked, frame, new)
        return self._answer(inference_state, frame)

    def add_new_points(self, *args: Any, **kwargs: Any) -> Answer:
        """Prompt an object: the older name of `add_new_points_or_box`.

        Args:
            *args: Those of `add_new_points_or_box`.
            **kwargs: Those of `add_new_points_or_box`.

        Returns:
            The same as `add_new_points_or_box`.
        """
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(self, inference_state: Session, frame_idx: int, obj_id: Hashable, mask: ArrayLike) -> Answer:
        """Give an object's mask on a frame, in place of its earlier prompts there.

        Args:
            inference_state: What `init_state` returned.
            frame_idx: The frame, from 0.
            obj_id: Hashable hashable value that names the object.
            mask: [H, W] bool at the size of the video; of numbers, those other than 0 are object.

        Returns:
            The frame, the ids of all objects, and the logits [N, 1, H, W] of their masks on the
            frame.

        Raises:
            gsam.errors.UsageError: There is no such frame.
            ValueError: The mask is not of the size of the video.
        """
        frame = inference_state.check(frame_idx)
        given = np.asarray(mask)
        if given.ndim != 2:
            raise ValueError(f"a mask is [H, W], got {list(given.shape)}")
        if given.shape != (inference_state.height, inference_state.width):
            size = [inference_state.height, inference_state.width]
            raise ValueError(f"the mask is {list(given.shape)}, the video {size}")
        self._engine.features(inference_state, frame)
        tracked = inference_state.objects.setdefault(obj_id, TrackedObject(obj_id))
        self._engine.add_mask(inference_state, tracked, frame, squashed(given, self._engine.view_size))
        return self._answer(inference_state, frame)

    def clear_all_prompts_in_frame(
        self, inference_state: Session, frame_idx: int, obj_id: Hashable, need_output: bool = True
    ) -> Answer | None:
        """Take back an object's prompts on a frame; its mask there counts as tracked from now on.

        Args:
            inference_state: What `init_state` returned.
            frame_idx: The frame, from 0.
            obj_id: The object.
            need_output: Whether the masks of the frame are returned.

        Returns:
            The frame, the ids of all objects, and the logits [N, 1, H, W] of their masks on the
            frame; None without ``need_output``.

        Raises:
            gsam.errors.UsageError: There is no such frame or object.
        """
        frame = inference_state.check(frame_idx)
        inference_state.tracked_object(obj_id).clear_prompts(frame)
        return self._answer(inference_state, frame) if need_output else None

    def remove_object(
        self, inference_state: Session, obj_id: Hashable, strict: bool = False, need_output: bool = True
    ) -> tuple[list[Any], list[tuple[int, NDArray[np.float32]]]]:
        """Forget an object.

        Args:
            inference_state: What `init_state` returned.
            obj_id: The object.
            strict: Whether an object that does not exist is an error.
            need_output: Whether masks are returned.

        Returns:
            The ids that are left, and for each frame where the object had a prompt its number with
            the logits [N, 1, H, W] of the others' masks.

        Raises:
            gsam.errors.UsageError: There is no such object, with ``strict``.
        """
        if obj_id not in inference_state.objects and not strict:
            return inference_state.ids, []
        gone = inference_state.tracked_object(obj_id)
        del inference_state.objects[obj_id]
        frames = sorted({*gone.points, *gone.masks}) if need_output and inference_state.objects else []
        return inference_state.ids, [(f, self._answer(inference_state, f)[2]) for f in frames]

    # Propagation

    def propagate_in_video_preflight(self, inference_state: Session) -> None:
        """Commit the prompts given so far to memory, as `propagate_in_video` does first.

        Args:
            inference_state: What `init_state` returned.

        Raises:
            gsam.errors.UsageError: There is no object yet, or one that has no prompt.
        """
        if not inference_state.objects:
            raise UsageError("there is no object yet: click on one first, or give a box or a mask")
        self._engine.commit_prompts(inference_state)
        for tracked in inference_state.objects.values():
            if not tracked.prompted:
                raise UsageError(f"object {tracked.id!r} has no prompt: click on it first, or give a box or a mask")

    def propagate_in_video(
        self,
        inference_state: Session,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Answer]:
        """Follow all objects through the video.

        Args:
            inference_state: What `init_state` returned.
            start_frame_idx: The frame to begin with; by default the first one that has a prompt.
            max_frame_num_to_track: How many frames to go on after that; by default to the end.
            reverse: Whether to go towards the first frame; from that itself there is nothing to do,
                as in the original.

        Returns:
            An iterator over frames: the frame, the ids of all objects, and the logits [N, 1, H, W]
            of their masks.

        Raises:
            gsam.errors.UsageError: There is no object, one has no prompt, or a number is out of
                range.
            gsam.errors.VideoError: A frame cannot be read.
        """
        self.propagate_in_video_preflight(inference_state)
        state = inference_state
        if start_frame_idx is None:
            start_frame_idx = min(frame for tracked in state.objects.values() for frame in tracked.prompted)
        start, stop, step = frame_range(state.check(start_frame_idx), state.count, max_frame_num_to_track, reverse)
        total = None if stop is None else len(range(start, stop, step))
        quiet = not self.progress or not sys.stderr.isatty()
        with tqdm(total=total, desc="propagate in video", unit="frame", disable=quiet) as bar:
            for frame in (
                self._engine.iter_frames(state, start, stop if stop != -1 else None, step) if total != 0 else ()
            ):
                self._engine.propagate_frame(state, frame, reverse)
                bar.update()
                yield self._answer(state, frame)

    # Inside

    def _answer(self, state: Session, frame: int) -> Answer:
        """The newest masks of all objects on a frame, as large as the video."""
        outputs = state.outputs(frame)
        known = [output.logits for output in outputs if output is not None]
        masks = np.full((len(outputs), 1, state.height, state.width), self.model.absent_logit, np.float32)
        if known:
            size = self._engine.view_size
            low = LowResMasks(np.stack(known), size, (size, size), (state.height, state.width), upsample="bilinear")
            rows = [i for i, output in enumerate(outputs) if output is not None]
            for i, row in enumerate(rows):
                masks[row, 0] = low.logits_of(i)
        if self.non_overlap_masks and len(masks) > 1:
            first = np.arange(len(masks))[:, None, None] == masks[:, 0].argmax(0)
            masks[:, 0] = np.where(first, masks[:, 0], np.minimum(masks[:, 0], SHY))
        return frame, state.ids, masks


def squashed(mask: np.ndarray, side: int) -> NDArray[np.bool_]:
    """A mask [H, W] over the square view: anti-aliased bilinear, at least a half."""
    return np.asarray(antialiased((mask != 0).astype(np.float32), side, side)) >= 0.5
