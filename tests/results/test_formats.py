"""JSON as promised, COCO as pycocotools reads it, and the overlay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gsam.results.draw.colours import colours
from gsam.results.masks import rle
from gsam.results.result import LowResMasks, Result


def result(size: tuple[int, int] = (80, 120), labels: tuple[str, ...] = ("dog", "노란 버스")) -> Result:
    """A ring and two blocks; the worse object first."""
    height, width = size
    masks = np.full((2, height, width), -1.0, np.float32)
    masks[0, 10:30, 10:30] = 1
    masks[0, 15:20, 15:20] = -1
    masks[1, 40:50, 60:70] = 1
    masks[1, 60:65, 80:100] = 1
    boxes = np.array([[10, 10, 30, 30], [60, 40, 100, 65]], np.float32)
    scores, quality = np.array([0.4, 0.9], np.float32), np.array([0.7, 0.8], np.float32)
    side = max(size)
    square = np.full((2, side, side), -1.0, np.float32)
    square[:, :height, :width] = masks
    low = LowResMasks(square, side, size, size)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Result(pixels, list(labels), boxes, list(labels), np.arange(2), scores, quality, low, "s.png", "nano")


def test_the_scene_s_json(tmp_path: Path) -> None:
    r = result()
    text = r.save(tmp_path / "s.json").read_text("utf-8")
    assert "노란 버스" in text
    found = json.loads(text)
    assert list(found) == ["image", "width", "height", "pipeline", "queries", "segments"]
    assert (found["image"], found["width"], found["height"], found["pipeline"]) == ("s.png", 120, 80, "nano")
    assert found["queries"] == ["dog", "노란 버스"]
    keys = ["label", "label_id", "score", "mask_score", "box", "area", "mask"]
    assert [list(s) for s in found["segments"]] == [keys, keys]
    assert [(s["label"], s["label_id"], s["score"], s["mask_score"]) for s in found["segments"]] == [
        ("노란 버스", 1, 0.9, 0.8), ("dog", 0, 0.4, 0.7),
    ]  # fmt: skip
    assert [s["box"] for s in found["segments"]] == [[60, 40, 100, 65], [10, 10, 30, 30]]
    assert [s["area"] for s in found["segments"]] == [200, 375]
    for segment, mask in zip(found["segments"], r.masks[::-1], strict=True):
        np.testing.assert_array_equal(rle.decode(segment["mask"]), mask)


def test_pycocotools_reads_the_coco_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    r = result()
    data = coco.COCO(str(r.save(tmp_path / "s.coco.json")))
    capsys.readouterr()
    [image] = data.loadImgs(data.getImgIds())
    assert (image["file_name"], image["width"], image["height"]) == ("s.png", 120, 80)
    names = {c["id"]: c["name"] for c in data.loadCats(data.getCatIds())}
    assert names == {1: "dog", 2: "노란 버스"}
    found = {names[a["category_id"]]: a for a in data.loadAnns(data.getAnnIds(imgIds=image["id"]))}
    for i, label in enumerate(r.labels):
        annotation = found[label]
        assert annotation["iscrowd"] == 0
        assert annotation["score"] == pytest.approx(float(r.scores[i]), abs=1e-5)
        assert annotation["area"] == int(r.masks[i].sum())
        x0, y0, x1, y1 = r.xyxy[i].tolist()
        assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        np.testing.assert_array_equal(data.annToMask(annotation).astype(bool), r.masks[i])
    assert not data.annToMask(found["dog"])[15:20, 15:20].any(), "the hole is kept"


def test_an_overlay_leaves_what_is_far_alone() -> None:
    r = result((300, 400))
    before = r.pixels.copy()
    image = r.plot()
    assert (image.size, image.mode) == ((400, 300), "RGB")
    np.testing.assert_array_equal(r.pixels, before)
    drawn = np.asarray(image)
    np.testing.assert_array_equal(drawn[150:], r.pixels[150:])
    np.testing.assert_array_equal(drawn[:, 300:], r.pixels[:, 300:])
    assert (drawn[40:50, 60:70] != r.pixels[40:50, 60:70]).any(-1).all(), "the mask is tinted"


def test_a_label_has_one_colour_and_neighbours_differ() -> None:
    few, more = colours(["dog", "cat"]), colours(["dog", "cat", "bus"])
    assert few["dog"] == more["dog"] == colours(["DOG", "x"])["DOG"]
    for start in range(0, 60, 6):
        values = np.array(list(colours([f"label {start + i}" for i in range(6)]).values()), int)
        apart = np.abs(values[:, None] - values[None]).sum(-1) + 999 * np.eye(6, dtype=int)
        assert apart.min() > 24


@pytest.mark.parametrize("size", [(80, 120), (12, 300), (300, 24), (1, 1), (5, 5)])
@pytest.mark.long
def test_plates_stay_inside_and_any_script_is_drawn(size: tuple[int, int]) -> None:
    labels = ["노란 버스", "x" * 300, "🐶 شجرة", "a\nb"]
    h, w = size
    boxes = np.array([[0, 0, w, h], [w - 1, h - 1, w, h], [-9, -9, 2, 2], [w, h, w + 5, h + 5]], np.float32)
    ones = np.linspace(1, 0.5, 4, dtype=np.float32)
    r = Result(np.zeros((h, w, 3), np.uint8), labels, boxes, labels, np.arange(4), ones, ones)
    assert r.plot().size == (w, h)


def test_nothing_to_draw_is_the_picture() -> None:
    r = result()[[]]
    np.testing.assert_array_equal(np.asarray(r.plot()), r.pixels)


def test_korean_letters_are_not_empty_boxes() -> None:
    """Words of the same length give different plates."""
    a, b = (np.asarray(result(labels=("dog", text)).plot()) for text in ("개나", "버스"))
    r = result()
    far = np.ones(r.size, bool)
    for mask, box in zip(r.masks, r.xyxy.astype(int), strict=True):
        far &= ~mask
        far[box[1] - 2 : box[3] + 2, box[0] - 2 : box[2] + 2] = False
    changed = ((a != b).any(-1) & far).sum()
    assert changed > 10
