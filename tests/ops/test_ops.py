"""Array operations against plain readings of their definitions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gsam.ops import boxes, masks, resize, top
from gsam.ops.bounds import bounds
from gsam.ops.boxes import iou
from gsam.ops.suppression import nms, without_duplicates


def greedy(xyxy: np.ndarray, overlap: float, group: np.ndarray) -> list[int]:
    kept: list[int] = []
    for i in range(len(xyxy)):
        same = [j for j in kept if group[j] == group[i]]
        if not same or max(float(boxes.iou(xyxy[None, i], xyxy[None, j])[0, 0]) for j in same) <= overlap:
            kept.append(i)
    return kept


@pytest.mark.parametrize("overlap", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.long
def test_nms_is_greedy_for_any_threshold(overlap: float) -> None:
    rng = np.random.default_rng(int(overlap * 10))
    corner = rng.uniform(0, 60, (40, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(5, 40, (40, 2))], 1).astype(np.float32)
    group = rng.integers(0, 2, 40)
    same = jnp.asarray(group[:, None] == group[None])
    keep = without_duplicates(iou(xyxy, xyxy), same, jnp.ones(40, bool), jnp.float32(overlap), jnp.float32(1.0))
    assert np.flatnonzero(keep).tolist() == greedy(xyxy, overlap, group)
    assert 0 < keep.sum() < (40 if overlap < 0.9 else 41)


def test_nms_ignores_what_is_not_valid() -> None:
    xyxy = jnp.asarray([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]], jnp.float32)
    keep = nms(xyxy, jnp.asarray([False, True, True]), jnp.float32(0.5))
    assert keep.tolist() == [False, True, False]


def test_top_pads_what_is_short() -> None:
    score, rows = top.top(jnp.asarray([[0.1, 0.9, 0.5]]), 5, jnp.arange(3)[None])
    assert rows[0].tolist() == [1, 2, 0, 0, 0]
    assert np.isneginf(score[0, 3:]).all()


@pytest.mark.parametrize("chunk", [1, 3, 4, 7, 50])
def test_chunks_change_nothing_and_skip_the_empty(chunk: int) -> None:
    rows = jnp.arange(14, dtype=jnp.float32).reshape(2, 7)
    valid = jnp.arange(7)[None] < jnp.asarray([[2], [3]])
    out = jax.jit(lambda r, v: top.in_chunks(lambda x: x * x + 1, r, v, chunk))(rows, valid)
    np.testing.assert_array_equal(out[:, :3], rows[:, :3] ** 2 + 1)
    if chunk == 1:
        assert (out[:, 3:] == 0).all()


def test_chunks_may_be_wider_on_an_accelerator() -> None:
    rows, valid = jnp.arange(14, dtype=jnp.float32).reshape(2, 7), jnp.ones((2, 7), bool)
    run = jax.jit(lambda r, v: top.in_chunks(lambda x: x * x + 1, r, v, 2, 50))
    np.testing.assert_array_equal(run(rows, valid), rows**2 + 1)
    lowered = {p: run.trace(rows, valid).lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "cuda")}
    assert "while" in lowered["cpu"]
    assert "while" not in lowered["cuda"]


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
@pytest.mark.parametrize("box", [(3.0, 5.0, 40.0, 29.0), (10.5, 2.25, 14.0, 9.0), (0.0, 0.0, 48.0, 48.0)])
@pytest.mark.long
def test_crops_are_pillow_s(name: str, box: tuple[float, ...]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    expected = np.asarray(Image.fromarray(picture).resize((16, 16), filters[name], box=box), np.float32)
    got = resize.crops(jnp.asarray(picture), jnp.asarray([box], jnp.float32), 16, name)[0]
    assert np.abs(got - expected).max() <= 1  # Pillow computes in fixed point: a tie may fall the other way
    assert (got != expected).mean() < 0.1


def test_bilinear_is_torch_s() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 17, 23)).astype(np.float32)
    for size in ((64, 40), (9, 11)):
        theirs = torch.nn.functional.interpolate(torch.tensor(x)[None], size, mode="bilinear", align_corners=False)[0]
        np.testing.assert_allclose(resize.bilinear(jnp.asarray(x), *size), theirs, atol=5e-6)


def test_filled_boxes() -> None:
    maps = masks.filled(jnp.asarray([[0, 0, 8, 4], [2, 2, 3, 3]], jnp.float32), 16, 8)
    assert maps[0, :2, :4].tolist() == [[1.0] * 4] * 2
    assert maps[0, 2:].max() == -1.0
    np.testing.assert_allclose(maps[1, 1, 1], 2 * 0.25 - 1)


def test_bounds_are_the_outermost_pixels() -> None:
    mask = np.zeros((5, 7), bool)
    assert bounds(mask) == (0, 0, 0, 0)
    mask[[1, 3], [5, 2]] = True
    assert bounds(mask) == (2, 1, 6, 4)
    assert bounds(~mask) == (0, 0, 7, 5)
