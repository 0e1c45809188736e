"""TinyViT as MobileSAM and light SAM-HQ use it, in torch; see `sam` beside it.

From what the original computes (ChaoningZhang/MobileSAM, Apache-2.0).  Batch norms are torch's own,
the padding goes through the norm, and the attention biases are looked up pair by pair.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from benchmarks.harness.oracles.reference.sam import cut, join, neck


@dataclasses.dataclass(frozen=True)
class TinyVit:
    side: int = 1024
    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    windows: tuple[int, ...] = (7, 7, 14, 7)
    strides: tuple[int, ...] = (2, 2, 1)
    out: int = 256
    classes: int = 1000


class ConvNorm(nn.Sequential):
    def __init__(self, d_in: int, d_out: int, size: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(d_in, d_out, size, stride, size // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(d_out))


class MBConv(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, 4 * width)
        self.conv2 = ConvNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = ConvNorm(4 * width, width)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.conv3(self.act(self.conv2(self.act(self.conv1(x))))))


class PatchMerging(nn.Module):
    def __init__(self, d_in: int, d_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(d_in, d_out)
        self.conv2 = ConvNorm(d_out, d_out, 3, stride, groups=d_out)
        self.conv3 = ConvNorm(d_out, d_out)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.act(self.conv2(self.act(self.conv1(x)))))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.norm, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.window = heads, window

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, H, W] -> [B, D, H, W]."""
        h, w = x.shape[2:]
        windows = cut(x.movedim(1, -1), self.window)
        n, s, _, d = windows.shape
        qkv = self.qkv(self.norm(windows)).reshape(n, s * s, self.heads, 3 * d // self.heads)
        q, k, v = qkv.transpose(1, 2).chunk(3, -1)
        bias = torch.empty(self.heads, s * s, s * s)
        for a in range(s * s):
            for b in range(s * s):
                bias[:, a, b] = self.attention_biases[:, abs(a // s - b // s) * s + abs(a % s - b % s)]
        y = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v
        y = self.proj(y.transpose(1, 2).reshape(n, s, s, d))
        return join(y, h, w).movedim(-1, 1)


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc2(nn.functional.gelu(self.fc1(self.norm(x.movedim(1, -1)))))
        return y.movedim(-1, 1)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads, window)
        self.mlp = Mlp(width)
        self.local_conv = ConvNorm(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.local_conv(x + self.attn(x))
        return x + self.mlp(x)


class Stage(nn.Module):
    def __init__(self, sizes: TinyVit, i: int) -> None:
        super().__init__()
        width, depth = sizes.widths[i], sizes.depths[i]
        block = lambda: Block(width, sizes.heads[i], sizes.windows[i]) if i else MBConv(width)  # noqa: E731
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        last = i == len(sizes.widths) - 1
        self.downsample = nn.Identity() if last else PatchMerging(width, sizes.widths[i + 1], sizes.strides[i])

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(self.blocks(x))


class ImageEncoder(nn.Module):
    def __init__(self, sizes: TinyVit) -> None:
        super().__init__()
        width = sizes.widths[0]
        seq = nn.Sequential(ConvNorm(3, width // 2, 3, 2), nn.GELU(), ConvNorm(width // 2, width, 3, 2))
        self.patch_embed = nn.ModuleDict({"seq": seq})
        self.layers = nn.ModuleList(Stage(sizes, i) for i in range(len(sizes.widths)))
        self.norm_head, self.head = nn.LayerNorm(sizes.widths[-1]), nn.Linear(sizes.widths[-1], sizes.classes)
        self.neck = neck(sizes.widths[-1], sizes.out)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, D, h, w] and, channels last, what the second stage gives."""
        x = self.patch_embed["seq"](pixels)
        of_stages = []
        for layer in self.layers:
            x = layer(x)
            of_stages.append(x)
        return self.neck(x), of_stages[1].movedim(1, -1)
