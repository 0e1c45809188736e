"""SAM 2's feature pyramid, from Hiera's stages to the decoder's features.

Source: sam2/modeling/backbones/image_encoder.py.

The two finest levels are only read through one more 1x1 convolution, ``conv_s0`` and ``conv_s1`` of
the mask decoder, and have no other level added: both convolutions are one, which saves most of the
work.
"""

from __future__ import annotations

import jax
from flax import nnx

from gsam.models.sam2.config import Config
from gsam.models.sam2.hiera import Hiera, in_rows
from gsam.nn.layers import Conv


class Lateral(nnx.Module):
    """A convolution under the name the checkpoint gives it."""

    def __init__(self, d_in: int, d_out: int) -> None:
        self.conv = Conv(1, d_in, d_out)


class FpnNeck(nnx.Module):
    """Lateral convolutions ``convs``, the coarsest stage's first, as in the original."""

    def __init__(self, config: Config) -> None:
        widths = [config.embed << stage for stage in reversed(range(len(config.stages)))]
        self.convs = nnx.List([Lateral(d, config.width) for d in widths])

    def fine(self, level: int, x: jax.Array, after: Conv) -> jax.Array:
        """Map tokens of stage ``level``, in windows, to [B, H, W, E] through ``after`` as well."""
        first = self.convs[-1 - level].conv
        assert first.bias is not None
        assert after.bias is not None
        kernel, bias = first.kernel[...][0, 0].astype(x.dtype), first.bias[...].astype(x.dtype)
        more = after.kernel[...][0, 0].astype(x.dtype)
        return in_rows(x @ (kernel @ more) + (bias @ more + after.bias[...].astype(x.dtype)))

    def coarse(self, x: jax.Array, coarsest: jax.Array) -> jax.Array:
        """Add stage 3, enlarged, to stage 2: tokens in windows -> the map [B, h, w, D]."""
        below = in_rows(self.convs[0].conv(coarsest))
        b, h, w, d = below.shape
        fine = in_rows(self.convs[1].conv(x)).reshape(b, h, 2, w, 2, d)
        return (fine + below[:, :, None, :, None]).reshape(b, 2 * h, 2 * w, d)


class ImageEncoder(nnx.Module):
    """Hiera and its neck."""

    def __init__(self, config: Config) -> None:
        self.trunk = Hiera(config)
        self.neck = FpnNeck(config)
