"""EfficientSAM in torch, in the smallest form that is faithful.

Written from what the original computes (yformer/EfficientSAM, Apache-2.0), not from its code.  Its
tensors are those of the official checkpoints, name by name and shape by shape, which a test holds
to.  Plain attention everywhere and images of their own for every prompt: none of the short cuts of
`gsam.models.efficient_sam`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Sizes:
    width: int
    heads: int
    depth: int = 12
    side: int = 1024
    patch: int = 16
    out: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048

    @property
    def grid(self) -> int:
        return self.side // self.patch


TI, S = Sizes(192, 3), Sizes(384, 6)
POINTS = 6


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-1, -2) / math.sqrt(d // self.heads)).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = SelfAttention(width, heads), nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class LayerNorm2d(nn.Module):
    """Over the channels of [B, D, h, w]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6).movedim(-1, 1)


class ImageEncoder(nn.Module):
    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, s.width, s.patch, s.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + 14 * 14, s.width))
        self.blocks = nn.ModuleList(Block(s.width, s.heads) for _ in range(s.depth))
        self.neck = nn.Sequential(
            nn.Conv2d(s.width, s.out, 1, bias=False), LayerNorm2d(s.out),
            nn.Conv2d(s.out, s.out, 3, padding=1, bias=False), LayerNorm2d(s.out),
        )  # fmt: skip

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed.proj(pixels)
        b, d, h, w = x.shape
        where = self.pos_embed[:, 1:].transpose(1, 2).reshape(1, d, 14, 14)
        x = (x + F.interpolate(where, (h, w), mode="bicubic", align_corners=False)).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.neck(x.transpose(1, 2).reshape(b, d, h, w))


class PromptEncoder(nn.Module):
    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.pe_layer = nn.Module()
        self.pe_layer.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, s.out // 2))
        names = ("invalid_points", "point_embeddings", "bbox_top_left_embeddings", "bbox_bottom_right_embeddings")
        for name in names:
            setattr(self, name, nn.Embedding(1, s.out))
        self.grid, self.side = s.grid, s.side

    def code(self, xy: Tensor) -> Tensor:
        """Of positions in 0..1."""
        angle = 2 * math.pi * ((2 * xy - 1) @ self.pe_layer.positional_encoding_gaussian_matrix)
        return torch.cat([angle.sin(), angle.cos()], -1)

    def forward(self, points: Tensor, labels: Tensor) -> Tensor:
        tokens = self.code((points + 0.5) / self.side)
        kinds = {-1: "invalid_points", 1: "point_embeddings", 2: "bbox_top_left_embeddings"}
        for label, name in (kinds | {3: "bbox_bottom_right_embeddings"}).items():
            tokens = tokens + (labels == label)[..., None] * getattr(self, name).weight[0]
        return tokens

    def image(self) -> Tensor:
        at = (torch.arange(self.grid) + 0.5) / self.grid
        y, x = torch.meshgrid(at, at, indexing="ij")
        return self.code(torch.stack([x, y], -1)).flatten(0, 1)[None]


class Mlp(nn.Module):
    def __init__(self, d_in: int, d_hidden: int, d_out: int, hidden: int) -> None:
        super().__init__()
        sizes = [d_in] + [d_hidden] * hidden
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(a, b), nn.GELU()) for a, b in itertools.pairwise(sizes))
        self.fc = nn.Linear(d_hidden, d_out)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.fc(x)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner) for _ in range(3))
        self.out_proj, self.heads = nn.Linear(inner, width), heads

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.q_proj(q)), split(self.k_proj(k)), split(self.v_proj(v))
        y = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        return self.out_proj(y.transpose(1, 2).flatten(2))


