"""Reference models in torch with seeded weights, saved in the layout of the hub.

Weights are scaled so that activations keep unit order.  Where Hugging Face's arithmetic differs
from the original repository's, the torch module is set to the original's, and the change is listed
in `CHANGES`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

CHANGES = {
    "sam": "two-way transformer layer norms at eps 1e-5 (the original's; transformers has 1e-6)",
    "owl_vit": "merged class token norm at eps 1e-6, tanh GELU in the heads (Scenic's; transformers has 1e-5 and erf)",
    "clip": "none",
    "siglip": "none",
}


def seed(model: nn.Module, number: int = 0) -> nn.Module:
    """Set random weights: kernels by fan-in, embeddings and biases small, norms around one."""
    generator = torch.Generator().manual_seed(number)
    norms = {
        id(p)
        for m in model.modules()
        if isinstance(m, nn.LayerNorm) or "LayerNorm" in type(m).__name__
        for p in m.parameters()
    }
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if id(p) in norms:
                p.copy_((1.0 if name.endswith("weight") else 0.0) + 0.1 * noise)
            elif p.ndim >= 2 and not any(w in name for w in ("embed", "rel_pos", "position")):
                transposed = "upscale" in name
                fan_in = p.shape[0] if transposed else p[0].numel()
                p.copy_(noise / fan_in**0.5)
            elif name.endswith("logit_scale") and p.ndim == 0:
                p.fill_(float(np.log(1 / 0.07)))
            else:
                p.copy_(0.2 * noise)
        for name, b in model.named_buffers():
            if "positional_embedding" in name:
                b.copy_(torch.randn(b.shape, generator=generator))
    return model.eval()


def save(model: Any, folder: Path) -> Path:
    """Write ``config.json`` and ``model.safetensors`` to ``folder``, as on the hub."""
    model.save_pretrained(folder, safe_serialization=True)
    assert json.loads((folder / "config.json").read_text())["model_type"]
    return folder


def sam(size: str) -> Any:
    """Return a SAM, ``tiny`` or ``vit_b``."""
    if size == "tiny":
        vision = dict(
            hidden_size=64, num_hidden_layers=4, num_attention_heads=4, global_attn_indexes=[1, 3], image_size=128,
            patch_size=8, window_size=6, output_channels=32, mlp_dim=256, num_pos_feats=16,
        )  # fmt: skip
        prompt = dict(hidden_size=32, image_size=128, patch_size=8, image_embedding_size=16)
        decoder = dict(hidden_size=32, num_attention_heads=4, mlp_dim=64, iou_head_hidden_dim=32, layer_norm_eps=1e-5)
    else:
        vision, prompt, decoder = {}, {}, dict(layer_norm_eps=1e-5)
    config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    return seed(transformers.SamModel(config))


def owl(size: str, version: int = 2) -> Any:
    """Return ``tiny``, ``base_patch16`` or ``base_patch32`` of OWL-ViT (1) or OWLv2 (2)."""
    name = "Owlv2" if version == 2 else "OwlViT"
    if size == "tiny":
        text = dict(
            hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=100,
            max_position_embeddings=16, bos_token_id=98, eos_token_id=99, pad_token_id=0,
        )  # fmt: skip
        vision = dict(
            hidden_size=48,
            intermediate_size=192,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=64,
            patch_size=8,
        )
        config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=vision, projection_dim=32)
    else:
        image = 960 if version == 2 else 768
        config = getattr(transformers, f"{name}Config")(vision_config=dict(image_size=image, patch_size=int(size[-2:])))
    model = seed(getattr(transformers, f"{name}ForObjectDetection")(config))
    model.layer_norm.eps = 1e-6
    for head in (model.box_head, getattr(model, "objectness_head", None)):
        if head is not None:
            head.gelu = nn.GELU(approximate="tanh")
    return model


def clip(size: str) -> Any:
    """Return a CLIP, ``tiny`` or ``base_patch32``."""
    if size == "tiny":
        text = dict(
            hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=100,
            max_position_embeddings=16, bos_token_id=98, eos_token_id=99,
        )  # fmt: skip
        vision = dict(
            hidden_size=48,
            intermediate_size=192,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=64,
            patch_size=8,
        )
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    else:
        config = transformers.CLIPConfig()
    return seed(transformers.CLIPModel(config))


def siglip(size: str, version: int = 1) -> Any:
    """Return ``tiny`` or ``base_patch16`` of SigLIP (1) or SigLIP 2.

    A tiny SigLIP 2 has pixels to spare and a narrow MLP, as so400m has.
    """
    vocab = 256000 if version == 2 else 100 if size == "tiny" else 32000
    if size == "tiny":
        hidden, image = (176, 60) if version == 2 else (192, 64)
        common = dict(hidden_size=48, intermediate_size=hidden, num_hidden_layers=3, num_attention_heads=4)
        text = dict(common, vocab_size=vocab, max_position_embeddings=16, projection_size=48)
        vision = dict(common, image_size=image, patch_size=8)
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    else:
        config = transformers.SiglipConfig(text_config=dict(vocab_size=vocab))
    model = seed(transformers.SiglipModel(config))
    with torch.no_grad():
        model.logit_scale.fill_(float(np.log(10)))
        model.logit_bias.fill_(-10.0)
    return model


def sticky_ids(count: int, context: int, vocab: int, pad: int) -> np.ndarray:
    """Return sentences of different lengths as SigLIP has them: words, the end mark 1, padding."""
    rng = np.random.default_rng(count)
    ids = np.full((count, context), pad, np.int32)
    for row in ids:
        words = int(rng.integers(1, context))
        row[:words], row[words] = rng.integers(2, vocab, words), 1
    return ids


def token_ids(count: int, context: int, vocab: int) -> np.ndarray:
    """Return sentences of different lengths: begin, words, end (the highest id), zeros."""
    rng = np.random.default_rng(count)
    ids = np.zeros((count, context), np.int32)
    for row in ids:
        words = int(rng.integers(1, context - 3))
        row[0], row[1 : 1 + words], row[1 + words] = vocab - 2, rng.integers(1, vocab - 2, words), vocab - 1
    return ids
