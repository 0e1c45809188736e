"""Every model there is, one line a family.  Nothing here imports a model."""

from __future__ import annotations

FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "owl_vit": (
        "detect",
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
    "grounding_dino": (
        "detect",
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
    "sam": ("segment", ("sam_vit_b", "sam_vit_l", "sam_vit_h", "medsam_vit_b", "nano_sam")),
    "sam_hq": ("segment", ("sam_hq_vit_b", "sam_hq_vit_l", "sam_hq_vit_h", "sam_hq_vit_tiny")),
    "mobile_sam": ("segment", ("mobile_sam",)),
    "efficient_sam": ("segment", ("efficient_sam_vitt", "efficient_sam_vits")),
    "sam2": (
        "segment",
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
    "fast_sam": ("segment", ("fast_sam_s", "fast_sam_x")),
    "clip": (
        "classify",
        (
            "clip_vit_base_patch32",
            "clip_vit_base_patch16",
            "clip_vit_large_patch14",
            "clip_vit_large_patch14_336",
            "nano_clip",
        ),
    ),
    "siglip": (
        "classify",
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
"""Family -> (role, variants).  The family is the package ``gsam.<role>.<family>``."""


def family_of(variant: str) -> tuple[str, str] | None:
    """``(role, family)`` of an official name, or None."""
    for family, (role, variants) in FAMILIES.items():
        if variant in variants:
            return role, family
    return None
