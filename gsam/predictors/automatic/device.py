"""Masks at the size of their crop, looked at in tiles on an accelerator: one program whatever the
size of the picture.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.ops.resampling import Band
from gsam.predictors.automatic.measure import Frame, Measured
from gsam.runtime.program import Program

TILE = 512
"""Pixels of a crop a side that are made at a time; a multiple of 8."""
TOGETHER = 64
"""Masks at a time: 64 MB of logits in a tile."""


class OnDevice:
    """`gsam.predictors.automatic.measure.measure` for many masks where they are."""

    def __init__(self, platform: str) -> None:
        self.look = Program(_look, platform)

    def __call__(self, logits: jax.Array, index: NDArray[np.int64], frame: Frame) -> list[Measured]:
        """The rows ``index`` of logits [N, M, h, w], flattened to [N M]."""
        found = []
        for start in range(0, len(index), TOGETHER):
            found += self._some(logits, index[start : start + TOGETHER], frame)
        return found

    def _some(self, logits: jax.Array, index: NDArray[np.int64], frame: Frame) -> list[Measured]:
        rows, columns = _matrices(frame)
        height, width = frame.size
        cuts = np.array(frame.cuts, np.float32)
        squash = frame.upsample == "probability"
        padded = np.pad(index, (0, TOGETHER - len(index))).astype(np.int32)
        begun = [
            [
                self.look(logits, padded, a, b, np.int32(height - y), np.int32(width - x), cuts, np.bool_(squash))
                for x, b in zip(range(0, width, TILE), columns, strict=True)
            ]
            for y, a in zip(range(0, height, TILE), rows, strict=True)
        ]
        large = np.zeros(TOGETHER, np.int64)
        small = np.zeros(TOGETHER, np.int64)
        packed = []
        for line in jax.device_get(begun):
            for more, less, _ in line:
                large, small = large + more, small + less
            packed.append([bits for _, _, bits in line])
        found = []
        for i in range(len(index)):
            lines = [np.concatenate([bits[i] for bits in line], 1) for line in packed]
            part = np.unpackbits(np.concatenate(lines), axis=1)[:height, :width].astype(bool)
            found.append(Measured(int(large[i]), int(small[i]), part, (0, 0)))
        return found


def _look(
    logits: jax.Array,
    index: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    height: jax.Array,
    width: jax.Array,
    cuts: jax.Array,
    squash: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One tile of the masks ``index`` [K] of logits [N, M, h, w]: pixels above the lowest and the
    highest cut [K], and those above the middle one, packed [K, TILE, TILE / 8].

    ``rows`` [TILE, h] and ``columns`` [TILE, w] enlarge; of the tile, ``height`` and ``width`` are
    crop.
    """
    chosen = logits.reshape(-1, *logits.shape[2:])[index]
    chosen = jnp.where(squash, jax.nn.sigmoid(chosen), chosen)
    cuts = jnp.where(squash, jax.nn.sigmoid(cuts), cuts)
    exact = jax.lax.Precision.HIGHEST
    part = jnp.einsum("khw,xw->khx", chosen, columns, precision=exact)
    tile = jnp.einsum("yh,khx->kyx", rows, part, precision=exact)
    at = jnp.arange(TILE, dtype=jnp.int32)
    inside = (at < height)[:, None] & (at < width)
    more, mask, less = ((tile > cut) & inside for cut in cuts)
    return more.sum((1, 2), dtype=jnp.int32), less.sum((1, 2), dtype=jnp.int32), jnp.packbits(mask, axis=-1)


@functools.lru_cache(maxsize=4)
def _matrices(frame: Frame) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """For every tile of an axis, [TILE, source]; zeros beyond the crop."""
    made: Any = []
    for axis, source in zip(frame.axes, frame.source, strict=True):
        made.append([_tile(axis, start, source) for start in range(0, axis[-1].target.stop, TILE)])
    return made[0], made[1]


def _tile(axis: list[Band], start: int, source: int) -> NDArray[np.float32]:
    out = np.zeros((TILE, source), np.float32)
    for band in axis:
        if start <= band.target.start < start + TILE:
            out[band.target.start - start : band.target.stop - start, band.source] = band.weights
    return out
