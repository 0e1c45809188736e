"""Which model families there are and what each can do.  Nothing here imports a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

ROLES = ("detect", "ground", "segment", "classify", "track")
"""The roles that a model can play, see `gsam.roles`."""


class Family(NamedTuple):
    """One architecture: the module of each role it can play, and its official checkpoints.

    A module has ``spec(config)`` (the parameters the role needs) and ``build(config, params,
    tokenizer, **settings)``.
    """

    roles: Mapping[str, str]
    variants: tuple[str, ...]


FAMILIES: Mapping[str, Family] = {
    "owl_vit": Family(
        {"detect": "gsam.models.owl_vit"},
        (
            "owlvit_base_patch32",
            "owlvit_base_patch16",
            "owlvit_large_patch14",
            "owlv2_base_patch16",
            "owlv2_base_patch16_finetuned",
            "owlv2_base_patch16_ensemble",
            "owlv2_large_patch14",
            "owlv2_large_patch14_finetuned",
            "owlv2_large_patch14_ensemble",
            "nano_owl",
        ),
    ),
    "grounding_dino": Family(
        {"detect": "gsam.models.grounding_dino"},
        (
            "grounding_dino_tiny",
            "grounding_dino_base",
            "mm_grounding_dino_tiny_o365v1_goldg",
            "mm_grounding_dino_tiny_o365v1_goldg_grit",
            "mm_grounding_dino_tiny_o365v1_goldg_v3det",
            "mm_grounding_dino_tiny_o365v1_goldg_grit_v3det",
            "mm_grounding_dino_base_o365v1_goldg_v3det",
            "mm_grounding_dino_base_all",
            "mm_grounding_dino_large_o365v2_oiv6_goldg",
            "mm_grounding_dino_large_all",
            "llmdet_tiny",
            "llmdet_base",
            "llmdet_large",
        ),
    ),
    "sam": Family(
        {"segment": "gsam.models.sam"},
        (
            "sam_vit_b",
            "sam_vit_l",
            "sam_vit_h",
            "medsam_vit_b",
            "nano_sam",
        ),
    ),
    "sam_hq": Family(
        {"segment": "gsam.models.sam_hq"},
        (
            "sam_hq_vit_b",
            "sam_hq_vit_l",
            "sam_hq_vit_h",
            "sam_hq_vit_tiny",
        ),
    ),
    "mobile_sam": Family(
        {"segment": "gsam.models.mobile_sam"},
        ("mobile_sam",),
    ),
    "efficient_sam": Family(
        {"segment": "gsam.models.efficient_sam"},
        (
            "efficient_sam_vitt",
            "efficient_sam_vits",
        ),
    ),
    "sam2": Family(
        {"segment": "gsam.models.sam2", "track": "gsam.models.sam2.tracker"},
        (
            "sam2.1_hiera_tiny",
            "sam2.1_hiera_small",
            "sam2.1_hiera_base_plus",
            "sam2.1_hiera_large",
            "sam2_hiera_tiny",
            "sam2_hiera_small",
            "sam2_hiera_base_plus",
            "sam2_hiera_large",
            "sam2.1_hq_hiera_large",
            "nano_sam2",
        ),
    ),
    "fast_sam": Family(
        {"segment": "gsam.models.fast_sam", "ground": "gsam.models.fast_sam"},
        (
            "fast_sam_s",
            "fast_sam_x",
        ),
    ),
    "clip": Family(
        {"classify": "gsam.models.clip"},
        (
            "clip_vit_base_patch32",
            "clip_vit_base_patch16",
            "clip_vit_large_patch14",
            "clip_vit_large_patch14_336",
            "nano_clip",
        ),
    ),
    "siglip": Family(
        {"classify": "gsam.models.siglip"},
        (
            "siglip_base_patch16_224",
            "siglip_base_patch16_256",
            "siglip_base_patch16_384",
            "siglip_base_patch16_512",
            "siglip_large_patch16_256",
            "siglip_large_patch16_384",
            "siglip_so400m_patch14_384",
            "siglip2_base_patch16_224",
            "siglip2_base_patch16_256",
            "siglip2_base_patch16_384",
            "siglip2_base_patch16_512",
            "siglip2_large_patch16_256",
            "siglip2_large_patch16_384",
            "siglip2_large_patch16_512",
            "siglip2_so400m_patch14_224",
            "siglip2_so400m_patch14_384",
        ),
    ),
}
"""A family's package is ``gsam.models.<family>``; its name maps are in the package's ``port``."""


def family_of(variant: str) -> str | None:
    """The family of an official checkpoint's name, or None."""
    return next((name for name, family in FAMILIES.items() if variant in family.variants), None)


def roles_of(variant: str) -> Mapping[str, str]:
    """Tell what an official checkpoint can do.

    Args:
        variant: Its name.

    Returns:
        Role -> module, as in `Family`; empty for a name that is not registered.
    """
    family = family_of(variant)
    return FAMILIES[family].roles if family is not None else {}


def variants() -> list[str]:
    """The names of all official checkpoints, and of the models that ship with gsam."""
    return [variant for family in FAMILIES.values() for variant in family.variants]
