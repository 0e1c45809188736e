"""Grounded SAM on both sides: gsam's pipeline, and transformers' models put together.

JAX and torch are imported by the side that needs them: the memory of the other must not count.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness.images import draw_image
from benchmarks.harness.letter_tokenizer import LetterTokenizer
from benchmarks.harness.setting import Setting

SIZES = {False: ((1200, 1600), 800, 1333), True: ((240, 320), 160, 266)}
"""By ``small``: height and width of the image, and the detector's shorter side and limit."""

KEPT = 5
"""Boxes kept per image, the best by score: with random weights no threshold fits."""

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of one image: boxes [N, 4] in pixels, scores [N], masks [N, H, W] bool."""


def queries(kind: str, number: int) -> list[str]:
    """Return five queries of two tokens that no other call has, so that no text is cached.

    e and f are left out: their code points are the ids of BERT's special tokens.
    """
    words = ["".join(pair) for pair in itertools.product("abcdghijklmnopqrstuvwxyz0123456789", repeat=2)]
    start = 5 * (3 * number + ["fresh", "folder", "again"].index(kind)) % len(words)
    return [words[i] for i in np.random.default_rng(0).permutation(len(words))[start : start + 5]]


class GsamPipeline:
    """gsam's pipeline."""

    def __init__(self, setting: Setting) -> None:
        import dataclasses

        import jax

        from benchmarks.harness import weights
        from gsam.models import grounding_dino, sam
        from gsam.pipeline import Pipeline
        from gsam.pipeline.limits import Limits

        found, params = weights.load(setting, "dino", "detect")
        *_, size, limit = SIZES[setting.small]
        config = dataclasses.replace(found, size=size, limit=limit)
        masks = weights.load(setting, "sam_b", "segment")
        limits = Limits(boxes=KEPT, threshold=0.0, nms=1.0, duplicate=1.0, group=1.0, inside=1.0)
        self.detector = grounding_dino.build(config, params, LetterTokenizer())
        devices = jax.local_devices(backend=setting.device)
        self.pipe = Pipeline(self.detector, sam.build(*masks), limits=limits, devices=devices)

    def fresh(self, image: np.ndarray, names: list[str]) -> list[Found]:
        result = self.pipe(image, names)
        return [(result.xyxy, result.scores, result.masks)]

    def folder(self, images: Sequence[np.ndarray], names: list[str]) -> list[Found]:
        return [(r.xyxy, r.scores, r.masks) for r in self.pipe.stream(images, names, batch_size=8)]

    def again(self, image: np.ndarray, names: list[str]) -> list[Found]:
        before = self.pipe.counts["pictures"]
        result = self.pipe(image, names)
        if self.pipe.counts["pictures"] != before:
            raise RuntimeError("the image was encoded again, though its features were cached")
        return [(result.xyxy, result.scores, result.masks)]


