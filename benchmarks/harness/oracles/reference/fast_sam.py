"""FastSAM in torch, in the smallest form that is faithful, from the architecture of YOLOv8-seg.

Its tensors are those of the official checkpoints, name by name and shape by shape, which a test
holds to.  What follows the network (boxes, masks, FastSAM's own rules) is read plainly, one picture
and one box at a time.
"""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(c1, c2, k, s, k // 2, bias=False), nn.BatchNorm2d(c2, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int, add: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c, 3), Conv(c, c, 3), add

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C2f(nn.Module):
    def __init__(self, c1: int, c2: int, n: int, add: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c2), Conv((2 + n) * (c2 // 2), c2)
        self.m = nn.ModuleList(Bottleneck(c2 // 2, add) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        for m in self.m:
            parts.append(m(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class SPPF(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c, c // 2), Conv(2 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.cv2(torch.cat(parts, 1))


class Proto(nn.Module):
    def __init__(self, c1: int, c: int, out: int) -> None:
        super().__init__()
        self.cv1, self.upsample = Conv(c1, c, 3), nn.ConvTranspose2d(c, c, 2, 2)
        self.cv2, self.cv3 = Conv(c, c, 3), Conv(c, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(self.cv2(self.upsample(self.cv1(x))))


class DFL(nn.Module):
    """The expected bin, as a convolution whose weights are the numbers of the bins."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 1, 1, bias=False)
        self.conv.weight.data[:] = torch.arange(16.0).view(1, 16, 1, 1)
        self.conv.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:  # [B, 64, A] -> [B, 4, A]
        b, _, a = x.shape
        return self.conv(x.view(b, 4, 16, a).transpose(1, 2).softmax(1)).view(b, 4, a)


class Segment(nn.Module):
    def __init__(self, ch: list[int], npr: int) -> None:
        super().__init__()

        def branch(hidden: int, out: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(Conv(c, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, out, 1)) for c in ch
            )

        self.cv2, self.cv3 = branch(max(16, ch[0] // 4, 64), 64), branch(ch[0], 1)
        self.dfl, self.proto, self.cv4 = DFL(), Proto(ch[0], npr, 32), branch(max(ch[0] // 4, 32), 32)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        boxes, scores, weights = [], [], []
        for i, x in enumerate(maps):
            stride, (h, w) = 8 * 2**i, x.shape[2:]
            left, top, right, bottom = self.dfl(self.cv2[i](x).flatten(2)).unbind(1)
            ay, ax = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            x0, y0, x1, y1 = ax.flatten() - left, ay.flatten() - top, ax.flatten() + right, ay.flatten() + bottom
            xywh = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1) * stride
            half = xywh[..., 2:] / 2
            boxes.append(torch.cat([xywh[..., :2] - half, xywh[..., :2] + half], -1))
            scores.append(self.cv3[i](x).flatten(2)[:, 0].sigmoid())
            weights.append(self.cv4[i](x).flatten(2).transpose(1, 2))
        return torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(weights, 1), self.proto(maps[0])


class FastSam(nn.Module):
    """Run on pixels [B, 3, H, W] in 0..1.

    Returns:
        Boxes [B, A, 4], scores [B, A], coefficients [B, A, 32], prototypes [B, 32, H/4, W/4].
    """

    def __init__(self, depth: float, width: float, most: int) -> None:
        super().__init__()

        def c(n: int) -> int:
            return math.ceil(min(n, most) * width / 8) * 8

        n3, n6 = max(round(3 * depth), 1), max(round(6 * depth), 1)
        up = nn.Upsample(scale_factor=2, mode="nearest")
        layers = [
            Conv(3, c(64), 3, 2), Conv(c(64), c(128), 3, 2), C2f(c(128), c(128), n3, True),
            Conv(c(128), c(256), 3, 2), C2f(c(256), c(256), n6, True),
            Conv(c(256), c(512), 3, 2), C2f(c(512), c(512), n6, True),
            Conv(c(512), c(1024), 3, 2), C2f(c(1024), c(1024), n3, True), SPPF(c(1024)),
            up, nn.Identity(), C2f(c(1024) + c(512), c(512), n3, False),
            up, nn.Identity(), C2f(c(512) + c(256), c(256), n3, False),
            Conv(c(256), c(256), 3, 2), nn.Identity(), C2f(c(256) + c(512), c(512), n3, False),
            Conv(c(512), c(512), 3, 2), nn.Identity(), C2f(c(512) + c(1024), c(1024), n3, False),
            Segment([c(256), c(512), c(1024)], c(256)),
        ]  # fmt: skip
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        m = self.model
        p3 = m[4](m[3](m[2](m[1](m[0](x)))))
        p4 = m[6](m[5](p3))
        p5 = m[9](m[8](m[7](p4)))
        n4 = m[12](torch.cat([m[10](p5), p4], 1))
        n3 = m[15](torch.cat([m[13](n4), p3], 1))
        n4 = m[18](torch.cat([m[16](n3), n4], 1))
        n5 = m[21](torch.cat([m[19](n4), p5], 1))
        return m[22]([n3, n4, n5])


SIZES = {"s": (0.33, 0.5, 1024), "x": (1.0, 1.25, 512), "tiny": (0.33, 0.125, 512)}


def seeded(size: str, number: int = 0) -> FastSam:
    """Return random weights: activations of unit order, norms with statistics."""
    generator = torch.Generator().manual_seed(number)
    model = FastSam(*SIZES[size])
    with torch.no_grad():
        for name, p in [*model.named_parameters(), *model.named_buffers()]:
            if "dfl" in name or not p.is_floating_point():
                continue
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("running_var"):
                p.copy_(0.6 + 0.1 * noise.abs())
            elif p.ndim == 1:
                p.copy_((1.0 if name.endswith("bn.weight") else 0.0) + 0.1 * noise)
            else:
                fan_in = p.shape[0] if "upsample" in name else p[0].numel()
                p.copy_((8.0 if re.search(r"cv[234]\.\d\.2\.", name) else 1.0) * noise / fan_in**0.5)
    return model.eval()


def letterbox(pixels: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Letterbox an image; other tests compare `gsam.inputs.letterbox.resize` with OpenCV."""
    from gsam.inputs.letterbox import resize

    h, w = pixels.shape[:2]
    r = min(size / h, size / w)
    rows, columns = round(h * r), round(w * r)
    dh, dw = (size - rows) % 32 / 2, (size - columns) % 32 / 2
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    pad = ((top, bottom), (left, right), (0, 0))
    return np.pad(resize(pixels, rows, columns), pad, constant_values=114), r


@dataclasses.dataclass
class Answer:
    framed: np.ndarray
    xyxy: np.ndarray
    scores: np.ndarray
    retina: np.ndarray
    """[N, H, W] bool."""
    plain: np.ndarray
    """[N, h, w] bool, over the letterboxed picture."""


def iou(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def everything(
    boxes: np.ndarray, scores: np.ndarray, weights: np.ndarray, proto: np.ndarray, shape: tuple[int, int],
    size: tuple[int, int], conf: float, overlap: float, most: int,
) -> Answer:  # fmt: skip
    """Postprocess one image of ``size`` (H, W), letterboxed to ``shape``.

    The arrays are [A, 4], [A], [A, 32] and [32, h, w].
    """
    left = sorted((i for i in range(len(scores)) if scores[i] > conf), key=lambda i: -scores[i])
    kept: list[int] = []
    while left and len(kept) < most:
        best, *left = left
        kept.append(best)
        left = [i for i in left if iou(boxes[best], boxes[i]) <= overlap]
    framed, weights, scores = boxes[kept].copy(), weights[kept], scores[kept]
    height, width = shape
    for box in framed:
        box[:2][box[:2] < 20] = 0
        if box[2] > width - 20:
            box[2] = width
        if box[3] > height - 20:
            box[3] = height
        if iou(box, np.array([0, 0, width, height])) > 0.9:
            box[:] = 0, 0, width, height
    gain = min(height / size[0], width / size[1])
    spare = np.array([width - size[1] * gain, height - size[0] * gain]) / 2
    xyxy = ((framed - np.tile(spare, 2)) / gain).clip(0, [size[1], size[0], size[1], size[0]])
    logits = torch.tensor(np.tensordot(weights, proto, 1))  # [N, h, w]
    h, w = proto.shape[1:]
    gain = min(h / size[0], w / size[1])
    pad = np.array([h - size[0] * gain, w - size[1] * gain]) / 2
    rows, columns = (slice(int(pad[i] + 1e-9), int((h, w)[i] - pad[i] + 1e-9)) for i in (0, 1))  # 191.9999 is 192
    large = F.interpolate(logits[None, :, rows, columns], size, mode="bilinear", align_corners=False)[0].numpy()
    small = cut(logits.numpy(), framed / 4)
    plain = F.interpolate(torch.tensor(small)[None], shape, mode="bilinear", align_corners=False)[0].numpy()
    return Answer(framed, xyxy, scores, cut(large, xyxy) > 0, plain > 0)


def cut(maps: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Zeros outside of each map's box."""
    out = np.zeros_like(maps)
    for i, (x0, y0, x1, y1) in enumerate(xyxy):
        for y in range(maps.shape[1]):
            if y0 <= y < y1:
                inside = [x for x in range(maps.shape[2]) if x0 <= x < x1]
                out[i, y, inside] = maps[i, y, inside]
    return out
