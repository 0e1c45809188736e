"""SAM in torch, the smallest form that is faithful: the oracle where transformers has none.

Written from what the original computes (facebookresearch/segment-anything, Apache-2.0), not from
its code.  Its tensors are those of the official checkpoints, name by name and shape by shape, which
a test holds to.  Plain attention everywhere, an image of its own for every prompt, every mask
computed: none of the short cuts of `gsam.nn`.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Vit:
    width: int = 768
    depth: int = 12
    heads: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    side: int = 1024
    patch: int = 16
    window: int = 14
    out: int = 256

    @property
    def grid(self) -> int:
        return self.side // self.patch


@dataclasses.dataclass(frozen=True)
class Prompts:
    """The sizes of what follows the image encoder."""

    width: int = 256
    grid: int = 64
    side: int = 1024
    heads: int = 8
    mlp: int = 2048
    mask_chans: int = 16


class LayerNorm2d(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6)
        return x.movedim(-1, 1)


def neck(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out, 1, bias=False),
        LayerNorm2d(out),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        LayerNorm2d(out),
    )


class RelativeAttention(nn.Module):
    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, S, D]."""
        b, s, _, d = x.shape
        q, k, v = self.qkv(x).reshape(b, s * s, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        apart = torch.arange(s)[:, None] - torch.arange(s)[None] + s - 1
        grid = q.reshape(b, self.heads, s, s, -1)
        by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, self.rel_pos_h[apart])
        by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, self.rel_pos_w[apart])
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        logits = logits.reshape(b, self.heads, s, s, s, s) + by_row[..., None] + by_column[..., None, :]
        y = logits.reshape(b, self.heads, s * s, s * s).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, s, s, d))


def cut(x: Tensor, window: int) -> Tensor:
    """[B, H, W, D], padded with zeros right and below -> windows [B n, window, window, D]."""
    b, h, w, d = x.shape
    x = F.pad(x, (0, 0, 0, -w % window, 0, -h % window))
    x = x.reshape(b, x.shape[1] // window, window, x.shape[2] // window, window, d)
    return x.transpose(2, 3).reshape(-1, window, window, d)


def join(windows: Tensor, h: int, w: int) -> Tensor:
    """The way back, without the padding."""
    _, s, _, d = windows.shape
    rows, columns = -(-h // s), -(-w // s)
    x = windows.reshape(-1, rows, columns, s, s, d).transpose(2, 3).reshape(-1, rows * s, columns * s, d)
    return x[:, :h, :w]


class Lin(nn.Module):
    def __init__(self, width: int, hidden: int, act: nn.Module) -> None:
        super().__init__()
        self.lin1, self.lin2, self.act = nn.Linear(width, hidden), nn.Linear(hidden, width), act

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(x)))


class Block(nn.Module):
    def __init__(self, sizes: Vit, window: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(sizes.width, 1e-6), nn.LayerNorm(sizes.width, 1e-6)
        self.attn = RelativeAttention(sizes.width, sizes.heads, window or sizes.grid)
        self.mlp = Lin(sizes.width, 4 * sizes.width, nn.GELU())
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        y = join(self.attn(cut(y, self.window)), *x.shape[1:3]) if self.window else self.attn(y)
        x = x + y
        return x + self.mlp(self.norm2(x))


class ImageEncoder(nn.Module):
    def __init__(self, sizes: Vit) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, sizes.width, sizes.patch, sizes.patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.grid, sizes.grid, sizes.width))
        windows = [0 if i in sizes.global_blocks else sizes.window for i in range(sizes.depth)]
        self.blocks = nn.ModuleList(Block(sizes, w) for w in windows)
        self.neck = neck(sizes.width, sizes.out)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, D, h, w] and, channels last, the first of what the global blocks give."""
        x = self.patch_embed["proj"](pixels).movedim(1, -1) + self.pos_embed
        of_global_blocks = []
        for block in self.blocks:
            x = block(x)
            if block.window == 0:
                of_global_blocks.append(x)
        return self.neck(x.movedim(-1, 1)), of_global_blocks[0]


class FourierCode(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(2, width // 2))

    def forward(self, xy: Tensor) -> Tensor:
        angle = 2 * math.pi * ((2 * xy - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angle.sin(), angle.cos()], -1)


class PromptEncoder(nn.Module):
    def __init__(self, sizes: Prompts) -> None:
        super().__init__()
        width, chans = sizes.width, sizes.mask_chans
        self.pe_layer = FourierCode(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed, self.no_mask_embed = nn.Embedding(1, width), nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, chans // 4, 2, 2), LayerNorm2d(chans // 4), nn.GELU(),
            nn.Conv2d(chans // 4, chans, 2, 2), LayerNorm2d(chans), nn.GELU(),
            nn.Conv2d(chans, width, 1),
        )  # fmt: skip
        self.sizes = sizes

    def sparse(self, points: Tensor | None, labels: Tensor | None, box: Tensor | None) -> Tensor:
        """One prompt: points [P, 2] with labels [P], box [4] -> [T, D]."""
        found = []
        code = lambda xy: self.pe_layer((xy + 0.5) / self.sizes.side)  # noqa: E731
        for xy, label in zip(points if points is not None else (), labels if labels is not None else (), strict=True):
            found.append(code(xy) + self.point_embeddings[int(label)].weight[0])
        if points is not None and box is None:
            found.append(self.not_a_point_embed.weight[0])
        if box is not None:
            found += [code(box[:2]) + self.point_embeddings[2].weight[0]]
            found += [code(box[2:]) + self.point_embeddings[3].weight[0]]
        return torch.stack(found) if found else torch.zeros(0, self.sizes.width)

    def dense(self, mask: Tensor | None) -> Tensor:
        """[D, h, w] of a mask [1, 4h, 4w]."""
        grid = self.sizes.grid
        if mask is None:
            return self.no_mask_embed.weight[0][:, None, None].expand(-1, grid, grid)
        return self.mask_downscaling(mask[None])[0]

    def grid(self) -> Tensor:
        """[D, h, w]."""
        at = (torch.arange(self.sizes.grid) + 0.5) / self.sizes.grid
        y, x = torch.meshgrid(at, at, indexing="ij")
        return self.pe_layer(torch.stack([x, y], -1)).movedim(-1, 0)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = width // downsample
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner) for _ in range(3))
        self.out_proj, self.heads = nn.Linear(inner, width), heads

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Tokens [T, D]."""
        projections = ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(0, 1) for p, x in projections)
        y = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        return self.out_proj(y.transpose(0, 1).flatten(1))


