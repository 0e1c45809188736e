"""`Predictor`: SamPredictor's words on a small SAM with random weights."""

from __future__ import annotations

import numpy as np
import pytest

from gsam import bind
from gsam.predictor import Predictor
from gsam.segment import sam

CONFIG = sam.Config(32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)


@pytest.fixture(scope="module")
def stage() -> sam.Stage:
    return sam.build(CONFIG, bind.random(sam.spec(CONFIG), 1))


@pytest.fixture
def predictor(stage: sam.Stage) -> Predictor:
    p = Predictor(stage)
    p.set_image(np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8))
    return p


def test_shapes_are_the_original_s(predictor: Predictor) -> None:
    masks, iou, low = predictor.predict(point_coords=[[10, 20]], point_labels=[1])
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((3, 40, 100), np.bool_, (3,), (3, 32, 32))
    masks, iou, low = predictor.predict(box=[5, 5, 50, 30], multimask_output=False, return_logits=True)
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((1, 40, 100), np.float32, (1,), (1, 32, 32))
    assert predictor.get_image_embedding().shape == (1, 16, 8, 8)
    assert (predictor.original_size, predictor.input_size) == ((40, 100), (26, 64))


def test_a_mask_can_be_refined(predictor: Predictor) -> None:
    _, _, low = predictor.predict(point_coords=[[10, 20]], point_labels=[1])
    refined, _, _ = predictor.predict(
        point_coords=[[10, 20]], point_labels=[1], mask_input=low[:1], multimask_output=False, return_logits=True
    )
    plain, _, _ = predictor.predict(
        point_coords=[[10, 20]], point_labels=[1], multimask_output=False, return_logits=True
    )
    assert np.abs(refined - plain).max() > 1e-3
    masks, _, _ = predictor.predict(mask_input=low[:1])
    assert masks.shape == (3, 40, 100)


def test_padding_points_and_prompts_changes_nothing(predictor: Predictor, stage: sam.Stage) -> None:
    """Five points are padded to eight, three prompts to four: each prompt gives what it gives alone, unpadded."""
    rng = np.random.default_rng(1)
    coords, labels = rng.uniform(0, 40, (3, 5, 2)), rng.integers(0, 2, (3, 5))
    boxes = np.array([[1, 2, 30, 30], [5, 5, 90, 35], [0, 0, 10, 10]], float)
    _, iou, low = predictor.predict_many(coords, labels, boxes)
    for i in range(3):
        scale = np.array([64 / 100, 26 / 40])
        points = np.concatenate([coords[i], boxes[i].reshape(2, 2)]) * scale
        kinds = np.concatenate([labels[i], [2, 3]])
        exact, quality = stage.prompt(
            stage.params, predictor.features[0], points[None].astype(np.float32), kinds[None].astype(np.int32)
        )
        np.testing.assert_allclose(low[i], exact[0], atol=1e-5)
        np.testing.assert_allclose(iou[i], quality[0], atol=1e-5)


def test_the_picture_is_encoded_once(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(predictor._encode, "_embed", never)
    predictor.predict(point_coords=[[1, 1]], point_labels=[0])
    predictor.predict(box=[0, 0, 9, 9])
    with pytest.raises(AssertionError, match="again"):
        predictor.set_image(np.zeros((4, 4, 3), np.uint8))


def test_channels_can_be_swapped(stage: sam.Stage) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
    a, b = Predictor(stage), Predictor(stage)
    a.set_image(picture)
    b.set_image(picture[..., ::-1], image_format="BGR")
    np.testing.assert_array_equal(a.features, b.features)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(point_coords=[[1, 1]]), "go together"),
        (dict(point_coords=[[1, 1], [2, 2]], point_labels=[1]), "points"),
        (dict(point_coords=[[1, 1]], point_labels=[2]), "1 .foreground. or 0"),
        (dict(point_coords=[[500, 1]], point_labels=[1]), "outside the picture"),
        (dict(point_coords=[[np.nan, 1]], point_labels=[1]), "not finite"),
        (dict(box=[1, 2, np.inf, 4]), "not finite"),
        (dict(box=[50, 2, 10, 4]), "x0 <= x1"),
        (dict(box=[1, 2, 3]), "four numbers"),
        (dict(mask_input=np.zeros((1, 7, 7))), r"\[1, 32, 32\]"),
    ],
)
def test_wrong_prompts_say_what_is_wrong(predictor: Predictor, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor.predict(**arguments)


def test_no_picture_no_prediction(stage: sam.Stage) -> None:
    p = Predictor(stage)
    assert not p.is_image_set
    with pytest.raises(RuntimeError, match="set_image"):
        p.predict(box=[0, 0, 1, 1])
    p.set_image(np.zeros((1, 1, 3), np.uint8))
    assert p.is_image_set
    assert p.predict(box=[0, 0, 1, 1])[0].shape == (3, 1, 1)
    p.reset_image()
    assert not p.is_image_set
