"""The two sides of `benchmarks.grounded_sam`: gsam, and transformers' models put together; each in a process of its own."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tests.words import Words

# Neither jax nor torch up here: each side imports its own, and the memory of the other must not count.

KEPT = 5
"""Boxes a picture, the best by score: with random weights a threshold would keep anything, so both sides keep so many."""
SIZES = {False: ("tiny", "vit_b", (1200, 1600), 800, 1333), True: ("small", "tiny", (240, 320), 160, 266)}
"""By ``--small``: detector, segmenter, picture, and the detector's shorter side and limit."""

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of one picture: boxes [N, 4] in pixels, scores [N], masks [N, H, W] bool."""


def photograph(size: tuple[int, int], number: int) -> np.ndarray:
    """A picture with something at every scale: smooth noise, and shapes over it."""
    rng = np.random.default_rng(number)
    h, w = size
    pixels = np.full((h, w, 3), 128.0)
    for cells in (3, 9, 27, 81):
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        large = Image.fromarray(noise).resize((w, h), Image.Resampling.BICUBIC)
        pixels += (np.asarray(large, np.float64) - 128) * 1.5 / cells**0.5
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for i in range(12):
        x, y = rng.uniform(0, 0.8, 2) * (w, h)
        box = (x, y, x + rng.uniform(0.05, 0.3) * w, y + rng.uniform(0.05, 0.3) * h)
        (pen.ellipse if i % 2 else pen.rectangle)(box, fill=tuple(rng.integers(0, 256, 3).tolist()))
    return np.asarray(image)


def names(case: str, number: int) -> list[str]:
    """Five queries of two tokens that no other call asks, so that no text is remembered.

    e and f are left out: as ids they are BERT's marks.
    """
    words = ["".join(pair) for pair in itertools.product("abcdghijklmnopqrstuvwxyz0123456789", repeat=2)]
    start = 5 * (3 * number + "abc".index(case))
    return [words[i] for i in np.random.default_rng(0).permutation(len(words))[start : start + 5]]


class Ours:
    """gsam."""

    def __init__(self, folder: Path, small: bool) -> None:
        import dataclasses

        from gsam import store
        from gsam.detect import grounding_dino
        from gsam.pipeline import Limits, Pipeline
        from gsam.segment import sam

        dino = store.load(folder / "detect", role="detect")
        *_, size, limit = SIZES[small]
        config = dataclasses.replace(dino.config, size=size, limit=limit)
        masks = store.load(folder / "segment", role="segment")
        limits = Limits(boxes=KEPT, threshold=-1.0, nms=1.0, duplicate=1.0, group=1.0, inside=1.0)
        self.detector = grounding_dino.build(config, dino.params, Words())
        self.pipe = Pipeline(self.detector, sam.build(masks.config, masks.params), limits=limits)

    def fresh(self, pictures: Sequence[np.ndarray], asked: list[str], batch: bool) -> list[Found]:
        if len(pictures) == 1:
            results = [self.pipe(pictures[0], asked)]
        else:
            results = list(self.pipe.stream(pictures, asked, batch_size=len(pictures)))
        return [(r.xyxy, r.scores, r.masks) for r in results]

    def again(self, picture: np.ndarray, asked: list[str]) -> list[Found]:
        before = self.pipe.counts["pictures"]
        result = self.pipe(picture, asked)
        if self.pipe.counts["pictures"] != before:
            raise RuntimeError("the picture was encoded again, though it had been seen")
        return [(result.xyxy, result.scores, result.masks)]

    def every(self, picture: np.ndarray, asked: list[str]) -> np.ndarray:
        """The boxes of all of the detector's queries."""
        import jax

        images, text = self.pipe.prepare(picture, asked)
        count = self.detector.config.queries
        find = jax.jit(lambda p, i, t, v: self.detector.detect(p, i, t, v, count)[0].xyxy)
        return np.asarray(find(self.pipe.params["detect"], images, text.stages["detect"], text.valid)[0])


