"""nano's segmenter gets better by clicks, on the held-out scenes that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import clicks
from gsam.nano import heldout

ROOT = Path(__file__).parents[2]
NANO = ROOT / "weights" / "nano" / "segmenter.safetensors"


@pytest.mark.skipif(not NANO.is_file(), reason="weights/nano is empty")
@pytest.mark.long
def test_more_clicks_make_better_masks() -> None:
    scenes = heldout.read(ROOT / "tests" / "data" / "heldout")[:12]
    one, _, three, _, five = clicks.curve(clicks.measure("nano_sam", scenes))["all"]["iou"][:5]
    assert one > 0.68
    assert three > one + 0.05
    assert five > one + 0.05  # before corrections were trained, it fell back from here on


def test_the_next_click_is_where_the_mask_is_most_wrong() -> None:
    truth = np.zeros((20, 20), bool)
    truth[2:12, 2:12] = True
    mask = truth.copy()
    mask[4:9, 4:9] = False
    mask[15:17, 15:17] = True
    known = np.ones_like(truth)
    assert clicks.correction(mask, truth, known) == ((6, 6), 1)
    assert clicks.correction(truth | mask, truth, known)[1] == 0
    assert clicks.iou(mask, truth, known) == 75 / 104
