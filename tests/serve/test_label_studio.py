"""Label Studio's protocol: pre-labelling, clicks and words in its editor, and what goes wrong."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.results.formats import label_studio
from gsam.results.masks import rle
from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.label_studio.labelling_config import read_config
from tests.serve.fake_label_studio import (
    ALL,
    BOXES,
    DOG,
    HEAD,
    LABELS,
    LEGACY,
    UPLOADED,
    FakeLabelStudio,
    ask,
    overlap,
    status,
)

Clients = Callable[..., TestClient]


@pytest.fixture
def client(client_of: Clients, studio: FakeLabelStudio) -> TestClient:
    return client_of(label_studio=True, label_studio_url=studio.url, label_studio_token=LEGACY)


# Connecting


def test_a_project_is_connected(client: TestClient, studio: FakeLabelStudio, caplog: pytest.LogCaptureFixture) -> None:
    assert status(client)["state"] == "waiting"
    assert client.get("/health").json() == {"status": "UP", "model_class": "GSAM"}
    request = {
        "project": "12.1795406520",
        "schema": ALL,
        "hostname": studio.url,
        "access_token": "very-secret",
        "extra_params": None,
    }
    with caplog.at_level(logging.DEBUG):
        version = client.post("/setup", json=request).json()["model_version"]
    assert version.startswith("gsam-")
    assert client.get("/versions").json() == {"versions": [version]}
    told = status(client)
    assert told["state"] == "ok"
    assert "project 12; labels: Hund, Pizza; tools: rectangle, brush, polygon" in told["message"]
    assert ("/api/current-user/whoami", f"Token {LEGACY}") in studio.asked, "the token is tried out"
    assert "very-secret" not in caplog.text + str(told)
    assert LEGACY not in caplog.text + str(told)
    assert all("very-secret" not in str(asked) for asked in studio.asked)


def test_a_server_without_it_does_not_speak_it(client_of: Clients) -> None:
    plain = client_of()
    assert plain.post("/predict", json={"tasks": []}).status_code == 404
    assert "label_studio" not in plain.get("/v1/integrations").json()


def test_nothing_is_connected_before_the_models_are_there() -> None:
    config = ServeConfig(label_studio=True)
    with TestClient(create_app(config, engine=Engine(config)), base_url="http://127.0.0.1") as waiting:
        answers = [waiting.get("/health"), waiting.post("/setup", json={}), waiting.post("/predict", json={})]
    assert [answer.status_code for answer in answers] == [503] * 3


def test_webhooks_are_counted(client: TestClient) -> None:
    known = client.post("/webhook", json={"action": "ANNOTATION_CREATED", "project": {"id": 1}})
    assert (known.status_code, known.json()) == (201, {"status": "ok"})
    assert client.post("/webhook", json={"action": "ANNOTATIONS_DELETED"}).status_code == 201
    assert client.post("/webhook", json={"action": "MOON_ROSE"}).status_code == 200
    assert client.post("/webhook", json={"action": ["x"]}).status_code == 200
    counts = status(client)["counts"]
    assert (counts["events"], counts["unknown events"]) == (2, 2)


def test_the_token_may_be_a_password(client_of: Clients) -> None:
    guarded = client_of(label_studio=True, token="sesame")
    assert guarded.get("/health").status_code == 401
    assert guarded.get("/health", auth=("label-studio", "sesame")).status_code == 200
    assert guarded.get("/health", auth=("sesame", "wrong")).status_code == 401
    assert guarded.get("/health", headers={"Authorization": "Basic ?"}).status_code == 401
    assert guarded.get("/health", headers={"Authorization": "Bearer sesame"}).status_code == 200
    assert guarded.get("/v1/models", auth=("label-studio", "sesame")).status_code == 401, "only where it is needed"


# Pre-labelling


def test_every_tool_shows_what_its_labels_name(client: TestClient, scene: bytes, engine: Engine) -> None:
    found = ask(client)
    kinds = {(one["type"], one["from_name"], one["to_name"]) for one in found["result"]}
    assert kinds == {
        ("rectanglelabels", "box", "pic"),
        ("brushlabels", "brush", "pic"),
        ("polygonlabels", "outline", "pic"),
    }
    assert {one["value"][one["type"]][0] for one in found["result"]} == {"Hund", "Pizza"}
    for one in found["result"]:
        assert (one["original_width"], one["original_height"], one["image_rotation"]) == (512, 512, 0)
        assert 0 < one["score"] <= 1
    assert 0 < found["score"] <= 1
    assert found["model_version"].startswith("gsam-")
    dog = next(one for one in found["result"] if one["value"].get("brushlabels") == ["Hund"])
    assert overlap(dog, DOG) > 0.75
    box = next(one["value"] for one in found["result"] if one["value"].get("rectanglelabels") == ["Hund"])
    expected = engine.pipe(scene, {"dog": "Hund", "Pizza": "Pizza"})
    corner = expected.xyxy[expected.labels.index("Hund")][:2]
    assert np.allclose([box["x"] * 5.12, box["y"] * 5.12], corner, atol=0.5)
    assert len({one["id"] for one in found["result"]}) == len(found["result"])


@pytest.mark.long
def test_masks_are_those_of_words(client: TestClient, scene: bytes, engine: Engine, tmp_path: Path) -> None:
    """gsam's own reader of exports gives the masks back, pixel by pixel."""
    config = f'{HEAD}<BrushLabels name="brush" toName="pic">{LABELS}</BrushLabels></View>'
    task = {"data": {"image": UPLOADED}, "predictions": [ask(client, config)]}
    (tmp_path / "tasks.json").write_text(json.dumps([task]))
    data = label_studio.read(tmp_path)
    (read,) = data
    expected = engine.pipe(scene, {"dog": "Hund", "Pizza": "Pizza"})
    assert len(expected) >= 2
    assert not data.problems
    assert sorted(one["label"] for one in read["segments"]) == sorted(expected.labels)
    for one, label, mask in zip(read["segments"], expected.labels, expected.masks, strict=True):
        assert one["label"] == label
        assert np.array_equal(rle.decode(one["mask"]), mask)


