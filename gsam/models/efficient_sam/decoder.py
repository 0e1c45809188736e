"""EfficientSAM's prompts and mask decoder.

Source: efficient_sam/{efficient_sam_decoder,two_way_transformer,mlp}.py.

They are SAM's, but for: one kind of point and no mask prompts; always as many point tokens, of
which those of absent points are attended to; GELU in every MLP; a residual around the first
self-attention; a second layer whose queries carry their positions on; one group norm over the whole
upscaled map.  Products with the image are absorbed as in `gsam.nn.two_way`.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from gsam.models.efficient_sam.config import POINTS, Config
from gsam.nn.layers import ConvTranspose2x2, Embedding, LayerNorm, Linear, gelu, over_channels
from gsam.nn.prompt import FourierCode
from gsam.nn.two_way import Attention, TwoWayTransformer


class PromptEncoder(nnx.Module):
    """Encoder of points and boxes."""

    def __init__(self, config: Config) -> None:
        self.pe_layer = FourierCode(config.out_chans)
        self.invalid_points = Embedding(1, config.out_chans)
        self.point_embeddings = Embedding(1, config.out_chans)
        self.bbox_top_left_embeddings = Embedding(1, config.out_chans)
        self.bbox_bottom_right_embeddings = Embedding(1, config.out_chans)
        self.image_size = config.image_size

    def __call__(self, points: jax.Array, labels: jax.Array) -> jax.Array:
        """Encode points and corners of boxes as tokens.

        Rows with a label below 0 are left out, wherever they are, and as many tokens of position
        -1, -1 fill up.  Half a pixel is added to every position; a background point is a position
        and nothing more, as in the original, which has no embedding for one.  A prompt of more
        points than `POINTS` gives NaN.

        Args:
            points: [N, P, 2] x y in pixels of the view.
            labels: [N, P] as in `gsam.nn.prompt`.

        Returns:
            [N, `POINTS`, D] float32.
        """
        points, labels = points.astype(jnp.float32), jnp.maximum(labels, -1)
        spare = max(POINTS - labels.shape[1], 0)
        points = jnp.pad(points, ((0, 0), (0, spare), (0, 0)))
        labels = jnp.pad(labels, ((0, 0), (0, spare)), constant_values=-1)
        known = labels >= 0
        if labels.shape[1] > POINTS:
            first = jnp.argsort(~known, axis=1, stable=True)[:, :POINTS]
            points = jnp.take_along_axis(points, first[..., None], 1)
            labels = jnp.take_along_axis(labels, first, 1)
        points = jnp.where((labels >= 0)[..., None], points, jnp.float32(-1))
        code = self.pe_layer((points + 0.5) / self.image_size)
        kinds = [self.point_embeddings, self.bbox_top_left_embeddings, self.bbox_bottom_right_embeddings]
        invalid, *others = (e.embedding[...].astype(jnp.float32) for e in (self.invalid_points, *kinds))
        table = jnp.concatenate([invalid, jnp.zeros_like(invalid), *others])  # of -1, 0, 1, 2, 3
        too_many = known.sum(1) > POINTS
        return jnp.where(too_many[:, None, None], jnp.nan, code + table[jnp.clip(labels, -1, 3) + 1])


class Mlp(nnx.Module):
    """Linear layers with GELU between them; the last is ``fc``."""

    def __init__(self, d_in: int, d_hidden: int, d_out: int, hidden: int = 2) -> None:
        self.layers = nnx.List([Linear(a, b) for a, b in itertools.pairwise([d_in] + [d_hidden] * hidden)])
        self.fc = Linear(d_hidden, d_out)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = gelu(layer(x))
        return self.fc(x)


class TwoWayLayer(nnx.Module):
    """Attention among tokens, of tokens to the image, an MLP, and of the image to tokens."""

    def __init__(self, width: int, heads: int, hidden: int, *, first: bool) -> None:
        self.self_attn = Attention(width, heads)
        self.norm1 = LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, 2)
        self.norm2 = LayerNorm(width)
        self.mlp = Mlp(width, hidden, width, 1)
        self.norm3 = LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, 2)
        self.norm4 = LayerNorm(width)
        self.first = first

    def __call__(
        self, tokens: jax.Array, image: jax.Array, code: jax.Array, image_code: jax.Array, keep: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        if not self.first:
            tokens = tokens + code
        tokens = self.norm1(tokens + self.self_attn(tokens, tokens, tokens, keep))
        placed = image + image_code
        tokens = self.norm2(tokens + self.cross_attn_token_to_image.to_image(tokens + code, placed, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        gain = self.cross_attn_image_to_token.from_image(placed, tokens + code, tokens, keep)
        return tokens, over_channels(self.norm4, image + gain)


class Transformer(TwoWayTransformer):
    """Two-way transformer with EfficientSAM's layers."""

    def __init__(self, width: int, heads: int, hidden: int, depth: int = 2) -> None:
        super().__init__(width, heads, hidden, 0)
        layers: list[Any] = [TwoWayLayer(width, heads, hidden, first=i == 0) for i in range(depth)]
        self.layers = nnx.List(layers)


