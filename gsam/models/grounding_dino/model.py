"""Grounding DINO: boxes for phrases (Liu et al. 2023; original: IDEA-Research/GroundingDINO).

Attributes have the original's names.  An image gets the same boxes whatever it is padded to and
batched with, and a caption whatever its padding.  In the original neither holds for batches: the
windows, the norms and the position codes of the backbone's last parts depend on padding, and
captions of different images are masked with each other's masks.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from gsam.bind import param
from gsam.models.grounding_dino.attention import sine
from gsam.models.grounding_dino.bert import Bert
from gsam.models.grounding_dino.config import Config
from gsam.models.grounding_dino.decoder import Decoder, moved
from gsam.models.grounding_dino.enhancer import Enhancer, Phrases, Picture
from gsam.models.grounding_dino.swin import Swin, only
from gsam.nn.layers import Conv, Embedding, LayerNorm, Linear, Mlp
from gsam.ops.top import take

Size = TypeVar("Size", jax.Array, np.ndarray)
GROUPS = 32
TEMPERATURE = 20.0
PROPOSAL = 0.05
"""Side of a proposal on the finest map, as a share of the image; twice that on each coarser one."""


def map_sizes(size: Size, config: Config) -> list[Size]:
    """Rows and columns of each map, from the finest, of views of ``size`` [..., 2] pixels."""
    sizes = [-(-size // config.swin.patch)]
    while len(sizes) <= max(config.swin.out) + config.levels - len(config.swin.out):
        sizes.append(-(-sizes[-1] // 2))
    return [sizes[i] for i in config.swin.out] + sizes[max(config.swin.out) + 1 :]


class GroupNorm(nnx.Module):
    """Group norm over the part of a map that is image."""

    def __init__(self, width: int) -> None:
        self.scale = param(width)
        self.bias = param(width)

    def __call__(self, x: jax.Array, size: jax.Array) -> jax.Array:
        b, h, w, d = x.shape
        y = only(x.astype(jnp.float32), size).reshape(b, h, w, GROUPS, -1)
        count = (size[:, 0] * size[:, 1]).astype(jnp.float32)[:, None, None, None, None] * (d // GROUPS)
        mean = y.sum((1, 2, 4), keepdims=True) / count
        spread = only((y - mean).reshape(b, h, w, d), size).reshape(y.shape)
        var = (spread * spread).sum((1, 2, 4), keepdims=True) / count
        y = (spread * lax.rsqrt(var + 1e-5)).reshape(b, h, w, d)
        y = y * self.scale[...].astype(jnp.float32) + self.bias[...].astype(jnp.float32)
        return only(y, size).astype(x.dtype)


class Projection(nnx.Module):
    """Projection of one map to the common width; ``coarser`` also halves it."""

    def __init__(self, d_in: int, width: int, *, coarser: bool) -> None:
        self.conv = Conv(3, d_in, width, stride=2) if coarser else Conv(1, d_in, width)
        self.norm = GroupNorm(width)

    def __call__(self, x: jax.Array, size: jax.Array) -> jax.Array:
        return self.norm(self.conv(x), size)


class Transformer(nnx.Module):
    """Enhancer and decoder with the embeddings and heads of the proposals."""

    def __init__(self, config: Config) -> None:
        self.level_embed = param(config.levels, config.width)
        self.encoder = Enhancer(config)
        self.decoder = Decoder(config)
        self.tgt_embed = Embedding(config.queries, config.width)
        self.enc_output = Linear(config.width, config.width)
        self.enc_output_norm = LayerNorm(config.width)
        self.enc_out_bbox_embed = Mlp(config.width, config.width, 4)


class ClassBias(nnx.Module):
    """The learned bias of logits."""

    def __init__(self) -> None:
        self.bias = param()


class GroundingDino(nnx.Module):
    """Swin and BERT, joined by the enhancer and read by the decoder."""

    def __init__(self, config: Config) -> None:
        swin, width = config.swin, config.width
        self.backbone = Swin(swin)
        channels = [swin.width << i for i in swin.out]
        extra = [channels[-1], *[width] * config.levels][: config.levels - len(channels)]
        self.input_proj = nnx.List(
            [Projection(c, width, coarser=False) for c in channels]
            + [Projection(c, width, coarser=True) for c in extra]
        )
        self.bert = Bert(config.bert)
        self.feat_map = Linear(config.bert.width, width)
        self.transformer = Transformer(config)
        count = 1 if config.shared_heads else config.decoder_layers
        self.bbox_embed = nnx.List([Mlp(width, width, 4) for _ in range(count)])
        if config.scaled:
            self.class_embed = nnx.List([ClassBias() for _ in range(count)])
        self.config = config

    def picture(self, pixels: jax.Array, size: jax.Array) -> Picture:
        """Encode images up to where they meet the text.

        Args:
            pixels: [B, H, W, 3], normalised, zero outside of ``size``.
            size: [B, 2] int32: rows and columns of each image.
        """
        maps = self.backbone(pixels, size)
        sizes = map_sizes(size, self.config)
        levels = [proj(x, s) for proj, x, s in zip(self.input_proj[: len(maps)], maps, sizes[: len(maps)], strict=True)]
        last = maps[-1]
        for proj, shown in zip(self.input_proj[len(maps) :], sizes[len(maps) :], strict=True):
            last = proj(last, shown)
            levels.append(last)
        tokens = jnp.concatenate([x.reshape(x.shape[0], -1, x.shape[-1]) for x in levels], 1)
        return Picture(tokens, jnp.stack(sizes, 1), tuple((x.shape[1], x.shape[2]) for x in levels))

    def text(self, ids: jax.Array, position: jax.Array, sees: jax.Array) -> jax.Array:
        """Encode phrases.

        Args:
            ids: [C, T] token ids.
            position: [C, T] place of each token in its phrase.
            sees: [C, T, T] bool: which tokens see which.

        Returns:
            [C, T, D].
        """
        return self.feat_map(self.bert(ids, position, sees))

    def __call__(self, picture: Picture, text: Phrases) -> tuple[jax.Array, jax.Array]:
        """Detect boxes, sorted by the score of their proposals.

        Args:
            picture: What `picture` returns.
            text: A caption per image.

        Returns:
            Logits [B, Q, T] of every query for every token, -inf for padding, and boxes [B, Q, 4]
            as centre and size in 0..1 of the image, both float32.
        """
        return self.read(*self.fuse(picture, text))

    def fuse(self, picture: Picture, text: Phrases) -> tuple[Picture, Phrases]:
        """Enhance images and captions by each other; what `read` and `every` take."""
        memory, words = self.transformer.encoder(picture, self.place(picture), text)
        return Picture(memory, picture.sizes, picture.shapes), Phrases(words, text.block, text.position)

    def read(self, picture: Picture, text: Phrases) -> tuple[jax.Array, jax.Array]:
        """Detect boxes in what was fused; returns what a call does."""
        _, boxes, alive = self.first(picture, text)
        start = self.start(boxes, picture.tokens.dtype)
        x, boxes = self.transformer.decoder(start, boxes, alive, picture, text, self.box_heads)
        return jnp.where(alive[..., None], self.similarity(x, text), -jnp.inf), boxes

    def every(self, picture: Picture, text: Phrases) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Answer with the proposals and after each layer of the decoder, as training needs it.

        Returns:
            Which queries lie in the image, [B, Q] bool, and logits [B, A, Q, T] and boxes [B, A, Q,
            4] of all answers in turn, as a call returns the last; logits of queries that do not lie
            in the image are any.
        """
        rows, boxes, alive = self.first(picture, text)
        logits, found = [self.similarity(rows, text)], [boxes]
        boxes, heads = lax.stop_gradient(boxes), self.box_heads
        decoder, start = self.transformer.decoder, self.start(boxes, picture.tokens.dtype)
        for i, (x, before) in enumerate(decoder.trace(start, boxes, alive, picture, text, heads)):
            x = decoder.norm(x)
            logits.append(self.similarity(x, text, i))
            found.append(moved(before, heads[i](x)))
        return alive, jnp.stack(logits, 1), jnp.stack(found, 1)

    @property
    def box_heads(self) -> list[Mlp]:
        """The box head of each layer of the decoder."""
        return list(self.bbox_embed) * (self.config.decoder_layers if self.config.shared_heads else 1)

    def start(self, boxes: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Queries [B, Q, D] before the decoder, for as many boxes."""
        start = self.transformer.tgt_embed.embedding[...][: boxes.shape[1]].astype(dtype)
        return jnp.broadcast_to(start, (boxes.shape[0], *start.shape))

    def place(self, picture: Picture) -> jax.Array:
        """Code of every token's position and map, [B, S, D]."""
        width = picture.tokens.shape[-1]
        at = jnp.asarray(picture.place + 1) / (picture.extent + np.float32(1e-6)) * np.float32(2 * np.pi)
        code = sine(at[..., ::-1], width // 2, TEMPERATURE)  # y, then x
        code = code.reshape(*code.shape[:2], width) + self.transformer.level_embed[...][picture.level].astype(
            jnp.float32
        )
        return code.astype(picture.tokens.dtype)

    def first(self, picture: Picture, text: Phrases) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Propose the places that fit the text best.

        Returns:
            Features of the proposals [B, Q, D], their boxes [B, Q, 4], centre and size in 0..1, and
            which of them lie in the image [B, Q] bool.
        """
        t = self.transformer
        centre = jnp.asarray(picture.place + np.float32(0.5)) / picture.extent
        side = np.broadcast_to(PROPOSAL * 2.0 ** picture.level[:, None], picture.place.shape).astype(np.float32)
        guess = jnp.concatenate([centre, jnp.broadcast_to(side, centre.shape)], -1)
        fits = ((guess > 0.01) & (guess < 0.99)).all(-1) & picture.real
        memory = jnp.where(fits[..., None], picture.tokens, jnp.zeros((), picture.tokens.dtype))
        memory = t.enc_output_norm(t.enc_output(memory))
        score = jnp.where(picture.real, self.similarity(memory, text).max(-1), -jnp.inf)
        best, index = lax.top_k(score, min(self.config.queries, score.shape[1]))
        guess = take(jnp.where(fits[..., None], jnp.log(guess / (1 - guess)), jnp.inf), index)
        rows = take(memory, index)
        by = t.enc_out_bbox_embed(rows).astype(jnp.float32)
        return rows, jax.nn.sigmoid(by + guess), best > -jnp.inf

    def similarity(self, x: jax.Array, text: Phrases, layer: int = -1) -> jax.Array:
        """Logits of image tokens [B, N, D] for text tokens: [B, N, T] float32, -inf for padding.

        ``layer``: of the decoder, whose bias is added where there is one; the last one's is that of
        proposals too.
        """
        x, tokens = x.astype(jnp.float32), text.tokens.astype(jnp.float32)
        logits = jnp.einsum("bnd,btd->bnt", x, tokens, precision=lax.Precision.HIGHEST)  # ranks the first guesses
        if self.config.scaled:
            bias = self.class_embed[layer % len(self.class_embed)].bias[...]  # one may serve all layers
            logits = logits / np.float32(x.shape[-1] ** 0.5) + bias.astype(jnp.float32)
        return jnp.where(text.real[:, None], logits, -jnp.inf)
