"""SAM as a segmenter."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gsam import bind
from gsam.nn.prompt import BOTTOM_RIGHT, TOP_LEFT
from gsam.ops.masks import filled
from gsam.ops.top import in_chunks
from gsam.ops.views import SAM_MEAN, SAM_STD, inside, normalise, to_view
from gsam.segment.sam.config import VARIANTS as VARIANTS
from gsam.segment.sam.config import Config
from gsam.segment.sam.model import Sam
from gsam.types import Boxes, Images, Masks, Params, View

CHUNK, WIDE = 4, 32
"""Prompts whose images of 4 MB each stay in a CPU's cache, and enough of them to fill an accelerator."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """See `gsam.roles.Segmenter`.  A box gives the mask of token 0, the original's ``multimask_output=False``."""

    config: Config
    spec: bind.Spec[Sam]
    params: Params
    chunk: int = 0
    """Prompts decoded at a time: bounds the memory, changes no result.  0: `CHUNK` on a CPU, `WIDE` elsewhere."""

    @property
    def view(self) -> View:
        return view(self.config)

    def features(self, params: Params, images: Images) -> jax.Array:
        """Image embeddings [B, h, w, C]."""
        dtype = params["image_encoder/pos_embed"].dtype
        return self.spec.bind(params).image_encoder(pixels(images, self.config, dtype))

    def segment(self, params: Params, features: jax.Array, images: Images, boxes: Boxes) -> Masks:
        """One mask a box: logits [B, N, 4h, 4w] over the view."""
        model = self.spec.bind(params)

        def one_image(features: jax.Array, xyxy: jax.Array) -> tuple[jax.Array, jax.Array]:
            kinds = jnp.broadcast_to(jnp.asarray([TOP_LEFT, BOTTOM_RIGHT]), (xyxy.shape[0], 2))
            logits, iou = model.decode(features, xyxy.reshape(-1, 2, 2), kinds, box_prior(xyxy, self.config), masks=1)
            return logits[:, 0], iou[:, 0]

        def work(xyxy: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jax.vmap(one_image)(features, xyxy)

        logits, iou = in_chunks(work, to_view(boxes.xyxy, images, self.view), boxes.valid, *self.chunks)
        content = images.content[self.view.key].astype(jnp.float32) * (4 * self.config.grid / self.config.image_size)
        return Masks(logits, iou, jnp.broadcast_to(content[:, None, :], (*boxes.valid.shape, 2)))

    def prompt(
        self,
        params: Params,
        features: jax.Array,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        has_mask: jax.Array | None = None,
        *,
        valid: jax.Array | None = None,
        masks: int = 4,
    ) -> tuple[jax.Array, jax.Array]:
        """N prompts on one image's features [h, w, C], as `Sam.decode`: logits [N, masks, 4h, 4w] and IoU [N, 4].

        ``valid`` [N]: which prompts count; the others give anything, and take no time where a whole chunk is not valid.
        """
        model = self.spec.bind(params)
        rows = {"points": points, "labels": labels, "mask": mask, "has_mask": has_mask}
        rows = {name: value[None] for name, value in rows.items() if value is not None}

        def work(some: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            logits, iou = model.decode(features, **{name: value[0] for name, value in some.items()}, masks=masks)
            return logits[None], iou[None]

        known = jnp.ones((1, points.shape[0]), bool) if valid is None else valid[None]
        logits, iou = in_chunks(work, rows, known, *self.chunks)
        return logits[0], iou[0]

    @property
    def chunks(self) -> tuple[int, int]:
        """Prompts at a time on a CPU, and elsewhere."""
        return self.chunk or CHUNK, self.chunk or WIDE


def view(config: Config) -> View:
    """How SAM wants to see a picture: the longer side scaled to the model's, padded with zeros after normalisation."""
    return View(config.image_size, "longest", "bilinear", 0.0)


def pixels(images: Images, config: Config, dtype: Any) -> jax.Array:
    """The normalised input of the image encoder, [B, S, S, 3]."""
    seen = view(config)
    x = normalise(images.view(seen), SAM_MEAN, SAM_STD, dtype)
    return jnp.where(inside(images, seen), x, jnp.zeros((), dtype))


def box_prior(xyxy: jax.Array, config: Config) -> jax.Array | None:
    """The mask prompt that boxes [N, 4] in pixels of the view bring along, [N, 4h, 4w]; None for the official models."""
    if config.box_prior <= 0:
        return None
    return config.box_prior * filled(xyxy, config.image_size, 4 * config.grid)


def spec(config: Config) -> bind.Spec[Sam]:
    """The model without its numbers."""
    return bind.spec(lambda: Sam(config))


def build(config: Config, params: Params, tokenizer: object = None, **settings: Any) -> Stage:
    """A segmenter from parameters that fit ``config`` (`gsam.bind.MismatchError` if they do not)."""
    model = spec(config)
    model.check(params)
    return Stage(config, model, params, **settings)
