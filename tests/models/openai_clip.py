"""CLIP with the names and modules of OpenAI's files, small: the oracle of files in their layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class QuickGelu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.gelu, self.c_proj = nn.Linear(width, 4 * width), QuickGelu(), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.mlp, self.ln_2 = nn.LayerNorm(width), Mlp(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, side: int, patch: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.1)
        self.positional_embedding = nn.Parameter(torch.randn((side // patch) ** 2 + 1, width) * 0.1)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, depth, heads)
        self.proj = nn.Parameter(torch.randn(width, out) * width**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([first, x], 1) + self.positional_embedding)
        x = self.transformer(x, torch.zeros(x.shape[1], x.shape[1]))
        return self.ln_post(x[:, 0]) @ self.proj


class Clip(nn.Module):
    """Images and token ids to embeddings, as OpenAI's ``encode_image`` and ``encode_text``."""

    def __init__(self, vision: Any, text: Any, out: int, side: int, patch: int, vocab: int, context: int) -> None:
        super().__init__()
        self.visual = Visual(vision.width, vision.depth, vision.heads, side, patch, out)
        self.transformer = Transformer(text.width, text.depth, text.heads)
        self.token_embedding = nn.Embedding(vocab, text.width)
        self.positional_embedding = nn.Parameter(torch.randn(context, text.width) * 0.1)
        self.ln_final = nn.LayerNorm(text.width)
        self.text_projection = nn.Parameter(torch.randn(text.width, out) * text.width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.6))
        self.input_resolution, self.context_length, self.vocab_size = side, context, vocab

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        mask = torch.full((ids.shape[1], ids.shape[1]), float("-inf")).triu(1)
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding, mask)
        return self.ln_final(x)[torch.arange(x.shape[0]), ids.argmax(-1)] @ self.text_projection

    def forward(self, image: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.visual(image), self.encode_text(ids)
