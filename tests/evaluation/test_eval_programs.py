"""COCO's numbers: of the file's own polygons, boxes and areas, the same by either program."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gsam.errors import UsageError
from gsam.evaluation.average_precision import NAMES, average_precision
from gsam.evaluation.compared import Compared, compare
from gsam.evaluation.open_vocabulary import IOUS, open_vocabulary
from gsam.evaluation.semantic import class_iou
from gsam.evaluation.sides import read_found, read_truth
from gsam.results.formats.dataset import DataSet, scene, segment
from gsam.results.masks import rle
from tests.evaluation.plain_ap import One, curves

SIZE = (120, 160)
NAMES_OF = {2: "cat", 5: "dog"}


def files(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Polygons with boxes of fractions and areas of their own, crowds; results without boxes."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, 31):
        for _ in range(rng.integers(0, 5)):
            kind, side = int(rng.choice(list(NAMES_OF))), float(rng.uniform(8, 70))
            x, y = rng.uniform([0, 0], [159 - side, 119 - side])
            ring = np.array([[x, y], [x + side, y + side / 5], [x + side, y + side], [x + side / 3, y + side]])
            entry: dict[str, Any] = {"id": len(annotations) + 1, "image_id": image}
            entry |= {"category_id": kind, "iscrowd": 0}
            entry |= {"segmentation": [ring.ravel().tolist()], "bbox": [x, y, side, side], "area": side**2 * 0.8}
            if rng.random() < 0.1:
                whole = coco.decode(coco.merge(coco.frPyObjects(entry["segmentation"], *SIZE))).astype(bool)
                entry |= {"iscrowd": 1, "segmentation": rle.decompress(rle.encode(whole))}
            annotations.append(entry)
            if rng.random() < 0.8:
                moved = ring + rng.uniform(-3, 3, 2)
                mask = coco.decode(coco.merge(coco.frPyObjects([moved.ravel().tolist()], *SIZE))).astype(bool)
                other = int(rng.choice(list(NAMES_OF))) if rng.random() < 0.2 else kind
                row = {"image_id": image, "category_id": other, "score": round(float(rng.random()), 3)}
                results.append({**row, "segmentation": rle.encode(mask)})
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in range(1, 31)],
        "categories": [{"id": number, "name": name} for number, name in NAMES_OF.items()],
        "annotations": annotations,
    }
    for name, content in (("truth.json", truth), ("results.json", results)):
        (folder / name).write_text(json.dumps(content))
    return folder / "truth.json", folder / "results.json"


def of_files(truth: Path, results: Path) -> Compared:
    true = read_truth(truth).held()
    return compare(true, read_found(results, true))


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_numbers_are_those_of_the_files(kind: Any, tmp_path: Path) -> None:
    truth, results = files(tmp_path)
    if kind == "bbox":  # a detector's, which has no masks
        rows = json.loads(results.read_text())
        for row in rows:
            row["bbox"] = [float(v) + 0.25 for v in coco.toBbox(row.pop("segmentation"))]
        results.write_text(json.dumps(rows))
    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO(str(truth))
        run = COCOeval(true, true.loadRes(str(results)), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    mine = average_precision(of_files(truth, results), kind)
    expected = [math.nan if value < 0 else value for value in run.stats[:9]]
    np.testing.assert_allclose([mine.summary[name] for name in NAMES], expected, atol=1e-12)
    assert 0.05 < mine.summary["AP"] < 0.9


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_both_programs_agree(kind: Any, tmp_path: Path) -> None:
    pytest.importorskip("hotcoco")
    for seed in range(3):
        compared = of_files(*files(tmp_path, seed))
        one, other = (average_precision(compared, kind, program) for program in ("pycocotools", "hotcoco"))
        for a, b in ((one.summary, other.summary), (one.by_class, other.by_class)):
            assert a.keys() == b.keys()
            np.testing.assert_allclose(list(a.values()), list(b.values()), atol=1e-6)
        np.testing.assert_allclose(one.precision, other.precision, atol=1e-6)


@pytest.mark.parametrize("program", ["pycocotools", "hotcoco"])
def test_nothing_found_is_nought_where_something_is(program: str, tmp_path: Path) -> None:
    pytest.importorskip(program)
    truth, results = files(tmp_path)
    results.write_text("[]")
    found = average_precision(of_files(truth, results), "segm", program)
    assert found.summary["AP"] == found.summary["AR 100"] == found.by_class["dog"] == 0
    empty = DataSet(["dog"], lambda _: iter([scene("a", SIZE, [])]))
    found = average_precision(compare(empty, [scene("a", SIZE, [])]), "segm", program)
    assert all(math.isnan(value) for value in (*found.summary.values(), *found.by_class.values()))
    with pytest.raises(UsageError, match="no program 'coco'"):
        average_precision(compare(empty, [scene("a", SIZE, [])]), "segm", "coco")


def test_the_table_and_the_curve_are_those_of_the_definition(tmp_path: Path) -> None:
    truth, results = files(tmp_path, 5)
    content = json.loads(truth.read_text())
    content["annotations"] = [a for a in content["annotations"] if not a["iscrowd"]]
    truth.write_text(json.dumps(content))
    compared = of_files(truth, results)
    mine = average_precision(compared, "segm")
    for i, label in enumerate(compared.labels):
        images = []
        for image in compared.images:
            true, found = ([s for s in side if s["label"] == label] for side in (image.true, image.found))
            images.append(
                One([rle.decode(s["mask"]) for s in true], [(s["score"], rle.decode(s["mask"])) for s in found])
            )
        plain = curves(images)
        assert mine.by_class[label] == pytest.approx(plain.mean(), abs=1e-9)
        np.testing.assert_allclose(mine.precision[:, i], plain[0], atol=1e-9)


def test_the_open_vocabulary_score_is_that_of_sa_co(tmp_path: Path) -> None:
    """Pair by pair as its program counts: crowds are dropped, sums of true and false positives."""
    from scipy.optimize import linear_sum_assignment

    compared = of_files(*files(tmp_path, 3))
    tp, fp, fn = np.zeros(10), np.zeros(10), np.zeros(10)
    table = np.zeros((2, 2))
    for image in compared.images:
        for label in compared.labels:
            true = [rle.decode(s["mask"]) for s in image.true if s["label"] == label and not s.get("crowd")]
            found = [rle.decode(s["mask"]) for s in image.found if s["label"] == label and s["score"] >= 0.5]
            table[int(bool(true)), int(bool(found))] += 1
            if not true:
                continue
            iou = np.array([[(a & b).sum() / (a | b).sum() for b in true] for a in found]).reshape(
                len(found), len(true)
            )
            near = iou[linear_sum_assignment(-iou)] if found else np.zeros(0)
            hits = (near[:, None] >= IOUS).sum(0)
            tp, fp, fn = tp + hits, fp + len(found) - hits, fn + len(true) - hits
    precision, recall = tp / (tp + fp + 1e-4), tp / (tp + fn + 1e-4)
    (no, false), (missed, yes) = table
    score = open_vocabulary(compared)
    assert score.pmf1 == pytest.approx((2 * precision * recall / (precision + recall + 1e-4)).mean(), abs=3e-4)
    margins = (yes + false) * (yes + missed) * (no + false) * (no + missed)
    assert score.mcc == pytest.approx((yes * no - false * missed) / math.sqrt(margins))
    assert score.cgf1 == pytest.approx(100 * score.pmf1 * score.mcc)
    assert any(s.get("crowd") for image in compared.images for s in image.true)


def test_presence_needs_images_with_and_without() -> None:
    one = segment("dog", rle.encode(np.ones(SIZE, bool)), score=0.9)
    always = compare(DataSet(["dog"], lambda _: iter([scene("a", SIZE, [one])])), [scene("a", SIZE, [one])])
    assert math.isnan(open_vocabulary(always).cgf1)
    assert open_vocabulary(always).pmf1 == 1
    sometimes = DataSet(["dog"], lambda _: iter([scene("a", SIZE, [one]), scene("b", SIZE, [])]))
    assert open_vocabulary(compare(sometimes, [scene("a", SIZE, [])])).cgf1 == 0


def test_masks_are_not_held_decoded() -> None:
    size = (1000, 1000)
    mask = np.zeros(size, bool)
    mask[100:300, 100:300] = True
    encoded = rle.encode(mask)
    scenes = [scene(f"{i}.jpg", size, [segment("dog", dict(encoded), score=0.5)]) for i in range(60)]  # type: ignore[arg-type]
    tracemalloc.start()
    compared = compare(DataSet(["dog"], lambda _: iter(scenes)), scenes)
    assert class_iou(compared)["dog"] == (1, 1)
    assert open_vocabulary(compared).pmf1 == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * mask.nbytes


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    truth, results = files(tmp_path)
    content = json.loads(truth.read_text())
    content["images"].append(content["images"][0])
    content["images"].append({"id": 99, "file_name": "99.jpg"})
    first = content["annotations"][0]
    content["annotations"] += [
        {**first, "id": 1001, "segmentation": [[1, 2, 3, 4]]},
        {**first, "id": 1002, "category_id": 77},
        {**first, "id": 1003, "image_id": 12345},
        {**first, "id": 1004, "segmentation": {"size": [3, 3], "counts": [9]}},
        {**first, "id": 1005, "segmentation": [], "bbox": [1, 1, -4, 2]},
    ]
    truth.write_text(json.dumps(content))
    true = read_truth(truth).held()
    text = "\n".join(true.problems)
    assert len(true.problems) == 7
    for part in ("image id 1 is there twice", "image 99", "1001: a polygon", "1002: '77' is missing or unknown",
                 "1004: its mask is 3 x 3", "1005: its box", "1 annotations are of no image"):  # fmt: skip
        assert part in text
    rows = json.loads(results.read_text())
    results.write_text(json.dumps([*rows, {**rows[0], "image_id": 4711}, {**rows[0], "score": None}, 3]))
    found = read_found(results, true)
    list(found)
    assert len(found.problems) == 3
    with pytest.raises(UsageError, match="only a truth in COCO's format"):
        read_found(results, read_truth(_voc(tmp_path)).held())


def _voc(folder: Path) -> Path:
    from gsam.results.formats import voc

    (folder / "voc").mkdir()
    with voc.Writer(folder / "voc", ["dog"]) as writer:
        writer.add(scene("1.jpg", SIZE, [segment("dog", rle.encode(np.ones(SIZE, bool)))]))
    return folder / "voc"


def test_an_image_of_another_size_is_left_out() -> None:
    one = segment("dog", rle.encode(np.ones(SIZE, bool)), score=0.9)
    small = segment("dog", rle.encode(np.ones((60, 80), bool)), score=0.9)
    truth = DataSet(["dog"], lambda _: iter([scene(n, SIZE, [one]) for n in ("a.jpg", "b.jpg", "a.jpg")]))
    compared = compare(truth, [scene("a.jpg", (60, 80), [small]), scene("b.jpg", SIZE, [one])])
    assert [image.name for image in compared.images] == ["b.jpg"]
    assert "of 80 x 60 pixels, the truth of 160 x 120" in compared.problems[1]
    assert "name is in the truth already" in compared.problems[0]
    with pytest.raises(UsageError, match="80 x 60"):
        compare(truth, [scene("a.jpg", (60, 80), [small])], unscored={"b.jpg"})
