"""The sample that an overview shows of a data set, and masks as small shapes."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gsam.results.masks.rle import bounds, encode
from gsam.results.overview import sheet
from gsam.results.overview.shapes import UNIT, Runs, outline, simplified
from gsam.results.overview.survey import OBJECTS, Survey
from tests.dataset.label.test_overview import Row, disc, light, row, segment, square


def ids(survey: Survey) -> set[str]:
    return {chosen.row["id"] for chosen in survey.sample()}


def surveyed(rows: list[Row], most: int) -> Survey:
    survey = Survey(most)
    for one in rows:
        survey.add(one)
    return survey


def test_every_class_is_in_the_sample() -> None:
    rows = [light(i, ("common", "usual")) for i in range(2000)]
    rows += [light(2000 + i, (f"rare {i}",)) for i in range(30)] + [light(3000 + i, ()) for i in range(50)]
    random.Random(0).shuffle(rows)
    survey = surveyed(rows, 64)
    sample = survey.sample()
    assert len(sample) == 64
    assert {s["label"] for chosen in sample for s in chosen.row["segments"]} == {
        r["label"] for row in rows for r in row["segments"]
    }
    assert [chosen.index for chosen in sample] == sorted(chosen.index for chosen in sample)
    again = rows.copy()
    random.Random(1).shuffle(again)
    assert ids(surveyed(again, 64)) == ids(survey)  # the order does not matter


def test_of_more_classes_than_images_some_are_shown() -> None:
    rows = [light(i, (f"class {i}", f"other {i}")) for i in range(500)]
    survey = surveyed(rows, 20)
    assert len(survey.sample()) == 20
    assert len(survey.classes) == 1000
    assert ids(surveyed(rows[::-1], 20)) == ids(survey)
    assert not surveyed(rows, 0).sample()


def test_all_images_are_shown_where_there_is_room() -> None:
    rows = [light(i, ("dog",) if i % 2 else ()) for i in range(40)]
    assert len(surveyed(rows, 40).sample()) == 40
    assert len(surveyed([light(7, ("dog",))] * 3, 40).sample()) == 3  # ids that repeat are images of their own


def test_of_many_objects_each_class_keeps_its_best() -> None:
    segments = [{"label": "many", "score": 0.9 - i / 1000, "area": 1} for i in range(300)]
    segments.append({"label": "one", "score": 0.1, "area": 1})
    (chosen,) = surveyed([row("a", segments)], 5).sample()
    kept = chosen.row["segments"]
    assert (len(kept), chosen.objects) == (OBJECTS, 301)
    assert (kept[0]["score"], kept[-1]["label"]) == (0.9, "one")


def filled(path: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill an outline as browsers do, by the rule of even and odd."""
    zoom = 4
    found = np.zeros((size[0] * zoom, size[1] * zoom), bool)
    for ring in re.findall(r"M([^z]+)z", path):
        start, steps = ring.split("l")
        numbers = [int(n) for n in re.findall(r"-?\d+", start)] + [int(n) for n in re.findall(r"-?\d+", steps)]
        points = np.cumsum(np.array(numbers).reshape(-1, 2), 0) / UNIT * zoom
        part = Image.new("1", found.shape[::-1])
        ImageDraw.Draw(part).polygon([(float(x), float(y)) for x, y in points], fill=1)
        found ^= np.asarray(part)
    return found.reshape(size[0], zoom, size[1], zoom).mean((1, 3)) > 0.5


@pytest.mark.parametrize(("size", "small"), [((300, 400), (75, 100)), ((200, 301), (133, 200)), ((64, 64), (64, 64))])
def test_outlines_keep_shapes_and_holes(size: tuple[int, int], small: tuple[int, int]) -> None:
    mask = disc(size)
    path = outline(Runs(encode(mask)), *small)
    assert path.count("M") == 2
    wanted = np.asarray(Image.fromarray(mask * np.uint8(255)).resize(small[::-1], Image.Resampling.BOX)) > 127
    seen = filled(path, small)
    assert (wanted & seen).sum() / (wanted | seen).sum() > 0.95
    assert len(path) < 700


def test_coverage_is_the_mean_of_cells() -> None:
    mask = np.random.default_rng(0).random((24, 36)) > 0.5
    covered = Runs(encode(mask)).coverage(np.linspace(0, 24, 9), np.linspace(0, 36, 13))
    np.testing.assert_allclose(covered, mask.reshape(8, 3, 12, 3).mean((1, 3)))
    whole = Runs(encode(mask)).coverage(np.arange(25.0), np.arange(37.0))
    assert (whole == mask).all()


def test_bounds_are_those_of_the_mask() -> None:
    rng = np.random.default_rng(1)
    for k in range(40):
        mask = (rng.random((7, 9)) < k / 200) | square(0, 3, k % 8, (7, 9))
        assert Runs(encode(mask)).box == bounds(encode(mask))


def test_one_pixel_of_a_very_large_image_is_seen() -> None:
    height, width = 60_000, 40_000
    at = 30_000 * height + 12_345
    runs = Runs({"size": [height, width], "counts": [at, 1, height * width - at - 1]})
    path = outline(runs, 400, 267)
    assert re.match(r"M(79\d|80\d|81\d) (32\d|33\d)l", path)


def test_rings_are_simplified_within_tolerance() -> None:
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1) * 50
    few = simplified(ring, 0.5)
    assert 8 < len(few) < 40
    assert np.hypot(*few.T) == pytest.approx(50)
    assert simplified(np.array([[0.0, 0], [1, 0], [2, 0], [2, 2], [0, 2]]), 0.1).tolist() == [
        [0, 0],
        [2, 0],
        [2, 2],
        [0, 2],
    ]


def test_the_sheet_shows_the_best_of_each_class() -> None:
    rows = [row(str(i), [segment("dog", 0.5 + i / 100, square(0, 0, 5))]) for i in range(40)]
    rows += [row("cat", [segment("cat", 0.2, square(0, 0, 5))]), row("empty", [])]
    survey = surveyed(rows, 100)
    cells = sheet.choose(survey.sample(), ["dog", "cat"])
    assert len(cells) == 41
    assert [cell.index for cell in cells[:3]] == [39, 38, 37]
    assert cells[-1].index == 40
    many = [row(str(i), [segment(f"{i:03}", 0.5, square(0, 0, 5))]) for i in range(100)]
    cells = sheet.choose(surveyed(many, 100).sample(), [f"{i:03}" for i in range(100)])
    assert [cell.index for cell in cells] == list(range(48))


@pytest.mark.long
def test_many_rows_need_no_more_memory(tmp_path: Path) -> None:
    mask = encode(square(3, 3, 20))

    def rows() -> Iterator[Row]:
        for i in range(50_000):
            labels = ("dog", f"kind {i % 50}")
            yield row(f"{i:07}", [
                {"label": label, "score": (i % 97) / 97, "box": [3, 3, 23, 23], "area": 400, "mask": {**mask}}
                for label in labels
            ])  # fmt: skip

    survey = Survey(200)
    peaks = {}
    tracemalloc.start()
    try:
        for i, one in enumerate(rows(), 1):
            survey.add(one)
            if i in (5_000, 50_000):
                peaks[i] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert survey.objects == 100_000
    assert len(survey.sample()) == 200
    assert peaks[50_000] < min(1.2 * peaks[5_000], 4_000_000)
