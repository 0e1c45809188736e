"""A SAM of 32 pixels with drawn numbers, as a folder that serves wherever a model is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gsam.models import sam
from gsam.models.sam.config import Config
from gsam.weights import store

CONFIG = Config(16, 1, 2, (0,), image_size=32, patch=8, out_chans=16, decoder_heads=2, decoder_mlp=16)


def numbers(spec: Any, seed: int = 0) -> dict[str, Any]:
    """Parameters from NumPy: JAX would compile a program for every shape."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for name, shape in spec.shapes.items():
        fan_in = max(int(np.prod(shape.shape[:-1])), 1)
        scale = 1.0 / fan_in**0.5 if name.endswith("kernel") else 0.2
        drawn[name] = (rng.normal(0, scale, shape.shape) + name.endswith(("scale", "running_var"))).astype(np.float32)
    return drawn


def write_tiny_sam(folder: Path, config: Config = CONFIG) -> Path:
    """Write the model, in an Orbax folder; returns the folder."""
    return store.save(store.Loaded("sam", config, numbers(sam.spec(config)), None, "tiny"), folder)
