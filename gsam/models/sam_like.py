"""The frame of every segmenter whose model is a `gsam.nn.sam.Sam`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gsam.models.promptable import PromptableSegmenter
from gsam.ops.views import SAM_MEAN, SAM_STD, inside, normalise
from gsam.types import Images, Params, PyTree, View

ONE, THREE = range(1), range(1, 4)
"""Indices of the masks that answer an unambiguous prompt, and an ambiguous one."""


class SamLikeSegmenter(PromptableSegmenter):
    """A segmenter whose model is a `Sam`.

    Token 0 answers ``multimask=False``, tokens 1 to 3 answer ``multimask=True``.
    """

    @property
    def view(self) -> View:
        return view(self.config.image_size)

    def features(self, params: Params, images: Images) -> PyTree:
        """Encode images as embeddings [B, h, w, C].  Pure."""
        return self.spec.bind(params).image_encoder(self.pixels(params, images))

    def project(self, params: Params, features: PyTree) -> PyTree:
        """Project image embeddings for the decoder's first layer, `Projected` [B, ...].  Pure.

        None where every box brings a mask prompt.
        """
        if self.box_mask_prompt(jnp.zeros((1, 4))) is not None:
            return None
        return jax.vmap(self.spec.bind(params).project)(self.embedding_of(features))

    def embedding_of(self, features: PyTree) -> jax.Array:
        """The image embeddings [B, h, w, D] among the features."""
        return features

    def pixels(self, params: Params, images: Images) -> jax.Array:
        """Prepare the image encoder's input [B, S, S, 3], in the dtype of the parameters."""
        return pixels(images, self.view, dtype_of(params))

    def decode(
        self, model: Any, features: PyTree, points: jax.Array, labels: jax.Array, multimask: bool, **mask: PyTree
    ) -> tuple[jax.Array, jax.Array]:
        return model.decode(features, points, labels, **mask, masks=THREE if multimask else ONE)


def view(size: int) -> View:
    """SAM's view of an image: longer side scaled to ``size``, padding zero after normalisation."""
    return View(size, "longest", "bilinear", 0.0)


def pixels(images: Images, view: View, dtype: jnp.dtype) -> jax.Array:
    """Normalise the view, and set its padding to zero, [B, S, S, 3]."""
    x = normalise(images.view(view), SAM_MEAN, SAM_STD, dtype)
    return jnp.where(inside(images, view), x, jnp.zeros((), dtype))


def dtype_of(params: Params) -> jnp.dtype:
    """Dtype of a `Sam`'s parameters."""
    return params["mask_decoder/iou_token/embedding"].dtype
