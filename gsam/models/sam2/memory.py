"""SAM 2's memory: how frames attend to it, and how they are written to it.

Source: sam2/modeling/memory_{attention,encoder}.py.

A memory is a frame's 64 channels per object, on the grid of the image embedding, and lies in a
*slot*.  Slots and object pointers are padded; ``keep`` says which exist.  All products are those of
the original, but for the values: attention reads the 64 channels themselves, and their projection
to 256 comes after the softmax, whose weights sum to one.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from gsam.bind import param
from gsam.nn.attention import attend
from gsam.nn.layers import NEVER, Conv, LayerNorm, Linear, by_rows, gelu
from gsam.types import Bank

TILE = 128
"""Queries that attend to a slot together, so that their logits stay in a CPU's cache."""
AT_ONCE = 1 << 20
"""Most logits for which all slots are attended to together."""
THETA = 1e4

Keys = Callable[[jax.Array, jax.Array], jax.Array]
"""Keys [L, D] of a memory [L, E] and its code [L, E]."""
State = tuple[jax.Array, jax.Array, jax.Array]
"""Highest logit, sum of weights and weighted sum of values so far, by tiles of queries."""


class RopeAttention(nnx.Module):
    """Single-head attention with rotary position codes."""

    def __init__(self, width: int, kv_width: int) -> None:
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(kv_width, width)
        self.v_proj = Linear(kv_width, width)
        self.out_proj = Linear(width, width)

    def among(self, x: jax.Array, turns: tuple[np.ndarray, np.ndarray]) -> jax.Array:
        """Self-attention of a grid's tokens, [N, L, D] -> [N, L, D]."""
        q, k = (turned(halved(p, x), turns)[:, :, None] for p in (self.q_proj, self.k_proj))
        return self.out_proj(attend(q, k, self.v_proj(x)[:, :, None])[:, :, 0])

    def recall(
        self,
        x: jax.Array,
        turns: tuple[np.ndarray, np.ndarray],
        slots: tuple[jax.Array, jax.Array, jax.Array],
        pointers: tuple[jax.Array, jax.Array, jax.Array],
    ) -> jax.Array:
        """Attend from a grid's tokens to memories.

        Args:
            x: [L, D].
            turns: Cosines and sines of the grid, see `turns`.
            slots: Memories [M, L, E], their codes of place and time [M, L, E], and which exist [M]
                bool.
            pointers: Tokens without a place [T, E], their codes [T, E], and which exist [T] bool.

        Returns:
            [L, D].
        """
        q = turned(halved(self.q_proj, x), turns) * x.shape[-1] ** -0.5

        def keys(memory: jax.Array, code: jax.Array) -> jax.Array:
            return turned(halved(self.k_proj, memory + code), turns)

        tokens = halved(self.k_proj, pointers[0] + pointers[1])
        if x.shape[0] * slots[0].shape[0] * slots[0].shape[1] <= AT_ONCE:
            k = jnp.concatenate([keys(*slots[:2]).reshape(-1, x.shape[-1]), tokens])
            v = jnp.concatenate([slots[0].reshape(-1, slots[0].shape[-1]), pointers[0]])
            keep = jnp.concatenate([jnp.repeat(slots[2], slots[0].shape[1]), pointers[2]])
            weights = jax.nn.softmax(jnp.where(keep, (q @ k.T).astype(jnp.float32), NEVER))
            read = weights.astype(v.dtype) @ v
        else:
            read = _slot_by_slot(q, keys, slots, tokens, pointers)
        return self.out_proj(self.v_proj(read))