class Theirs:
    """The same composition of transformers' models, eager, as they come."""

    def __init__(self, folder: Path, small: bool) -> None:
        import torch
        from transformers import GroundingDinoForObjectDetection, SamModel

        torch.set_num_threads(cores())
        torch.special.logit = lambda x, eps=None: torch.log(x.clamp(1e-3, 1) / (1 - x).clamp(min=1e-3))
        self.dino = GroundingDinoForObjectDetection.from_pretrained(folder / "detect", dtype=torch.float32).eval()
        self.sam = SamModel.from_pretrained(folder / "segment", dtype=torch.float32).eval()
        self.size = SIZES[small][3]
        self.seen: Any = None

    def fresh(self, pictures: Sequence[np.ndarray], asked: list[str], batch: bool) -> list[Found]:
        import torch

        with torch.inference_mode():
            if not batch and len(pictures) > 1:
                return [found for p in pictures for found in self.fresh([p], asked, False)]
            detector = torch.cat([self.pixels(p, "detect") for p in pictures])
            embedding = self.sam.get_image_embeddings(torch.cat([self.pixels(p, "segment") for p in pictures]))
            self.seen = detector, embedding
            return self.find(pictures, asked)

    def again(self, picture: np.ndarray, asked: list[str]) -> list[Found]:
        import torch

        with torch.inference_mode():
            return self.find([picture], asked)

    def every(self, picture: np.ndarray, asked: list[str]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return self.boxes(self.pixels(picture, "detect"), asked, picture.shape)[0][0].numpy()

    def pixels(self, picture: np.ndarray, role: str) -> Any:
        """The processors' work: Pillow's bilinear, mean and spread, and zeros to the square for SAM."""
        import torch

        h, w = picture.shape[:2]
        side = self.sam.config.vision_config.image_size
        if role == "detect":
            rows, columns = (self.size, int(self.size * w / h)) if h <= w else (int(self.size * h / w), self.size)
        else:
            rows, columns = int(h * side / max(h, w) + 0.5), int(w * side / max(h, w) + 0.5)
        small = np.array(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR))
        x = torch.from_numpy(small).permute(2, 0, 1).float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (x - mean[:, None, None]) / std[:, None, None]
        if role == "segment":
            x = torch.nn.functional.pad(x, (0, side - columns, 0, side - rows))
        return x[None].contiguous()

    def boxes(self, pixels: Any, asked: list[str], shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Of all queries: boxes [B, Q, 4] in pixels, and the mean of the words of the name that fits best [B, Q]."""
        import torch

        row = Words().encode([" . ".join(asked) + " ."], 256)[0]
        ids = torch.from_numpy(row[row > 0].astype(np.int64)).expand(len(pixels), -1)
        out = self.dino(
            pixel_values=pixels,
            input_ids=ids,
            token_type_ids=torch.zeros_like(ids),
            attention_mask=torch.ones_like(ids),
        )
        x, y, w, h = out.pred_boxes.unbind(-1)
        size = torch.tensor([shape[1], shape[0], shape[1], shape[0]], dtype=torch.float32)
        xyxy = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1) * size
        tokens = out.logits[..., : ids.shape[1]].sigmoid()
        ends = [0, *(int(i) for i in np.flatnonzero(row == 1012))]
        spans = [tokens[..., a + 1 : b].mean(-1) for a, b in itertools.pairwise(ends)]
        return xyxy.clamp(min=0).minimum(size), torch.stack(spans, -1).amax(-1)

    def find(self, pictures: Sequence[np.ndarray], asked: list[str]) -> list[Found]:
        """From the pictures prepared and SAM's embeddings of them."""
        import torch

        detector, embedding = self.seen
        h, w = pictures[0].shape[:2]
        xyxy, scores = self.boxes(detector, asked, (h, w))
        scores, order = (x[:, :KEPT] for x in scores.sort(dim=-1, descending=True, stable=True))
        xyxy = torch.gather(xyxy, 1, order[..., None].expand(-1, -1, 4))
        side = self.sam.config.vision_config.image_size
        rows, columns = int(h * side / max(h, w) + 0.5), int(w * side / max(h, w) + 0.5)
        scale = torch.tensor([columns / w, rows / h, columns / w, rows / h])
        out = self.sam(image_embeddings=embedding, input_boxes=xyxy * scale, multimask_output=False)
        found = []
        for boxes, best, logits in zip(xyxy, scores, out.pred_masks, strict=True):
            large = torch.nn.functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
            large = large[..., :rows, :columns]
            large = torch.nn.functional.interpolate(large, (h, w), mode="bilinear", align_corners=False)
            found.append((boxes.numpy(), best.numpy(), (large > 0.0)[:, 0].numpy()))
        return found


def cores() -> int:
    return len(os.sched_getaffinity(0))


def busy() -> tuple[float, float]:
    """CPU seconds of all processes of the machine, and those that its host took, since it was started."""
    user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + soft) / tick, steal / tick


def peak() -> int:
    """Bytes that this process had resident at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def work(side: str, folder: Path, small: bool) -> None:
    """One side: answers calls, a JSON line each, until its input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    began = time.perf_counter()
    model: Ours | Theirs = (Ours if side == "ours" else Theirs)(folder, small)
    seconds = time.perf_counter() - began
    pictures = [photograph(SIZES[small][2], i) for i in range(5)]
    print(json.dumps({"seconds": seconds, "peak": peak()}), file=answers, flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        case, number = call["case"], call["number"]
        shown = [p.copy() for p in (pictures[1:] if case == "b" else pictures[:1])]
        for p in shown:
            p[0, 0] = (number, 0, 0)  # a picture never seen, but for case c that of a
        asked = names("a" if case == "every" else case, number)
        before, own, began = busy(), os.times(), time.perf_counter()
        if case == "every":
            np.save(call["save"], model.every(shown[0], asked))
            found = []
        elif case == "c":
            found = model.again(shown[0], asked)
        else:
            found = model.fresh(shown, asked, call.get("batch", True))
        wall, used, after = time.perf_counter() - began, os.times(), busy()
        cpu = used.user + used.system - own.user - own.system
        answer = {
            "seconds": wall,
            "cpu": cpu,
            "others": max(after[0] - before[0] - cpu, 0.0) / wall,
            "stolen": (after[1] - before[1]) / wall,
            "peak": peak(),
        }
        if found and "save" in call:
            boxes, scores, masks = (np.stack(x) for x in zip(*found, strict=True))
            np.savez(call["save"], boxes=boxes, scores=scores, masks=masks)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]), "--small" in sys.argv)
