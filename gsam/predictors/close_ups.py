"""A predictor's second look: answers given again, each in a window of the image around itself."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.inputs.image import Picture
from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, PAD, TOP_LEFT
from gsam.ops.windows import onto
from gsam.predictors.decode import BLOCK, Decoder, Prediction
from gsam.predictors.embedding import Embedding
from gsam.predictors.encode import BATCH, Encoder
from gsam.predictors.prompts import PaddedShape, Prompt
from gsam.runtime.program import Program
from gsam.runtime.settings import REFINE, check_numbers, unknown_setting
from gsam.runtime.shapes import power_of_two

NOTHING = -10.0
"""Logit where the first answer said nothing."""
STEPS = 3
"""Sizes of windows per doubling, so that the answer to a further click often has the same one."""
PLACES = 8
"""Places of a window along its own side."""
KEPT = 4
"""Windows of an image whose features are kept, the last ones."""

Window = tuple[int, int, int, int]
"""x0 y0 x1 y1 in pixels of the image, exclusive right and bottom."""


@dataclasses.dataclass(frozen=True)
class CloseUpSettings:
    """Which answers of a `gsam.Predictor` are given again, and when the new one is taken.

    Raises:
        gsam.errors.UsageError: A setting is out of range.
    """

    below: float = 0.6
    """Largest side of what is looked at again, as a share of the view's."""
    margin: float = 0.4
    """Share of its longer side that a window adds on each side, at least about so much."""
    zoom: float = 8.0
    """Most times that a window is enlarged over the pixels of the image."""
    agree: float = 0.5
    """Least IoU with the first mask of a mask that is taken."""

    def __post_init__(self) -> None:
        check_numbers(dataclasses.asdict(self), REFINE, "refine.")

    @classmethod
    def of(cls, given: bool | Mapping[str, float] | CloseUpSettings) -> CloseUpSettings | None:
        """Read what a user gives as ``refine``.

        Args:
            given: True for the defaults, False for no second look, or some settings.

        Returns:
            The settings, or None for no second look.

        Raises:
            gsam.errors.UsageError: There is no such setting, or it is out of range.
        """
        if isinstance(given, CloseUpSettings):
            return given
        if given is False:
            return None
        if given is not True and not isinstance(given, Mapping):
            raise UsageError(f"refine is {given!r}, it must be True, False or settings: {{'margin': 0.5}}")
        settings = {} if given is True else dict(given)
        names = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in names:
                raise unknown_setting(name, names, f"refine has no setting {name!r}")
        return cls(**settings)


class Asked(NamedTuple):
    """One prompt that is asked again."""

    row: int
    """Its place among the prompts."""
    window: Window
    answers: list[int]
    """Those of its masks that lie in the window."""