def _slot_by_slot(
    q: jax.Array, keys: Keys, slots: tuple[jax.Array, ...], tokens: jax.Array, pointers: tuple[jax.Array, ...]
) -> jax.Array:
    """Attend slot by slot, without ever holding all logits: queries [L, D] -> [L, E].

    A slot that does not exist costs nothing, unless objects are batched.
    """
    length, width = q.shape
    tile = min(TILE, length)
    count = -(-length // tile)
    q = jnp.pad(q, ((0, count * tile - length), (0, 0)))
    tiles = q.reshape(count, tile, width).swapaxes(1, 2)  # [C, D, T]
    channels = slots[0].shape[-1]

    def look(state: State, k: jax.Array, v: jax.Array, keep: jax.Array | None) -> State:
        values = v.T  # [E, K]

        def one(xs: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            queries, highest, total, read = xs
            logits = (k @ queries).astype(jnp.float32)  # [K, T]
            if keep is not None:
                logits = jnp.where(keep[:, None], logits, NEVER)
            top = jnp.maximum(highest, logits.max(0))
            weights, shrink = jnp.exp(logits - top), jnp.exp(highest - top)
            gained = (values @ weights.astype(values.dtype)).astype(jnp.float32)
            return top, total * shrink + weights.sum(0), read * shrink + gained

        return lax.map(one, (tiles, *state))

    def slot(state: State, xs: tuple[jax.Array, ...]) -> tuple[State, None]:
        memory, code, keep = xs
        return lax.cond(keep, lambda s: look(s, keys(memory, code), memory, None), lambda s: s, state), None

    none = (
        jnp.full((count, tile), NEVER, jnp.float32),
        jnp.zeros((count, tile), jnp.float32),
        jnp.zeros((count, channels, tile), jnp.float32),
    )
    state, _ = lax.scan(slot, none, slots)
    _, total, read = look(state, tokens, pointers[0], pointers[2])
    read = (read / total[:, None]).swapaxes(1, 2).reshape(count * tile, channels)[:length]
    return read.astype(q.dtype)


class MemoryAttentionLayer(nnx.Module):
    """Self-attention, attention to the memory, and an MLP."""

    def __init__(self, width: int, memory: int, hidden: int) -> None:
        self.self_attn = RopeAttention(width, width)
        self.cross_attn_image = RopeAttention(width, memory)
        self.linear1 = Linear(width, hidden)
        self.linear2 = Linear(hidden, width)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.norm3 = LayerNorm(width)

    def mlp(self, x: jax.Array) -> jax.Array:
        return by_rows(lambda t: self.linear2(jax.nn.relu(self.linear1(t))), self.norm3(x))


class MemoryAttention(nnx.Module):
    """Conditioning of a frame's embedding on an object's memories."""

    def __init__(self, width: int, memory: int, hidden: int, layers: int, grid: int) -> None:
        self.layers = nnx.List([MemoryAttentionLayer(width, memory, hidden) for _ in range(layers)])
        self.norm = LayerNorm(width)
        self.grid, self.memory = grid, memory

    def begin(self, embedding: jax.Array) -> jax.Array:
        """Compute what is the same for every object: the first layer's self-attention.

        Args:
            embedding: The frame's [h, w, D].

        Returns:
            [h w, D].
        """
        x = embedding.reshape(1, -1, embedding.shape[-1])
        x = x + 0.1 * jnp.asarray(sine_code(self.grid, x.shape[-1]).reshape(-1, x.shape[-1]), x.dtype)
        return self._settle(self.layers[0], x)[0]

    def __call__(self, begun: jax.Array, bank: Bank, ages: jax.Array, moments: jax.Array) -> jax.Array:
        """Condition a frame on one object's memories.

        Args:
            begun: The result of `begin` for the frame.
            bank: The object's memories and pointers.
            ages: Codes of slots' ages [A, E].
            moments: Codes of pointers' times [P, E].

        Returns:
            [h, w, D].
        """
        x = begun
        memory = bank.memory.astype(x.dtype)
        place = sine_code(self.grid, self.memory).reshape(-1, self.memory)
        code = jnp.asarray(place, x.dtype) + ages.astype(x.dtype)[bank.age][:, None]
        slots = (memory, code, bank.keep)
        parts = bank.pointers.shape[-1] // self.memory
        tokens = bank.pointers.astype(x.dtype).reshape(-1, self.memory)
        pointers = (tokens, jnp.repeat(moments.astype(x.dtype), parts, 0), jnp.repeat(bank.kept, parts))
        for i, layer in enumerate(self.layers):
            if i:
                x = self._settle(layer, x[None])[0]
            x = x + layer.cross_attn_image.recall(layer.norm2(x), self.turns, slots, pointers)
            x = x + layer.mlp(x[None])[0]
        return self.norm(x).reshape(self.grid, self.grid, -1)

    def _settle(self, layer: MemoryAttentionLayer, x: jax.Array) -> jax.Array:
        return x + layer.self_attn.among(layer.norm1(x), self.turns)

    @property
    def turns(self) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and sines of the rotary code, see `turns`."""
        return turns(self.grid, self.norm.scale.shape[0])


class MaskDownSampler(nnx.Module):
    """Convolutions of masks, [N, S, S, 1] -> [N, S/16, S/16, D].

    ``encoder.0`` to ``.12`` in the original.
    """

    def __init__(self, width: int, steps: int = 4) -> None:
        widths = [4**i for i in range(steps + 1)]
        self.convs = nnx.List([Conv(3, a, b, stride=2) for a, b in itertools.pairwise(widths)])
        self.norms = nnx.List([LayerNorm(w, 1e-6) for w in widths[1:]])
        self.last = Conv(1, widths[-1], width)

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = gelu(norm(conv(x)))
        return self.last(x)


class Depthwise(nnx.Module):
    """A depthwise convolution, kernel [k, k, 1, D], as a sum of shifted maps."""

    def __init__(self, kernel: int, width: int) -> None:
        self.kernel = param(kernel, kernel, 1, width)
        self.bias = param(width)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        size, (_, h, w, _) = kernel.shape[0], x.shape
        x = jnp.pad(x, ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)))
        parts = [x[:, i : i + h, j : j + w] * kernel[i, j] for i in range(size) for j in range(size)]
        return functools.reduce(jnp.add, parts) + self.bias[...].astype(x.dtype)


class CXBlock(nnx.Module):
    """A ConvNeXt block."""

    def __init__(self, width: int) -> None:
        self.dwconv = Depthwise(7, width)
        self.norm = LayerNorm(width, 1e-6)
        self.pwconv1 = Linear(width, 4 * width)
        self.pwconv2 = Linear(4 * width, width)
        self.gamma = param(width)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.pwconv2(gelu(self.pwconv1(self.norm(self.dwconv(x)))))
        return x + self.gamma[...].astype(x.dtype) * y


class Fuser(nnx.Module):
    """ConvNeXt blocks that fuse embedding and mask."""

    def __init__(self, width: int, layers: int = 2) -> None:
        self.layers = nnx.List([CXBlock(width) for _ in range(layers)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nnx.Module):
    """Encoder of a frame's embedding and an object's mask as a memory."""

    def __init__(self, width: int, memory: int) -> None:
        self.mask_downsampler = MaskDownSampler(width)
        self.pix_feat_proj = Conv(1, width, width)
        self.fuser = Fuser(width)
        self.out_proj = Conv(1, width, memory)

    def __call__(self, embedding: jax.Array, masks: jax.Array) -> jax.Array:
        """Encode masks on a frame.

        Args:
            embedding: The frame's [h, w, D], as the image encoder gives it.
            masks: [N, 16 h, 16 w] scaled probabilities.

        Returns:
            [N, h w, E].
        """
        x = self.pix_feat_proj(embedding[None]) + self.mask_downsampler(masks[..., None].astype(embedding.dtype))
        x = self.out_proj(self.fuser(x))
        return x.reshape(x.shape[0], -1, x.shape[-1])


def halved(linear: Linear, x: jax.Array) -> jax.Array:
    """Project ``x``, with the even channels first: `turned` pairs each with one half further on.

    Logits do not depend on the order of channels, if queries and keys have the same.
    """
    kernel = linear.kernel[...].astype(x.dtype)
    order = np.r_[0 : kernel.shape[1] : 2, 1 : kernel.shape[1] : 2]
    assert linear.bias is not None
    return x @ kernel[:, order] + linear.bias[...].astype(x.dtype)[order]


def turned(x: jax.Array, turns: tuple[np.ndarray, np.ndarray]) -> jax.Array:
    """Rotate channels [..., L, D], in the order of `halved`, by the rotary code, in float32.

    Args:
        x: [..., L, D].
        turns: Cosines and sines [L, D / 2].
    """
    cos, sin = (jnp.asarray(t) for t in turns)
    a, b = jnp.split(x.astype(jnp.float32), 2, -1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1).astype(x.dtype)


@functools.lru_cache
def turns(grid: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines [grid * grid, D / 2] of the axial rotary code.

    A quarter of the channels each is for x and y.
    """
    speed = THETA ** -(np.arange(0, width // 2, 2, dtype=np.float32) / np.float32(width // 2))
    at = np.arange(grid * grid)
    angle = np.concatenate([np.outer(at % grid, speed), np.outer(at // grid, speed)], 1).astype(np.float32)
    return np.cos(angle), np.sin(angle)


@functools.lru_cache
def sine_code(grid: int, width: int) -> np.ndarray:
    """Sine code of a grid's cells, [grid, grid, D] float32.

    Rows are in the first half of the channels, columns in the other.
    """
    at = (np.arange(grid, dtype=np.float32) + 1) / np.float32(grid + 1e-6) * np.float32(2 * math.pi)
    channel = np.arange(width // 2)
    angle = at[:, None] / (THETA ** (2 * (channel // 2) / np.float32(width // 2))).astype(np.float32)
    code = np.where(channel % 2, np.cos(angle), np.sin(angle)).astype(np.float32)  # [grid, D / 2]
    rows = np.broadcast_to(code[:, None], (grid, grid, width // 2))
    columns = np.broadcast_to(code[None], (grid, grid, width // 2))
    return np.concatenate([rows, columns], -1)


def moment_code(offsets: jax.Array, span: jax.Array, width: int) -> jax.Array:
    """Sine code of object pointers' ages, [P, D] float32.

    Args:
        offsets: Ages in frames [P].
        span: The greatest age [].
        width: D.
    """
    channel = np.arange(width // 2)
    speed = (THETA ** (2 * (channel // 2) / (width // 2))).astype(np.float32)
    angle = (offsets / span)[:, None] / speed
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)
