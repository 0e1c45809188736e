"""The measurement of tracking, on a clip that ships and a tiny random tracker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gsam
from benchmarks import tracks
from gsam.evaluation import clips
from tests.video import small
from tests.video.conftest import _compiled_fast as _compiled_fast

FOLDER = Path(__file__).parents[1] / "data" / "clips"


@pytest.mark.usefixtures("_compiled_fast")
def test_every_object_is_clicked_where_it_is_first_seen() -> None:
    example = clips.read(FOLDER)[0]
    predictor = gsam.VideoPredictor(small.made(), progress=False)
    found = tracks.clicked(predictor, example)
    true = example.tracks()
    assert len(found) == found.count == len(example.clip.rgb)
    for identity in true.ids:
        first = next(t for t, mask in enumerate(true.masks_of(identity)) if mask is not None)
        assert [identity in frame.ids for frame in found] == [t >= first for t in range(found.count)]
    rows = list(tracks.measure(predictor, [example]))
    assert {row["object"] for row in rows} <= set(true.ids)
    assert all(0 <= row["j"] <= 1 and 0 <= row["f"] <= 1 for row in rows)
    assert np.asarray(tracks.sheet(predictor, example)).std() > 0