class Upscaling(nnx.Module):
    """Fourfold upscaling of the image, [N, D, h w] -> [N, 2, 2, 2, 2, D/8, h w].

    ``final_output_upscaling_layers`` in the original; see `gsam.nn.upscaling.Upscaling`.
    """

    def __init__(self, width: int) -> None:
        self.conv1 = ConvTranspose2x2(width, width // 4)
        self.norm1 = LayerNorm(width // 4)
        self.conv2 = ConvTranspose2x2(width // 4, width // 8)

    def __call__(self, x: jax.Array) -> jax.Array:
        n, _, pixels = x.shape
        x = gelu(_over_all(self.norm1, _quadruple(self.conv1, x)))  # [N, 4, D/4, L]
        return gelu(_quadruple(self.conv2, x)).reshape(n, 2, 2, 2, 2, -1, pixels)


class MaskDecoder(nnx.Module):
    """Decoder with four masks per prompt, of which the original returns the last three."""

    def __init__(self, config: Config) -> None:
        width = config.out_chans
        self.transformer = Transformer(width, config.decoder_heads, config.decoder_mlp)
        self.iou_token = Embedding(1, width)
        self.mask_tokens = Embedding(4, width)
        self.final_output_upscaling_layers = Upscaling(width)
        self.output_hypernetworks_mlps = nnx.List([Mlp(width, width, width // 8) for _ in range(4)])
        self.iou_prediction_head = Mlp(width, width, 4)

    def __call__(
        self, features: jax.Array, image_code: jax.Array, prompts: jax.Array, *, best: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Decode N prompts on one image.

        Args:
            features: Image embedding [h, w, D].
            image_code: Its positional encoding [D, h, w].
            prompts: Prompt tokens [N, P, D].
            best: Whether to return only the mask of the highest predicted IoU.

        Returns:
            Logits [N, 3, 4h, 4w] and predicted IoU [N, 3], both float32; with ``best`` [N, 1, 4h,
            4w] and [N, 1].  The IoU is a regression: it may leave 0..1.
        """
        h, w, d = features.shape
        n, dtype = prompts.shape[0], features.dtype
        own = jnp.concatenate([self.iou_token.embedding[...], self.mask_tokens.embedding[...]]).astype(dtype)
        tokens = jnp.concatenate([jnp.broadcast_to(own, (n, 5, d)), prompts.astype(dtype)], 1)
        image = features.reshape(1, h * w, d).swapaxes(1, 2)
        tokens, image = self.transformer(tokens, image, image_code.astype(dtype).reshape(1, d, h * w), None)
        iou = self.iou_prediction_head(tokens[:, 0]).astype(jnp.float32)[:, 1:]
        hyper = jnp.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)][1:], 1)
        if best:
            first = iou.argmax(1)[:, None]
            iou, hyper = jnp.take_along_axis(iou, first, 1), jnp.take_along_axis(hyper, first[..., None], 1)
        logits = jnp.einsum("nmc,nabxycl->nmabxyl", hyper, self.final_output_upscaling_layers(image))
        logits = logits.reshape(n, -1, 2, 2, 2, 2, h, w).transpose(0, 1, 6, 2, 4, 7, 3, 5)
        return logits.reshape(n, -1, 4 * h, 4 * w).astype(jnp.float32), iou


def _quadruple(conv: ConvTranspose2x2, x: jax.Array) -> jax.Array:
    """Transposed convolution of [..., D, L] -> [..., 4, E, L], the new pixel before channels."""
    kernel, bias = conv.kernel[...].astype(x.dtype), conv.bias[...].astype(x.dtype)
    out = kernel.shape[-1]
    y = jnp.moveaxis(kernel, 3, 2).reshape(4 * out, -1) @ x
    return y.reshape(*x.shape[:-2], 4, out, x.shape[-1]) + bias[:, None]


def _over_all(norm: LayerNorm, x: jax.Array) -> jax.Array:
    """torch's ``GroupNorm`` of one group over each map [N, 4, D, L], affine per channel."""
    y = x.astype(jnp.float32)
    y = y - y.mean((1, 2, 3), keepdims=True)
    y = y * lax.rsqrt((y * y).mean((1, 2, 3), keepdims=True) + norm.eps)
    scale, bias = norm.scale[...].astype(jnp.float32), norm.bias[...].astype(jnp.float32)
    return (y * scale[:, None] + bias[:, None]).astype(x.dtype)
