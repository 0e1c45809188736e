"""SAM's mask decoder and its two-way transformer (segment_anything/modeling/{mask_decoder,transformer}.py).

One image, N prompts.  The first layer's self-attention has neither positions nor a residual, the token embedding itself
serves as the query's position throughout, and these norms have eps 1e-5: all as in the original.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.nn.layers import ConvTranspose2x2, Embedding, LayerNorm, Linear, Mlp, gelu, softmax


class Attention(nnx.Module):
    """Attention whose inner width may be narrower than its tokens."""

    def __init__(self, width: int, heads: int, downsample: int = 1) -> None:
        inner = width // downsample
        self.q_proj = Linear(width, inner)
        self.k_proj = Linear(width, inner)
        self.v_proj = Linear(width, inner)
        self.out_proj = Linear(inner, width)
        self.heads = heads

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, keep: jax.Array | None = None) -> jax.Array:
        """``q`` [N, Q, D], ``k v`` [N, L, D], ``keep`` [N, L] which keys exist -> [N, Q, D]."""

        def split(x: jax.Array) -> jax.Array:
            return x.reshape(*x.shape[:-1], self.heads, -1)

        q, k, v = split(self.q_proj(q)), split(self.k_proj(k)), split(self.v_proj(v))
        logits = jnp.einsum("nqhd,nkhd->nhqk", q, k) * q.shape[-1] ** -0.5
        if keep is not None:
            logits = jnp.where(keep[:, None, None, :], logits, jnp.asarray(-1e9, logits.dtype))
        y = jnp.einsum("nhqk,nkhd->nqhd", softmax(logits), v)
        return self.out_proj(y.reshape(*y.shape[:2], -1))


class MlpBlock(nnx.Module):
    def __init__(self, width: int, hidden: int) -> None:
        self.lin1 = Linear(width, hidden)
        self.lin2 = Linear(hidden, width)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.lin2(jax.nn.relu(self.lin1(x)))


class TwoWayLayer(nnx.Module):
    def __init__(self, width: int, heads: int, hidden: int, *, first: bool) -> None:
        self.self_attn = Attention(width, heads)
        self.norm1 = LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, 2)
        self.norm2 = LayerNorm(width)
        self.mlp = MlpBlock(width, hidden)
        self.norm3 = LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, 2)
        self.norm4 = LayerNorm(width)
        self.first = first

    def __call__(
        self, tokens: jax.Array, image: jax.Array, code: jax.Array, image_code: jax.Array, keep: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens, keep)
        else:
            tokens = tokens + self.self_attn(tokens + code, tokens + code, tokens, keep)
        tokens = self.norm1(tokens)
        placed = image + image_code
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + code, placed, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(placed, tokens + code, tokens, keep))
        return tokens, image


class TwoWayTransformer(nnx.Module):
    def __init__(self, width: int, heads: int, hidden: int, depth: int = 2) -> None:
        self.layers = nnx.List([TwoWayLayer(width, heads, hidden, first=i == 0) for i in range(depth)])
        self.final_attn_token_to_image = Attention(width, heads, 2)
        self.norm_final_attn = LayerNorm(width)

    def __call__(
        self, tokens: jax.Array, image: jax.Array, image_code: jax.Array, keep: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Tokens [N, T, D], image [N, L, D], its code [1, L, D] -> both, transformed."""
        code = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, code, image_code, keep)
        attended = self.final_attn_token_to_image(tokens + code, image + image_code, image)
        return self.norm_final_attn(tokens + attended), image


class Upscaling(nnx.Module):
    """[N, h, w, D] -> [N, 4h, 4w, D/8]; ``output_upscaling.0``, ``.1`` and ``.3`` in the original."""

    def __init__(self, width: int) -> None:
        self.conv1 = ConvTranspose2x2(width, width // 4)
        self.norm1 = LayerNorm(width // 4, 1e-6)
        self.conv2 = ConvTranspose2x2(width // 4, width // 8)

    def __call__(self, x: jax.Array) -> jax.Array:
        return gelu(self.conv2(gelu(self.norm1(self.conv1(x)))))


class MaskDecoder(nnx.Module):
    """Four masks a prompt: token 0 for an unambiguous one, tokens 1 to 3 for whole, part and subpart."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        self.transformer = TwoWayTransformer(width, heads, hidden)
        self.iou_token = Embedding(1, width)
        self.mask_tokens = Embedding(4, width)
        self.output_upscaling = Upscaling(width)
        self.output_hypernetworks_mlps = nnx.List([Mlp(width, width, width // 8) for _ in range(4)])
        self.iou_prediction_head = Mlp(width, width, 4)

    def __call__(
        self, features: jax.Array, image_code: jax.Array, prompts: jax.Array, keep: jax.Array | None, dense: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """One image's features [h, w, D], prompt tokens [N, P, D] with ``keep`` [N, P], dense prompts [N or 1, h or 1, ...].

        Returns mask logits [N, 4, 4h, 4w] and predicted IoU [N, 4] (a regression: it may leave 0..1), float32.
        """
        h, w, d = features.shape
        n = prompts.shape[0]
        own = jnp.concatenate([self.iou_token.embedding[...], self.mask_tokens.embedding[...]]).astype(features.dtype)
        tokens = jnp.concatenate([jnp.broadcast_to(own, (n, 5, d)), prompts.astype(features.dtype)], 1)
        if keep is not None:
            keep = jnp.concatenate([jnp.ones((n, 5), bool), keep], 1)
        image = jnp.broadcast_to(features + dense.astype(features.dtype), (n, h, w, d)).reshape(n, h * w, d)
        image_code = image_code.astype(features.dtype).reshape(1, h * w, d)
        tokens, image = self.transformer(tokens, image, image_code, keep)
        pixels = self.output_upscaling(image.reshape(n, h, w, d))
        hyper = jnp.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], 1)
        masks = jnp.einsum("nmc,nyxc->nmyx", hyper, pixels)
        return masks.astype(jnp.float32), self.iou_prediction_head(tokens[:, 0]).astype(jnp.float32)
