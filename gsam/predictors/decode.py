"""Decode any number of prompts into masks, with little memory and few programs."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import BOTTOM_RIGHT, TOP_LEFT
from gsam.ops.bounds import bounds
from gsam.predictors.embedding import Embedding
from gsam.predictors.prompts import PaddedShape, Prompt
from gsam.results.result import CroppedMasks, LowResMasks, Result
from gsam.runtime.program import Program
from gsam.types import Params, PyTree

Masks = NDArray[np.bool_] | NDArray[np.float32]

BLOCK = 64
"""Prompts that one call decodes."""


class Prediction(NamedTuple):
    """Masks for one prompt; with N in front for several."""

    masks: Masks
    """[C, H, W] bool, or float32 logits."""
    iou: NDArray[np.float32]
    """[C] float32, the model's own estimate of its masks; SAM's is a regression that may leave
    0..1.
    """
    low_res: NDArray[np.float32]
    """[C, h, w] float32 logits over the model's view, SAM 2's cut at 32; one of them, [1, h, w],
    can be a mask prompt.
    """

    def __repr__(self) -> str:
        best = " ".join(f"{v:.2f}" for v in np.ravel(self.iou)[:6])
        more = " ..." if np.size(self.iou) > 6 else ""
        shapes = f"masks {list(self.masks.shape)} {self.masks.dtype}, iou {best}{more}"
        return f"<Prediction: {shapes}, low_res {list(self.low_res.shape)}>"

    @classmethod
    def empty(cls, count: int, low: tuple[int, ...], size: tuple[int, int], logits: bool) -> Prediction:
        """Allocate the answers to several prompts.

        Args:
            count: Number of prompts.
            low: Shape [C, h, w] of the low-resolution logits of one.
            size: Height and width of the image in pixels.
            logits: Whether masks are float32 logits.

        Returns:
            Zeros.
        """
        masks: Masks = (
            np.zeros((count, low[0], *size), np.float32) if logits else np.zeros((count, low[0], *size), bool)
        )
        return cls(masks, np.zeros((count, low[0]), np.float32), np.zeros((count, *low), np.float32))

    def squeezed(self) -> Prediction:
        """Drop the leading axis where it is 1.

        Returns:
            The same masks.
        """
        return Prediction(self.masks[0], self.iou[0], self.low_res[0]) if len(self.iou) == 1 else self

    def alone(self) -> Prediction:
        """Put N = 1 in front.

        Returns:
            The same masks.
        """
        return Prediction(self.masks[None], self.iou[None], self.low_res[None])


class Decoder:
    """A model's prompt side, compiled."""

    def __init__(self, model: PromptableSegmenter, params: Params, device: jax.Device) -> None:
        self.model, self.platform, self._params = model, device.platform, params
        self._decode = Program(self._prompt, device.platform, static=["multimask"], owner=model)
        self._postprocess = Program(model.postprocess, device.platform, owner=model) if model.has_postprocess else None

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        return self._decode.compilations + (self._postprocess.compilations if self._postprocess else 0)

    def low_res_shape(self, embedding: Embedding, multimask: bool) -> tuple[int, int, int]:
        """The shape [C, h, w] of a prompt's low-resolution masks; nothing is computed."""
        one = PaddedShape(1, 1, None).pack([])
        logits, _ = self._decode.eval_shape(self._params, embedding.features, **one, multimask=multimask)
        return cast(tuple[int, int, int], logits.shape[1:])

    def decode_all(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        shape: PaddedShape,
        *,
        threshold: float,
        multimask: bool,
        logits: bool,
    ) -> Prediction:
        """Decode all prompts, N in front."""
        if not prompts:
            return Prediction.empty(0, self.low_res_shape(embedding, multimask), embedding.size, logits)
        found: Prediction | None = None
        at = 0
        for low, iou in self._blocks(embedding, prompts, shape, multimask):
            found = found or Prediction.empty(len(prompts), low.shape[1:], embedding.size, logits)
            here = slice(at, at + len(low))
            found.iou[here], found.low_res[here] = iou, self._clip(low)
            flat = found.masks[here].reshape(-1, *embedding.size)
            for i, mask in enumerate(self._upsample(embedding, low, threshold, logits)):
                flat[i] = mask
            at += len(low)
        assert found is not None
        return found

    def decode_each(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        shape: PaddedShape,
        *,
        threshold: float,
        multimask: bool,
        logits: bool,
    ) -> Iterator[Prediction]:
        """Decode one prompt after the other, in blocks."""
        for low, iou in self._blocks(embedding, prompts, shape, multimask):
            for one, own in zip(low, iou, strict=True):
                masks: Any = np.stack(list(self._upsample(embedding, one[None], threshold, logits)))
                yield Prediction(masks, own.copy(), self._clip(one).copy())

    def _prompt(
        self,
        params: Params,
        features: PyTree,
        points: jax.Array,
        labels: jax.Array,
        valid: jax.Array,
        mask: jax.Array | None = None,
        has_mask: jax.Array | None = None,
        *,
        projected: PyTree = None,
        multimask: bool,
    ) -> tuple[jax.Array, jax.Array]:
        """Pure: the arguments of `PaddedShape.pack` on features [1, ...].

        A box without a mask brings the model's own, if it has one.
        """
        boxed = (labels == TOP_LEFT).any(1)
        ends = [jnp.where((labels == kind)[..., None], points, 0.0).sum(1) for kind in (TOP_LEFT, BOTTOM_RIGHT)]
        prior = self.model.box_mask_prompt(jnp.concatenate(ends, 1))
        if prior is not None:
            if mask is not None and has_mask is not None:
                prior, boxed = jnp.where(has_mask[:, None, None], mask, prior), has_mask | boxed
            mask, has_mask = prior, boxed
        one, known = jax.tree.map(lambda x: x.reshape(x.shape[1:]), (features, projected))
        return self.model.prompt(
            params, one, points, labels, mask, has_mask, valid=valid, multimask=multimask, projected=known
        )

    def _blocks(
        self, embedding: Embedding, prompts: Sequence[Prompt], shape: PaddedShape, multimask: bool
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Decode n prompts at a time, `PaddedShape.rows` at most: logits [n, C, h, w] and IoU [n,
        C].

        The next block is dispatched before one is returned.
        """
        in_flight: collections.deque[tuple[int, Any]] = collections.deque()
        for start in range(0, len(prompts), shape.rows):
            some = prompts[start : start + shape.rows]
            shared = {"projected": embedding.projected, "multimask": multimask}
            answer = self._decode(self._params, embedding.features, **shape.pack(some), **shared)
            in_flight.append((len(some), answer))
            if len(in_flight) == 2:
                yield _fetch(*in_flight.popleft())
        while in_flight:
            yield _fetch(*in_flight.popleft())

    def _upsample(
        self, embedding: Embedding, low: NDArray[np.float32], threshold: float, logits: bool
    ) -> Iterator[Masks]:
        """Upsample [n, C, h, w] to n C masks [H, W], or their logits, one by one."""
        flat = low.reshape(-1, *low.shape[2:])
        if self._postprocess:
            flat = np.asarray(self._postprocess(flat, np.float32(threshold)))
        side, upsample = self.model.view.size, self.model.upsample
        view = LowResMasks(flat, side, embedding.content, embedding.size, threshold, upsample)
        return (view.logits_of(i) if logits else view.mask_of(i) for i in range(len(flat)))

    def _clip(self, low: NDArray[np.float32]) -> NDArray[np.float32]:
        """Clip low-resolution logits where the original does."""
        limit = self.model.logit_clip
        return low if limit is None else np.clip(low, -np.float32(limit), np.float32(limit))


def to_result(
    pixels: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    iou: NDArray[np.float32],
    labels: Sequence[str] | None,
    name: str,
    *,
    every: bool,
) -> Result:
    """Make a result of masks [..., C, H, W] and their IoU [..., C], the best of each C or every
    one; labels are numbers by default.

    Raises ValueError for masks that are not of the size of ``pixels``, and for too few labels.
    """
    masks, iou = masks.reshape(-1, *masks.shape[-3:]), iou.reshape(-1, iou.shape[-1])
    if masks.shape[-2:] != pixels.shape[:2]:
        raise ValueError(f"masks of {list(masks.shape[-2:])} are not of this picture, {list(pixels.shape[:2])}")
    if not every and len(iou):
        best = iou.argmax(1)[:, None]
        iou = np.take_along_axis(iou, best, 1)
        masks = np.take_along_axis(masks, best[..., None, None], 1)
    flat = masks.reshape(-1, *pixels.shape[:2])
    words = [str(i + 1) for i in range(len(flat))] if labels is None else list(labels)
    if len(words) != len(flat):
        raise ValueError(f"{len(words)} labels for {len(flat)} masks")
    boxes = np.array([bounds(mask) for mask in flat], np.int64).reshape(-1, 4)
    parts = [mask[y0:y1, x0:x1] for mask, (x0, y0, x1, y1) in zip(flat, boxes, strict=True)]
    known = list(dict.fromkeys(words))
    scores = iou.reshape(-1).clip(0.0, 1.0).astype(np.float32)
    return Result(
        pixels,
        known,
        boxes.astype(np.float32),
        words,
        np.array([known.index(word) for word in words], np.int64),
        scores,
        scores,
        CroppedMasks(boxes[:, 1::-1], parts, (pixels.shape[0], pixels.shape[1])),
        pipeline=name,
    )


def _fetch(count: int, answer: tuple[jax.Array, jax.Array]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    logits, iou = answer
    return np.asarray(logits)[:count], np.asarray(iou)[:count]
