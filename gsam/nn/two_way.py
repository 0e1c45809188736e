"""SAM's mask decoder and its two-way transformer, for one image and N prompts.

Source: segment_anything/modeling/{mask_decoder,transformer}.py.

The first layer's self-attention has neither positions nor a residual, the token embedding itself
serves as the query's position throughout, and these norms have eps 1e-5: all as in the original.

Between seven tokens and thousands of pixels, the projections of the pixels are most of the
original's work, so here they are absorbed by the tokens: ``(x W) . k`` is ``x . (W k)``, and so for
the values.  The image is kept as [N, D, L], channels first, which makes every product with it a
plain one, and only finished masks are brought into the order of pixels.

Without a mask prompt the first layer sees the image as it is: its projections of the pixels are
the same for every prompt, and may be made once per image (`Projected`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsam.nn.layers import NEVER, Embedding, LayerNorm, Linear, Mlp, MlpBlock, over_channels, softmax
from gsam.nn.upscaling import Upscaling, in_place


class Projected(NamedTuple):
    """An image as the first layer projects it, [..., K, D/K, L] each."""

    keys: jax.Array
    """That tokens look for."""
    values: jax.Array
    """That tokens read."""
    queries: jax.Array
    """With which pixels look for tokens."""


class Attention(nnx.Module):
    """Multi-head attention whose inner width may be narrower than its tokens."""

    def __init__(self, width: int, heads: int, downsample: int = 1) -> None:
        inner = width // downsample
        self.q_proj = Linear(width, inner)
        self.k_proj = Linear(width, inner)
        self.v_proj = Linear(width, inner)
        self.out_proj = Linear(inner, width)
        self.heads = heads

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, keep: jax.Array | None = None) -> jax.Array:
        """Attend among tokens.

        Args:
            q: [N, Q, D].
            k: [N, T, D].
            v: [N, T, D].
            keep: [N, T] bool: which keys exist; None for all.

        Returns:
            [N, Q, D].
        """
        q, k, v = self.split(self.q_proj(q)), self.split(self.k_proj(k)), self.split(self.v_proj(v))
        logits = jnp.einsum("nqhd,nkhd->nhqk", q, k) * q.shape[-1] ** -0.5
        if keep is not None:
            logits = jnp.where(keep[:, None, None, :], logits, jnp.asarray(NEVER, logits.dtype))
        y = jnp.einsum("nhqk,nkhd->nqhd", softmax(logits), v)
        return self.out_proj(y.reshape(*y.shape[:2], -1))

    def to_projected(self, tokens: jax.Array, image: Projected) -> jax.Array:
        """Attend from tokens [N, T, D] to an image that is projected already: [N, T, D]."""
        n, t, _ = tokens.shape
        q = self.split(self.q_proj(tokens))
        weights = softmax(jnp.einsum("nthd,hdl->nhtl", q * q.shape[-1] ** -0.5, image.keys))
        return self.out_proj(jnp.einsum("nhtl,hdl->nthd", weights, image.values).reshape(n, t, -1))

    def to_image(self, tokens: jax.Array, placed: jax.Array, image: jax.Array) -> jax.Array:
        """Attend from tokens to an image.

        The bias of the keys adds the same to every logit of a query, which the softmax cancels.

        Args:
            tokens: Queries [N, T, D].
            placed: Keys [N or 1, D, L]: the image with its positional encoding.
            image: Values [N or 1, D, L].

        Returns:
            [N, T, D].
        """
        n, t, _ = tokens.shape
        q = self.split(self.q_proj(tokens))
        folded = jnp.einsum("nthd,chd->nhtc", q * q.shape[-1] ** -0.5, self.heads_of(self.k_proj, q.dtype))
        weights = softmax(folded.reshape(n, self.heads * t, -1) @ placed)
        read = weights @ image.swapaxes(1, 2)  # [N, K T, D]
        y = jnp.einsum("nhtc,chd->nthd", read.reshape(n, self.heads, t, -1), self.heads_of(self.v_proj, q.dtype))
        return self.out_proj(y.reshape(n, t, -1) + _bias(self.v_proj, q.dtype))

    def from_image(
        self,
        placed: jax.Array,
        k: jax.Array,
        v: jax.Array,
        keep: jax.Array | None,
        image: Projected | None = None,
    ) -> jax.Array:
        """Attend from an image to tokens.

        Args:
            placed: Queries [N or 1, D, L]: the image with its positional encoding; not used where
                there is ``image``.
            k: [N, T, D].
            v: [N, T, D].
            keep: [N, T] bool: which tokens exist; None for all.
            image: The image, projected already.

        Returns:
            [N, D, L].
        """
        n, t, d = k.shape
        k, v = self.split(self.k_proj(k)), self.split(self.v_proj(v))
        k = k * k.shape[-1] ** -0.5
        if image is not None:
            logits = jnp.einsum("nthd,hdl->nhtl", k, image.queries)
        else:
            folded = jnp.einsum("nthd,chd->nhtc", k, self.heads_of(self.q_proj, k.dtype))
            shift = jnp.einsum("nthd,hd->nht", k, _bias(self.q_proj, k.dtype).reshape(self.heads, -1))
            logits = (folded.reshape(n, self.heads * t, d) @ placed).reshape(n, self.heads, t, -1) + shift[..., None]
        if keep is not None:
            logits = jnp.where(keep[:, None, :, None], logits, jnp.asarray(NEVER, logits.dtype))
        weights = softmax(logits, 2).reshape(n, self.heads * t, -1)
        kernel = self.out_proj.kernel[...].astype(k.dtype).reshape(self.heads, -1, d)
        gives = jnp.einsum("nthd,hdc->ncht", v, kernel).reshape(n, d, self.heads * t)
        return gives @ weights + _bias(self.out_proj, k.dtype)[:, None]

    def project(self, linear: Linear, image: jax.Array) -> jax.Array:
        """Project an image [D, L] by head, [K, D/K, L]."""
        kernel = linear.kernel[...].astype(image.dtype)
        return (kernel.T @ image + _bias(linear, image.dtype)[:, None]).reshape(self.heads, -1, image.shape[-1])

    def split(self, x: jax.Array) -> jax.Array:
        """Split the last axis into heads."""
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def heads_of(self, linear: Linear, dtype: jnp.dtype) -> jax.Array:
        """Kernel of a projection by head, [D, K, D/K]."""
        return self.split(linear.kernel[...].astype(dtype))


class TwoWayLayer(nnx.Module):
    """Attention among tokens, of tokens to the image, an MLP, and of the image to tokens."""

    def __init__(self, width: int, heads: int, hidden: int, *, first: bool) -> None:
        self.self_attn = Attention(width, heads)
        self.norm1 = LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, 2)
        self.norm2 = LayerNorm(width)
        self.mlp = MlpBlock(width, hidden, jax.nn.relu)
        self.norm3 = LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, 2)
        self.norm4 = LayerNorm(width)
        self.first = first

    def __call__(
        self,
        tokens: jax.Array,
        image: jax.Array,
        code: jax.Array,
        image_code: jax.Array,
        keep: jax.Array | None,
        projected: Projected | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens, keep)
        else:
            tokens = tokens + self.self_attn(tokens + code, tokens + code, tokens, keep)
        tokens = self.norm1(tokens)
        placed = image + image_code
        look = self.cross_attn_token_to_image
        query = tokens + code
        seen = look.to_image(query, placed, image) if projected is None else look.to_projected(query, projected)
        tokens = self.norm2(tokens + seen)
        tokens = self.norm3(tokens + self.mlp(tokens))
        gain = self.cross_attn_image_to_token.from_image(placed, tokens + code, tokens, keep, projected)
        return tokens, over_channels(self.norm4, image + gain)

    def project(self, image: jax.Array, image_code: jax.Array) -> Projected:
        """Project an image [D, L], whose code is [D, L]."""
        look, back = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        placed = image + image_code
        return Projected(
            look.project(look.k_proj, placed), look.project(look.v_proj, image), back.project(back.q_proj, placed)
        )


class TwoWayTransformer(nnx.Module):
    """Two-way layers and a last attention of the tokens to the image."""

    def __init__(self, width: int, heads: int, hidden: int, depth: int = 2) -> None:
        self.layers = nnx.List([TwoWayLayer(width, heads, hidden, first=i == 0) for i in range(depth)])
        self.final_attn_token_to_image = Attention(width, heads, 2)
        self.norm_final_attn = LayerNorm(width)

    def __call__(
        self,
        tokens: jax.Array,
        image: jax.Array,
        image_code: jax.Array,
        keep: jax.Array | None,
        projected: Projected | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Transform tokens [N, T, D] and image [N or 1, D, L], whose code is [1, D, L].

        ``projected``: the same image as the first layer projects it, where that is known.
        """
        code = tokens
        for i, layer in enumerate(self.layers):
            known = {} if projected is None or i else {"projected": projected}
            tokens, image = layer(tokens, image, code, image_code, keep, **known)
        attended = self.final_attn_token_to_image.to_image(tokens + code, image + image_code, image)
        return self.norm_final_attn(tokens + attended), image


