"""The measurement of tracking, on a clip that ships and a tiny random tracker."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gsam
from benchmarks import tracks
from gsam.nano import heldout_clips
from tests.tracking import small

FOLDER = Path(__file__).parents[1] / "data" / "clips"


@pytest.mark.long
def test_every_object_is_prompted_where_it_is_first_seen() -> None:
    example = heldout_clips.read(FOLDER)[0]
    predictor = gsam.VideoPredictor(small.made(), progress=False)
    true = example.tracks()
    for kind in ("clicks", "box", "mask"):
        found = tracks.prompted(predictor, example, kind)
        assert len(found) == found.count == len(example.clip.rgb)
        for identity in true.ids:
            first = next(t for t, mask in enumerate(true.masks_of(identity)) if mask is not None)
            assert [identity in frame.ids for frame in found] == [t >= first for t in range(found.count)]
        assert found.labels == {i: example.clip.names[i - 1] for i in found.ids}
    rows = list(tracks.measure(predictor, [example], "mask"))
    assert {row["object"] for row in rows} <= set(true.ids)
    assert all(0 <= row["j"] <= 1 and 0 <= row["f"] <= 1 for row in rows)
    assert max(row["prompted"] for row in rows) > 0.5  # what is drawn is given back, at the resolution of 16 x 16
    assert [row["late"] for row in rows] == [true.masks_of(row["object"])[0] is None for row in rows]
    assert np.asarray(found.plot(example.clip.rgb)).std() > 0


def test_comparisons_without_following() -> None:
    examples = heldout_clips.read(FOLDER)[:1]
    told = {side: tracks.unfollowed(examples, tracks.in_cells(side)) for side in (16, 40, 1000)}
    assert 0.3 < told[16]["j"] < told[40]["j"] < told[1000]["j"] <= 1.0
    assert told[1000]["j"] > 0.99
    assert told[40]["f"] > told[16]["f"]
    asked = []

    class Perfect:
        """Gives back what was clicked on, as the second of three masks."""

        def set_image(self, pixels: np.ndarray) -> None:
            frames = [np.array_equal(pixels, frame) for frame in examples[0].clip.rgb]
            self.truth = examples[0].clip.instances[frames.index(True)]

        def predict_many(self, points: np.ndarray, labels: np.ndarray, multimask_output: bool) -> SimpleNamespace:
            assert points.shape == (*labels.shape, 2)
            assert multimask_output
            asked.append(len(points))
            masks = np.stack([self.truth == self.truth[int(y), int(x)] for x, y in points[:, 0]])
            nothing = np.zeros_like(masks)
            iou = np.tile([0.1, 0.9, 0.2], (len(masks), 1))
            return SimpleNamespace(masks=np.stack([nothing, masks, nothing], 1), iou=iou)

    predictor: Any = Perfect()
    assert tracks.unfollowed(examples, tracks.clicked(predictor)) == {"j": 1.0, "f": 1.0}
    seen = [np.unique(t[(t > 0) & (t <= len(examples[0].clip.names))]).size for t in examples[0].clip.instances]
    assert asked == [n for n in seen if n]


def test_the_page_says_what_was_measured() -> None:
    rows = [
        {"j": 0.9, "f": 0.8, "prompted": 1.0, "late": False},
        {"j": 0.7, "f": 0.7, "prompted": 0.5, "late": True},
    ]
    text = {
        "switches_a_clip": 0.25, "late_found": 3, "late": 4, "late_delay": 2.5, "found": 0.8, "called": 9, "matched": 10,
        "false": 2, "clips": 4, "j": 0.6, "f": 0.5,
    }  # fmt: skip
    report = {
        "model": "m", "command": "c", "date": "d", "machine": "x", "clips": 2, "frames": 24,
        "prompts": {"click": tracks.summary(rows), "box": tracks.summary(rows[1:])},
        "early": tracks.summary(rows[:1]), "late": tracks.summary(rows[1:]), "pipeline": "nano", "text": text,
        "text_once": text | {"switches_a_clip": 0.5, "late_found": 1, "false": 8},
        "unfollowed": {"cells": {"j": 0.9, "f": 0.8}},
    }  # fmt: skip
    page = tracks.page(report)
    assert "| one click | 2 | **0.775** | 0.800 | 0.750 | 0.750 | ≥ 0.65: met |" in page
    assert "| a box | 1 | **0.700** |" in page
    assert "| one click, entering later | 1 | **0.700** | 0.700 | 0.700 | 0.500 |  |" in page
    assert "| cells | 0.850 | 0.900 | 0.800 |" in page
    assert "| identity switches per clip | 0.25 | 0.50 |  |" in page
    assert "within 8 frames | 3 of 4 | 1 of 4 |" in page
    assert "| - of these, under its name | 0.900 | 0.900 |" in page
    assert "per clip | 0.50 | 2.00 | ≤ 8 |" in page
    assert "draws again" not in page
    low = [row | {"j": row["j"] - 0.3, "f": row["f"] - 0.3} for row in rows]
    alone = {
        "prompts": {"click": tracks.summary(low)},
        "early": tracks.summary(low[:1]),
        "late": tracks.summary(low[1:]),
    }
    drawn = {name: report[name] for name in ("prompts", "early", "late")}
    page = tracks.page(report | alone | {"redraw": "nano_sam", "redrawn": drawn})
    before, after = page.split("With masks that `nano_sam` draws again")
    assert "| one click | 2 | **0.475** | 0.500 | 0.450 | 0.750 |  |" in before
    assert "| one click | 2 | **0.775** | 0.800 | 0.750 | 0.750 | ≥ 0.65: met |" in after
    assert "**missed**" in tracks.page(report | alone)
    assert tracks.summary([])["objects"] == 0
