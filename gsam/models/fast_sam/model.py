"""FastSAM: YOLOv8-seg with one class (Zhao et al. 2023; paths as in the official checkpoints)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.models.fast_sam.blocks import C2f, ConvBlock, Frame, Proto, Sppf
from gsam.models.fast_sam.config import Config
from gsam.nn.layers import Conv, softmax

STRIDES = (8, 16, 32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Seen:
    """Output of the network for each of the A places, those of stride 8 first, row by row."""

    xyxy: jax.Array
    """[B, A, 4] float32 pixels of the canvas."""
    score: jax.Array
    """[B, A] float32 in 0..1; -1 outside of the image's frame."""
    coefficients: jax.Array
    """[B, A, P]."""
    prototypes: jax.Array
    """[B, H/4, W/4, P]."""


class Upsample(nnx.Module):
    """Nearest-neighbour upsampling by 2, without parameters."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.repeat(2, 1).repeat(2, 2)


class Concat(nnx.Module):
    """Concatenation of two maps' channels, without parameters."""

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.concatenate([x, y], -1)


class Head(nnx.Module):
    """YOLOv8-seg's head on three maps.

    It gives boxes (``cv2``), scores (``cv3``) and mask coefficients (``cv4``) of each, and
    prototypes of the finest.
    """

    def __init__(self, widths: tuple[int, ...], config: Config) -> None:
        first, bins, count = widths[0], 4 * config.bins, config.coefficients
        self.cv2 = branch(widths, max(16, first // 4, bins), bins)
        self.cv3 = branch(widths, max(first, config.classes), config.classes)
        self.cv4 = branch(widths, max(first // 4, count), count)
        self.proto = Proto(first, config.channels(256), count)
        self.bins = config.bins

    def __call__(self, maps: list[jax.Array], frame: Frame) -> Seen:
        boxes, scores, coefficients = [], [], []
        for i, (x, stride) in enumerate(zip(maps, STRIDES, strict=True)):
            b, h, w, _ = x.shape
            distance, logits, weights = (through(p[i], x, frame) for p in (self.cv2, self.cv3, self.cv4))
            share = softmax(distance.astype(jnp.float32).reshape(b, h, w, 4, self.bins))
            sides = (share * jnp.arange(self.bins, dtype=jnp.float32)).sum(-1)  # left, top, right, bottom
            across, down = (jnp.arange(n, dtype=jnp.float32) + 0.5 for n in (w, h))
            place = jnp.stack(jnp.meshgrid(across, down), -1)  # [h, w, 2] as x y
            corners = jnp.concatenate([place - sides[..., :2], place + sides[..., 2:]], -1) * stride
            score = jax.nn.sigmoid(logits.astype(jnp.float32)).max(-1)
            boxes.append(corners.reshape(b, h * w, 4))
            scores.append(jnp.where(frame.inside(h, w), score, -1.0).reshape(b, h * w))
            coefficients.append(weights.reshape(b, h * w, -1))
        return Seen(
            jnp.concatenate(boxes, 1),
            jnp.concatenate(scores, 1),
            jnp.concatenate(coefficients, 1),
            self.proto(maps[0], frame),
        )


def branch(widths: tuple[int, ...], hidden: int, out: int) -> nnx.List[Any]:
    """Make three layers for each map."""
    return nnx.List(
        [nnx.List([ConvBlock(w, hidden, 3), ConvBlock(hidden, hidden, 3), Conv(1, hidden, out)]) for w in widths]
    )


def through(layers: nnx.List[Any], x: jax.Array, frame: Frame) -> jax.Array:
    """Apply the three layers of a branch to a map."""
    first, second, last = layers
    return last(second(first(x, frame), frame))


class FastSam(nnx.Module):
    """YOLOv8-seg, whose ``model`` is numbered as in the checkpoints.

    Layers without parameters hold their places.
    """

    def __init__(self, config: Config) -> None:
        wide = config.channels
        once, twice = config.repeats(3), config.repeats(6)
        stem, fine, middle, coarse, last = (wide(c) for c in (64, 128, 256, 512, 1024))
        self.model = nnx.List(
            [
                ConvBlock(3, stem, 3, 2),  # 0
                ConvBlock(stem, fine, 3, 2),  # 1
                C2f(fine, fine, once, True),  # 2
                ConvBlock(fine, middle, 3, 2),  # 3
                C2f(middle, middle, twice, True),  # 4, stride 8
                ConvBlock(middle, coarse, 3, 2),  # 5
                C2f(coarse, coarse, twice, True),  # 6, stride 16
                ConvBlock(coarse, last, 3, 2),  # 7
                C2f(last, last, once, True),  # 8
                Sppf(last, last),  # 9, stride 32
                Upsample(),
                Concat(),  # 11, with 6
                C2f(last + coarse, coarse, once, False),  # 12
                Upsample(),
                Concat(),  # 14, with 4
                C2f(coarse + middle, middle, once, False),  # 15
                ConvBlock(middle, middle, 3, 2),  # 16
                Concat(),  # 17, with 12
                C2f(middle + coarse, coarse, once, False),  # 18
                ConvBlock(coarse, coarse, 3, 2),  # 19
                Concat(),  # 20, with 9
                C2f(coarse + last, last, once, False),  # 21
                Head((middle, coarse, last), config),  # 22
            ]
        )

    def maps(self, pixels: jax.Array, frame: Frame) -> list[jax.Array]:
        """Encode pixels [B, H, W, 3] in 0..1 as maps of strides 8, 16 and 32."""
        beside = {11: 6, 14: 4, 17: 12, 20: 9}
        outs: list[jax.Array] = []
        x = frame.cut(pixels)
        for i, layer in enumerate(self.model[:-1]):
            if isinstance(layer, Concat):
                x = layer(x, outs[beside[i]])
            elif isinstance(layer, Upsample):
                x = layer(x)
            else:
                x = layer(x, frame)
            outs.append(x)
        return [outs[15], outs[18], outs[21]]

    def __call__(self, pixels: jax.Array, frame: Frame) -> Seen:
        return self.model[-1](self.maps(pixels, frame), frame)
