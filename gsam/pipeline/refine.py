"""Look again: segment what is small against the view once more, in a window of its own."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from gsam.errors import UsageError
from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import BOTTOM_RIGHT, PAD, TOP_LEFT
from gsam.ops.resize import bilinear
from gsam.ops.top import in_chunks, top
from gsam.ops.views import scale
from gsam.ops.windows import bounds_of, cut, extents, onto, reach_of, twice, windows_around
from gsam.runtime.settings import REFINE, check_numbers
from gsam.types import Images, Masks, Params, PyTree, Scene, View

GREY = 116.0
"""Level of what is no image: near the mean that segmenters subtract."""
NOTHING = -10.0
"""Logit where the first look said nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class SecondLook:
    """Segment small things again, each in a window cut from the image around its first mask.

    A step after a segmenter. The window is resampled to the segmenter's view, so that a small
    thing fills much of it, and the model is asked with the box around first mask and found box,
    and with the first mask itself. An answer that does not look like the first mask, or that the
    model believes in less, is not taken. Masks stay as small as before: an answer's logits lie
    over its window. At most ``most`` things of an image are looked at; one program does it for
    any number of them, and takes no time for those that are not there.

    Raises:
        gsam.errors.UsageError: The segmenter takes no boxes, or a setting is out of range.

    Example:
        >>> detect, segment = gsam.detector("nano_owl"), gsam.segmenter("nano_sam")
        >>> pipe = gsam.Pipeline(detect, segment, gsam.SecondLook(segment), threshold=0.4)
        >>> pipe("notebooks/scene.png", "pizza").labels
        ['pizza']
    """

    segmenter: PromptableSegmenter
    """The model that looks again: the one of the step before, whose weights are then held once, or
    another."""
    most: int = 16
    """Things of an image that are looked at again, at most: the best by score."""
    below: float = 0.3
    """Largest side of a thing that is looked at again, as a share of the view's."""
    margin: float = 0.5
    """Share of the longer side of a thing that its window adds on each side."""
    zoom: float = 8.0
    """Most times that a window is enlarged over the pixels of ``canvas``."""
    together: int = 1
    """Windows along a side of the view: 1 gives each thing a view of its own, 2 puts four into
    one, at half the size and a quarter of the time."""
    agree: float = 0.5
    """Least IoU with the first mask of an answer that is taken."""
    gain: float = 0.0
    """Least that the predicted IoU must grow by; below 0 it may fall by so much."""
    prompt: Literal["box", "mask"] = "mask"
    """Whether the first mask is a prompt too (``"mask"``), where the model takes masks."""
    canvas: View | None = None
    """View that windows are cut from, of fit ``longest`` or ``at_most``; by default the image at
    four times the segmenter's view, at most, and 2048 pixels at most.
    """

    def __post_init__(self) -> None:
        if not isinstance(self.segmenter, PromptableSegmenter) or "box" not in self.segmenter.prompt_types:
            text = f"{type(self.segmenter).__name__} cannot be asked with boxes, which is how a second look is taken"
            raise UsageError(text, "model_takes_no_boxes")
        check_numbers({name: getattr(self, name) for name in REFINE}, REFINE, "refine.")
        if self.prompt not in ("box", "mask"):
            raise UsageError(f"refine.prompt is {self.prompt!r}, it must be one of box, mask")
        if self.canvas is not None and self.canvas.fit not in ("longest", "at_most"):
            raise UsageError(f"refine.canvas is {self.canvas.fit!r}, it must be one of longest, at_most")
        if self.segmenter.view.size % (16 * self.together):
            raise UsageError(f"refine.together is {self.together}, which does not divide the view of the model")

    @property
    def params(self) -> Params:
        """The segmenter's parameters."""
        return self.segmenter.params

    @property
    def view(self) -> View:
        """The view that windows are cut from."""
        size = self.segmenter.view.size
        canvas = self.canvas or View(min(4 * size, max(2048, size)), "at_most")
        return dataclasses.replace(canvas, pad=GREY)

    def refine(self, params: Params, scene: Scene) -> Scene:
        """Look again at what a scene holds: a pure function.

        Args:
            params: The segmenter's parameters.
            scene: A scene with masks.

        Returns:
            The scene, in which the masks that were improved lie over windows.

        Raises:
            TypeError: The scene has no masks: no segmenter stands before this step.
        """
        masks, images = scene.masks, scene.images
        if masks is None or masks.within is not None:
            raise TypeError("a second look needs a segmenter before it, whose masks it refines")
        n, places = scene.boxes.valid.shape[1], self.together**2
        count = max(-(-min(self.most, n) // places), 2) * places  # of several chunks, empty ones are skipped
        over = extents(masks, images.size)
        box, there = jax.vmap(bounds_of)(masks.logits > 0)
        box = twice(over[..., :2]) + box * twice((over[..., 2:] - over[..., :2]) / masks.logits.shape[-1])
        box = jnp.clip(box, 0.0, twice(images.size[:, None, ::-1].astype(jnp.float32)))
        found = scene.boxes.xyxy  # a mask of few cells may be smaller than its thing
        box = jnp.concatenate([jnp.minimum(box, found)[..., :2], jnp.maximum(box, found)[..., 2:]], -1)
        longest = ((box[..., 2:] - box[..., :2]) * scale(images, self.segmenter.view)[:, None]).max(-1)
        small = scene.boxes.valid & there & (longest < self.below * self.segmenter.view.size)
        rows = {"row": jnp.broadcast_to(jnp.arange(n), small.shape), "box": box, "over": over}
        rows |= {"logits": masks.logits, "iou": masks.iou}
        score, rows = top(jnp.where(small, scene.labels.score, -jnp.inf), count, rows)
        chosen = (score > -jnp.inf) & (jnp.arange(count) < self.most)

        def look(some: dict[str, jax.Array]) -> dict[str, jax.Array]:
            return self._look(params, images, some)

        answers = in_chunks(look, {**rows, "valid": chosen}, chosen, places, count)
        at = jnp.where(answers["better"] & chosen, rows["row"], n)  # row n is none: dropped
        put = jax.vmap(_put)
        before = jnp.zeros((*small.shape, 4), jnp.float32) if masks.window is None else masks.window
        return dataclasses.replace(
            scene,
            masks=Masks(
                put(masks.logits, at, answers["logits"]),
                put(masks.iou, at, answers["iou"]),
                masks.content,
                window=put(before, at, answers["window"]),
            ),
        )

    def _look(self, params: Params, images: Images, some: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Answers about c things of each image, [B, c, ...]: c is a multiple of a view's places."""
        cell, shape = self.segmenter.view.size // self.together, some["logits"].shape[-2:]
        size, factor = images.size[:, ::-1].astype(jnp.float32), scale(images, self.view)
        least = cell / self.zoom / factor.max(-1)
        window = jax.vmap(windows_around, (0, 0, None, 0))(some["box"], size, self.margin, least)
        reach = max(reach_of(self.view.size, self.below, self.margin), int(cell / self.zoom) + 1)
        each = jax.vmap(jax.vmap(cut, (None, 0, None, None)), (0, 0, None, None))
        pixels = each(images.view(self.view), window * twice(factor)[:, None], cell, reach)
        pixels = jnp.where(some["valid"][..., None, None, None], pixels, GREY)
        again = jax.vmap(onto, (0, 0, 0, None, None))
        first = again(some["logits"], some["over"], window, shape[0] // self.together, NOTHING)
        box = (some["box"] - twice(window[..., :2])) / twice(window[..., 2:] - window[..., :2]) * cell
        logits, iou = self._answer(params, pixels, box, first)
        one, two = bilinear(first, *shape) > 0, bilinear(logits, *shape) > 0
        shared, either = ((both).sum((-2, -1), dtype=jnp.float32) for both in (one & two, one | two))
        better = (shared > 0) & (shared >= self.agree * either) & (iou >= some["iou"] + self.gain)
        return {"logits": bilinear(logits, *shape), "iou": iou, "window": window, "better": better}

    def _answer(
        self, params: Params, pixels: jax.Array, box: jax.Array, first: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Ask the model about windows [B, c, s, s, 3], with boxes [B, c, 4] in their pixels and
        first masks [B, c, t, t]: logits [B, c, h, h] over them and predicted IoU [B, c].
        """
        model, side, view = self.segmenter, self.together, self.segmenter.view
        spots, (b, c, t) = side * side, first.shape[:3]
        views = b * c // spots
        cell, full = view.size // side, jnp.full((views, 2), view.size, jnp.int32)
        laid = pixels.reshape(views, side, side, cell, cell, 3).swapaxes(2, 3).reshape(views, view.size, view.size, 3)
        features = model.features(params, Images({view.key: laid.astype(view.dtype)}, {view.key: full}, full))
        row, column = jnp.divmod(jnp.arange(spots), side)
        box = box.reshape(views, spots, 4) + twice(jnp.stack([column, row], -1).astype(jnp.float32) * cell)
        here = jax.nn.one_hot(row, side)[:, :, None] * jax.nn.one_hot(column, side)[:, None]  # [spots, side, side]
        here = here[:, :, None, :, None] > 0
        hint = jnp.where(here, first.reshape(views, spots, 1, t, 1, t), NOTHING).reshape(
            views, spots, side * t, side * t
        )
        bound = model.spec.bind(params)
        kinds = jnp.asarray([TOP_LEFT, BOTTOM_RIGHT, *[PAD] * model.pads_boxes])

        def ask(features: PyTree, box: jax.Array, hint: jax.Array) -> tuple[jax.Array, jax.Array]:
            points = jnp.pad(box.reshape(spots, 2, 2), ((0, 0), (0, len(kinds) - 2), (0, 0)))
            mask = hint if self.prompt == "mask" and "mask" in model.prompt_types else model.box_mask_prompt(box)
            more = {} if mask is None else {"mask": mask}
            labels = jnp.broadcast_to(kinds, (spots, len(kinds)))
            logits, iou = model.decode(bound, features, points, labels, multimask=False, **more)
            return logits[:, 0], iou[:, 0]

        logits, iou = jax.vmap(ask)(features, box, hint)
        logits = model.postprocess(logits) if model.has_postprocess else logits
        h = logits.shape[-1] // side
        parts = logits.reshape(views, spots, side, h, side, h)
        own = jnp.where(here, parts, 0.0).sum((2, 4))  # each answer's own place
        return own.reshape(b, c, h, h), iou.reshape(b, c)


def _put(old: jax.Array, rows: jax.Array, new: jax.Array) -> jax.Array:
    """Replace rows; one that is not there is left out."""
    return old.at[rows].set(new.astype(old.dtype), mode="drop")