class TransformersPipeline:
    """The same composition of transformers' models, eager, as they come."""

    def __init__(self, setting: Setting) -> None:
        import torch
        from transformers import GroundingDinoForObjectDetection, SamModel

        device = "cuda" if setting.device == "gpu" else "cpu"
        self.to = dict(device=device, dtype=torch.bfloat16 if setting.half else torch.float32)
        torch.special.logit = lambda x, eps=None: torch.log(x.clamp(1e-3, 1) / (1 - x).clamp(min=1e-3))
        self.dino = GroundingDinoForObjectDetection.from_pretrained(setting.folder / "dino").eval().to(**self.to)
        self.sam = SamModel.from_pretrained(setting.folder / "sam_b").eval().to(**self.to)
        self.size = SIZES[setting.small][1]
        self.prepared: Any = None

    def fresh(self, image: np.ndarray, names: list[str]) -> list[Found]:
        import torch

        with torch.inference_mode():
            embedding = self.sam.get_image_embeddings(self.pixels(image, "segment"))
            self.prepared = self.pixels(image, "detect"), embedding
            return self.segment([image], names)

    def folder(self, images: Sequence[np.ndarray], names: list[str]) -> list[Found]:
        """Segment one image after the other, which is faster on a CPU than one batch."""
        return [found for image in images for found in self.fresh(image, names)]

    def again(self, image: np.ndarray, names: list[str]) -> list[Found]:
        import torch

        with torch.inference_mode():
            return self.segment([image], names)

    def detect(self, image: np.ndarray, names: list[str]) -> np.ndarray:
        """Return the boxes of all queries, [Q, 4]."""
        import torch

        with torch.inference_mode():
            return self.boxes(self.pixels(image, "detect"), names, image.shape)[0][0].numpy()

    def pixels(self, image: np.ndarray, role: str) -> Any:
        """Resize and normalise an image as the processors do, and pad it to a square for SAM."""
        import torch

        h, w = image.shape[:2]
        side = self.sam.config.vision_config.image_size
        if role == "detect":
            rows, columns = (self.size, int(self.size * w / h)) if h <= w else (int(self.size * h / w), self.size)
        else:
            rows, columns = int(h * side / max(h, w) + 0.5), int(w * side / max(h, w) + 0.5)
        small = np.array(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))
        x = torch.from_numpy(small).permute(2, 0, 1).float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (x - mean[:, None, None]) / std[:, None, None]
        if role == "segment":
            x = torch.nn.functional.pad(x, (0, side - columns, 0, side - rows))
        return x[None].contiguous().to(**self.to)

    def boxes(self, pixels: Any, names: list[str], shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Return boxes [B, Q, 4] in pixels, and scores [B, Q]: the best name's mean over words."""
        import torch

        row = LetterTokenizer().encode([" . ".join(names) + " ."], 256)[0]
        ids = torch.from_numpy(row[row > 0].astype(np.int64)).expand(len(pixels), -1).to(pixels.device)
        out = self.dino(
            pixel_values=pixels,
            input_ids=ids,
            token_type_ids=torch.zeros_like(ids),
            attention_mask=torch.ones_like(ids),
        )
        x, y, w, h = out.pred_boxes.float().cpu().unbind(-1)
        size = torch.tensor([shape[1], shape[0], shape[1], shape[0]], dtype=torch.float32)
        xyxy = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1) * size
        tokens = out.logits[..., : ids.shape[1]].float().cpu().sigmoid()
        ends = [0, *(int(i) for i in np.flatnonzero(row == 1012))]
        spans = [tokens[..., a + 1 : b].mean(-1) for a, b in itertools.pairwise(ends)]
        return xyxy.clamp(min=0).minimum(size), torch.stack(spans, -1).amax(-1)

    def segment(self, images: Sequence[np.ndarray], names: list[str]) -> list[Found]:
        """Segment from the prepared images and SAM's embeddings of them, both in ``prepared``."""
        import torch

        detector, embedding = self.prepared
        h, w = images[0].shape[:2]
        xyxy, scores = self.boxes(detector, names, (h, w))
        scores, order = (x[:, :KEPT] for x in scores.sort(dim=-1, descending=True, stable=True))
        xyxy = torch.gather(xyxy, 1, order[..., None].expand(-1, -1, 4))
        side = self.sam.config.vision_config.image_size
        rows, columns = int(h * side / max(h, w) + 0.5), int(w * side / max(h, w) + 0.5)
        scale = torch.tensor([columns / w, rows / h, columns / w, rows / h])
        asks = (xyxy * scale).to(**self.to)
        out = self.sam(image_embeddings=embedding, input_boxes=asks, multimask_output=False)
        found = []
        for boxes, best, logits in zip(xyxy, scores, out.pred_masks, strict=True):
            large = torch.nn.functional.interpolate(logits.float(), (side, side), mode="bilinear", align_corners=False)
            large = large[..., :rows, :columns]
            large = torch.nn.functional.interpolate(large, (h, w), mode="bilinear", align_corners=False)
            found.append((boxes.numpy(), best.numpy(), (large > 0.0)[:, 0].cpu().numpy()))
        return found


def case(
    side: GsamPipeline | TransformersPipeline, small: bool, kind: str, images: int
) -> Callable[[int], dict[str, Any]]:
    """Make a case of Grounded SAM.

    Args:
        side: What runs it.
        small: Whether the image is reduced.
        kind: ``"fresh"``: an image that was not seen before; ``"again"``: other queries on the
            image seen last; ``"folder"``: several images that were not seen before.
        images: How many images a folder has.

    Returns:
        A function of the call's number that returns boxes, scores and masks, stacked over images.
    """
    shown = [draw_image(SIZES[small][0], i) for i in range(images)]

    def never_seen(number: int) -> list[np.ndarray]:
        copies = [p.copy() for p in shown]
        for p in copies:
            p[0, 0] = (number % 256, 0, 0)
        return copies

    def run(number: int) -> dict[str, Any]:
        names = queries(kind, number)
        if kind == "again":
            found = side.again(seen, names)
        elif kind == "fresh":
            found = side.fresh(never_seen(number)[0], names)
        else:
            found = side.folder(never_seen(number), names)
        boxes, scores, masks = (np.stack(x) for x in zip(*found, strict=True))
        return {"boxes": boxes, "scores": scores, "masks": masks}

    seen = never_seen(255)[0]
    if kind == "again":
        side.fresh(seen, queries("fresh", 99))
    return run
