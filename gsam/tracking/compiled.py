"""A tracker's pure functions, compiled, between arrays of the host."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
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
from gsam.tracking.memory_selection import MemoryConfig, SelectedMemory, packed
from gsam.tracking.objects import FrameOutput, Points
from gsam.tracking.spill_cache import SpillCache
from gsam.types import Bank

FILLED = 0.1
"""The logit of what was a hole (sam2/utils/misc.py, fill_holes_in_mask_scores)."""
FRAMES = 2
"""Frames whose features are kept."""


class CompiledTracker:
    """What happens on one frame.  Programs depend on padded counts only: of objects, of slots and of points."""

    def __init__(self, tracker: Tracker, reach: MemoryConfig, fill_hole_area: int, binarize: bool) -> None:
        self.tracker, self.reach, self.binarize = tracker, reach, binarize
        device = jax.local_devices()[0]
        platform = device.platform
        self._params = jax.device_put(tracker.params, device)
        self._encode = Program(tracker.features, platform)
        self._click = Program(tracker.click, platform, static=["multimask"])
        self._draw = Program(tracker.draw, platform)
        self._track = Program(tracker.track, platform, options=wide_products(platform))
        self._remember = Program(tracker.remember, platform)
        self._fill = Program(lambda logits: cleaned(logits, 0.0, fill_hole_area, 0.0, sure=FILLED), platform)
        config = tracker.config
        self.side, self._shape, self._width = 4 * config.grid, (config.grid**2, config.mem_dim), config.width

    @property
    def compilations(self) -> int:
        """How many programs have been compiled so far."""
        programs = (self._encode, self._click, self._draw, self._track, self._remember, self._fill)
        return sum(program.compilations for program in programs)

    def features(self, picture: Picture) -> Any:
        """Of one frame, on the device, without a leading axis."""
        found = self._encode(self._params, gather([picture], [self.tracker.view]))
        return jax.tree.map(lambda x: x[0], found)

    def click(
        self,
        features: Any,
        points: Points,
        earlier: NDArray[np.float32] | None,
        recalled: SelectedMemory | None,
        count: int | None,
        shelf: SpillCache,
    ) -> FrameOutput:
        """One object's answer to points, with an ``earlier`` answer fed back, on a frame gone over before if ``recalled``."""
        room = power_of_two(len(points.labels))
        xy, labels = np.zeros((1, room, 2), np.float32), np.full((1, room), ABSENT, np.int32)
        xy[0, : len(points.xy)], labels[0, : len(points.labels)] = points.xy, points.labels
        mask = np.zeros((1, self.side, self.side), np.float32)
        if earlier is not None:
            mask[0] = earlier.clip(-32.0, 32.0)
        given = np.array([earlier is not None])
        bank = None if recalled is None else self._bank([recalled], 1, count)
        clicks = int((points.labels >= 0).sum())
        seen = self._click(self._params, features, xy, labels, mask, given, bank, multimask=clicks <= 1)
        return self._outputs(seen, 1, shelf)[0]

    def draw(self, features: Any, mask: NDArray[np.bool_], shelf: SpillCache) -> FrameOutput:
        """One object as it was drawn, [S, S] over the view."""
        return self._outputs(self._draw(self._params, features, mask[None].astype(np.float32)), 1, shelf)[0]

    def track(
        self, features: Any, recalled: Sequence[SelectedMemory], count: int | None, shelf: SpillCache
    ) -> list[FrameOutput]:
        """Objects without a prompt on this frame, all at once."""
        rows = power_of_two(len(recalled))
        valid = np.arange(rows) < len(recalled)
        seen, memory = self._track(self._params, features, self._bank(recalled, rows, count), valid)
        outputs = self._outputs(seen, len(recalled), shelf)
        for output, own in zip(outputs, np.asarray(memory), strict=False):
            output.remember(np.array(own))
        return outputs

    def remember(self, features: Any, outputs: Sequence[FrameOutput]) -> None:
        """Give outputs of prompts on one frame their memories."""
        rows = power_of_two(len(outputs))
        logits, score = np.zeros((rows, self.side, self.side), np.float32), np.zeros(rows, np.float32)
        for i, output in enumerate(outputs):
            logits[i], score[i] = output.mask, output.score
        found = self._remember(self._params, features, logits, score, np.full(rows, self.binarize))
        for output, own in zip(outputs, np.asarray(found), strict=False):
            output.remember(np.array(own))

    def _bank(self, recalled: Sequence[SelectedMemory], rows: int, count: int | None) -> Bank:
        return Bank(**packed(recalled, rows, count, self.reach, self._shape, self._width))

    def _outputs(self, seen: Any, count: int, shelf: SpillCache) -> list[FrameOutput]:
        filled = self._fill(seen.logits)  # the memory was encoded before, as in the original
        logits, iou, score, pointer = (np.asarray(x)[:count] for x in seen._replace(logits=filled))
        return [
            FrameOutput(shelf, float(score[i]), float(iou[i]), pointer[i].copy(), logits[i].copy())
            for i in range(count)
        ]


@functools.cache
def wide_products(platform: str) -> dict[str, Any]:
    """Compiler options with which a CPU's products are Eigen's and not YNNPACK's: those of memory attention were
    no slower in any trial, and a tenth to a fifth quicker in most.  None where this XLA does not know them.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options).lower(1.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


class Cache(collections.OrderedDict[int, Any]):
    """The features of the frames used last."""

    def keep(self, frame: int, features: Any) -> Any:
        self[frame] = features
        self.move_to_end(frame)
        while len(self) > FRAMES:
            self.popitem(last=False)
        return features
