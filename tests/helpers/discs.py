"""A promptable segmenter whose masks are known: a disc around every foreground click, what is in
the box, what the mask says.
"""

from __future__ import annotations

import dataclasses
import types
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, TOP_LEFT
from gsam.types import Images, Params, View

SIZE, SIDE, RADIUS = 64, 32, 6.0


@dataclasses.dataclass(frozen=True, eq=False)
class Discs(PromptableSegmenter):
    """Sees pictures squashed to 64 x 64, gives one mask of 32 x 32, has two features."""

    upsample: ClassVar[Any] = "bilinear"

    @property
    def view(self) -> View:
        return View(SIZE, "squash")

    def features(self, params: Params, images: Images) -> Any:
        grey = images.view(self.view).astype(jnp.float32).mean(-1, keepdims=True).astype(params["gain"].dtype)
        return {"fine": grey * params["gain"], "coarse": (grey[:, ::8, ::8] * params["gain"],)}

    def decode(
        self, model: Any, features: Any, points: jax.Array, labels: jax.Array, multimask: bool, **mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        assert features["fine"].shape == (SIZE, SIZE, 1)
        at = (jnp.arange(SIDE, dtype=jnp.float32) + 0.5) * (SIZE / SIDE)
        x, y = at[None, :], at[:, None]

        def disc(kind: int) -> jax.Array:
            away = (x - points[..., :1, None]) ** 2 + (y - points[..., 1:, None]) ** 2  # [N, P, h, w]
            return jnp.where((labels == kind)[..., None, None], RADIUS**2 - away, -9.0).max(1)

        ends = [jnp.where((labels == k)[..., None], points, 0.0).sum(1) for k in (TOP_LEFT, BOTTOM_RIGHT)]
        (x0, y0), (x1, y1) = ((e[:, 0, None, None], e[:, 1, None, None]) for e in ends)
        inside = jnp.minimum(jnp.minimum(x - x0, x1 - x), jnp.minimum(y - y0, y1 - y))
        boxed = jnp.where((labels == TOP_LEFT).any(1)[:, None, None], inside, -9.0)
        logits = jnp.minimum(jnp.maximum(disc(FOREGROUND), boxed), -disc(BACKGROUND))
        if mask:
            given = mask.get("has_mask", jnp.ones(len(points), bool))
            logits = jnp.where(given[:, None, None], jnp.maximum(logits, mask["mask"]), logits)
        return logits[:, None], jnp.broadcast_to(
            features["coarse"][0].astype(jnp.float32).mean() / 255.0, (len(points), 1)
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes(Discs):
    """Takes boxes alone, as MedSAM does."""

    prompt_types: ClassVar[frozenset[str]] = frozenset({"box"})


@dataclasses.dataclass(frozen=True, eq=False)
class Red(Discs):
    """Sees nothing but red."""

    def features(self, params: Params, images: Images) -> Any:
        red = images.view(self.view).astype(jnp.float32)[..., :1] * params["gain"]
        return {"fine": red, "coarse": (red[:, ::8, ::8],)}


def discs(gain: float = 1.0, dtype: Any = jnp.float32, kind: type[Discs] = Discs) -> Discs:
    return kind("discs", types.SimpleNamespace(bind=lambda params: params), {"gain": jnp.full((), gain, dtype)})
