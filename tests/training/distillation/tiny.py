"""A teacher and students of a few thousand random numbers, as stages and as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gsam import bind
from gsam.models import efficient_sam, mobile_sam, sam
from gsam.models.promptable import PromptableSegmenter
from gsam.nn.tiny_vit import TinyVit
from gsam.weights import store

SAM = sam.Config(16, 1, 2, (0,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)
MEDSAM = sam.Config(
    16, 1, 2, (0,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32, preprocess="medsam"
)
MOBILE = mobile_sam.Config(
    TinyVit(64, (8, 8, 8, 16), (1, 1, 1, 1), (1, 1, 2), (4, 4, 4), (2, 1, 1), out_chans=16),
    decoder_heads=2,
    decoder_mlp=32,
)
EFFICIENT = efficient_sam.Config(16, 2, 1, image_size=64, patch=8, out_chans=16, decoder_heads=2, decoder_mlp=32)
FAMILIES: dict[str, Any] = {"sam": sam, "medsam": sam, "mobile_sam": mobile_sam, "efficient_sam": efficient_sam}
CONFIGS: dict[str, Any] = {"sam": SAM, "medsam": MEDSAM, "mobile_sam": MOBILE, "efficient_sam": EFFICIENT}


def stage(kind: str, seed: int = 0) -> PromptableSegmenter:
    """Make a segmenter of random numbers."""
    module, config = FAMILIES[kind], CONFIGS[kind]
    built: PromptableSegmenter = module.build(config, numbers(module.spec(config), seed))
    return built


def numbers(spec: bind.Spec[Any], seed: int) -> dict[str, Any]:
    """Draw as `bind.random_params` does, on the host, where nothing is compiled."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in spec.shapes.items():
        leaf, size = name.rsplit("/", 1)[-1], shape.shape
        noise = rng.normal(size=size).astype(np.float32)
        if leaf == "kernel":
            noise = noise / np.sqrt(np.prod(size[:-1], dtype=np.float32))
        elif leaf != "positional_encoding_gaussian_matrix":
            noise = 0.1 * noise + np.float32(leaf in ("scale", "running_var"))
        found[name] = np.abs(noise) if leaf == "running_var" else noise
    return found


def model(folder: Path, kind: str, seed: int = 0) -> Path:
    """Write a model as a folder that serves wherever a model is named."""
    config = CONFIGS[kind]
    family = "sam" if kind == "medsam" else kind
    return store.save(store.Loaded(family, config, stage(kind, seed).params, None, kind), folder / f"{kind}_{seed}")


def images(folder: Path, count: int) -> Path:
    """Write images of a few rectangles on grey, of different sizes."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        rng = np.random.default_rng(i)
        pixels = np.full((40 + i, 60, 3), 90, np.uint8)
        for _ in range(3):
            y, x = rng.integers(0, 30), rng.integers(0, 45)
            pixels[y : y + 12, x : x + 12] = rng.integers(0, 255, 3)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder
