"""HQ-SAM 2's mask decoder in torch, around transformers' modules of SAM 2 as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.sam2.modeling_sam2 import Sam2LayerNorm


class Mlp(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, out)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[2](self.layers[1](self.layers[0](x).relu()).relu())


class Finer(nn.Module):
    """HQ-SAM 2's own modules, called as in the official file behind ``sam_mask_decoder.``"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hf_token = nn.Embedding(1, width)
        self.hf_mlp = Mlp(width, width // 8)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(width // 8, width // 4, 3, padding=1),
            Sam2LayerNorm(width // 4, data_format="channels_first"),
            nn.GELU(),
            nn.Conv2d(width // 4, width // 8, 3, padding=1),
        )


def decode(
    model: Any,
    finer: Finer,
    features: list[torch.Tensor],
    points: torch.Tensor,
    labels: torch.Tensor,
    *,
    multimask: bool,
    hq_token_only: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode one prompt, points [P, 2] and labels [P]: logits [M, 4h, 4w] and IoU [M]."""
    d = model.mask_decoder
    s0, s1, embedding = features
    sparse, dense = model.prompt_encoder(points[None, None], labels[None, None], None, None)
    own = [d.obj_score_token, d.iou_token, d.mask_tokens, finer.hf_token]
    tokens = torch.cat([torch.cat([e.weight for e in own])[None, None], sparse], 2)
    code = model.get_image_wide_positional_embeddings()
    tokens, image = d.transformer(tokens, embedding + dense, code, attention_similarity=None)
    image = image.transpose(2, 3).reshape(embedding.shape)
    image = d.activation(d.upscale_layer_norm(d.upscale_conv1(image) + s1))
    image = d.activation(d.upscale_conv2(image) + s0)
    hyper = torch.stack([mlp(tokens[:, :, 2 + i]) for i, mlp in enumerate(d.output_hypernetworks_mlps)], 2)
    masks = torch.einsum("bnme,behw->bnmhw", hyper, image)
    iou = d.iou_prediction_head(tokens[:, :, 1])
    if multimask:
        masks, iou = masks[:, :, 1:], iou[:, :, 1:]
    else:
        masks, iou = d._dynamic_multimask_via_stability(masks, iou)
    fine = finer.embedding_maskfeature(image)
    fine = torch.einsum("bne,behw->bnhw", finer.hf_mlp(tokens[:, :, 6]), fine)[:, :, None]
    return (fine if hq_token_only else fine + masks)[0, 0], iou[0, 0]
