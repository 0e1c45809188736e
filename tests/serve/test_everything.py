"""``/v1/everything``: the masks that the library's generator finds, without words."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from PIL import Image

import gsam
from gsam.results.masks import rle
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.warming import settings_everywhere


def send(client: TestClient, image: bytes, **fields: Any) -> Any:
    return client.post("/v1/everything", files={"image": image}, data=fields)


def test_nano_is_asked_as_its_own_recipe_asks_it() -> None:
    nano = settings_everywhere(ServeConfig())
    assert nano == {
        "points_per_side": 16,
        "pred_iou_thresh": 0.5,
        "stability_score_thresh": 0.5,
        "box_nms_thresh": 0.7,
    }
    assert settings_everywhere(ServeConfig(predictor="nano_sam")) == nano
    assert settings_everywhere(ServeConfig(given={"segmenter": "mine/tuned.safetensors"})) == nano
    assert settings_everywhere(ServeConfig(pipeline="everything_nano")) == nano
    assert settings_everywhere(ServeConfig(given={"segmenter": "sam_vit_b"}))["points_per_side"] == 32
    assert settings_everywhere(ServeConfig(predictor="sam2.1_hiera_tiny")) == {}  # the generator's own


@pytest.mark.long
def test_everything_is_what_the_library_finds(client: TestClient, engine: Engine, scene: bytes) -> None:
    answer = send(client, scene)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["width"], found["height"]) == (512, 512)
    settings = settings_everywhere(ServeConfig())
    generator = gsam.MaskGenerator(engine.predictor.model, output_mode="coco_rle", progress=False, **settings)
    true = generator.generate(scene)
    assert len(found["segments"]) == len(true) > 5
    for segment, record in zip(found["segments"], true, strict=True):
        assert segment["mask"] == json.loads(json.dumps(record["segmentation"]))
        assert segment["area"] == record["area"] == rle.area(record["segmentation"])
        assert segment["box"] == list(rle.bounds(record["segmentation"]))
        assert segment["score"] == pytest.approx(record["predicted_iou"], abs=1e-5)
        assert segment["stability"] == pytest.approx(record["stability_score"], abs=1e-5)
    before = engine.compilations
    body = {"image": base64.b64encode(scene).decode(), "masks": "png"}
    packed = client.post("/v1/everything", json=body).json()["segments"][0]
    assert engine.compilations == before
    x0, y0, x1, y1 = packed["png_box"]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(packed["png"]))))
    assert np.array_equal(drawn > 0, rle.decode(true[0]["segmentation"])[y0:y1, x0:x1])


def test_wrong_fields_and_images_are_named(client: TestClient, small: bytes) -> None:
    for answer, status, code in (
        (send(client, small, query="dog"), 422, "field_unknown"),
        (send(client, small, masks="bits"), 422, "masks_kind"),
        (send(client, b"GIF"), 400, "image_unreadable"),
        (client.post("/v1/everything", json={}), 422, "image_field"),
        (client.post("/v1/everything", content=b"x"), 415, "content_type"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
