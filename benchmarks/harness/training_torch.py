"""The recipe of decoder tuning in PyTorch, on batches that gsam made: transformers' SamModel.

The prompts are boxes and lone clicks, so that all have the same number of tokens and no attention
mask is needed, which transformers' decoder has none of.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FOCAL, ALPHA, UNKNOWN = 20.0, 0.25, -20.0
SMOOTH = 0.5
EVERY = 2
FIRST = 4
"""Rows of a prompt before its corrections."""
DEEPEST = 8


class Recipe:
    """Trains the prompt encoder and the mask decoder of a SAM.

    Args:
        checkpoint: Folder of the seeded SAM.
        steps: Length of the schedule.
        rate: Highest learning rate.
        compiled: Whether the decoder runs under ``torch.compile``.
    """

    def __init__(self, checkpoint: Path, steps: int, rate: float, *, compiled: bool) -> None:
        import transformers

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.sam: Any = transformers.SamModel.from_pretrained(checkpoint, attn_implementation="sdpa")
        self.sam.vision_encoder = None
        self.steps, self.rate, self.step = steps, rate, 0
        # A buffer in the original, and a parameter in some versions of transformers.
        for shared in (self.sam.shared_image_embedding, self.sam.prompt_encoder.shared_embedding):
            shared.requires_grad_(False)
        self.places = self.sam.get_image_wide_positional_embeddings()
        self.decoder: Any = torch.compile(self.sam.mask_decoder) if compiled else self.sam.mask_decoder
        embeddings = {id(m.weight) for m in self.sam.modules() if isinstance(m, nn.Embedding)}
        every = [*self.sam.prompt_encoder.parameters(), *self.sam.mask_decoder.parameters()]
        self.params = [p for p in every if p.requires_grad]
        kernels = [p for p in self.params if p.ndim >= 2 and id(p) not in embeddings]
        chosen = {id(p) for p in kernels}
        rest = [p for p in self.params if id(p) not in chosen]
        groups = [{"params": kernels, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999), eps=1e-8, foreach=True)
        self.average = [p.detach().clone() for p in self.params]

    def train(self, batch: dict[str, torch.Tensor]) -> float:
        """Update the parameters by one batch; return its loss."""
        progress = self.step / self.steps
        rate = self.rate * min(max(progress / 0.03, 0.02), 1.0) * (0.5 + 0.5 * math.cos(math.pi * progress))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
        self.optimiser.step()
        decay = min(0.999, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.params], 1 - decay)
        self.step += 1
        return float(loss.detach())

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Loss of first answers, and of those to the last correction of every second prompt."""
        lone = int((~batch["boxed"][0]).sum())
        known = _known(batch)
        losses, best = [], []
        for rows, several in ((slice(0, lone), True), (slice(lone, None), False)):
            if batch["points"][:, rows].shape[1]:
                logits, guess = self.ask(batch, rows, 0, None, several)
                losses.append(_judge(logits, guess, batch["truth"][:, rows], known))
                best.append(_pick(logits, guess).detach())
        total = torch.cat(losses, 1).mean()
        rounds = int(batch["rounds"])
        if rounds:
            some = slice(None, None, EVERY)
            previous = torch.cat(best, 1)[:, some]
            with torch.no_grad():
                for number in range(rounds):
                    self._click(batch, previous, known, number)
                    if number < rounds - 1:
                        previous = _pick(*self._corrected(batch, lone, number + 1, previous))
            logits, guess = self._corrected(batch, lone, rounds, previous)
            total = total + _judge(logits, guess, batch["truth"][:, some], known).mean()
        return total

    def _corrected(
        self, batch: dict[str, torch.Tensor], lone: int, clicks: int, previous: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Answers to every second prompt after some clicks, lone clicks and boxes apart."""
        first = -(-lone // EVERY)
        parts = []
        for rows, masks in (
            (slice(0, lone, EVERY), previous[:, :first]),
            (slice(first * EVERY, None, EVERY), previous[:, first:]),
        ):
            if masks.shape[1]:
                parts.append(self.ask(batch, rows, clicks, masks, False))
        logits, guess = (torch.cat(found, 1) for found in zip(*parts, strict=True))
        return logits, guess

    def ask(
        self, batch: dict[str, torch.Tensor], rows: slice, clicks: int, masks: torch.Tensor | None, several: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode prompts: logits [B, Q, M, h, w] and predicted IoU [B, Q, M]."""
        points, labels = batch["points"][:, rows], batch["labels"][:, rows]
        count, asked = points.shape[:2]
        boxed = bool(batch["boxed"][0, rows][0])
        at = torch.arange(FIRST, FIRST + clicks)
        if not boxed:
            at = torch.cat([torch.tensor([2]), at])
        given = (points[:, :, at], labels[:, :, at]) if len(at) else (None, None)
        boxes = batch["boxes"][:, rows] if boxed else None
        features, places = batch["features"], self.places.expand(count, -1, -1, -1)
        if masks is not None:  # transformers has one mask prompt for each item of a batch
            features, places = (x.repeat_interleave(asked, 0) for x in (features, places))
            given = tuple(None if x is None else x.flatten(0, 1)[:, None] for x in given)
            boxes = None if boxes is None else boxes.flatten(0, 1)[:, None]
            masks = masks.flatten(0, 1)[:, None]
        sparse, dense = self.sam.prompt_encoder(*given, boxes, masks)
        logits, guess = self.decoder(features, places, sparse, dense, several)[:2]
        return logits.reshape(count, asked, *logits.shape[2:]), guess.reshape(count, asked, -1)

    def _click(self, batch: dict[str, torch.Tensor], previous: torch.Tensor, known: torch.Tensor, number: int) -> None:
        """Add the click of a round, chosen by gsam's own chance."""
        want = batch["truth"][:, ::EVERY] > 0.5
        mask = previous > 0
        lacks, spills = want & ~mask & known, mask & ~want & known
        middle = torch.maximum(_depth(lacks), _depth(spills)) * batch["centred"][number]
        score = torch.where(lacks | spills, 4.0 + middle, torch.where(want, 2.0, 0.0)) + 0.9 * batch["chance"][number]
        side = mask.shape[-1]
        at = score.flatten(2).argmax(-1)
        inside = want.flatten(2).gather(-1, at[..., None])[..., 0]
        cell = torch.stack([at % side, at // side], -1).float()
        batch["points"][:, ::EVERY, FIRST + number] = (cell + 0.5) * (self.image_side / side) - 0.5
        batch["labels"][:, ::EVERY, FIRST + number] = inside.to(batch["labels"].dtype)

    @property
    def image_side(self) -> int:
        """Side of the view in pixels."""
        return int(self.sam.config.vision_config.image_size)


def _judge(logits: torch.Tensor, guess: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Loss [B, Q] of the best of M masks, and of all predicted IoU."""
    seen = known[:, :, None].expand_as(logits)
    quiet = torch.where(seen, logits, UNKNOWN)
    wanted = (truth[:, :, None] * known[:, :, None]).expand_as(logits)
    p = torch.sigmoid(logits)
    p_true = p * wanted + (1 - p) * (1 - wanted)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    focal = (ALPHA * wanted + (1 - ALPHA) * (1 - wanted)) * entropy * (1 - p_true) ** 2
    local = (focal * seen).sum((-2, -1)) / seen.sum((-2, -1)).clamp(min=1)
    probability = torch.sigmoid(quiet)
    shared = (probability * wanted).sum((-2, -1))
    dice = 1 - (shared + SMOOTH) / (0.5 * (probability.sum((-2, -1)) + wanted.sum((-2, -1))) + SMOOTH)
    cost = FOCAL * local + dice
    with torch.no_grad():
        a, b = quiet > 0, wanted > 0.5
        both, either = (a & b).sum((-2, -1)), (a | b).sum((-2, -1))
        iou = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    best = cost.detach().argmin(-1, keepdim=True)
    return cost.gather(-1, best)[..., 0] + ((guess - iou) ** 2).mean(-1)


def _pick(logits: torch.Tensor, guess: torch.Tensor) -> torch.Tensor:
    best = guess.argmax(-1)[..., None, None, None].expand(*logits.shape[:2], 1, *logits.shape[3:])
    return logits.gather(2, best)[:, :, 0]


def _known(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    centres = torch.arange(batch["truth"].shape[-1]) + 0.5
    rows, columns = (centres < batch["content"][:, k : k + 1] for k in (0, 1))
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _depth(region: torch.Tensor) -> torch.Tensor:
    """Cells that a cell lies inside a region, at most `DEEPEST`."""
    left = region.float()
    total = left.clone()
    for _ in range(DEEPEST - 1):
        left = -F.max_pool2d(-F.pad(left, (1, 1, 1, 1)), 3, 1)
        total += left
    return total


def run(checkpoint: Path, batches: Path, rate: float, compiled: bool) -> dict[str, Any]:
    """Train on the batches of a folder, each once.

    Returns:
        Losses and seconds of the steps.
    """
    files = sorted(batches.glob("*.npz"))
    recipe = Recipe(checkpoint, len(files), rate, compiled=compiled)
    losses: list[float] = []
    for turn in range(1 + compiled):  # each number of clicks compiles in the first turn
        seconds, recipe.step = [], 0
        for file in files:
            with np.load(file) as given:
                batch = {name: torch.from_numpy(np.ascontiguousarray(given[name])) for name in given.files}
            batch["features"] = batch["features"].permute(0, 3, 1, 2).contiguous()
            began = time.perf_counter()
            loss = recipe.train(batch)
            seconds.append(time.perf_counter() - began)
            losses += [loss] * (turn == 0)
    return {"losses": losses, "seconds": seconds}
