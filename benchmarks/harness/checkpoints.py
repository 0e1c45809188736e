"""Seeded checkpoints in the layout of the hub, the same for every side of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SAM = {
    "b": {},
    "l": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, global_attn_indexes=[5, 11, 17, 23]),
    "h": dict(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, global_attn_indexes=[7, 15, 23, 31]),
}
"""How the sizes of SAM's image encoder differ from ViT-B."""
SMOOTH = "smooth"
"""ViT-B whose random masks follow the picture: noise of single pixels is nothing a mask generator meets."""


def write(folder: Path, small: bool, names: set[str]) -> None:
    """The checkpoints ``names`` (folders) as on the hub.  Needs torch and transformers."""
    import torch
    import transformers

    from benchmarks.harness.oracles import grounding_dino, seeded

    for name in sorted(names - {p.name for p in folder.iterdir()}):
        kind, _, size = name.partition("_")
        if kind == "sam":
            model = seeded.sam("tiny") if small else _sam("b" if size == SMOOTH else size)
            if size == SMOOTH:
                _smooth(model)
        elif kind == "sam2":
            from benchmarks.harness.oracles import sam2_video

            model = sam2_video.model(sam2_video.tiny(True) if small else transformers.Sam2VideoConfig())
        elif kind == "owl":
            model = seeded.owl("tiny" if small else "base_patch16")
        elif kind == "clip":
            model = seeded.clip("tiny" if small else "base_patch32")
        else:
            model = grounding_dino.model("small" if small else "tiny")
            with torch.no_grad():  # random words and boxes fit each other so well or badly that scores would be 0 or 1
                for p in model.model.decoder.layer_norm.parameters():
                    p.mul_(0.1)
        seeded.save(model, folder / name)


def _sam(size: str) -> Any:
    import transformers

    from benchmarks.harness.oracles import seeded

    if size == "b":
        return seeded.sam("vit_b")
    width = SAM[size]["hidden_size"]
    config = transformers.SamConfig(
        vision_config=dict(SAM[size], mlp_dim=4 * width), mask_decoder_config=dict(layer_norm_eps=1e-5)
    )
    return seeded.seed(transformers.SamModel(config))


def _smooth(sam: Any) -> None:
    """The four pixels that an upscaling makes of one become equal, and logits ten times as far from zero."""
    import torch

    with torch.no_grad():
        for conv in (sam.mask_decoder.upscale_conv1, sam.mask_decoder.upscale_conv2):
            conv.weight.copy_(conv.weight.mean((2, 3), keepdim=True).expand_as(conv.weight))
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.proj_out.weight.mul_(10)
            mlp.proj_out.bias.mul_(10)
