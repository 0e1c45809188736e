"""`Result`: indexing, masks from low-resolution logits, and saving."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsam.results.masks import rle
from gsam.results.result import LowResMasks, Result


def scene(n: int = 4, size: tuple[int, int] = (60, 90), seed: int = 0) -> Result:
    """N objects with smooth random masks; labels go a, b, 개, a ..."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 3, (n, 4, 4)).astype(np.float32)
    logits = np.stack([np.asarray(Image.fromarray(c).resize((32, 32), Image.Resampling.BICUBIC)) for c in coarse])
    queries = ["a", "b", "개"]
    ids = np.arange(n) % 3
    low = rng.uniform(0, 30, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 28, (n, 2))], 1).astype(np.float32)
    scale = 128 / max(size)
    content = (int(size[0] * scale + 0.5), int(size[1] * scale + 0.5))
    return Result(
        rng.integers(0, 256, (*size, 3), dtype=np.uint8), queries, boxes, [queries[i] for i in ids], ids,
        np.linspace(0.95, 0.3, n, dtype=np.float32), np.linspace(0.5, 0.9, n, dtype=np.float32),
        LowResMasks(logits, 128, content, size), "x.png", "test",
    )  # fmt: skip


@pytest.mark.parametrize("size", [(64, 64), (300, 300), (40, 200), (333, 100), (17, 9), (1, 30)])
def test_masks_are_torch_s_two_interpolations(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    resize = torch.nn.functional.interpolate
    low = scene(3, size).low_res
    assert low is not None
    view = resize(torch.tensor(low.logits)[None], (128, 128), mode="bilinear", align_corners=False)
    cut = view[..., : low.content[0], : low.content[1]]
    exact = resize(cut, size, mode="bilinear", align_corners=False)[0].numpy()
    np.testing.assert_allclose(low.logits_full(), exact, atol=2e-5)
    dense = low.dense()
    assert dense.dtype == np.bool_
    assert (dense != (exact > 0)).mean() <= 1e-4
    for i in range(3):
        np.testing.assert_array_equal(low.mask_of(i), dense[i])


def test_the_mask_threshold_moves_the_edge() -> None:
    low = scene().low_res
    assert low is not None
    strict = dataclasses.replace(low, threshold=1.0)
    assert not (strict.dense() & ~low.dense()).any()
    np.testing.assert_array_equal(strict.dense(), low.logits_full() > 1)


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (slice(None, 2), [0, 1]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        (2, [2]),
        (-1, [3]),
        ([3, 1], [3, 1]),
        ([], []),
        (np.array([True, False, True, False]), [0, 2]),
        (np.array([], int), []),
        (np.zeros(4, bool), []),
    ],
)
def test_indexing(index: object, rows: list[int]) -> None:
    result = scene()
    part = result[index]  # type: ignore[index]
    assert len(part) == len(rows)
    assert part.labels == [result.labels[i] for i in rows]
    for name in ("xyxy", "label_ids", "scores", "mask_scores", "masks"):
        np.testing.assert_array_equal(getattr(part, name), getattr(result, name)[rows])
    assert part.pixels is result.pixels
    assert part.queries == result.queries


def test_an_index_out_of_range() -> None:
    with pytest.raises(IndexError):
        scene()[4]


def test_iterating_gives_one_object_at_a_time() -> None:
    assert [(len(r), r.labels[0]) for r in scene()] == [(1, "a"), (1, "b"), (1, "개"), (1, "a")]


def test_repr_counts() -> None:
    assert repr(scene()) == "<Result x.png 90 x 60: 2 a, 1 b, 1 개>"


def test_lists_that_do_not_go_together() -> None:
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="1 labels do not go"):
        Result(np.zeros((4, 4, 3), np.uint8), ["a"], np.zeros((2, 4), np.float32), ["a"], np.zeros(1, int), one, one)


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.jpg", "a.jpeg", "a.webp", "deep/er/a.png"])
@pytest.mark.long
def test_pictures_are_saved_as_their_suffix_says(tmp_path: Path, name: str) -> None:
    result = scene()
    path = result.save(tmp_path / name)
    with Image.open(path) as image:
        suffix = Path(name).suffix.lower()
        assert image.format == {".jpg": "JPEG", ".jpeg": "JPEG"}.get(suffix, suffix[1:].upper())
        assert image.size == (90, 60)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_json_and_coco_are_told_apart(tmp_path: Path) -> None:
    result = scene()
    assert json.loads(result.save(tmp_path / "a.json").read_text("utf-8")) == result.to_dict()
    assert json.loads(result.save(str(tmp_path / "a.coco.json")).read_text("utf-8")) == result.to_coco()


def test_an_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'a\.txt'.*\.json"):
        scene().save(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_areas_and_run_lengths_are_of_the_masks() -> None:
    result = scene()
    assert result.areas == result.masks.sum((1, 2)).tolist()
    for mask, text in zip(result.masks, result.rles, strict=True):
        np.testing.assert_array_equal(rle.decode(text), mask)


def test_without_a_segmenter_boxes_are_filled() -> None:
    one = np.ones(1, np.float32)
    box = np.array([[1.2, 2.4, 4.6, 5.0]], np.float32)
    result = Result(np.zeros((8, 9, 3), np.uint8), ["a"], box, ["a"], np.zeros(1, int), one, one)
    expected = np.zeros((1, 8, 9), bool)
    expected[0, 2:5, 1:5] = True
    np.testing.assert_array_equal(result.masks, expected)


def test_to_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    result = scene()
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r"gsam-jax\[viz\]"):
        result.to_supervision()
    stand_in = types.ModuleType("supervision")
    stand_in.Detections = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", stand_in)
    found = result.to_supervision()
    assert (found["xyxy"].shape, found["mask"].shape, found["mask"].dtype) == ((4, 4), (4, 60, 90), bool)
    assert found["data"]["class_name"].tolist() == result.labels
    assert found["class_id"].tolist() == [0, 1, 2, 0]


def test_mask_logits_are_what_is_cut() -> None:
    result = scene()
    np.testing.assert_array_equal(result.mask_logits > 0, result.masks)
    with pytest.raises(ValueError, match="no segmenter"):
        _ = dataclasses.replace(result, low_res=None).mask_logits


def test_notebooks_show_a_picture() -> None:
    assert scene()._repr_png_().startswith(b"\x89PNG")


def test_many_large_masks_are_quick() -> None:
    low = LowResMasks(np.tile(scene(1).low_res.logits, (48, 8, 8)), 1024, (683, 1024), (1000, 1500))  # type: ignore[union-attr]
    start = time.process_time()
    assert low.dense().shape == (48, 1000, 1500)
    assert time.process_time() - start < 4  # 0.4 on an idle machine
