"""A tracker of a few thousand numbers, and a video of a square that moves."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from gsam.models.sam2 import tracker
from gsam.models.sam2.config import Config

CONFIG = Config(
    8, 1, (1, 1, 1, 1), (), v21=True, background=2, window_spec=(4, 4, 2, 2), image_size=64, width=16, decoder_heads=2,
    decoder_mlp=16, mask_chans=4, mem_dim=8, memory_layers=1, memory_mlp=16, num_maskmem=3, max_obj_ptrs=4,
)  # fmt: skip
SIZE = (40, 56)


@functools.cache
def made(present: float = 4.0) -> tracker.Sam2Tracker:
    """Random, and of the opinion that objects are there (or, with a negative number, that they are
    not).
    """
    spec = tracker.spec(CONFIG)
    rng = np.random.default_rng(0)
    params: dict[str, Any] = {}
    for name, shape in spec.shapes.items():
        fan = shape.shape[-2] if name.endswith("kernel") and len(shape.shape) > 1 else 4
        params[name] = jnp.asarray(rng.normal(0, fan**-0.5, shape.shape), jnp.float32)
        if name.endswith("/scale"):
            params[name] = jnp.ones(shape.shape)
    params["sam_mask_decoder/pred_obj_score_head/layers/2/kernel"] *= 0.0
    params["sam_mask_decoder/pred_obj_score_head/layers/2/bias"] = jnp.full((1,), present)
    return dataclasses.replace(tracker.build(CONFIG, params))


def frames(count: int, seed: int = 0) -> list[np.ndarray]:
    """[40, 56, 3] each."""
    rng = np.random.default_rng(seed)
    back = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    found = []
    for t in range(count):
        frame = back.copy()
        frame[10:24, 5 + 2 * t : 20 + 2 * t] = (240, 30, 60)
        found.append(frame)
    return found
