"""LVIS: its lists say what counts, and the numbers are those of its rules written plainly."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.evaluation.average_precision import LVIS_NAMES, average_precision
from gsam.evaluation.compared import LVIS_MOST, Compared, compare
from gsam.evaluation.open_vocabulary import open_vocabulary
from gsam.evaluation.report import Report
from gsam.evaluation.semantic import class_iou
from gsam.evaluation.sides import read_found, read_truth
from gsam.results.masks import rle
from tests.evaluation.plain_ap import Mask, One, curves, mean_of

SIZE = (100, 120)
CLASSES = {1: ("dog", "f"), 3: ("alarm_clock", "c"), 7: ("yak", "r"), 9: ("eel", "r")}
AREAS = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}


def square(x: int, y: int, side: int) -> Mask:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


class Drawn:
    """Images with lists, and results; as masks here, as JSON in a folder."""

    def __init__(self, folder: Path, seed: int = 0, images: int = 40) -> None:
        rng = np.random.default_rng(seed)
        self.true: dict[tuple[int, int], list[Mask]] = {}
        self.found: dict[tuple[int, int], list[tuple[float, Mask]]] = {}
        self.absent: dict[int, list[int]] = {}
        self.partly: dict[int, list[int]] = {}
        for image in range(1, images + 1):
            kinds = [int(k) for k in rng.permutation(list(CLASSES))]
            there, self.absent[image] = kinds[: rng.integers(0, 3)], kinds[3:]
            self.partly[image] = [k for k in there if rng.random() < 0.3]
            for kind in kinds:
                for _ in range(rng.integers(1, 4) if kind in there else 0):
                    x, y, side = (int(v) for v in rng.integers([0, 0, 8], [60, 50, 60]))
                    self.true.setdefault((image, kind), []).append(square(x, y, side))
                    if rng.random() < 0.8:
                        moved = square(x + int(rng.integers(0, 5)), y, side)
                        self.found.setdefault((image, kind), []).append((float(rng.random()), moved))
                if rng.random() < 0.4:  # of classes that nobody looked for too
                    self.found.setdefault((image, kind), []).append((float(rng.random()), square(5, 5, 20)))
        self.truth, self.results = folder / "lvis_v1_val.json", folder / "results.json"
        self.write()

    def write(self) -> None:
        images = [
            {
                "id": i,
                "coco_url": f"http://images.cocodataset.org/val2017/{i:012}.jpg",
                "height": SIZE[0],
                "width": SIZE[1],
                "neg_category_ids": absent,
                "not_exhaustive_category_ids": self.partly[i],
            }
            for i, absent in self.absent.items()
        ]
        true = [(i, k, mask) for (i, k), masks in self.true.items() for mask in masks]
        annotations = [
            {
                "id": n,
                "image_id": i,
                "category_id": k,
                "segmentation": rle.encode(m),
                "bbox": box(m),
                "area": int(m.sum()),
            }
            for n, (i, k, m) in enumerate(true, 1)
        ]
        categories = [{"id": k, "name": name, "frequency": often} for k, (name, often) in CLASSES.items()]
        whole = {"images": images, "categories": categories, "annotations": annotations}
        self.truth.write_text(json.dumps(whole))
        found = [(i, k, score, mask) for (i, k), rows in self.found.items() for score, mask in rows]
        self.results.write_text(
            json.dumps(
                [{"image_id": i, "category_id": k, "segmentation": rle.encode(m), "score": s} for i, k, s, m in found]
            )
        )

    def compared(self, lvis: bool | None = None) -> Compared:
        truth = read_truth(self.truth, lvis=lvis).held()
        return compare(truth, read_found(self.results, truth))

    def judged(self, kind: int) -> list[One]:
        asked = [i for i in self.absent if (i, kind) in self.true or kind in self.absent[i]]
        return [One(self.true.get((i, kind), []), self.found.get((i, kind), []), kind in self.partly[i]) for i in asked]


def box(mask: Mask) -> list[int]:
    x0, y0, x1, y1 = rle.bounds(rle.encode(mask))
    return [x0, y0, x1 - x0, y1 - y0]


def test_numbers_are_those_of_the_rules(tmp_path: Path) -> None:
    pytest.importorskip("hotcoco")
    drawn = Drawn(tmp_path)
    compared = drawn.compared()
    assert compared.frequencies == dict(CLASSES.values())
    mine = average_precision(compared, "segm")
    plain = {name: curves(drawn.judged(kind)) for kind, (name, _) in CLASSES.items()}
    expected = {"AP": mean_of(plain)}
    expected |= {
        f"AP{round(100 * at)}": mean_of({n: c[i : i + 1] for n, c in plain.items()}) for at, i in ((0.5, 0), (0.75, 5))
    }
    for name, areas in AREAS.items():
        expected[f"AP {name}"] = mean_of({n: curves(drawn.judged(k), areas) for k, (n, _) in CLASSES.items()})
    for name in ("rare", "common", "frequent"):
        some = {n: plain[n] for n, often in CLASSES.values() if often == name[0]}
        expected[f"AP {name}"] = mean_of(some)
    assert set(mine.summary) == set(LVIS_NAMES)
    np.testing.assert_allclose([mine.summary[n] for n in expected], list(expected.values()), atol=1e-9)
    assert 0.1 < expected["AP"] < 0.95
    assert len({round(v, 6) for v in expected.values() if not math.isnan(v)}) >= 7, "all alike tells nothing"
    np.testing.assert_allclose(
        [mine.by_class[n] for n in plain], [c.mean() for c in plain.values()], atol=1e-9, equal_nan=True
    )
    by_coco = average_precision(drawn.compared(lvis=False), "segm", "hotcoco").summary["AP"]
    assert by_coco < expected["AP"] - 0.01, "COCO's rules punish what nobody looked for"


def test_three_hundred_of_an_image_count(tmp_path: Path) -> None:
    drawn = Drawn(tmp_path, images=1)
    drawn.absent, drawn.partly, drawn.true = {1: [3]}, {1: []}, {(1, 1): [square(0, 0, 40)]}
    rows = [(0.9 - i / 1000, square(70, 50, 20)) for i in range(LVIS_MOST)]
    drawn.found = {(1, 7): rows, (1, 1): [(0.1, square(0, 0, 40))]}  # yak: not looked for, but of the best 300
    drawn.write()
    assert drawn.compared().images[0].found == []
    drawn.found[(1, 7)].pop()
    drawn.write()
    assert [s["label"] for s in drawn.compared().images[0].found] == ["dog"]


def test_other_scores_leave_out_what_is_not_known(tmp_path: Path) -> None:
    drawn = Drawn(tmp_path)
    table = np.zeros((2, 2))
    pixels = np.zeros(2)
    for kind in CLASSES:
        for one in drawn.judged(kind):
            if not one.partly:
                table[int(bool(one.true)), int(any(score >= 0.5 for score, _ in one.found))] += 1
            if kind == 1 and not one.partly:
                union = [np.any([np.zeros(SIZE, bool), *m], 0) for m in (one.true, [m for _, m in one.found])]
                pixels += (union[0] & union[1]).sum(), (union[0] | union[1]).sum()
    (tn, fp), (fn, tp) = table
    expected = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    compared = drawn.compared()
    assert open_vocabulary(compared).mcc == pytest.approx(expected)
    assert class_iou(compared)["dog"].area == pytest.approx(pixels[0] / pixels[1])


def test_it_is_told_and_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hotcoco")
    drawn = Drawn(tmp_path)
    compared = drawn.compared()
    report = Report.of(compared)
    assert report.to_dict()["rules"] == "LVIS"
    assert any(line.startswith("AP rare") for line in report.lines())
    assert Report.of(drawn.compared(lvis=False)).to_dict()["rules"] == "COCO"
    with pytest.raises(UsageError, match="--no-lvis"):
        average_precision(compared, "segm", "pycocotools")
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(UsageError, match=r"gsam-jax\[eval\]"):
        average_precision(compared, "segm")
    value: Any = json.loads(drawn.truth.read_text())
    del value["categories"][0]["frequency"]
    drawn.truth.write_text(json.dumps(value))
    assert not read_truth(drawn.truth).frequencies
    with pytest.raises(UsageError, match="not of LVIS"):
        read_truth(drawn.truth, lvis=True)