def test_a_picture_on_its_side_is_upright(client: TestClient) -> None:
    found = ask(client, image="/data/upload/1/turned.png")["result"]
    assert {(one["original_width"], one["original_height"]) for one in found} == {(512, 300)}
    dog = next(one for one in found if one["value"].get("brushlabels") == ["Hund"])
    assert overlap(dog, [DOG[0], DOG[1] - 100, DOG[2], DOG[3] - 100]) > 0.7


@pytest.mark.long
def test_tools_to_ask_with_show_nothing(client: TestClient) -> None:
    config = f"""{HEAD}<RectangleLabels name="box" toName="pic" smart="true">{LABELS}</RectangleLabels>
      <BrushLabels name="brush" toName="pic">{LABELS}</BrushLabels></View>"""
    assert {one["type"] for one in ask(client, config)["result"]} == {"brushlabels"}
    alone = f'{HEAD}<RectangleLabels name="box" toName="pic" smart="true">{LABELS}</RectangleLabels></View>'
    assert {one["type"] for one in ask(client, alone)["result"]} == {"rectanglelabels"}


def test_labels_may_be_of_another_tag(client: TestClient) -> None:
    config = f'{HEAD}<Labels name="what" toName="pic">{LABELS}</Labels><Polygon name="shape" toName="pic"/></View>'
    found = ask(client, config)["result"]
    shapes, labels = ([one for one in found if one["type"] == kind] for kind in ("polygon", "labels"))
    assert [one["id"] for one in shapes] == [one["id"] for one in labels] != []
    assert {one["from_name"] for one in shapes} == {"shape"}
    assert {one["from_name"] for one in labels} == {"what"}
    assert {one["value"]["labels"][0] for one in labels} == {"Hund", "Pizza"}


def test_labels_may_be_of_the_task(client: TestClient) -> None:
    config = f'{HEAD}<BrushLabels name="brush" toName="pic" value="$kinds"/></View>'
    task = {"id": 1, "data": {"image": UPLOADED, "kinds": [{"value": "dog", "alias": "d"}, "pizza"]}}
    (found,) = client.post("/predict", json={"tasks": [task], "label_config": config}).json()["results"]
    assert {one["value"]["brushlabels"][0] for one in found["result"]} == {"d", "pizza"}


def test_polygons_have_few_points_and_nearly_the_area(client: TestClient) -> None:
    config = f'{HEAD}<PolygonLabels name="outline" toName="pic">{LABELS}</PolygonLabels></View>'
    pizza = [one for one in ask(client, config)["result"] if one["value"]["polygonlabels"] == ["Pizza"]]
    largest = max(pizza, key=lambda one: len(one["value"]["points"]))
    ring = np.array(largest["value"]["points"]) * 5.12
    assert largest["value"]["closed"] is True
    assert 8 <= len(ring) < 120
    x, y = ring.T
    assert 8_000 < abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 < 20_000


def test_tasks_are_answered_in_their_order(client: TestClient) -> None:
    images = ["/data/upload/1/none.png", UPLOADED, "data:image/png;base64,AAAA", None, UPLOADED]
    tasks: list[Any] = [{"id": i, "data": {"image": image}} for i, image in enumerate(images)]
    answer = client.post("/predict", json={"tasks": [*tasks, "no task"], "label_config": BOXES})
    assert answer.status_code == 200
    found = answer.json()["results"]
    assert [bool(one) for one in found] == [False, True, False, False, True, False]
    assert found[1]["result"]
    assert found[4]["result"]
    assert "(4 of 6 tasks)" in status(client)["message"]


def test_pictures_may_come_with_the_task(client: TestClient, scene: bytes) -> None:
    image = "data:image/png;base64," + base64.b64encode(scene).decode()
    assert {one["value"]["rectanglelabels"][0] for one in ask(client, BOXES, image)["result"]} == {"Hund", "Pizza"}


def test_configs_are_read() -> None:
    config = read_config(
        """<View><Image name="a" value="$one"/><Image name="b" value="$two"/>
        <BrushLabels name="brush" toName="a, b"><Label value="Big  Cat" alias="cat"/><Label value=""/></BrushLabels>
        <RectangleLabels name="r" toName="b" smartOnly="true"><Label value="Dog" predicted_values="hound, puppy"/>
        </RectangleLabels><Rectangle name="without" toName="b"/></View>"""
    )
    assert config.images == {"a": "one", "b": "two"}
    assert [(c.name, c.image, c.kind) for c in config.controls] == [
        ("brush", "a", "brush"),
        ("brush", "b", "brush"),
        ("r", "b", "rectangle"),
    ]
    cat = config.controls[0].label_of("big cat")
    assert cat is not None
    assert (cat.name, cat.words) == ("cat", ("Big Cat",))
    dog = config.controls[2].labels[0]
    assert (dog.name, dog.words) == ("Dog", ("hound", "puppy"))
    assert config.controls[2].only_smart
    assert config.labels == ["cat", "Dog"]
