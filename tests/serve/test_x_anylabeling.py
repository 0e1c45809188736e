"""X-AnyLabeling's protocol: requests made after its description, answers as that says."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.results.masks import polygons
from gsam.serve.engine import Engine
from gsam.serve.x_anylabeling import clicked, shapes_of

PREDICT = "/v1/predict"
POINT = {"type": "point", "data": [215, 200], "label": 1}
BOX = {"type": "rectangle", "data": [170, 190, 330, 360], "label": 1}


@pytest.fixture
def tool(client_of: Callable[..., TestClient]) -> TestClient:
    return client_of(x_anylabeling=True)


def b64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def ask(client: TestClient, model: object, image: object, **params: object) -> Any:
    return client.post(PREDICT, json={"model": model, "image": image, "params": params})


def shapes(answer: Any) -> list[dict[str, Any]]:
    body = answer.json()
    assert (answer.status_code, body["success"]) == (200, True), body
    assert set(body["data"]) == {"shapes", "description", "replace"}
    for shape in body["data"]["shapes"]:
        assert set(shape) == {"label", "shape_type", "points", "score", "group_id"}
    return list(body["data"]["shapes"])


def filled(some: list[dict[str, Any]], size: tuple[int, int]) -> np.ndarray:
    return polygons.filled([[np.array(shape["points"])] for shape in some], size)


def refused(answer: Any) -> tuple[int, str]:
    body = answer.json()
    assert body["success"] is False
    assert body["message"] == body["error"]["message"]
    return answer.status_code, body["error"]["code"]


# what there is


def test_models_are_told_to_it_and_to_this_server_s_own_clients(tool: TestClient, client: TestClient) -> None:
    both = tool.get("/v1/models").json()
    assert both["success"] is True
    assert list(both["data"]) == ["gsam-words", "gsam-clicks", "gsam-video"]
    assert both["data"]["gsam-words"]["batch_processing_mode"] == "text_prompt"
    assert both["data"]["gsam-clicks"]["batch_processing_mode"] == "default"
    for model in both["data"].values():
        assert isinstance(model["display_name"], str)
        assert all(set(widget) <= {"name", "value", "placeholder"} for widget in model["widgets"])
        assert isinstance(model["params"], dict)
    shown = {name: {widget["name"] for widget in model["widgets"]} for name, model in both["data"].items()}
    assert {"edit_text", "button_send", "edit_conf"} <= shown["gsam-words"]  # it shows nothing else
    assert {"button_add_point", "button_add_rect", "button_finish_object"} <= shown["gsam-clicks"]
    (least,) = [widget["value"] for widget in both["data"]["gsam-words"]["widgets"] if widget["name"] == "edit_conf"]
    assert least == both["data"]["gsam-words"]["params"]["conf_threshold"]
    own = client.get("/v1/models").json()
    assert own.items() <= both.items()
    assert "data" not in own


def test_health_serves_label_studio_too(client_of: Callable[..., TestClient], client: TestClient) -> None:
    both = client_of(x_anylabeling=True, label_studio=True).get("/health").json()
    assert both["success"] is True
    other = client_of(label_studio=True).get("/health").json()
    assert {name: both.get(name) for name in ("status", "model_class")} == {
        name: other[name] for name in ("status", "model_class")
    }
    assert client.get("/health").status_code == 404


def test_routes_are_there_only_where_they_were_asked_for(client: TestClient) -> None:
    assert client.post(PREDICT, json={}).status_code == 404
    assert client.post("/v1/video/init", json={}).status_code == 404


# words


def test_words_are_the_library_s_masks(tool: TestClient, engine: Engine, scene: bytes) -> None:
    found = shapes(ask(tool, "gsam-words", b64(scene), text_prompt="dog. pizza"))
    result = engine.pipe(scene, "dog. pizza")
    assert list(dict.fromkeys(shape["label"] for shape in found)) == list(dict.fromkeys(result.labels)) != []
    for label in set(result.labels):
        own = [shape for shape in found if shape["label"] == label]
        assert {shape["shape_type"] for shape in own} == {"polygon"}
        masks = [result.mask(i) for i in range(len(result)) if result.labels[i] == label]
        np.testing.assert_array_equal(filled(own, result.size), np.any(masks, 0))
        assert {shape["score"] for shape in own} == {
            round(float(s), 5) for s, name in zip(result.scores, result.labels, strict=True) if name == label
        }


def test_a_data_uri_is_an_image_too(tool: TestClient, scene: bytes) -> None:
    plain = ask(tool, "gsam-words", b64(scene), text_prompt="pizza")
    uri = ask(tool, "gsam-words", f"data:image/png;base64,{b64(scene)}", text_prompt="pizza")
    assert shapes(uri) == shapes(plain) != []


def test_scores_and_corners_are_as_asked(tool: TestClient, scene: bytes) -> None:
    every = shapes(ask(tool, "gsam-words", b64(scene), text_prompt="dog. pizza"))
    scores = sorted({shape["score"] for shape in every})
    few = shapes(ask(tool, "gsam-words", b64(scene), text_prompt="dog. pizza", conf_threshold=scores[-1] - 1e-4))
    assert {shape["score"] for shape in few} == {scores[-1]}
    rough = shapes(ask(tool, "gsam-words", b64(scene), text_prompt="dog. pizza", epsilon_factor=0.005))
    assert [len(s["points"]) for s in rough] < [len(s["points"]) for s in every]
    assert min(len(shape["points"]) for shape in rough) >= 3
    size = (512, 512)
    a, b = filled(rough, size), filled(every, size)
    assert (a & b).sum() / (a | b).sum() > 0.9


def test_things_without_masks_are_rectangles(engine: Engine, scene: bytes) -> None:
    result = dataclasses.replace(engine.pipe(scene, "pizza"), low_res=None)
    (shape,) = shapes_of(result, 0.0)
    assert (shape["label"], shape["shape_type"], shape["group_id"]) == ("pizza", "rectangle", None)
    corners = np.array(shape["points"])
    np.testing.assert_allclose([*corners.min(0), *corners.max(0)], result.xyxy[0])
    assert len(corners) == 4


def test_parts_of_a_thing_are_a_group(engine: Engine, scene: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    result = engine.pipe(scene, "dog. pizza")
    two = np.zeros(result.size, bool)
    two[10:20, 10:20] = two[40:80, 10:20] = True
    monkeypatch.setattr(type(result), "mask", lambda result, i: two)
    found = shapes_of(result, 0.0)
    groups = [shape["group_id"] for shape in found]
    assert len(found) == 2 * len(result) >= 4
    assert groups[::2] == groups[1::2]
    assert len(set(groups)) == len(result)


# points and a rectangle


@pytest.mark.parametrize(
    ("marks", "given"),
    [
        ([POINT], {"point_coords": [[215, 200]], "point_labels": [1]}),
        (
            [POINT, {"type": "point", "data": [10, 10], "label": 0}],
            {"point_coords": [[215, 200], [10, 10]], "point_labels": [1, 0]},
        ),
        ([BOX], {"box": BOX["data"]}),
        ([{"type": "rectangle", "data": [330, 360, 170, 190]}], {"box": BOX["data"]}),
        ([BOX, POINT], {"point_coords": [[215, 200]], "point_labels": [1], "box": BOX["data"]}),
    ],
)
def test_marks_are_the_library_s_masks(
    tool: TestClient, engine: Engine, scene: bytes, marks: list[object], given: dict[str, Any]
) -> None:
    found = shapes(ask(tool, "gsam-clicks", b64(scene), marks=marks))
    with engine.predictor.using(engine.predictor.encode(scene)):
        masks, iou, _ = engine.predictor.predict(**given, multimask_output=marks == [POINT])
    best = masks[int(iou.argmax())]
    np.testing.assert_array_equal(filled(found, best.shape), best)
    assert {shape["label"] for shape in found} == {"AUTOLABEL_OBJECT"}
    assert {shape["group_id"] for shape in found} == ({1} if len(found) > 1 else {None})


def test_marks_in_other_orders() -> None:
    assert clicked([POINT, BOX]) == clicked([BOX, POINT])


# what is refused


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "query_empty"),
        ({"text_prompt": ""}, "query_empty"),
        ({"text_prompt": 5}, "query_invalid"),
        ({"text_prompt": "a" * 3000}, "query_too_long"),
        ({"text_prompt": "dog", "conf_threshold": 2}, "params_invalid"),
        ({"text_prompt": "dog", "conf_threshold": "0.5"}, "params_invalid"),
        ({"text_prompt": "dog", "conf_threshold": True}, "params_invalid"),
        ({"text_prompt": "dog", "epsilon_factor": 1e300}, "params_invalid"),
        ({"text_prompt": "dog", "epsilon_factor": -1}, "params_invalid"),
    ],
)
def test_words_that_are_none(tool: TestClient, small: bytes, params: dict[str, object], code: str) -> None:
    assert refused(ask(tool, "gsam-words", b64(small), **params)) == (422, code)


@pytest.mark.parametrize(
    ("marks", "code"),
    [
        (None, "marks_invalid"),
        ("all", "marks_invalid"),
        ([5], "marks_invalid"),
        ([{"type": "polygon", "data": [1, 2]}], "marks_invalid"),
        ([BOX, BOX], "marks_invalid"),
        ([], "nothing_asked"),
        ([{"type": "point"}], "points_invalid"),
        ([{"type": "point", "data": [1]}], "points_invalid"),
        ([{"type": "point", "data": [1, "2"]}], "points_invalid"),
        ([{"type": "point", "data": [1, 1e300]}], "points_invalid"),
        ([{"type": "point", "data": [100, 1]}], "point_outside"),
        ([{"type": "point", "data": [1, 1], "label": 2}], "labels_invalid"),
        ([{"type": "point", "data": [1, 1]}] * 300, "too_many_points"),
        ([{"type": "rectangle"}], "box_invalid"),
        ([{"type": "rectangle", "data": {}}], "box_invalid"),
        ([{"type": "rectangle", "data": [1, 2, 3, True]}], "box_invalid"),
        ([{"type": "rectangle", "data": [100, 100, 120, 120]}], "box_outside"),
    ],
)
def test_marks_that_are_none(tool: TestClient, small: bytes, marks: object, code: str) -> None:
    assert refused(ask(tool, "gsam-clicks", b64(small), marks=marks)) == (422, code)


def test_requests_that_are_none(tool: TestClient, small: bytes) -> None:
    for model in ("sam", None, 5, ["gsam-words"]):
        assert refused(ask(tool, model, b64(small))) == (404, "model_unknown")
    assert refused(tool.post(PREDICT, json={"model": "gsam-words", "params": {"text_prompt": "dog"}})) == (
        422,
        "image_field",
    )
    assert refused(ask(tool, "gsam-words", "no base64!", text_prompt="dog")) == (422, "image_field")
    assert refused(ask(tool, "gsam-words", b64(b"no image"), text_prompt="dog"))[0] == 400
    assert refused(ask(tool, "gsam-words", "https://example.org/x.png", text_prompt="dog")) == (403, "url_forbidden")
    body = {"model": "gsam-words", "image": b64(small), "params": []}
    assert refused(tool.post(PREDICT, json=body)) == (422, "params_invalid")
    assert refused(tool.post(PREDICT, content=b"{", headers={"content-type": "application/json"})) == (
        400,
        "body_invalid",
    )
    assert refused(tool.post(PREDICT, content=b"{}", headers={"content-type": "text/plain"})) == (415, "content_type")


def test_refusals_are_on_the_status_panel(tool: TestClient, small: bytes) -> None:
    ask(tool, "gsam-clicks", b64(small), marks=[])
    told = tool.get("/v1/integrations").json()["x_anylabeling"]
    assert (told["state"], told["counts"]["problems"]) == ("problem", 1)
    tool.get("/v1/models")
    assert tool.get("/v1/integrations").json()["x_anylabeling"]["state"] == "ok"


# the token


def test_the_token_comes_in_its_own_header(client_of: Callable[..., TestClient], small: bytes) -> None:
    client = client_of(x_anylabeling=True, token="secret")
    for path in ("/health", "/v1/models"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Token": "wrong"}).status_code == 401
        assert client.get(path, headers={"Token": "secret"}).status_code == 200
        assert client.get(path, headers={"Authorization": "Bearer secret"}).status_code == 200
    headers = {"Token": "secret"}
    body = {"model": "gsam-clicks", "image": b64(small), "params": {"marks": [{"type": "point", "data": [9, 9]}]}}
    assert client.post(PREDICT, json=body).status_code == 401
    assert client.post(PREDICT, json=body, headers=headers).status_code == 200
    assert client.get("/v1/recipes", headers=headers).status_code == 401  # on the tool's paths only


def test_a_click_takes_nothing_away(tool: TestClient, scene: bytes) -> None:
    words = ask(tool, "gsam-words", b64(scene), text_prompt="dog").json()["data"]
    click = ask(tool, "gsam-clicks", b64(scene), marks=[{"type": "point", "data": [40, 100], "label": 1}]).json()
    assert words["replace"] is None  # the client's own switch says
    assert click["data"]["replace"] is False
