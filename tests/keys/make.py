"""Pack the official key lists into ``lists.json.gz``: ``python tests/keys/make.py FOLDER``, one
JSON a checkpoint in it.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

VARIANTS = {
    "sam_vit_b_01ec64": "sam_vit_b",
    "sam_vit_l_0b3195": "sam_vit_l",
    "sam_vit_h_4b8939": "sam_vit_h",
    "medsam_vit_b": "medsam_vit_b",
    "efficient_sam_vitt": "efficient_sam_vitt",
    "efficient_sam_vits": "efficient_sam_vits",
    "hf_sam-vit-base": "sam_vit_b",
    "hf_sam-vit-large": "sam_vit_l",
    "hf_sam-vit-huge": "sam_vit_h",
    "mobile_sam": "mobile_sam",
    "sam_hq_vit_b": "sam_hq_vit_b",
    "sam_hq_vit_l": "sam_hq_vit_l",
    "sam_hq_vit_h": "sam_hq_vit_h",
    "sam_hq_vit_tiny": "sam_hq_vit_tiny",
    "hf_sam-hq-vit-base": "sam_hq_vit_b",
    "hf_sam-hq-vit-large": "sam_hq_vit_l",
    "hf_sam-hq-vit-huge": "sam_hq_vit_h",
    "sam2_hiera_tiny": "sam2_hiera_tiny",
    "sam2_hiera_small": "sam2_hiera_small",
    "sam2_hiera_base_plus": "sam2_hiera_base_plus",
    "sam2_hiera_large": "sam2_hiera_large",
    "sam2.1_hiera_tiny": "sam2.1_hiera_tiny",
    "sam2.1_hiera_small": "sam2.1_hiera_small",
    "sam2.1_hiera_base_plus": "sam2.1_hiera_base_plus",
    "sam2.1_hiera_large": "sam2.1_hiera_large",
    "sam2.1_hq_hiera_large": "sam2.1_hq_hiera_large",
    "hf_sam2-hiera-tiny": "sam2_hiera_tiny",
    "hf_sam2-hiera-small": "sam2_hiera_small",
    "hf_sam2-hiera-base-plus": "sam2_hiera_base_plus",
    "hf_sam2-hiera-large": "sam2_hiera_large",
    "hf_sam2.1-hiera-tiny": "sam2.1_hiera_tiny",
    "hf_sam2.1-hiera-small": "sam2.1_hiera_small",
    "hf_sam2.1-hiera-base-plus": "sam2.1_hiera_base_plus",
    "hf_sam2.1-hiera-large": "sam2.1_hiera_large",
    "hf_sam2-image-hiera-tiny": "sam2_hiera_tiny",
    "hf_sam2-image-hiera-small": "sam2_hiera_small",
    "hf_sam2-image-hiera-base-plus": "sam2_hiera_base_plus",
    "hf_sam2-image-hiera-large": "sam2_hiera_large",
    "google__owlvit-base-patch32": "owlvit_base_patch32",
    "google__owlvit-base-patch16": "owlvit_base_patch16",
    "google__owlvit-large-patch14": "owlvit_large_patch14",
    "google__owlv2-base-patch16-ensemble": "owlv2_base_patch16_ensemble",
    "google__owlv2-large-patch14-ensemble": "owlv2_large_patch14_ensemble",
    "groundingdino_swint_ogc": "grounding_dino_tiny",
    "groundingdino_swinb_cogcoor": "grounding_dino_base",
    "IDEA-Research__grounding-dino-tiny": "grounding_dino_tiny",
    "IDEA-Research__grounding-dino-base": "grounding_dino_base",
    "FastSAM-s": "fast_sam_s",
    "FastSAM-x": "fast_sam_x",
    "openai__clip-vit-base-patch32": "clip_vit_base_patch32",
    "openai__clip-vit-base-patch16": "clip_vit_base_patch16",
    "openai__clip-vit-large-patch14": "clip_vit_large_patch14",
    "openai__clip-vit-large-patch14-336": "clip_vit_large_patch14_336",
    "google__siglip-base-patch16-224": "siglip_base_patch16_224",
    "google__siglip2-base-patch16-224": "siglip2_base_patch16_224",
}
"""Key list -> the variant it is."""


def main(folder: Path) -> None:
    lists = {}
    for source, variant in VARIANTS.items():
        given = json.loads((folder / f"{source}.json").read_text())
        lists[source] = {
            "variant": variant,
            "licence": given["license"],
            "keys": {name: shape for name, (shape, _) in (given["keys"] | given.get("file_only_keys", {})).items()},
            "optional": {name: shape for name, (shape, _) in (given.get("optional_file_keys") or {}).items()},
        }
    text = json.dumps(lists, separators=(",", ":")).encode()
    Path(__file__).with_name("lists.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
