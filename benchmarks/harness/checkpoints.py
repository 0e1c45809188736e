"""Seeded checkpoints in the layout of the hub, the same for every side of a comparison.

A checkpoint is called by its family and size: ``sam_b``, ``sam_l``, ``sam_h``, ``sam_smooth``,
``sam2``, ``owl_1``, ``owl_2``, ``clip_b``, ``dino``.  Writing them needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

SAM_SIZES = {
    "b": {},
    "l": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, global_attn_indexes=[5, 11, 17, 23]),
    "h": dict(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, global_attn_indexes=[7, 15, 23, 31]),
}
"""How the sizes of SAM's image encoder differ from ViT-B."""
SMOOTH = "smooth"
"""A ViT-B whose random masks follow the image: real masks are no noise of single pixels."""


def write(folder: Path, small: bool, names: Iterable[str]) -> None:
    """Write those checkpoints of ``names`` that ``folder`` lacks, each whole or not at all."""
    from benchmarks.harness.oracles import seeded

    for name in names:
        if not (folder / name).is_dir():
            partial = folder / f"{name}.partial"
            seeded.save(_model(name, small), partial)
            partial.rename(folder / name)


def _model(name: str, small: bool) -> Any:
    from benchmarks.harness.oracles import seeded

    kind, _, size = name.partition("_")
    if kind == "sam":
        return _sam(size, small)
    if kind == "sam2":
        import transformers

        from benchmarks.harness.oracles import sam2_video

        return sam2_video.model(sam2_video.tiny(True) if small else transformers.Sam2VideoConfig())
    if kind == "owl":
        sizes = {"1": "base_patch32", "2": "base_patch16"}
        return seeded.owl("tiny" if small else sizes[size], int(size))
    if kind == "clip":
        return seeded.clip("tiny" if small else "base_patch32")
    from benchmarks.harness.oracles import grounding_dino

    return _calm(grounding_dino.model("small" if small else "tiny"))


def _sam(size: str, small: bool) -> Any:
    import transformers

    from benchmarks.harness.oracles import seeded

    if size in ("b", SMOOTH) or small:
        model = seeded.sam("tiny" if small else "vit_b")
        return _smooth(model) if size == SMOOTH else model
    vision = dict(SAM_SIZES[size], mlp_dim=4 * SAM_SIZES[size]["hidden_size"])
    config = transformers.SamConfig(vision_config=vision, mask_decoder_config=dict(layer_norm_eps=1e-5))
    return seeded.seed(transformers.SamModel(config))


def _smooth(sam: Any) -> Any:
    """Make equal what upscaling makes of a pixel, and logits ten times as far from zero."""
    import torch

    with torch.no_grad():
        for conv in (sam.mask_decoder.upscale_conv1, sam.mask_decoder.upscale_conv2):
            conv.weight.copy_(conv.weight.mean((2, 3), keepdim=True).expand_as(conv.weight))
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.proj_out.weight.mul_(10)
            mlp.proj_out.bias.mul_(10)
    return sam


def _calm(dino: Any) -> Any:
    """Make words and boxes fit each other moderately: at random, all scores would be 0 or 1."""
    import torch

    with torch.no_grad():
        for p in dino.model.decoder.layer_norm.parameters():
            p.mul_(0.1)
    return dino
