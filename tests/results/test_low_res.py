"""Every way of enlarging against torch's own interpolation: also shrinking, and pictures of a
pixel.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from gsam.results.masks.low_res import LowResMasks, Upsampling

SIZES = [(100, 150), (48, 48), (37, 20), (5, 333), (1, 30), (1, 1)]


def low(
    size: tuple[int, int], upsample: Upsampling, side: int = 48, content: tuple[int, int] | None = None
) -> LowResMasks:
    logits = np.random.default_rng(0).normal(0, 6, (3, 48, 48)).astype(np.float32)
    return LowResMasks(logits, side, content or (side, side), size, upsample=upsample)


def by_torch(masks: LowResMasks) -> np.ndarray:
    """What the originals do: logits, or probabilities."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(masks.logits)[None]

    def to(x: Any, size: tuple[int, int], mode: str = "bilinear") -> Any:
        return torch.nn.functional.interpolate(x, size, mode=mode, align_corners=False)

    if masks.upsample == "view":
        rows, columns = masks.content
        x = to(to(x, (masks.side, masks.side))[..., :rows, :columns], masks.size)
    elif masks.upsample == "probability":
        x = to(torch.sigmoid(x), masks.size)
    else:
        x = to(x, masks.size, masks.upsample)
    return x[0].numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("upsample", get_args(Upsampling))
def test_enlarging_is_torch_s(upsample: Upsampling, size: tuple[int, int]) -> None:
    scale = 64 / max(size)
    content = (max(int(size[0] * scale + 0.5), 1), max(int(size[1] * scale + 0.5), 1))
    masks = low(size, upsample, 64, content) if upsample == "view" else low(size, upsample)
    exact, threshold = by_torch(masks), 0.5 if upsample == "probability" else 0.0
    ours = masks.logits_full()
    assert np.isfinite(ours).all()
    found = 1 / (1 + np.exp(-ours.astype(np.float64))) if upsample == "probability" else ours
    np.testing.assert_allclose(found, exact, atol=5e-7 if upsample == "probability" else 4e-5)
    dense = masks.dense()
    close = np.abs(exact - threshold) < 1e-4
    np.testing.assert_array_equal(dense[~close], (exact > threshold)[~close])
    assert close.mean() < 0.01
    for i in range(3):
        np.testing.assert_array_equal(masks.mask_of(i), dense[i])


@pytest.mark.parametrize("upsample", get_args(Upsampling))
def test_the_threshold_is_of_logits(upsample: Upsampling) -> None:
    masks = low((90, 60), upsample)
    strict = LowResMasks(masks.logits, 48, (48, 48), (90, 60), 2.0, upsample)
    assert 0 < strict.dense().sum() < masks.dense().sum()
    logits = masks.logits_full()
    sure = np.abs(logits - 2) > 1e-3
    np.testing.assert_array_equal(strict.dense()[sure], (logits > 2)[sure])


def test_the_ways_differ() -> None:
    """None is another under another name."""
    masks = {upsample: low((90, 60), upsample).dense() for upsample in get_args(Upsampling)}
    for one, other in (("bilinear", "bicubic"), ("bilinear", "probability"), ("bicubic", "probability")):
        assert 0.9 < (masks[one] == masks[other]).mean() < 0.999


def test_bicubic_overshoots() -> None:
    """Between two pixels just below the threshold there may be mask, though no pixel is above
    it.
    """
    logits = np.full((1, 4, 4), -9.0, np.float32)
    logits[:, 1:3, 1:3] = -0.01
    masks = LowResMasks(logits, 4, (4, 4), (16, 16), upsample="bicubic")
    assert masks.dense().any()
    np.testing.assert_array_equal(masks.dense(), by_torch(masks) > 0)
    assert not LowResMasks(logits, 4, (4, 4), (16, 16), upsample="bilinear").dense().any()


def test_probabilities_saturate_without_harm() -> None:
    logits = np.array([[[200.0, -200.0], [200.0, -200.0]]], np.float32)
    masks = LowResMasks(logits, 2, (2, 2), (4, 6), upsample="probability")
    found = masks.logits_full()[0]
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(masks.dense()[0], np.tile([True] * 3 + [False] * 3, (4, 1)))
    assert found[0, 0] > 15
    assert found[0, -1] < -80