class MaskDecoder(nnx.Module):
    """SAM's mask decoder, with four masks per prompt.

    Token 0 is for an unambiguous prompt, tokens 1 to 3 for whole, part and subpart.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        self.transformer = TwoWayTransformer(width, heads, hidden)
        self.iou_token = Embedding(1, width)
        self.mask_tokens = Embedding(4, width)
        self.output_upscaling = Upscaling(width)
        self.output_hypernetworks_mlps = nnx.List([Mlp(width, width, width // 8) for _ in range(4)])
        self.iou_prediction_head = Mlp(width, width, 4)

    def __call__(
        self,
        features: jax.Array,
        image_code: jax.Array,
        prompts: jax.Array,
        keep: jax.Array | None,
        dense: jax.Array,
        masks: Sequence[int] = range(4),
        projected: Projected | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Decode N prompts on one image.

        Args:
            features: Image embedding [h, w, D].
            image_code: Its positional encoding [D, h, w].
            prompts: Prompt tokens [N, P, D].
            keep: [N, P] bool: which prompt tokens exist; None for all.
            dense: Dense prompts [N or 1, h or 1, w or 1, D].
            masks: Indices of the M masks to decode.
            projected: What `project` gives of the image, if that is known.

        Returns:
            Logits [N, M, 4h, 4w] and predicted IoU [N, M], both float32.  The IoU is a regression:
            it may leave 0..1.
        """
        tokens, image = self.read(features, image_code, prompts, keep, dense, projected)
        logits = in_place(self.hyper(tokens, masks), self.output_upscaling(image), features.shape[0])
        return logits, self.iou(tokens, masks)

    def project(self, features: jax.Array, image_code: jax.Array, dense: jax.Array) -> Projected:
        """Project an image once for all prompts that have no mask.

        Args:
            features: Image embedding [h, w, D].
            image_code: Its positional encoding [D, h, w].
            dense: The dense prompt of no mask [1, 1, 1, D].
        """
        h, w, d = features.shape
        image = (features + dense[0].astype(features.dtype)).reshape(h * w, d).T
        return self.transformer.layers[0].project(image, image_code.astype(features.dtype).reshape(d, h * w))

    def own_tokens(self) -> jax.Array:
        """Tokens [T, D] that stand before the prompts: IoU, then masks."""
        return jnp.concatenate([self.iou_token.embedding[...], self.mask_tokens.embedding[...]])

    def read(
        self,
        features: jax.Array,
        image_code: jax.Array,
        prompts: jax.Array,
        keep: jax.Array | None,
        dense: jax.Array,
        projected: Projected | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Transform own tokens, prompts and image together.

        Args:
            features: Image embedding [h, w, D], or one per prompt [N, h, w, D].
            image_code: Its positional encoding [D, h, w].
            prompts: Prompt tokens [N, P, D].
            keep: [N, P] bool: which prompt tokens exist; None for all.
            dense: Dense prompts [N or 1, h or 1, w or 1, D].
            projected: What `project` gives of the image, if that is known.

        Returns:
            Own tokens and prompts [N, T + P, D], and the image [N, D, h w].
        """
        *_, h, w, d = features.shape
        n = prompts.shape[0]
        own = self.own_tokens().astype(features.dtype)
        tokens = jnp.concatenate([jnp.broadcast_to(own, (n, *own.shape)), prompts.astype(features.dtype)], 1)
        if keep is not None:
            keep = jnp.concatenate([jnp.ones((n, len(own)), bool), keep], 1)
        image = features + dense.astype(features.dtype)  # [N or 1, h, w, D]
        image = image.reshape(image.shape[0], h * w, d).swapaxes(1, 2)
        image_code = image_code.astype(features.dtype).reshape(1, d, h * w)
        return self.transformer(tokens, image, image_code, keep, projected)

    def hyper(self, tokens: jax.Array, masks: Sequence[int]) -> jax.Array:
        """Vectors that the pixels are multiplied with, one per mask: [N, M, D/8]."""
        return jnp.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in masks], 1)

    def iou(self, tokens: jax.Array, masks: Sequence[int]) -> jax.Array:
        """Predicted IoU of the ``masks``, [N, M] float32."""
        return self.iou_prediction_head(tokens[:, 0])[:, np.asarray(masks)].astype(jnp.float32)


def _bias(linear: Linear, dtype: jnp.dtype) -> jax.Array:
    assert linear.bias is not None
    return linear.bias[...].astype(dtype)