class TwoWayLayer(nn.Module):
    def __init__(self, s: Sizes, first: bool) -> None:
        super().__init__()
        self.self_attn = Attention(s.out, s.decoder_heads, s.out)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(s.out) for _ in range(4))
        self.cross_attn_token_to_image = Attention(s.out, s.decoder_heads, s.out // 2)
        self.mlp = Mlp(s.out, s.decoder_mlp, s.out, 1)
        self.cross_attn_image_to_token = Attention(s.out, s.decoder_heads, s.out // 2)
        self.first = first

    def forward(self, tokens: Tensor, image: Tensor, where: Tensor, image_where: Tensor) -> tuple[Tensor, Tensor]:
        if not self.first:
            tokens = tokens + where  # and so they go on
        tokens = self.norm1(tokens + self.self_attn(tokens, tokens, tokens))
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + where, image + image_where, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        gain = self.cross_attn_image_to_token(image + image_where, tokens + where, tokens)
        return tokens, self.norm4(image + gain)


class MaskDecoder(nn.Module):
    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList(TwoWayLayer(s, i == 0) for i in range(2))
        self.transformer.final_attn_token_to_image = Attention(s.out, s.decoder_heads, s.out // 2)
        self.transformer.norm_final_attn = nn.LayerNorm(s.out)
        self.iou_token, self.mask_tokens = nn.Embedding(1, s.out), nn.Embedding(4, s.out)
        a, b = s.out // 4, s.out // 8
        self.final_output_upscaling_layers = nn.ModuleList([
            nn.Sequential(nn.ConvTranspose2d(s.out, a, 2, 2), nn.GroupNorm(1, a), nn.GELU()),
            nn.Sequential(nn.ConvTranspose2d(a, b, 2, 2), nn.Identity(), nn.GELU()),
        ])  # fmt: skip
        self.output_hypernetworks_mlps = nn.ModuleList(Mlp(s.out, s.out, b, 2) for _ in range(4))
        self.iou_prediction_head = Mlp(s.out, s.out, 4, 2)

    def forward(self, features: Tensor, image_where: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Decode features [N, D, h, w], their code [1, h w, D] and prompts [N, 6, D].

        Returns:
            Mask logits [N, 3, 4h, 4w] and IoU [N, 3].
        """
        n, d, h, w = features.shape
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(n, 5, d)
        tokens = where = torch.cat([own, prompts], 1)
        image = features.flatten(2).transpose(1, 2)
        for layer in self.transformer.layers:
            tokens, image = layer(tokens, image, where, image_where)
        read = self.transformer.final_attn_token_to_image(tokens + where, image + image_where, image)
        tokens = self.transformer.norm_final_attn(tokens + read)
        up = image.transpose(1, 2).reshape(n, d, h, w)
        for layer in self.final_output_upscaling_layers:
            up = layer(up)
        hyper = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], 1)
        masks = torch.einsum("nmc,nchw->nmhw", hyper, up)
        return masks[:, 1:], self.iou_prediction_head(tokens[:, 0])[:, 1:]


class EfficientSam(nn.Module):
    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.image_encoder, self.prompt_encoder, self.mask_decoder = ImageEncoder(s), PromptEncoder(s), MaskDecoder(s)
        self.sizes = s

    def embed(self, picture: Tensor) -> Tensor:
        """An RGB picture [1, 3, H, W] in 0..1 -> features [1, D, h, w]."""
        side = self.sizes.side
        if picture.shape[2:] != (side, side):
            picture = F.interpolate(picture, (side, side), mode="bilinear", align_corners=False)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return self.image_encoder((picture - mean) / std)

    def prompt(self, features: Tensor, points: Tensor, labels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return low-resolution masks and IoU of points [N, P, 2] in pixels of ``size`` (h, w)."""
        scale = self.sizes.side / torch.tensor([size[1], size[0]])
        points = torch.where(points >= 0, points * scale, -1.0)[:, :POINTS]
        spare = POINTS - points.shape[1]
        points, labels = F.pad(points, (0, 0, 0, spare), value=-1.0), F.pad(labels[:, :POINTS], (0, spare), value=-1)
        many = features.expand(len(points), -1, -1, -1)
        return self.mask_decoder(many, self.prompt_encoder.image(), self.prompt_encoder(points, labels))

    def forward(self, picture: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Masks at the size of the picture [N, 3, H, W], bicubic, and IoU [N, 3]."""
        size = (picture.shape[2], picture.shape[3])
        low, iou = self.prompt(self.embed(picture), points, labels, size)
        return F.interpolate(low, size, mode="bicubic", align_corners=False), iou