class CloseUps:
    """Look again at what a predictor answered: with more pixels, and its masks as prompts."""

    def __init__(self, model: PromptableSegmenter, encode: Encoder, decode: Decoder, settings: CloseUpSettings) -> None:
        self.model, self.settings = model, settings
        self._encode, self._decode = encode, decode
        self._resample = Program(_resampled, decode.platform, static=["out"])
        self._known: weakref.WeakKeyDictionary[Embedding, dict[Window, Embedding]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self.encoded = 0
        """Number of windows encoded so far."""

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        return self._resample.compilations

    def __call__(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        found: Prediction,
        *,
        threshold: float,
        logits: bool,
    ) -> Prediction:
        """Answer prompts again, N in front.

        Masks that look too unlike the first ones, or are too large for it, stay as they are.

        Args:
            embedding: The image.
            prompts: Those that were answered.
            found: The answers, in place of which the better ones are written.
            threshold: Logits above it are mask.
            logits: Whether the masks of ``found`` are logits.

        Returns:
            ``found``.

        Raises:
            RuntimeError: The pixels of the image are not known.
        """
        if embedding.pixels is None:
            raise RuntimeError("a second look needs the picture, and only its embedding is known: use set_image")
        asked = [
            one for i, prompt in enumerate(prompts) if (one := self._asked(embedding, i, prompt, found, threshold))
        ]
        for start in range(0, len(asked), BATCH):
            some = asked[start : start + BATCH]
            for one, closer in zip(some, self._embeddings(embedding, [one.window for one in some]), strict=True):
                self._look(embedding, closer, one, prompts[one.row], found, threshold, logits)
        return found

    def warm(self, embedding: Embedding) -> None:
        """Compile what answers to a click, to three and to a box need.

        Args:
            embedding: Any image.
        """
        middle = np.full((3, 2), self.model.view.size / 2, np.float32) * np.float32(0.5)
        for multimask, clicks in ((True, 1), (False, 1), (False, 3), (False, 0)):
            shape = self._decode.low_res_shape(embedding, multimask)
            found = Prediction.empty(1, shape, embedding.size, logits=False)
            found.low_res[:] = NOTHING
            at = shape[-1] // 4
            found.low_res[..., at - 1 : at + 1, at - 1 : at + 1] = -NOTHING
            prompt = Prompt(middle[:clicks], np.full(clicks, FOREGROUND, np.int32), None)
            self(embedding, [prompt], found, threshold=0.0, logits=False)

    def _asked(
        self, embedding: Embedding, row: int, prompt: Prompt, found: Prediction, threshold: float
    ) -> Asked | None:
        """Choose the window of a prompt's best mask, if that is small enough."""
        best, scale = int(found.iou[row].argmax()), self._scale(embedding)
        own = self._box(embedding, found.low_res[row, best], threshold)
        if own is None:
            return None
        told = prompt.xy[np.isin(prompt.kinds, (FOREGROUND, TOP_LEFT, BOTTOM_RIGHT))] / scale
        low, high = np.minimum(own[:2], told.min(0, initial=np.inf)), np.maximum(own[2:], told.max(0, initial=-np.inf))
        if ((high - low) * scale).max() >= self.settings.below * self.model.view.size:
            return None
        window = self._window(embedding.size, low, high)
        boxes = [self._box(embedding, logits, threshold) for logits in found.low_res[row]]
        inside = [i for i, box in enumerate(boxes) if box is not None and _within(box, window)]
        return Asked(row, window, inside) if best in inside else None

    def _window(self, size: tuple[int, int], low: NDArray[np.float64], high: NDArray[np.float64]) -> Window:
        least = self.model.view.size / self.settings.zoom
        side = max((high - low).max() * (1.0 + 2.0 * self.settings.margin), least)
        side = 2.0 ** (np.ceil(np.log2(side) * STEPS - 1e-9) / STEPS)
        start = np.round(((low + high - side) / 2.0) / (side / PLACES)) * (side / PLACES)
        limit = np.array(size[::-1], np.float64)
        start = np.floor(np.clip(start, 0.0, np.maximum(limit - side, 0.0)))
        end = np.minimum(np.ceil(start + side), limit)
        return int(start[0]), int(start[1]), int(end[0]), int(end[1])

    def _embeddings(self, embedding: Embedding, windows: Sequence[Window]) -> list[Embedding]:
        """Encode windows, or find their features among the last ones."""
        pixels = embedding.pixels
        assert pixels is not None
        with self._lock:
            known = dict(self._known.get(embedding, {}))
        new = [window for window in dict.fromkeys(windows) if window not in known]
        pictures = [Picture(np.ascontiguousarray(pixels[y0:y1, x0:x1])) for x0, y0, x1, y1 in new]
        known |= dict(zip(new, self._encode.fresh(pictures), strict=True))
        last = [*dict.fromkeys(reversed(windows)), *reversed(known)]
        with self._lock:
            self.encoded += len(new)
            self._known[embedding] = {window: known[window] for window in reversed(list(dict.fromkeys(last))[:KEPT])}
        return [known[window] for window in windows]

    def _look(
        self,
        embedding: Embedding,
        closer: Embedding,
        one: Asked,
        prompt: Prompt,
        found: Prediction,
        threshold: float,
        logits: bool,
    ) -> None:
        """Ask about one window, and write what is better."""
        whole, part = self._extent(embedding, (0, 0)), self._extent(closer, one.window[:2])
        first = found.low_res[one.row]
        side = first.shape[-1]
        # All answers, so that there is one program whichever of them lie in the window.
        hints = np.asarray(self._resample(first, whole, part, out=side)) if "mask" in self.model.prompt_types else None
        prompts = []
        for answer in one.answers:
            box, hint = self._box(embedding, first[answer], threshold), None if hints is None else hints[answer]
            prompts.append(self._prompt(embedding, closer, one.window, prompt, box, hint))
        shape = dataclasses.replace(PaddedShape.of([prompts], BLOCK), rows=power_of_two(len(first)))
        again = self._decode.decode_all(closer, prompts, shape, threshold=threshold, multimask=False, logits=logits)
        new_low, covered = np.full_like(first, NOTHING), np.full_like(first, NOTHING + 1.0)
        new_low[one.answers] = again.low_res[:, 0]
        new_low = np.asarray(self._resample(new_low, part, whole, out=side))
        covered = np.asarray(self._resample(covered, part, whole, out=side)) > NOTHING + 0.5
        x0, y0, x1, y1 = one.window
        for i, answer in enumerate(one.answers):
            masks = found.masks[one.row, answer]
            old, new = masks[y0:y1, x0:x1], again.masks[i, 0]
            a, b = (m > threshold if logits else m for m in (old, new))
            shared = int((a & b).sum())
            if shared and shared >= self.settings.agree * int((a | b).sum()):
                masks[y0:y1, x0:x1] = new
                found.iou[one.row, answer] = again.iou[i, 0]
                found.low_res[one.row, answer] = np.where(covered[answer], new_low[answer], first[answer])

    def _prompt(
        self,
        embedding: Embedding,
        closer: Embedding,
        window: Window,
        prompt: Prompt,
        box: NDArray[np.float64] | None,
        hint: NDArray[np.float32] | None,
    ) -> Prompt:
        """The prompt in pixels of the window's view: its points, and its box or the answer's."""
        assert box is not None
        start, end = np.array(window[:2], np.float64), np.array(window[2:], np.float64)
        at = prompt.xy / self._scale(embedding)
        clicks = np.isin(prompt.kinds, (FOREGROUND, BACKGROUND)) & (at >= start).all(1) & (at <= end).all(1)
        xy, kinds = [at[clicks]], [prompt.kinds[clicks]]
        corners = at[np.isin(prompt.kinds, (TOP_LEFT, BOTTOM_RIGHT))]
        low, high = corners if len(corners) else (box[:2], box[2:])
        most = self.model.max_points
        with_box = "box" in self.model.prompt_types and (most is None or clicks.sum() + 2 <= most)
        if with_box:
            xy.append(np.clip(np.stack([low, high]), start, end))
            kinds.append(np.array([TOP_LEFT, BOTTOM_RIGHT]))
        if not with_box or self.model.pads_boxes:
            xy.append(start[None])
            kinds.append(np.array([PAD]))
        scaled = (np.concatenate(xy) - start) * self._scale(closer)
        return Prompt(scaled.astype(np.float32), np.concatenate(kinds).astype(np.int32), hint)

    def _scale(self, embedding: Embedding) -> NDArray[np.float64]:
        """Pixels of the view per pixel of the image, x and y."""
        return np.array(embedding.content[::-1], np.float64) / np.array(embedding.size[::-1], np.float64)

    def _extent(self, embedding: Embedding, at: tuple[int, int]) -> NDArray[np.float32]:
        """[4]: the rectangle that a view covers, padding included, in pixels of the whole image."""
        start = np.array(at, np.float64)
        return np.concatenate([start, start + self.model.view.size / self._scale(embedding)]).astype(np.float32)

    def _box(self, embedding: Embedding, logits: NDArray[np.float32], threshold: float) -> NDArray[np.float64] | None:
        """Bounds [4], in pixels of the image, of the cells [h, w] that are mask; None without."""
        rows, columns = np.nonzero(logits > threshold)
        if not len(rows):
            return None
        cell = self.model.view.size / logits.shape[-1] / self._scale(embedding)
        low, high = np.array([columns.min(), rows.min()]) * cell, np.array([columns.max() + 1, rows.max() + 1]) * cell
        return np.concatenate([low, np.minimum(high, embedding.size[::-1])])


def _within(box: NDArray[np.float64], window: Window) -> bool:
    return bool((box[:2] >= window[:2]).all() and (box[2:] <= window[2:]).all())


def _resampled(maps: jax.Array, source: jax.Array, target: jax.Array, *, out: int) -> jax.Array:
    """Pure: maps [N, h, w] over one rectangle [4] as they lie over another."""
    count = len(maps)
    return onto(maps, jnp.broadcast_to(source, (count, 4)), jnp.broadcast_to(target, (count, 4)), out, NOTHING)
