"""`gsam eval`: COCO's numbers are pycocotools' own, the others are computed by hand beside."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.ndimage import binary_erosion

from gsam.errors import UsageError
from gsam.evaluation.average_precision import NAMES
from gsam.evaluation.compared import Compared, compare
from gsam.evaluation.open_vocabulary import open_vocabulary
from gsam.evaluation.report import Report
from gsam.evaluation.semantic import class_iou
from gsam.results.formats import coco_files
from gsam.results.formats.dataset import DataSet, scene, segment
from gsam.results.masks import rle

SIZE = (90, 120)


def square(x: int, y: int, side: int = 40, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def made(images: dict[str, list[tuple[str, NDArray[np.bool_], float | None]]]) -> list[dict[str, Any]]:
    return [
        scene(name, SIZE, [segment(label, rle.encode(mask), score=score) for label, mask, score in found])
        for name, found in images.items()
    ]


def side_by_side(true: dict[str, Any], found: dict[str, Any]) -> Compared:
    return compare(DataSet(["dog", "cat"], lambda _: iter(made(true))), made(found))


def noisy(seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Thirty images of two classes, and what a bad detector finds of them."""
    rng = np.random.default_rng(seed)
    true: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for i in range(30):
        for _ in range(rng.integers(0, 4)):
            label, side = ("dog", "cat")[rng.integers(2)], int(rng.integers(8, 60))
            x, y = rng.integers(0, SIZE[1] - side), rng.integers(0, SIZE[0] - side)
            true.setdefault(f"{i}.png", []).append((label, square(x, y, side), None))
            if rng.random() < 0.8:
                moved = square(x + rng.integers(0, 6), y + rng.integers(0, 6), side)
                kind = label if rng.random() < 0.8 else "cat"
                found.setdefault(f"{i}.png", []).append((kind, moved, float(rng.random())))
        if rng.random() < 0.3:
            found.setdefault(f"{i}.png", []).append(("dog", square(3, 3, 30), float(rng.random())))
        true.setdefault(f"{i}.png", [])
    return made(true), made(found)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_average_precision_is_that_of_the_files(kind: str, tmp_path: Path) -> None:
    true, found = noisy(0)
    order = {s["image"]: i for i, s in enumerate(true)}
    for name, scenes, make in (("true", true, coco_files.Writer), ("found", found, coco_files.ResultsWriter)):
        (tmp_path / name).mkdir()
        with make(tmp_path / name, ["dog", "cat"]) as writer:
            by_name = {s["image"]: s for s in scenes}
            for image in order:
                writer.add(by_name.get(image) or scene(image, SIZE, []))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "true" / "coco.json"))
        run = COCOeval(truth, truth.loadRes(str(tmp_path / "found" / "results.json")), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    report = Report.of(compare(DataSet(["dog", "cat"], lambda _: iter(true)), found))
    mine = report.masks if kind == "segm" else report.boxes
    expected = [math.nan if value < 0 else value for value in run.stats[:9]]
    np.testing.assert_allclose([mine.summary[name] for name in NAMES], expected, atol=1e-12)
    assert 0.05 < mine.summary["AP"] < 0.9
    np.testing.assert_allclose(np.nanmean(list(mine.by_class.values())), mine.summary["AP"])


def test_what_is_perfect_and_what_is_nothing() -> None:
    true = {"a.png": [("dog", square(10, 10), None)], "b.png": [("cat", square(50, 30), None)]}
    found = {"a.png": [("dog", square(10, 10), 0.9)], "b.png": [("cat", square(50, 30), 0.8)]}
    values = Report.of(side_by_side(true, found)).to_dict()
    assert (values["masks"]["AP"], values["boxes"]["AP"], values["mIoU"], values["boundary mIoU"]) == (1, 1, 1, 1)
    assert (values["cgF1"], values["pmF1"], values["MCC"]) == (100, 1, 1)
    values = Report.of(side_by_side(true, {"a.png": []})).to_dict()
    assert (values["masks"]["AP"], values["mIoU"], values["pmF1"], values["cgF1"]) == (0, 0, 0, 0)
    assert values["classes"]["dog"]["found"] == 0


def test_area_and_boundary_of_classes_by_another_way() -> None:
    true = {
        "a.png": [("dog", square(10, 10), None), ("dog", square(30, 20), None)],
        "b.png": [("cat", square(0, 0), None)],
    }
    found = {
        "a.png": [("dog", square(14, 12), 0.9)],
        "b.png": [("cat", square(0, 0), 0.9), ("dog", square(60, 40), 0.1)],
    }
    values = class_iou(side_by_side(true, found))
    width = round(0.02 * math.hypot(*SIZE))

    def band(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        inner = binary_erosion(np.pad(mask, 1), np.ones((3, 3)), width)[1:-1, 1:-1]
        return mask & ~inner

    pairs = [(square(10, 10) | square(30, 20), square(14, 12)), (np.zeros(SIZE, bool), square(60, 40))]
    both = [(a & b).sum() for a, b in pairs], [(a | b).sum() for a, b in pairs]
    edges = [(band(a) & band(b)).sum() for a, b in pairs], [(band(a) | band(b)).sum() for a, b in pairs]
    assert values["dog"].area == pytest.approx(sum(both[0]) / sum(both[1]))
    assert values["dog"].boundary == pytest.approx(sum(edges[0]) / sum(edges[1]))
    assert values["dog"].boundary < values["dog"].area
    assert values["cat"] == (1, 1)


def test_the_open_vocabulary_score_by_hand() -> None:
    true = {
        "a.png": [("dog", square(0, 0), None), ("dog", square(60, 40), None)],
        "b.png": [("cat", square(0, 0), None)],
        "c.png": [],
    }
    found = {
        "a.png": [("dog", square(0, 0), 0.9), ("dog", square(64, 40), 0.8)],  # IoU 1 and 36 / 44 = 0.818
        "b.png": [("dog", square(0, 0), 0.7), ("cat", square(0, 0), 0.4)],  # a false dog, and a cat that is unsure
        "c.png": [],
    }
    score = open_vocabulary(side_by_side(true, found))
    # there: (a, dog), (b, cat); found: (a, dog), (b, dog) -> tp 1, fp 1, fn 1, tn 3
    assert score.mcc == pytest.approx((1 * 3 - 1 * 1) / math.sqrt(2 * 2 * 4 * 4))
    # where they are there, 3 segments and 2 found: 2 hits at seven IoUs (to 0.80), 1 at three
    assert score.pmf1 == pytest.approx((7 * 2 * 2 / 5 + 3 * 2 * 1 / 5) / 10)
    assert score.cgf1 == pytest.approx(100 * score.pmf1 * score.mcc)
    assert open_vocabulary(side_by_side(true, found), 0.3).mcc > score.mcc


def test_names_of_images_and_classes() -> None:
    true = {"x/a.png": [("dog", square(0, 0), None)], "x/b.png": [], "y/b.png": []}
    found = {
        "a.jpg": [("DOG", square(0, 0), 0.9), ("horse", square(0, 0), 0.9)],
        "b.jpg": [("dog", square(0, 0), 0.9)],
        "z.png": [],
    }
    both = side_by_side(true, found)
    assert [len(image.found) for image in both.images] == [1, 0, 0]
    assert both.missing == ["x/b.png", "y/b.png"]
    assert both.unknown == ["horse", "b.jpg", "z.png"]  # of two images b which one, nobody knows
    with pytest.raises(UsageError, match="no image in common"):
        side_by_side(true, {"other.png": []})


def test_boxes_alone_are_compared_as_what_they_cover() -> None:
    box = segment("dog", None, box=[10.0, 10.0, 50.0, 50.0], score=0.5)
    both = compare(
        DataSet(["dog"], lambda _: iter(made({"a.png": [("dog", square(10, 10), None)]}))),
        [scene("a.png", SIZE, [box])],
    )
    assert Report.of(both).to_dict()["masks"]["AP"] == 1


def test_the_command(tmp_path: Path) -> None:
    true, found = noisy(1)
    for name, scenes in (("true", true), ("found", found)):
        (tmp_path / name).mkdir()
        with coco_files.Writer(tmp_path / name, ["dog", "cat"]) as writer:
            for one in scenes:
                writer.add(one)

    def run(*more: object) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "gsam",
            "eval",
            str(tmp_path / "true"),
            str(tmp_path / "found"),
            *map(str, more),
        ]
        environment = {**os.environ, "JAX_PLATFORMS": "none"}  # it needs no JAX
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    ran = run("-o", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    values = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert f"AP              {values['masks']['AP']:.3f}" in ran.stdout.replace("   0.", "  0.")
    assert "boundary mIoU" in ran.stdout
    with Image.open(tmp_path / "out" / "precision_recall.png") as picture:
        assert picture.width > 500
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert len(colours) > 20
    assert json.loads(run("--json").stdout) == values
    assert run("-o", tmp_path / "out").returncode == 2