class TwoWayLayer(nn.Module):
    def __init__(self, sizes: Prompts, first: bool) -> None:
        super().__init__()
        width = sizes.width
        self.self_attn = Attention(width, sizes.heads)
        self.cross_attn_token_to_image = Attention(width, sizes.heads, 2)
        self.cross_attn_image_to_token = Attention(width, sizes.heads, 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))
        self.mlp = Lin(width, sizes.mlp, nn.ReLU())
        self.first = first

    def forward(self, tokens: Tensor, image: Tensor, code: Tensor, image_code: Tensor) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            tokens = tokens + self.self_attn(tokens + code, tokens + code, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + code, image + image_code, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(image + image_code, tokens + code, tokens))
        return tokens, image


class Transformer(nn.Module):
    def __init__(self, sizes: Prompts) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(sizes, i == 0) for i in range(2))
        self.final_attn_token_to_image = Attention(sizes.width, sizes.heads, 2)
        self.norm_final_attn = nn.LayerNorm(sizes.width)

    def forward(self, tokens: Tensor, image: Tensor, image_code: Tensor) -> tuple[Tensor, Tensor]:
        code = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, code, image_code)
        tokens = tokens + self.final_attn_token_to_image(tokens + code, image + image_code, image)
        return self.norm_final_attn(tokens), image


class Mlp(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, out)])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[2](self.layers[1](self.layers[0](x).relu()).relu())


class MaskDecoder(nn.Module):
    def __init__(self, sizes: Prompts) -> None:
        super().__init__()
        width = sizes.width
        self.transformer = Transformer(sizes)
        self.iou_token, self.mask_tokens = nn.Embedding(1, width), nn.Embedding(4, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, 2), LayerNorm2d(width // 4), nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, 2), nn.GELU(),
        )  # fmt: skip
        self.output_hypernetworks_mlps = nn.ModuleList(Mlp(width, width // 8) for _ in range(4))
        self.iou_prediction_head = Mlp(width, 4)

    def own_tokens(self) -> Tensor:
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def transformed(self, image: Tensor, image_code: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [T, D] and the upscaled image [D/8, 4h, 4w]."""
        flat = lambda x: x.flatten(1).T  # noqa: E731
        tokens, seen = self.transformer(torch.cat([self.own_tokens(), sparse]), flat(image + dense), flat(image_code))
        return tokens, self.output_upscaling(seen.T.reshape(1, *image.shape))[0]

    def forward(self, image: Tensor, image_code: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """One prompt on an image [D, h, w]: four masks [4, 4h, 4w] and their IoU [4]."""
        tokens, up = self.transformed(image, image_code, sparse, dense)
        hyper = torch.stack([mlp(t) for mlp, t in zip(self.output_hypernetworks_mlps, tokens[1:5], strict=True)])
        return torch.einsum("mc,chw->mhw", hyper, up), self.iou_prediction_head(tokens[0])


class Sam(nn.Module):
    def __init__(self, image_encoder: nn.Module, sizes: Prompts, mask_decoder: nn.Module | None = None) -> None:
        super().__init__()
        self.image_encoder, self.prompt_encoder = image_encoder, PromptEncoder(sizes)
        self.mask_decoder = mask_decoder or MaskDecoder(sizes)

    def prompts(
        self,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        box: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One prompt, as `PromptEncoder` takes it -> the code of the image, sparse and dense."""
        encoder = self.prompt_encoder
        return encoder.grid(), encoder.sparse(points, labels, box), encoder.dense(mask)

    def decode(self, image: Tensor, multimask: bool, **prompt: Tensor) -> tuple[Tensor, Tensor]:
        """One prompt on an embedding [D, h, w]: three masks or one, and their IoU."""
        masks, iou = self.mask_decoder(image, *self.prompts(**prompt))
        return (masks[1:], iou[1:]) if multimask else (masks[:1], iou[:1])
