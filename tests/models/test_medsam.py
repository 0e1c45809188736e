"""MedSAM: the same classes as SAM, and what around them is its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gsam.inputs.image import Picture
from gsam.models import sam
from gsam.predictors.image import Predictor
from gsam.runtime.batch import gather
from gsam.weights import store
from tests.models import small_segmenters as small

PICTURE = np.random.default_rng(0).integers(30, 120, (40, 100, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def stage() -> sam.MedSamSegmenter:
    return small.medsam()


def test_the_configuration_decides(stage: sam.MedSamSegmenter) -> None:
    assert (stage.prompt_types, stage.upsample, stage.view.key) == ({"box"}, "probability", "squash_64_spline_0")
    plain = sam.build(stage.config, stage.params, preprocess="sam")
    assert type(plain) is sam.SamSegmenter
    assert (plain.upsample, plain.view.key) == ("view", "longest_64_bilinear_0")
    again = sam.build(plain.config, stage.params, preprocess="medsam")
    assert type(again) is sam.MedSamSegmenter
    assert again.config == stage.config
    assert sam.VARIANTS["medsam_vit_b"].preprocess == "medsam"
    with pytest.raises(ValueError, match="'sam' or 'medsam'"):
        sam.build(stage.config, stage.params, preprocess="medical")  # type: ignore[arg-type]


def test_pixels_are_stretched_and_nothing_more(stage: sam.MedSamSegmenter) -> None:
    pictures = [Picture(PICTURE), Picture(np.full((9, 9, 3), 77, np.uint8))]
    found = np.asarray(stage.pixels(stage.params, gather(pictures, [stage.view])))
    assert (found.shape, found.dtype) == ((2, 64, 64, 3), np.float32)
    assert (found[0].min(), found[0].max()) == (0, 1)  # each by its own range
    assert found[0].std() > 0.1
    assert np.isin(found[1], (0, 1)).all()  # one grey, but for what the spline's last bit makes of it


def test_one_mask_a_box_whatever_is_asked(stage: sam.MedSamSegmenter) -> None:
    predictor = Predictor(stage)
    predictor.set_image(PICTURE)
    masks, iou, low = predictor.predict(box=[10, 4, 90, 36], multimask_output=True)
    assert (masks.shape, iou.shape, low.shape) == ((1, 40, 100), (1,), (1, 32, 32))


def test_it_is_kept_when_saved(stage: sam.MedSamSegmenter, tmp_path: Path) -> None:
    """What its tensors do not show."""
    store.save(store.Loaded("sam", stage.config, stage.params, None, "medsam"), tmp_path / "orbax")
    again = store.load(tmp_path / "orbax")
    assert again.config == stage.config
    assert again.config != dataclasses.replace(stage.config, preprocess="sam")
