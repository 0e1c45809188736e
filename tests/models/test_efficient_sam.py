"""EfficientSAM's own ways with prompts: six tokens always, three masks always, no background and no
masks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.inputs.image import Picture
from gsam.models import efficient_sam
from gsam.nn.prompt import ABSENT, PAD
from gsam.predictors.image import Predictor
from gsam.runtime.batch import gather
from gsam.types import Params
from gsam.weights.rules import precision
from tests.models import small_segmenters as small

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def stage() -> efficient_sam.EfficientSamSegmenter:
    return small.efficient()


@pytest.fixture(scope="module")
def predictor(stage: efficient_sam.EfficientSamSegmenter) -> Predictor:
    p = Predictor(stage)
    p.set_image(PICTURE)
    return p


def tokens(stage: efficient_sam.EfficientSamSegmenter, points: list[list[float]], labels: list[int]) -> np.ndarray:
    """[6, D], sorted, because their order means nothing."""
    encoder = stage.spec.bind(stage.params).prompt_encoder
    found = np.asarray(encoder(jnp.asarray([points], jnp.float32), jnp.asarray([labels])))[0]
    return found[np.lexsort(found.T)]


@pytest.mark.long
def test_what_it_takes(stage: efficient_sam.EfficientSamSegmenter) -> None:
    assert (stage.prompt_types, stage.max_points, stage.upsample) == ({"foreground", "box"}, 6, "bicubic")
    assert stage.view.key == "squash_64_linear_0"


@pytest.mark.long
def test_every_prompt_is_six_tokens(stage: efficient_sam.EfficientSamSegmenter) -> None:
    """Rows that do not exist are left out wherever they are, whatever their position, and filled up
    alike.
    """
    one = tokens(stage, [[3, 4]], [1])
    assert one.shape == (6, 16)
    assert len(np.unique(one, axis=0)) == 2  # the point, and five that are none
    for labels in ([1, PAD], [1, ABSENT, ABSENT, PAD], [1] + [ABSENT] * 7):
        np.testing.assert_array_equal(tokens(stage, [[3, 4]] + [[9, 9]] * (len(labels) - 1), labels), one)
    np.testing.assert_array_equal(tokens(stage, [[9, 9]] * 7 + [[3, 4]], [ABSENT] * 7 + [1]), one)
    full = tokens(stage, [[i, i] for i in range(6)], [1] * 6)
    assert len(np.unique(full, axis=0)) == 6
    spread = tokens(stage, [[9, 9]] + [[i, i] for i in range(6)] + [[9, 9]], [PAD] + [1] * 6 + [ABSENT])
    np.testing.assert_array_equal(spread, full)


def test_more_than_six_points_are_no_answer(stage: efficient_sam.EfficientSamSegmenter) -> None:
    """Not the first six of them, as in the original."""
    points = [[i, i] for i in range(8)]
    assert np.isnan(tokens(stage, points, [1] * 7 + [ABSENT])).all()
    assert np.isfinite(tokens(stage, points, [1] * 6 + [ABSENT] * 2)).all()


@pytest.mark.long
def test_shapes_and_the_best_of_three(predictor: Predictor) -> None:
    where = dict(point_coords=[[10, 20], [60, 5]], point_labels=[1, 1])
    masks, iou, low = predictor.predict(**where)
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((3, 40, 100), np.bool_, (3,), (3, 32, 32))
    one, quality, lowest = predictor.predict(**where, multimask_output=False)
    assert (one.shape, quality.shape, lowest.shape) == ((1, 40, 100), (1,), (1, 32, 32))
    best = int(iou.argmax())
    np.testing.assert_allclose(quality[0], iou[best], atol=1e-6)
    np.testing.assert_allclose(lowest[0], low[best], atol=1e-5)
    assert np.abs(low[(best + 1) % 3] - low[best]).max() > 1e-2
    assert (predictor.original_size, predictor.input_size) == ((40, 100), (64, 64))


def test_more_points_than_it_takes_are_refused(predictor: Predictor) -> None:
    spots = np.linspace(1, 30, 7)[:, None].repeat(2, 1)
    masks, _, _ = predictor.predict(spots[:6], np.ones(6))
    assert np.isfinite(predictor.predict(spots[:6], np.ones(6), return_logits=True)[0]).all()
    assert masks.shape == (3, 40, 100)
    with pytest.raises(ValueError, match="6 points a prompt, of which a box is two; these are 7"):
        predictor.predict(spots, np.ones(7))
    with pytest.raises(ValueError, match="these are 7"):
        predictor.predict(spots[:5], np.ones(5), box=[0, 0, 9, 9])


def test_no_mask_prompts(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"no mask prompts|not masks"):
        predictor.predict([[1, 1], [9, 9]], [1, 1], mask_input=np.zeros((1, 32, 32)))


@pytest.mark.long
def test_bfloat16(stage: efficient_sam.EfficientSamSegmenter, predictor: Predictor) -> None:
    half = {k: v.astype(precision(k, jnp.bfloat16)) for k, v in stage.params.items()}
    seen = gather([Picture(PICTURE)], [stage.view])

    @jax.jit
    def run(params: Params, points: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        features = stage.features(params, seen)
        return features, *stage.prompt(params, features[0], points, jnp.asarray([[1, 1]]))

    _, _, low = predictor.predict([[10, 20], [60, 5]], [1, 1])
    features, logits, iou = run(half, jnp.asarray([[[6.4, 32.0], [38.4, 8.0]]]))  # of the squashed view
    assert [x.dtype for x in (features, logits, iou)] == [jnp.bfloat16, jnp.float32, jnp.float32]
    for exact, rough in ((predictor.features, features), (low[None], logits)):
        off = np.asarray(exact) - np.asarray(rough.astype(jnp.float32))
        assert 0 < np.sqrt((off**2).mean()) / np.std(exact) < 0.1
