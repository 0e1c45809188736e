"""MobileSAM and SAM-HQ as stages: in a pipeline, by clicks, by recipe; small models with random
weights.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.build.recipes import read_recipe
from gsam.errors import UsageError
from gsam.inputs.image import Picture
from gsam.models import mobile_sam, sam_hq
from gsam.nn.sam_vit import SamVit
from gsam.nn.tiny_vit import TinyVit
from gsam.predictors.image import Predictor
from gsam.runtime.batch import gather
from gsam.types import Boxes
from gsam.weights.tuned import config_of

SIZES = {"decoder_heads": 2, "decoder_mlp": 32}
TINY_VIT = TinyVit(64, (8, 8, 8, 8), (1, 1, 1, 1), (1, 1, 1), (3, 4, 3), out_chans=16)
CONFIGS: dict[str, Any] = {
    "mobile_sam": mobile_sam.Config(TINY_VIT, **SIZES),
    "sam_hq": sam_hq.Config(SamVit(16, 2, 2, (1,), image_size=32, patch=8, window=3, out_chans=16), **SIZES),
}


@pytest.fixture(scope="module", params=CONFIGS)
def stage(request: pytest.FixtureRequest) -> Any:
    config = CONFIGS[request.param]
    family = sam_hq if request.param == "sam_hq" else mobile_sam
    return family.build(config, {name: number(name, s.shape) for name, s in family.spec(config).shapes.items()})


def number(name: str, shape: tuple[int, ...]) -> jax.Array:
    """Random numbers of unit order, without compiling anything."""
    noise = np.random.default_rng(len(name)).normal(size=shape)
    if name.endswith(("scale", "running_var")):
        noise = 1 + 0.1 * np.tanh(noise)
    elif name.endswith("kernel"):
        noise /= np.prod(shape[:-1]) ** 0.5
    return jnp.asarray(noise, jnp.float32)


@pytest.mark.long
def test_one_mask_a_box_and_chunks_change_nothing(stage: Any) -> None:
    picture = Picture(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    images = gather([picture], [stage.view])
    corner = np.random.default_rng(1).uniform(0, 30, (1, 3, 2))
    boxes = Boxes(jnp.asarray(np.concatenate([corner, corner + 25], -1), jnp.float32), jnp.ones((1, 3), bool))
    one_by_one = dataclasses.replace(stage, chunk=1)

    def run(params: Any, images: Any, boxes: Boxes) -> Any:
        features = stage.features(params, images)
        return tuple(s.segment(params, features, images, boxes) for s in (stage, one_by_one))

    masks, same = jax.jit(run)(stage.params, images, boxes)
    side = 4 * stage.config.grid
    assert (masks.logits.shape, masks.iou.shape) == ((1, 3, side, side), (1, 3))
    assert masks.logits.std() > 1e-3
    np.testing.assert_allclose(masks.logits, same.logits, atol=1e-5)
    np.testing.assert_allclose(masks.content[0, 0], [side * 60 / 90, side], atol=side / stage.config.image_size)


@pytest.mark.long
def test_clicks(stage: Any) -> None:
    many = 1 if isinstance(stage, sam_hq.SamHqSegmenter) else 3
    predictor = Predictor(stage)
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8))
    masks, iou, low = predictor.predict(point_coords=[[10, 20]], point_labels=[1])
    side = 4 * stage.config.grid
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((many, 40, 100), np.bool_, (many,), (many, side, side))


@pytest.mark.parametrize("variant", [*mobile_sam.VARIANTS, *sam_hq.VARIANTS])
def test_a_configuration_survives_an_orbax_folder_s_note(variant: str) -> None:
    config = (mobile_sam.VARIANTS | sam_hq.VARIANTS)[variant]
    note = json.loads(json.dumps(dataclasses.asdict(config)))
    assert config_of(type(config), note) == config
    with pytest.raises(TypeError):
        config_of(type(config), note | {"encoder": {"width": 1, "stranger": 2}})


def test_hq_token_only_is_a_setting() -> None:
    spec = sam_hq.spec(CONFIGS["sam_hq"])
    params = dict.fromkeys(spec.shapes)
    assert not sam_hq.SamHqSegmenter(CONFIGS["sam_hq"], spec, params).hq_token_only
    assert read_recipe("grounded_sam_hq")["segment"] == {"name": "sam_hq_vit_b", "hq_token_only": 0}
    assert read_recipe("grounded_mobile_sam")["segment"] == {"name": "mobile_sam"}


def test_hq_token_only_is_0_or_1(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    for value, works in (("1", True), ("2", False), ("true", False), ('"yes"', False)):
        recipe.write_text(f'[detect]\nname = "nano_owl"\n[segment]\nname = "sam_hq_vit_b"\nhq_token_only = {value}\n')
        if works:
            assert read_recipe(recipe)["segment"]["hq_token_only"] == 1
            continue
        with pytest.raises(UsageError, match=r"segment\.hq_token_only is"):
            read_recipe(recipe)
