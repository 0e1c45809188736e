"""SAM-HQ's mask decoder in torch; see `sam` beside it.

From what the original computes (SysCV/sam-hq, Apache-2.0): every mask, every feature, both
convolutions in full.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.harness.oracles.reference.sam import LayerNorm2d, MaskDecoder, Mlp, Prompts, Sam


def finer(d_in: int, hidden: int, out: int) -> nn.Sequential:
    first, second = nn.ConvTranspose2d(d_in, hidden, 2, 2), nn.ConvTranspose2d(hidden, out, 2, 2)
    return nn.Sequential(first, LayerNorm2d(hidden), nn.GELU(), second)


class HqMaskDecoder(MaskDecoder):
    def __init__(self, sizes: Prompts, early_width: int) -> None:
        super().__init__(sizes)
        width = sizes.width
        self.hf_token, self.hf_mlp = nn.Embedding(1, width), Mlp(width, width // 8)
        self.compress_vit_feat = finer(early_width, width, width // 8)
        self.embedding_encoder = finer(width, width // 4, width // 8)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(width // 8, width // 4, 3, padding=1), LayerNorm2d(width // 4), nn.GELU(),
            nn.Conv2d(width // 4, width // 8, 3, padding=1),
        )  # fmt: skip

    def own_tokens(self) -> Tensor:
        return torch.cat([super().own_tokens(), self.hf_token.weight])

    def finer_features(self, image: Tensor, early: Tensor) -> Tensor:
        """[B, D, h, w] and, channels last, [B, h, w, early_width] -> [B, D/8, 4h, 4w]."""
        return self.embedding_encoder(image) + self.compress_vit_feat(early.movedim(-1, 1))

    def five(self, image: Tensor, hq: Tensor, *prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Decode one prompt on an image [D, h, w] with finer features [D/8, 4h, 4w].

        Returns:
            SAM's four masks and the fine one, and four IoU.
        """
        tokens, up = self.transformed(image, *prompts)
        mlps = [*self.output_hypernetworks_mlps, self.hf_mlp]
        hyper = torch.stack([mlp(t) for mlp, t in zip(mlps, tokens[1:6], strict=True)])
        up_hq = self.embedding_maskfeature(up[None])[0] + hq
        masks = torch.einsum("mc,chw->mhw", hyper[:4], up)
        fine = torch.einsum("mc,chw->mhw", hyper[4:], up_hq)
        return torch.cat([masks, fine]), self.iou_prediction_head(tokens[0])


class SamHq(Sam):
    def __init__(self, image_encoder: nn.Module, sizes: Prompts, early_width: int) -> None:
        super().__init__(image_encoder, sizes, HqMaskDecoder(sizes, early_width))

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, D, h, w] and finer features [B, D/8, 4h, 4w]."""
        image, early = self.image_encoder(pixels)
        return image, self.mask_decoder.finer_features(image, early)

    def decode_hq(
        self, image: Tensor, hq: Tensor, multimask: bool, only: bool, **prompt: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One prompt: a mask [1, 4h, 4w] and an IoU [1]."""
        masks, iou = self.mask_decoder.five(image, hq, *self.prompts(**prompt))
        best = 1 + int(iou[1:].argmax()) if multimask else 0
        mask = masks[4] if only else masks[best] + masks[4]
        return mask[None], iou[best][None]
