"""SigLIP: absolute probabilities, its way of reading, its configurations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gsam import bind
from gsam.errors import CheckpointError
from gsam.models import siglip
from gsam.models.siglip.port import config_from_hf
from gsam.ops.regions import widen
from gsam.text import sentences
from gsam.weights import folders, store
from tests.models.small_classifiers import SIGLIP, Marks, before, classified, make, picture


@pytest.mark.long
def test_siglip_s_probability_is_absolute() -> None:
    """One query more changes nothing, and ``reject`` is compared with the probability, whatever the
    weight.
    """
    stage = make("siglip", weight=1.0)
    both, one = classified(stage, ["cat", "dog"]), classified(stage, ["cat"])
    np.testing.assert_allclose(both.labels.scores[..., :1], one.labels.scores, atol=1e-6)
    low, high = sorted(np.asarray(one.labels.score)[0].tolist())
    assert 0.0 < low < high < 1.0
    for weight in (0.0, 0.5, 1.0):
        light = dataclasses.replace(stage, weight=weight)
        for reject, left in ((low - 1e-4, 2), ((low + high) / 2, 1), (high + 1e-4, 0)):
            assert classified(light, ["cat"], reject=reject).boxes.valid.sum() == left


def test_what_fits_nothing_is_rejected_by_siglip_and_not_by_a_softmax() -> None:
    stage = make("siglip")
    far = stage.params | {"logit_bias": jnp.full(1, -30.0)}
    assert not classified(dataclasses.replace(stage, params=far), ["cat", "dog"], reject=0.01).boxes.valid.any()
    assert classified(make("clip"), ["cat", "dog"], reject=0.01).boxes.valid.all()


def test_a_better_negative_rejects() -> None:
    plain = make("siglip", weight=1.0)
    scores = np.asarray(classified(plain, ["cat", "sea"]).labels.scores)[0]
    after = classified(dataclasses.replace(plain, negatives=("sea",)), ["cat"])
    np.testing.assert_array_equal(after.boxes.valid[0], scores[:, 0] >= scores[:, 1])
    np.testing.assert_allclose(after.labels.scores[0, :, 0], scores[:, 0], atol=1e-6)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.long
def test_siglip_s_probability_is_transformers_(tmp_path: Path, version: int) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from benchmarks.harness.oracles import seeded

    model = seeded.siglip("tiny", version)
    loaded = store.load(str(seeded.save(model, tmp_path)), role="classify")
    assert loaded.config.version == version
    stage = siglip.build(loaded.config, loaded.params, Marks(), template="a {}", weight=1.0)
    scene, _ = before(stage, ["cat", "dog"])
    canvas = np.asarray(scene.images.view(stage.view))[0]
    side = loaded.config.image_size
    cuts = [
        Image.fromarray(canvas).resize((side, side), Image.Resampling.BILINEAR, box=tuple(map(float, b)))
        for b in np.asarray(widen(scene.boxes.xyxy[0], 0.15))
    ]
    pixels = np.stack([np.asarray(c, np.float32) for c in cuts]) / 127.5 - 1
    with torch.no_grad():
        theirs = model(
            input_ids=torch.tensor(stage.text.tokenize(["cat", "dog"])[:, 0].astype(np.int64)),
            pixel_values=torch.tensor(pixels.transpose(0, 3, 1, 2)),
        )
    expected = torch.sigmoid(theirs.logits_per_image).numpy()
    scores = classified(stage, ["cat", "dog"]).labels.scores[0]
    np.testing.assert_allclose(scores, expected, rtol=2e-3)  # Pillow's fixed point may round a pixel the other way


def test_how_siglip_reads() -> None:
    assert sentences.canonical("A  Photo, of a T-shirt! ", 1) == "a photo of a tshirt"
    assert sentences.canonical(" A Photo, of a T-shirt!", 2) == "a photo, of a t-shirt!"
    one, two = SIGLIP, dataclasses.replace(SIGLIP, version=2)
    given = np.array([[7, 8, 9, 1, 1, 1], [7, 8, 9, 5, 6, 4], [1, 1, 1, 1, 1, 1]])
    assert sentences.finished(given, one).tolist() == [[7, 8, 9, 1, 1, 1], [7, 8, 9, 5, 6, 1], [1] * 6]
    given = np.array([[2, 7, 8, 1, 0, 0], [7, 8, 0, 0, 0, 0], [7, 8, 9, 5, 6, 1], [7, 8, 9, 5, 6, 4]])
    expected = [[7, 8, 1, 0, 0, 0], [7, 8, 1, 0, 0, 0], [7, 8, 9, 5, 6, 1], [7, 8, 9, 5, 6, 1]]
    assert sentences.finished(given, two).tolist() == expected
    stage = make("siglip")
    np.testing.assert_array_equal(stage.text.tokenize(["A cat!"]), stage.text.tokenize(["a cat"]))
    assert stage.text.tokenize([""]).tolist() == [[[1] * SIGLIP.context]]


def test_configurations_of_siglip() -> None:
    variants = siglip.VARIANTS
    assert config_from_hf({"model_type": "siglip"}) == variants["siglip_base_patch16_224"]
    text = {"vocab_size": 256000}
    assert config_from_hf({"model_type": "siglip", "text_config": text}) == variants["siglip2_base_patch16_224"]
    so = dict(hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16)
    vision = dict(so, image_size=384, patch_size=14)
    given = {"model_type": "siglip", "text_config": so | text, "vision_config": vision}
    assert config_from_hf(given) == variants["siglip2_so400m_patch14_384"]
    for refused, why in (
        ({"model_type": "siglip2"}, "NaFlex"),
        ({"model_type": "siglip", "text_config": {"hidden_act": "relu"}}, "gelu_pytorch_tanh"),
        ({"model_type": "siglip", "vision_config": {"vision_use_head": False}}, "pooling head"),
    ):
        with pytest.raises(CheckpointError, match=why):
            config_from_hf(refused)


def test_siglip_s_bias_stays_exact_in_half_precision(tmp_path: Path) -> None:
    stage = make("siglip")
    saved = store.Loaded("siglip", SIGLIP, stage.params, None, "x")
    again = store.load(store.save(saved, tmp_path / "half", dtype=jnp.bfloat16), dtype="bfloat16")
    assert again.config == SIGLIP
    exact = {k for k, v in again.params.items() if v.dtype == jnp.float32}
    assert exact == {"logit_scale", "logit_bias"}


def test_published_values_of_siglip_are_computed(tmp_path: Path) -> None:
    """With a tokenizer of the library's, padded with SigLIP's end mark."""
    from gsam.evaluation import published
    from gsam.text.tokenizer import load_tokenizer

    file = folders.data_folder("nano") / "tokenizer.json"
    ids = load_tokenizer(file).encode(["dog"], 8, pad=1)
    assert (ids[0, -3:] == 1).all()
    config = dataclasses.replace(SIGLIP, vocab=192)
    params = bind.random_params(siglip.spec(config), 0)
    Image.fromarray(picture().pixels).save(tmp_path / "picture.png")
    row = {"texts": ["dog", "cat"], "logits": [0.0, 0.0], "tolerance": 1.0}
    loaded = store.Loaded("siglip", config, params, file, "x")
    ((what, expected, actual, _),) = published.compare({"published": [row]}, loaded, tmp_path / "picture.png")
    assert (what, expected) == ("logits", [0.0, 0.0])
    assert len(actual) == 2
    assert np.isfinite(actual).all()
