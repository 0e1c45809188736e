"""CVAT's gateway: requests as its server sends them, answers as its server and page read them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from scipy import ndimage

from gsam.errors import QueryError, UsageError
from gsam.results.masks import polygons
from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.cvat.gate import excused
from gsam.serve.engine import Engine

from .cvat_calls import BAD_NUMBERS, CALL, CVAT, b64, call, refused

# the list


def test_functions_are_told_as_cvat_reads_them(cvat: TestClient) -> None:
    found = cvat.get("/api/functions", headers=CVAT).json()
    assert list(found) == ["gsam-words", "gsam-clicks", "gsam-track"]
    kinds = {}
    for name, data in found.items():  # what LambdaFunction of CVAT's server takes, by its types
        annotations = data["metadata"]["annotations"]
        assert data["metadata"]["name"] == name
        assert data["status"]["state"] == "ready"
        assert data["status"].get("httpPort") is None
        assert isinstance(data["spec"]["description"], str)
        assert all(isinstance(value, str) for value in annotations.values())
        kinds[annotations["type"]] = json.loads(annotations.get("spec") or "[]")
        assert int(annotations["version"]) >= 2  # less is called outdated on its page
    assert set(kinds) == {"detector", "interactor", "tracker"}
    assert [(label["name"], label["type"]) for label in kinds["detector"]] == [
        ("dog", "mask"),
        ("pizza", "mask"),
        ("nothing else", "mask"),
    ]
    clicks = found["gsam-clicks"]["metadata"]["annotations"]
    assert (int(clicks["min_pos_points"]), int(clicks["min_neg_points"])) == (1, 0)
    assert bool(clicks.get("startswith_box_optional"))
    assert "startswith_box" not in clicks  # any text is true there
    assert cvat.get("/api/functions/gsam-track", headers=CVAT).json() == found["gsam-track"]


def test_there_is_no_detector_without_words(client_of: Callable[..., TestClient], small: bytes) -> None:
    client = client_of(cvat=True)
    assert list(client.get("/api/functions").json()) == ["gsam-clicks", "gsam-track"]
    assert refused(call(client, "gsam-words", {"image": b64(small)})) == (404, "function_unknown")


def test_functions_are_being_built_before_the_models_are_there() -> None:
    app = create_app(ServeConfig(cvat=True, cvat_query="dog"), engine=Engine(ServeConfig()))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        states = {name: data["status"]["state"] for name, data in client.get("/api/functions").json().items()}
        assert states == {"gsam-words": "building", "gsam-clicks": "building"}
        for name in ("gsam-words", "gsam-track"):  # which is not known yet
            assert refused(call(client, name, {})) == (503, "not_ready")


def test_words_that_cannot_be_read_are_told_at_the_start() -> None:
    with pytest.raises(QueryError):
        create_app(ServeConfig(cvat=True, cvat_query='{"dog"'), engine=Engine(ServeConfig()))


def test_routes_are_there_only_where_they_were_asked_for(client: TestClient) -> None:
    assert client.get("/api/functions").status_code == 404
    assert client.post(CALL, json={}).status_code == 404


# the detector


def test_words_are_the_library_s_masks(cvat: TestClient, engine: Engine, scene: bytes) -> None:
    found = call(cvat, "gsam-words", {"image": b64(scene)}).json()
    result = engine.pipe(scene, "dog. pizza. nothing else")
    assert [one["label"] for one in found] == result.labels != []
    for i, one in enumerate(found):
        assert one["type"] == "mask"
        assert float(one["confidence"]) == pytest.approx(float(result.scores[i]), abs=1e-4)
        left, top, right, bottom = one["mask"][-4:]  # as CVAT's server turns it into run lengths
        crop = np.reshape(one["mask"][:-4], (bottom - top + 1, right - left + 1))
        mask = np.zeros(result.size, bool)
        mask[top : bottom + 1, left : right + 1] = crop == 1
        np.testing.assert_array_equal(mask, result.mask(i))
        ring = np.reshape(one["points"], (-1, 2))
        np.testing.assert_array_equal(polygons.filled([[ring]], result.size), mask)


def test_the_threshold_of_cvat_is_kept(
    cvat: TestClient, engine: Engine, scene: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = call(cvat, "gsam-words", {"image": b64(scene)}).json()
    scores = sorted(float(one["confidence"]) for one in found)
    assert len(scores) > 1
    least = (scores[-1] + scores[-2]) / 2
    few = call(cvat, "gsam-words", {"image": b64(scene), "threshold": least}).json()
    assert [float(one["confidence"]) for one in few] == [scores[-1]]
    monkeypatch.setattr(engine.pipe, "limits", dataclasses.replace(engine.pipe.limits, threshold=0.99))
    assert call(cvat, "gsam-words", {"image": b64(scene)}).json() == []
    every = call(cvat, "gsam-words", {"image": b64(scene), "threshold": 0.25}).json()
    assert len(every) == len(found)  # CVAT's is the lower one


@pytest.mark.parametrize("threshold", ["0.5", -0.1, 1.1, 1e300, True, []])
def test_a_threshold_is_a_share(cvat: TestClient, small: bytes, threshold: object) -> None:
    answer = call(cvat, "gsam-words", {"image": b64(small), "threshold": threshold})
    assert refused(answer) == (422, "threshold_invalid")


def test_nothing_found_is_an_empty_list(cvat: TestClient, small: bytes) -> None:
    answer = call(cvat, "gsam-words", {"image": b64(small), "threshold": 1.0})
    assert (answer.status_code, answer.json()) == (200, [])


# the interactor


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({"pos_points": [[215, 200]], "neg_points": []}, {"point_coords": [[215, 200]], "point_labels": [1]}),
        (
            {"pos_points": [[215, 200], [240, 300]], "neg_points": [[10, 10]], "obj_bbox": None},
            {"point_coords": [[215, 200], [240, 300], [10, 10]], "point_labels": [1, 1, 0]},
        ),
        ({"pos_points": [], "neg_points": [], "obj_bbox": [[170, 190], [330, 360]]}, {"box": [170, 190, 330, 360]}),
        (
            {"pos_points": [[215, 200]], "neg_points": [], "obj_bbox": [330, 360, 170, 190]},
            {"point_coords": [[215, 200]], "point_labels": [1], "box": [170, 190, 330, 360]},
        ),
    ],
)
def test_clicks_are_the_library_s_masks(
    cvat: TestClient, engine: Engine, scene: bytes, asked: dict[str, object], given: dict[str, Any]
) -> None:
    found = call(cvat, "gsam-clicks", {"image": b64(scene), **asked}).json()
    with engine.predictor.using(engine.predictor.encode(scene)):
        lone = len(given.get("point_coords", ())) == 1 and "box" not in given
        masks, iou, _ = engine.predictor.predict(**given, multimask_output=lone)
    best = masks[int(iou.argmax())]
    np.testing.assert_array_equal(np.array(found["mask"], bool), best)  # every pixel, as CVAT's page wants it
    parts, _ = ndimage.label(best)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    largest = ndimage.binary_fill_holes(largest, np.ones((3, 3)))  # what reaches out by a corner is no hole
    np.testing.assert_array_equal(polygons.filled([[np.array(found["points"])]], best.shape), largest)


def test_the_image_of_many_clicks_is_encoded_once(cvat: TestClient, engine: Engine, scene: bytes) -> None:
    body = {"image": b64(scene), "pos_points": [[215, 200]], "neg_points": []}
    before = engine.predictor.counts["pictures"]
    for x in (250, 240, 230):
        assert call(cvat, "gsam-clicks", {**body, "pos_points": [[x, 270]]}).status_code == 200
    assert engine.predictor.counts["pictures"] == before + 1
    cvat.app.state.sessions.clear()  # type: ignore[attr-defined]
    assert call(cvat, "gsam-clicks", body).status_code == 200
    assert engine.predictor.counts["pictures"] == before + 2


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"pos_points": [], "neg_points": [[1, 1]]}, "nothing_asked"),
        ({}, "nothing_asked"),
        ({"pos_points": {}}, "points_invalid"),
        ({"pos_points": [[1, 2, 3]]}, "points_invalid"),
        ({"pos_points": [5]}, "points_invalid"),
        *[({"pos_points": [[bad, 2]]}, "points_invalid") for bad in BAD_NUMBERS],
        ({"pos_points": [[47, 33]]}, "point_outside"),
        ({"pos_points": [[1, 1]] * 300}, "too_many_points"),
        ({"obj_bbox": [1, 2, 3]}, "box_invalid"),
        ({"obj_bbox": [[1, 2], [3, 1e300]]}, "box_invalid"),
        ({"obj_bbox": "all"}, "box_invalid"),
        ({"obj_bbox": [100, 100, 120, 120]}, "box_outside"),
    ],
)
def test_clicks_that_are_none(cvat: TestClient, small: bytes, fields: dict[str, object], code: str) -> None:
    assert refused(call(cvat, "gsam-clicks", {"image": b64(small), **fields})) == (422, code)


# any function


def test_calls_of_no_function(cvat: TestClient, small: bytes) -> None:
    assert refused(call(cvat, None, {"image": b64(small)})) == (422, "function_missing")
    assert refused(call(cvat, "../etc/passwd", {})) == (404, "function_unknown")
    assert refused(cvat.get("/api/functions/pth-sam")) == (404, "function_unknown")


@pytest.mark.parametrize("name", ["gsam-words", "gsam-clicks", "gsam-track"])
def test_bodies_and_images_that_are_none(cvat: TestClient, name: str) -> None:
    asked = {"pos_points": [[1, 1]], "neg_points": [], "shapes": [[1, 1, 5, 5]]}
    assert refused(call(cvat, name, asked)) == (422, "image_field")
    assert refused(call(cvat, name, {**asked, "image": "no base64!"})) == (422, "image_field")
    assert refused(call(cvat, name, {**asked, "image": 5})) == (422, "image_field")
    assert refused(call(cvat, name, {**asked, "image": b64(b"GIF89a and no more")}))[0] == 400
    assert refused(call(cvat, name, {**asked, "image": "http://169.254.169.254/x.png"})) == (403, "url_forbidden")
    assert refused(call(cvat, name, [1])) == (400, "body_invalid")
    headers = {"x-nuclio-function-name": name, "content-type": "text/plain"}
    assert refused(cvat.post(CALL, content=b"{}", headers=headers)) == (415, "content_type")


def test_limits_hold_here_too(client_of: Callable[..., TestClient], scene: bytes) -> None:
    client = client_of(cvat=True, cvat_query="dog", max_pixels=1000)
    assert refused(call(client, "gsam-words", {"image": b64(scene)})) == (413, "image_too_large")
    client = client_of(cvat=True, cvat_query="dog", max_body=1000)
    assert call(client, "gsam-words", {"image": b64(scene)}).status_code == 413


def test_the_status_panel_is_told(cvat: TestClient, small: bytes) -> None:
    call(cvat, "gsam-clicks", {"image": b64(small), "pos_points": [[500, 1]]})
    told = cvat.get("/v1/integrations").json()["cvat"]
    assert (told["state"], told["counts"]["problems"]) == ("problem", 1)
    assert "outside the image" in told["message"]
    cvat.get("/api/functions")
    assert cvat.get("/v1/integrations").json()["cvat"]["state"] == "ok"


# the gate


def test_with_a_token_cvat_is_let_in_from_its_networks_only(client_of: Callable[..., TestClient], small: bytes) -> None:
    closed = client_of(cvat=True, token="secret", cvat_query="dog")
    answer = closed.get("/api/functions")
    assert refused(answer) == (401, "unauthorized")
    assert "--cvat-from" in answer.json()["error"]["message"]
    assert closed.get("/api/functions", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert "--cvat-from" not in closed.get("/v1/recipes").json()["error"]["message"]

    app = create_app(
        ServeConfig(cvat=True, token="secret", cvat_from=("172.18.0.0/16", "fd00::/8")), engine=closed.app.state.engine
    )

    def status(address: str, path: str = "/api/functions", **headers: str) -> int:
        with TestClient(app, base_url="http://127.0.0.1", client=(address, 5000)) as client:
            return client.get(path, headers=headers).status_code

    assert status("172.18.0.7") == 200
    assert status("172.18.0.7", "/api/functions/gsam-clicks") == 200
    assert status("fd00::5") == 200
    assert status("172.19.0.7") == 401
    assert status("127.0.0.1") == 401
    assert status("172.18.0.7", "/v1/recipes") == 401  # CVAT's routes and no others
    assert status("172.18.0.7", "/api/functions_of_others") == 401
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):  # a proxy in CVAT's network is not CVAT
        assert status("172.18.0.7", **{header: "172.18.0.8"}) == 401


def test_who_is_excused() -> None:
    config = ServeConfig(cvat=True, token="secret", cvat_from=("10.0.0.5",))
    assert excused(CALL, {}, "10.0.0.5", config)
    assert excused(CALL, {}, "::ffff:10.0.0.5", config)
    assert not excused(CALL, {}, "10.0.0.6", config)
    assert not excused(CALL, {}, None, config)
    assert not excused(CALL, {}, "testclient", config)
    assert not excused(CALL, {}, "10.0.0.5", dataclasses.replace(config, cvat=False))
    assert not excused(CALL, {}, "127.0.0.1", ServeConfig(cvat=True, token="secret"))


@pytest.mark.parametrize("network", ["cvat", "172.18.0.0/99", "0.0.0.0/0", "::/0", ""])
def test_a_network_is_one(network: str) -> None:
    with pytest.raises(UsageError) as error:
        ServeConfig(cvat=True, cvat_from=(network,))
    assert error.value.code == "serve_network"
