"""The decoder's first layer is projected once per image: the same answers, and never for a mask."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from gsam import bind
from gsam.models import sam, sam2
from gsam.predictors.image import Predictor
from tests.models import small_segmenters as small

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
CONFIG = sam.Config(32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)


def of_sam() -> sam.SamSegmenter:
    return sam.build(CONFIG, bind.random_params(sam.spec(CONFIG), 1))


def of_sam2() -> sam2.Sam2Segmenter:
    with jax.numpy_dtype_promotion("standard"):
        return small.sam_2()


def without(predictor: Predictor) -> None:
    """Forget what is shared, so that every prompt projects for itself."""
    predictor._current.set([dataclasses.replace(e, projected=None) for e in predictor._embeddings])


@pytest.mark.parametrize("make", [of_sam, of_sam2])
def test_the_same_answers(make: Any, tmp_path: Path) -> None:
    predictor = Predictor(make())
    predictor.set_image(PICTURE)
    assert jax.tree.leaves(predictor._embedding.projected)
    asked: list[dict[str, Any]] = [
        {"point_coords": [[80, 10]], "point_labels": [1]},
        {"box": [[5, 5, 60, 30], [0, 0, 20, 20], [50, 2, 99, 39]]},
    ]
    quick = [predictor.predict(**prompt) for prompt in asked]
    predictor.save_embedding(tmp_path / "a.safetensors")
    without(predictor)
    for ours, plain in zip(quick, [predictor.predict(**prompt) for prompt in asked], strict=True):
        np.testing.assert_allclose(ours[2], plain[2], atol=1e-4 * float(np.std(plain[2])))
        np.testing.assert_allclose(ours[1], plain[1], atol=1e-5)
    again = Predictor(make())
    again.load_embedding(tmp_path / "a.safetensors")
    for ours, loaded in zip(quick, [again.predict(**prompt) for prompt in asked], strict=True):
        np.testing.assert_array_equal(ours[2], loaded[2])
    again.features = predictor.features
    np.testing.assert_array_equal(again.predict(**asked[0])[2], quick[0][2])


@pytest.mark.parametrize("make", [of_sam, of_sam2])
def test_a_mask_is_read_with_the_image(make: Any) -> None:
    """Its dense prompt changes what the first layer sees: what is shared is not used."""
    predictor = Predictor(make())
    predictor.set_image(PICTURE)
    mask = predictor.predict([[80, 10]], [1])[2][:1]
    found = predictor.predict([[80, 10]], [1], mask_input=mask)[2]
    without(predictor)
    np.testing.assert_array_equal(found, predictor.predict([[80, 10]], [1], mask_input=mask)[2])


@pytest.mark.parametrize("make", [of_sam, of_sam2])
def test_what_is_shared_is_used(make: Any) -> None:
    """Answers follow it: it is no ornament."""
    predictor = Predictor(make())
    predictor.set_image(PICTURE)
    true = predictor.predict([[80, 10]], [1])[2]
    predictor._current.set(
        [dataclasses.replace(e, projected=jax.tree.map(lambda x: -x, e.projected)) for e in predictor._embeddings]
    )
    assert np.abs(predictor.predict([[80, 10]], [1])[2] - true).max() > 0.01 * float(np.std(true))


@pytest.mark.slow
def test_everything_asked_again_with_its_mask_reads_it_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[dict[str, Any]]:
        asked = dict(points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
        return gsam.MaskGenerator(of_sam(), use_m2m=True, **asked).generate(PICTURE)

    shared = found()
    monkeypatch.setattr(sam.SamSegmenter, "project", lambda *_: None)
    plain = found()
    assert len(shared) == len(plain) > 0
    for ours, other in zip(shared, plain, strict=True):
        assert ours["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-4)
        assert (ours["segmentation"] != other["segmentation"]).mean() < 0.01


def test_a_model_whose_boxes_bring_masks_shares_nothing() -> None:
    predictor = gsam.Predictor("nano_sam")
    predictor.set_image(PICTURE)
    assert predictor._embedding.projected is None
    assert predictor.compilations == 1


def test_several_images_share_nothing_with_each_other() -> None:
    predictor = Predictor(of_sam())
    predictor.set_image_batch([PICTURE, PICTURE[::-1].copy()])
    both = predictor.predict_batch([[[80, 10]]] * 2, [[1]] * 2)
    predictor.set_image(PICTURE[::-1].copy())
    alone = predictor.predict([[80, 10]], [1])
    np.testing.assert_allclose(both[2][1], alone[2], atol=1e-4)
