"""A tracker's pure functions as compiled programs, between arrays of the host."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import Picture
from gsam.nn.prompt import ABSENT
from gsam.ops.components import cleaned
from gsam.roles import Tracker
from gsam.runtime.batch import gather
from gsam.runtime.program import Program
from gsam.runtime.shapes import power_of_two
from gsam.tracking.device_memories import DeviceMemories
from gsam.tracking.memory_selection import SelectedMemory, pack
from gsam.tracking.objects import FrameOutput, Points
from gsam.tracking.redraw import Redraw
from gsam.tracking.spill_cache import SpillCache
from gsam.types import Bank, MemoryConfig, Params, PyTree

FILLED = 0.1
"""The logit of a filled hole (sam2/utils/misc.py, fill_holes_in_mask_scores)."""
LOGIT_LIMIT = 32.0
"""Logits are clipped to this before they are fed back as a mask prompt."""
FRAMES = 2
"""Frames whose features are kept."""


class CompiledTracker:
    """A tracker on one frame; programs depend only on padded counts of objects, slots, points."""

    def __init__(
        self,
        tracker: Tracker,
        memory: MemoryConfig,
        fill_hole_area: int,
        binarize: bool,
        device: jax.Device | None = None,
        on_device: bool | None = None,
        redraw: Redraw | None = None,
    ) -> None:
        """Prepare the programs.

        Args:
            tracker: The model.
            memory: Which memories a frame reads: ``tracker.memory``, with another stride for
                instance.
            fill_hole_area: Holes of so many low-resolution pixels are filled, 0 for none.
            binarize: Whether masks of prompts are remembered as 0 and 1 instead of as
                probabilities.
            device: Where it computes; by default the first local one.
            on_device: Whether memories stay there too; by default on accelerators, which wait for
                what the host sends.
            redraw: Draws masks again; None for nothing that does.
        """
        self.tracker, self.memory, self.binarize = tracker, memory, binarize
        self.device = device or jax.local_devices()[0]
        platform = self.device.platform
        on_device = platform != "cpu" if on_device is None else on_device
        self.resident = DeviceMemories(self.device, self.memory.shape) if on_device else None
        self._params = jax.device_put(tracker.params, self.device)
        self._features = Program(tracker.features, platform, owner=tracker)
        self._add_points = Program(tracker.add_points, platform, static=["multimask"], owner=tracker)
        self._add_mask = Program(tracker.add_mask, platform, owner=tracker)
        self._track = Program(tracker.track, platform, options=wide_products(platform), owner=tracker)
        self._encode_memory = Program(tracker.encode_memory, platform, owner=tracker)
        self._fill = Program(lambda logits: cleaned(logits, 0.0, fill_hole_area, 0.0, sure=FILLED), platform)
        self._segmenter = None if redraw is None else redraw.segmenter
        if redraw is not None:
            self._drawn_features = Program(redraw.features, platform, owner=redraw)
            self._redraw = Program(redraw.masks, platform, owner=redraw)

    @property
    def redraws(self) -> bool:
        """Whether it can draw masks again."""
        return self._segmenter is not None

    @functools.cached_property
    def _drawn_params(self) -> Params:
        """The segmenter's weights, which go to the device when a mask is first drawn again."""
        assert self._segmenter is not None
        return jax.device_put(self._segmenter.params, self.device)

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        programs: tuple[Program[PyTree], ...] = (
            self._features, self._add_points, self._add_mask, self._track, self._encode_memory, self._fill
        )  # fmt: skip
        if self.redraws:
            programs = (*programs, self._drawn_features, self._redraw)
        moved = self.resident.compilations if self.resident else 0
        return moved + sum(program.compilations for program in programs)

    def features(self, picture: Picture) -> PyTree:
        """Features of one frame, on the device, without a leading axis."""
        found = self._features(self._params, gather([picture], [self.tracker.view]))
        return jax.tree.map(lambda x: x[0], found)

    def add_points(
        self,
        features: PyTree,
        points: Points,
        previous: NDArray[np.float32] | None,
        selected: SelectedMemory | None,
        count: int | None,
        cache: SpillCache,
    ) -> FrameOutput:
        """Prompt one object with points.

        ``previous``: logits [s, s] of an earlier answer, fed back.  ``selected``: its memories, on
        a frame that a propagation went over.  ``count``: frames of the video, None if unknown.
        """
        padded, side = power_of_two(len(points.labels)), self.tracker.mask_size
        xy, labels = np.zeros((1, padded, 2), np.float32), np.full((1, padded), ABSENT, np.int32)
        xy[0, : len(points.xy)], labels[0, : len(points.labels)] = points.xy, points.labels
        mask = np.zeros((1, side, side), np.float32)
        if previous is not None:
            mask[0] = previous.clip(-LOGIT_LIMIT, LOGIT_LIMIT)
        has_mask = np.array([previous is not None])
        bank = None if selected is None else self._bank([selected], 1, count)
        clicks = int((points.labels >= 0).sum())
        found = self._add_points(self._params, features, xy, labels, mask, has_mask, bank, multimask=clicks <= 1)
        return self._outputs(found, 1, cache)[0]

    def add_mask(self, features: PyTree, mask: NDArray[np.bool_], cache: SpillCache) -> FrameOutput:
        """Prompt one object with its mask [S, S] over the view."""
        found = self._add_mask(self._params, features, mask[None].astype(np.float32))
        return self._outputs(found, 1, cache)[0]

    def track(
        self, features: PyTree, selected: Sequence[SelectedMemory], count: int | None, cache: SpillCache
    ) -> list[FrameOutput]:
        """Find objects without a prompt on this frame, all at once."""
        rows = power_of_two(len(selected))
        valid = np.arange(rows) < len(selected)
        found, memory = self._track(self._params, features, self._bank(selected, rows, count), valid)
        outputs = self._outputs(found, len(selected), cache)
        self._remember(outputs, memory)
        return outputs

    def encode_memory(self, features: PyTree, outputs: Sequence[FrameOutput]) -> None:
        """Give outputs of prompts on one frame their memories."""
        rows, side = power_of_two(len(outputs)), self.tracker.mask_size
        logits, score = np.zeros((rows, side, side), np.float32), np.zeros(rows, np.float32)
        for i, output in enumerate(outputs):
            logits[i], score[i] = output.logits, output.score
        found = self._encode_memory(self._params, features, logits, score, np.full(rows, self.binarize))
        self._remember(outputs, found)

    def drawn_features(self, picture: Picture) -> PyTree:
        """Features of one frame for `redraw`, with what that needs to know of the frame."""
        assert self._segmenter is not None
        images = gather([picture], [self._segmenter.view])
        return self._drawn_features(self._drawn_params, images), dataclasses.replace(images, views={})

    def redraw(self, features: PyTree, outputs: Sequence[FrameOutput]) -> None:
        """Let the segmenter draw the masks of outputs on one frame again."""
        rows, side = power_of_two(len(outputs)), self.tracker.mask_size
        logits = np.full((rows, side, side), -1.0, np.float32)
        for i, output in enumerate(outputs):
            logits[i] = output.logits
        found = self._redraw(self._drawn_params, *features, logits, np.arange(rows) < len(outputs))
        for output, own in zip(outputs, np.asarray(found), strict=False):
            output.logits = own.copy()

    def _remember(self, outputs: Sequence[FrameOutput], memory: jax.Array) -> None:
        if self.resident is not None:
            self.resident.keep(outputs, memory)
        for output, own in zip(outputs, np.asarray(memory), strict=False):
            output.memory = np.array(own)

    def _bank(self, selected: Sequence[SelectedMemory], rows: int, count: int | None) -> Bank:
        arrays: Any = pack(selected, rows, count, self.memory, memories=self.resident is None)
        if self.resident is not None:
            arrays["memory"] = self.resident.stacked(selected, rows, arrays["age"].shape[1])
        return Bank(**arrays)  # numpy until a program takes them

    def _outputs(self, found: PyTree, count: int, cache: SpillCache) -> list[FrameOutput]:
        filled = self._fill(found.logits)  # the memory was encoded before, as in the original
        logits, iou, score, pointer = (np.asarray(x)[:count] for x in found._replace(logits=filled))
        return [
            FrameOutput(cache, float(score[i]), float(iou[i]), pointer[i].copy(), logits[i].copy())
            for i in range(count)
        ]


@functools.cache
def wide_products(platform: str) -> Mapping[str, str]:
    """Compiler options with which a CPU's matrix products are Eigen's and not YNNPACK's.

    Those of memory attention were no slower in any trial, and a tenth to a fifth quicker in most.
    None where this XLA does not know them.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options).lower(1.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


class FeatureCache(collections.OrderedDict[int, PyTree]):
    """The features of the `FRAMES` frames used last, by their numbers."""

    def add(self, frame: int, features: PyTree) -> PyTree:
        """Keep the features of a frame, and return them."""
        self[frame] = features
        self.move_to_end(frame)
        while len(self) > FRAMES:
            self.popitem(last=False)
        return features
