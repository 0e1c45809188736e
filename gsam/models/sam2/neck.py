"""From Hiera's stages to what prompts read (sam2/modeling/backbones/image_encoder.py).

The two finest levels are only read through one more 1x1 convolution, ``conv_s0`` and ``conv_s1`` of the mask decoder, and
have no other level added: both convolutions are one, which saves most of the work.
"""

from __future__ import annotations

import jax
from flax import nnx

from gsam.models.sam2.config import Config
from gsam.models.sam2.hiera import Hiera, in_rows
from gsam.nn.layers import Conv


class Lateral(nnx.Module):
    """Holds a convolution under the name the checkpoint gives it."""

    def __init__(self, d_in: int, d_out: int) -> None:
        self.conv = Conv(1, d_in, d_out)


class FpnNeck(nnx.Module):
    """``convs``: of the coarsest stage first, as in the original."""

    def __init__(self, config: Config) -> None:
        widths = [config.embed << stage for stage in reversed(range(len(config.stages)))]
        self.convs = nnx.List([Lateral(d, config.width) for d in widths])

    def fine(self, level: int, x: jax.Array, after: Conv) -> jax.Array:
        """Tokens of stage ``level`` in windows -> the map [B, H, W, E] behind the convolution ``after``."""
        first = self.convs[-1 - level].conv
        assert first.bias is not None
        assert after.bias is not None
        kernel, bias = first.kernel[...][0, 0].astype(x.dtype), first.bias[...].astype(x.dtype)
        more = after.kernel[...][0, 0].astype(x.dtype)
        return in_rows(x @ (kernel @ more) + (bias @ more + after.bias[...].astype(x.dtype)))

    def coarse(self, x: jax.Array, coarsest: jax.Array) -> jax.Array:
        """Tokens of stages 2 and 3 -> the map of stage 2, to which that of stage 3 is added, [B, h, w, D]."""
        below = in_rows(self.convs[0].conv(coarsest))
        b, h, w, d = below.shape
        fine = in_rows(self.convs[1].conv(x)).reshape(b, h, 2, w, 2, d)
        return (fine + below[:, :, None, :, None]).reshape(b, 2 * h, 2 * w, d)


class ImageEncoder(nnx.Module):
    def __init__(self, config: Config) -> None:
        self.trunk = Hiera(config)
        self.neck = FpnNeck(config)
