"""Parameters for gsam's side of a comparison, from the seeded checkpoints or at random."""

from __future__ import annotations

import importlib
from typing import Any

import jax.numpy as jnp

from benchmarks.harness.setting import Setting
from gsam import bind
from gsam.weights import store

FAMILIES = {
    "sam": ("gsam.models.sam", "sam_vit_{}", "nano_sam"),
    "owl": ("gsam.models.owl_vit", "owlv2_base_patch16", "nano_owl"),
    "sam2": ("gsam.models.sam2", "sam2_hiera_tiny", "nano_sam2"),
    "clip": ("gsam.models.clip", "clip_vit_base_patch32", "nano_clip"),
    "dino": ("gsam.models.grounding_dino", "grounding_dino_tiny", "grounding_dino_tiny"),
}
"""By the first word of a checkpoint's name: the family, its variant, and the reduced variant."""


def load(setting: Setting, name: str, role: str) -> tuple[Any, Any]:
    """Return configuration and parameters of the checkpoint ``name``.

    Where no torch could write it, the parameters are random numbers of the same sizes.
    """
    dtype = "bfloat16" if setting.half else "float32"
    if (setting.folder / name).is_dir():
        loaded = store.load(setting.folder / name, role=role, dtype=dtype)
        return loaded.config, loaded.params
    kind, _, size = name.partition("_")
    module, variant, reduced = FAMILIES[kind]
    family = importlib.import_module(module)
    config = family.VARIANTS[reduced if setting.small else variant.format(size)]
    params = bind.random_params(family.spec(config))
    return config, {key: value.astype(jnp.dtype(dtype)) for key, value in params.items()}
