"""Clicks over HTTP: the masks of `gsam.Predictor`, one image a session, and bad values refused."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from PIL import Image

from gsam.inputs.image import open_image
from gsam.predictors.image import Predictor
from gsam.results.masks import rle
from gsam.serve.clicks import FIELDS, parse_click
from gsam.serve.engine import Engine
from gsam.serve.problems import ServeError
from tests.helpers import discs

Clients = Callable[..., TestClient]
LONE: dict[str, Any] = {"points": [[250, 270]], "labels": [1]}
TWO: dict[str, Any] = {"points": [[250, 270], [200, 330.5]], "labels": [1, 0]}
BOX: dict[str, Any] = {"box": [170, 190, 330, 360]}


@pytest.fixture(scope="module")
def predictor(scene: bytes) -> Predictor:
    """The library's own, with the scene set."""
    p = Predictor("nano_sam", refine=True)  # as the recipe has it
    p.set_image(scene)
    return p


@pytest.fixture
def place(client: TestClient, scene: bytes) -> str:
    """The address of a session of the scene."""
    return upload(client, scene)


def upload(client: TestClient, image: bytes) -> str:
    answer = client.post("/v1/sessions", files={"image": image})
    assert answer.status_code == 201, answer.text
    return f"/v1/sessions/{answer.json()['session']}"


def ask(client: TestClient, place: str, **fields: Any) -> list[dict[str, Any]]:
    answer = client.post(f"{place}/predict", json=fields)
    assert answer.status_code == 200, answer.text
    masks: list[dict[str, Any]] = answer.json()["masks"]
    return masks


def same(found: list[dict[str, Any]], expected: Any) -> None:
    """Pixel by pixel, the best first."""
    order = np.argsort(-expected.iou, kind="stable")
    assert len(found) == len(order)
    for one, i in zip(found, order, strict=True):
        mask = rle.decode(one["mask"])
        np.testing.assert_array_equal(mask, expected.masks[i])
        assert one["score"] == pytest.approx(min(max(float(expected.iou[i]), 0.0), 1.0), abs=1e-6)
        assert one["area"] == int(mask.sum())
        assert tuple(one["box"]) == rle.bounds(one["mask"])
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)


@pytest.mark.long
def test_masks_are_those_of_the_library(client: TestClient, place: str, predictor: Predictor) -> None:
    lone = ask(client, place, **LONE)
    same(lone, predictor.predict(LONE["points"], [1]))
    assert len({one["id"] for one in lone}) == 3
    same(ask(client, place, **TWO), predictor.predict(TWO["points"], [1, 0], multimask_output=False))
    same(ask(client, place, **BOX), predictor.predict(box=BOX["box"], multimask_output=False))
    both = predictor.predict(TWO["points"], [1, 0], BOX["box"], multimask_output=False)
    same(ask(client, place, **TWO, **BOX), both)
    outside = [-40, -40, 120, 150.5]  # partly: what the library takes
    same(ask(client, place, box=outside), predictor.predict(box=outside, multimask_output=False))
    corner = [[512, 512]]
    same(ask(client, place, points=corner, labels=[0]), predictor.predict(corner, [0]))


@pytest.mark.long
def test_an_earlier_mask_is_a_prompt(client: TestClient, place: str, predictor: Predictor) -> None:
    first = ask(client, place, **LONE)
    low = predictor.predict(LONE["points"], [1])
    order = np.argsort(-low.iou, kind="stable")
    for rank in (0, 2):
        logits, name = low.low_res[order[rank]][None], first[rank]["id"]
        expected = predictor.predict(TWO["points"], [1, 0], mask_input=logits, multimask_output=False)
        same(ask(client, place, **TWO, mask=name), expected)
    refined = ask(client, place, mask=first[0]["id"])
    expected = predictor.predict(mask_input=low.low_res[order[0]][None], multimask_output=False)
    same(refined, expected)
    again = predictor.predict(box=BOX["box"], mask_input=expected.low_res, multimask_output=True)
    same(ask(client, place, **BOX, mask=refined[0]["id"], multimask=True), again)


def test_how_many_masks(client: TestClient, place: str) -> None:
    assert len(ask(client, place, **LONE)) == 3
    assert len(ask(client, place, **LONE, multimask=False)) == 1
    assert len(ask(client, place, **LONE, multimask=None, box=None, mask=None, masks=None)) == 3
    assert len(ask(client, place, **TWO)) == 1
    assert len(ask(client, place, **TWO, multimask=True)) == 3
    assert len(ask(client, place, **BOX)) == 1
    assert len(ask(client, place, **BOX, points=[], labels=[])) == 1
    assert len(ask(client, place, **LONE, **BOX)) == 1


def test_a_negative_click_takes_away(client: TestClient, place: str) -> None:
    (whole,) = ask(client, place, **LONE, multimask=False)
    (less,) = ask(client, place, **TWO)
    assert rle.decode(less["mask"]).sum() != rle.decode(whole["mask"]).sum()


def test_kinds_of_masks(client: TestClient, place: str) -> None:
    (run,) = ask(client, place, **BOX)
    mask = rle.decode(run["mask"])
    assert mask.shape == (512, 512)
    (none,) = ask(client, place, **BOX, masks="none")
    assert set(none) == {"id", "score", "box", "area"}
    assert (none["box"], none["area"], none["score"]) == (run["box"], run["area"], run["score"])
    (png,) = ask(client, place, **BOX, masks="png")
    assert "mask" not in png
    x0, y0, x1, y1 = png["png_box"]
    with Image.open(io.BytesIO(base64.b64decode(png["png"]))) as image:
        drawn = np.asarray(image.convert("RGBA"))[..., 3] > 0
    np.testing.assert_array_equal(drawn, mask[y0:y1, x0:x1])
    (outline,) = ask(client, place, **BOX, masks="polygons")
    assert outline["polygons"]
    assert "mask" not in outline


def test_nothing_is_found(client: TestClient, place: str, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    monkeypatch.setattr(engine.predictor, "mask_threshold", 1e6)
    for kind in ("rle", "polygons", "png", "none"):
        (empty,) = ask(client, place, **BOX, masks=kind)
        assert (empty["box"], empty["area"]) == ([0, 0, 0, 0], 0)


def test_clicking_encodes_and_compiles_nothing(client: TestClient, place: str, engine: Engine) -> None:
    mask = ask(client, place, **LONE)[0]["id"]
    before = engine.predictor.counts["pictures"], engine.predictor.compilations
    for fields in (LONE, TWO, BOX, {**LONE, "mask": mask}, {**TWO, "mask": mask}):
        ask(client, place, **fields)
    assert (engine.predictor.counts["pictures"], engine.predictor.compilations) == before


def test_sixteen_clients_get_answers_about_their_own_images(client: TestClient, scene: bytes) -> None:
    whole = Image.open(io.BytesIO(scene))

    def image(i: int) -> bytes:
        buffer = io.BytesIO()
        whole.crop((10 * i, 5 * i, 10 * i + 200 + i, 5 * i + 180 - i)).save(buffer, "PNG")
        return buffer.getvalue()

    fields: list[dict[str, Any]] = [{"points": [[100, 90]], "labels": [1]}, {"box": [40, 40, 150, 140]}]
    places = [upload(client, image(i)) for i in range(16)]
    alone = [[ask(client, place, **own) for own in fields] for place in places]

    def click(i: int) -> list[list[dict[str, Any]]]:
        mine = upload(client, image(i)) if i % 4 == 0 else places[i]  # some upload while others click
        return [ask(client, mine, **own) for _ in range(3) for own in fields]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(click, range(16)))
    sizes = set()
    for i in range(16):
        for turn, masks in enumerate(found[i]):
            assert masks[0]["mask"]["size"] == [180 - i, 200 + i]
            sizes.add(tuple(masks[0]["mask"]["size"]))
            assert [m | {"id": 0} for m in masks] == [m | {"id": 0} for m in alone[i][turn % 2]]
    assert len(sizes) == 16


def test_words_are_those_of_a_request_alone(client: TestClient, place: str, scene: bytes, engine: Engine) -> None:
    fields = {"query": "dog. pizza", "threshold": 0.2}
    expected = client.post("/v1/segment", files={"image": scene}, data={k: str(v) for k, v in fields.items()})
    assert expected.status_code == 200
    assert len(expected.json()["segments"]) > 1
    before = engine.pipe.counts["pictures"]
    sessions = client.app.state.sessions  # type: ignore[attr-defined]
    took = sessions.bytes
    found = client.post(f"{place}/segment", json=fields)
    assert found.json() == expected.json()
    assert engine.pipe.counts["pictures"] == before + 1
    assert sessions.bytes > took  # it holds what the pipeline computed, too


def test_other_words_encode_nothing_whatever_others_ask(
    client: TestClient, place: str, small: bytes, engine: Engine
) -> None:
    first = client.post(f"{place}/segment", json={"query": "dog", "masks": "none"}).json()
    for value in range(6):  # more than the pipeline remembers
        buffer = io.BytesIO()
        Image.new("RGB", (40, 30), (value, 0, 0)).save(buffer, "PNG")
        assert client.post(f"{upload(client, buffer.getvalue())}/segment", json={"query": "dog"}).status_code == 200
    before = engine.pipe.counts["pictures"]
    assert client.post(f"{place}/segment", json={"query": "dog", "masks": "none"}).json() == first
    other = client.post(f"{place}/segment", json={"query": {"pizza": "food"}, "masks": "polygons"}).json()
    assert {segment["label"] for segment in other["segments"]} == {"food"}
    assert all("mask" not in segment and segment["polygons"] for segment in other["segments"])
    assert engine.pipe.counts["pictures"] == before


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 422, "query_empty"),
        ({"query": ""}, 422, "query_empty"),
        ({"query": "a" * 2001}, 422, "query_too_long"),
        ({"query": "dog", "threshold": 2}, 422, None),
        ({"query": "dog", "image": "x"}, 422, "field_unknown"),
        ({"query": "dog", "masks": "gif"}, 422, "masks_kind"),
        ({"query": "dog", "format": "exe"}, 422, "format_unknown"),
    ],
)
def test_bad_words(client: TestClient, place: str, fields: dict[str, Any], status: int, code: str | None) -> None:
    answer = client.post(f"{place}/segment", json=fields)
    assert answer.status_code == status, answer.text
    assert code in (None, answer.json()["error"]["code"]), answer.text


@pytest.mark.long
def test_tiles_are_looked_at_anew(client: TestClient, place: str, scene: bytes) -> None:
    fields = {"query": "dog", "tile": 300, "masks": "none"}
    found = client.post(f"{place}/segment", json=fields)
    expected = client.post("/v1/segment", files={"image": scene}, data={k: str(v) for k, v in fields.items()})
    assert found.status_code == 200
    assert found.json() == expected.json()


@pytest.mark.long
def test_everything(client: TestClient, place: str, scene: bytes) -> None:
    found = client.post(f"{place}/everything", json={"masks": "none"})
    assert found.status_code == 200, found.text
    assert found.json() == client.post("/v1/everything", files={"image": scene}, data={"masks": "none"}).json()
    assert found.json()["segments"]
    assert client.post(f"{place}/everything", json={"query": "dog"}).status_code == 422


def test_a_late_answer(client_of: Clients, scene: bytes, engine: Engine) -> None:
    patient, hasty = client_of(), client_of(deadline=0.3)
    hasty.app.state.sessions = patient.app.state.sessions  # type: ignore[attr-defined]
    place = upload(patient, scene)
    busy = engine._clicks.submit(time.sleep, 1.5)
    late = hasty.post(f"{place}/predict", json=LONE)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline")
    busy.result()
    assert len(ask(patient, place, **LONE)) == 3  # and the session is as it was
    assert patient.app.state.sessions.find(place.rpartition("/")[2]).users == 0  # type: ignore[attr-defined]


NUMBER: list[Any] = [float("nan"), float("inf"), -float("inf"), 1e300, 10**400, "1", None, True, [1], {}]
LABEL: list[Any] = [2, -1, 0.5, "1", None, True, float("nan")]
CORNERS: list[Any] = [[], [1, 2, 3], [1, 2, 3, 4, 5], 5, "1234", [[1, 2, 3, 4]], True]
MASK: list[Any] = [1, ["m1"], {}, True, 0.5]
FLAG: list[Any] = [1, "true", [], 0]
KIND: list[Any] = ["gif", 1, True, ["rle"], {"a": 1}, ""]
LABELS: list[Any] = [[], [1, 1], 1, "1", {"0": 1}, None]
BAD: list[tuple[Any, str]] = [
    ({}, "nothing_asked"),
    ({"points": [], "labels": []}, "nothing_asked"),
    ({"multimask": True}, "nothing_asked"),
    *(({"points": [[value, 5]], "labels": [1]}, "points_invalid") for value in NUMBER),
    *(({"points": value, "labels": [1]}, "points_invalid") for value in (5, "ab", {"0": 1}, True, [5], [None])),
    *(({"points": [value], "labels": [1]}, "points_invalid") for value in ([], [1], [1, 2, 3], "12", {"x": 1, "y": 2})),
    *(
        ({"points": [point], "labels": [1]}, "point_outside")
        for point in ([-0.01, 5], [5, -1], [512.5, 5], [5, 513], [1e8, 1e8])
    ),
    *(({"points": [[5, 5]], "labels": [value]}, "labels_invalid") for value in LABEL),
    *(({"points": [[5, 5]], "labels": value}, "labels_invalid") for value in LABELS),
    ({"points": [[5, 5]]}, "labels_invalid"),
    ({"labels": [1]}, "points_invalid"),
    ({"points": [[5, 5]] * 257, "labels": [1] * 257}, "too_many_points"),
    *(({"box": [value, 5, 500, 500]}, "box_invalid") for value in NUMBER),
    *(({"box": value}, "box_invalid") for value in CORNERS),
    ({"box": [50, 2, 10, 4]}, "box_invalid"),
    ({"box": [2, 50, 4, 10]}, "box_invalid"),
    *(
        ({"box": box}, "box_outside")
        for box in ([513, 0, 600, 9], [0, 513, 9, 600], [-9, 0, -1, 9], [-9, 0, 0, 9], [512, 0, 520, 9], [0, -9, 9, 0])
    ),
    *(({"mask": value}, "mask_invalid") for value in MASK),
    *(({"mask": value}, "mask_unknown") for value in ("", "m0", "m99", "../m1", "\x00", "a" * 10_000)),
    *(({**LONE, "multimask": value}, "multimask_invalid") for value in FLAG),
    *(({**LONE, "masks": value}, "masks_kind") for value in KIND),
    ({**LONE, "image": "x"}, "field_unknown"),
    ({**LONE, "point_coords": [[1, 1]]}, "field_unknown"),
    ({**LONE, "a" * 10_000: 1}, "field_unknown"),
]


def test_bad_clicks_are_refused(client: TestClient, place: str) -> None:
    for fields, code in BAD:
        body = json.dumps(fields)  # with NaN and Infinity, as Python writes them
        answer = client.post(f"{place}/predict", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, code), (body[:200], answer.text)
        assert len(answer.text) < 400, answer.text
    assert len(ask(client, place, **LONE)) == 3  # the session has not suffered
    assert ask(client, place, **BOX)[0]["id"] == "m4"  # and nothing was kept of them


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "application/json", 400, "body_invalid"),
        (b"{", "application/json", 400, "body_invalid"),
        (b"[]", "application/json", 400, "body_invalid"),
        (b"5", "application/json", 400, "body_invalid"),
        (b"null", "application/json", 400, "body_invalid"),
        (b"\xff\xfe{}", "application/json", 400, "body_invalid"),
        (b'{"points": ' + b"[" * 100_000, "application/json", 400, "body_invalid"),
        (b'{"box": [' + b"9" * 5000 + b", 1, 2, 3]}", "application/json", 400, "body_invalid"),
        (b'{"points": [[5, 5]], "labels": [1]}', "text/plain", 415, "content_type"),
        (b"points=5", "application/x-www-form-urlencoded", 415, "content_type"),
    ],
)
def test_bad_bodies(client: TestClient, place: str, body: bytes, kind: str, status: int, code: str) -> None:
    answer = client.post(f"{place}/predict", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_numbers_of_whole_kinds_are_taken() -> None:
    click = parse_click({"points": [[1, 2.5], [0, 40]], "labels": [1.0, 0]}, (40, 100), 2)
    assert (click.points, click.labels) == ([[1.0, 2.5], [0.0, 40.0]], [1, 0])
    for box in ([-5, 0, 50, 50], [99, 39, 500, 500], [5, 5, 5, 5], [0, 0, 0, 0], [100, 40, 100, 40]):
        assert parse_click({"box": box}, (40, 100), 2).box == box


def test_boxes_outside_are_those_that_the_library_refuses() -> None:
    p = Predictor(discs.discs())
    p.set_image(np.zeros((4, 10, 3), np.uint8))
    sides = [-3, -1, 0, 2, 4, 10, 12]
    for x0 in sides:
        for x1 in sides:
            for y0, y1 in ((0, 4), (-2, 0), (0, 0), (4, 4), (4, 5), (5, 6), (-2, -1), (3, 9)):
                box = [x0, y0, x1, y1]
                try:
                    p.predict(box=box)
                    taken = True
                except ValueError:
                    taken = False
                try:
                    code = ""
                    parse_click({"box": box}, (4, 10), 2)
                except ServeError as error:
                    code = error.code
                assert (code == "") == taken, box
                assert code in ("", "box_outside" if x0 <= x1 else "box_invalid"), box


def test_a_model_that_takes_boxes_only(client_of: Clients, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of()
    monkeypatch.setattr(engine, "_predictor", Predictor(discs.discs(kind=discs.Boxes)))
    buffer = io.BytesIO()
    Image.new("RGB", (100, 40)).save(buffer, "PNG")
    place = upload(client, buffer.getvalue())
    answer = client.post(f"{place}/predict", json={"points": [[5, 5]], "labels": [1]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "prompt_invalid")
    assert "takes boxes" in answer.json()["error"]["message"]
    assert ask(client, place, box=[20, 10, 60, 30])[0]["area"] > 0


def test_what_openapi_says_of_a_click_is_what_is_taken(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    def schema(path: str) -> Any:
        return paths[f"/v1/sessions/{{session}}/{path}"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert set(schema("predict")["properties"]) == set(FIELDS)
    assert schema("segment")["required"] == ["query"]
    assert schema("everything")["additionalProperties"] is False
    assert set(paths["/v1/sessions"]["post"]["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert set(paths["/v1/sessions/{session}"]) == {"get", "delete"}


def test_a_picture_that_lies_on_its_side(client: TestClient) -> None:
    buffer = io.BytesIO()
    image = Image.new("RGB", (60, 40))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(buffer, "JPEG", exif=exif)
    answer = client.post("/v1/sessions", json={"image": base64.b64encode(buffer.getvalue()).decode()})
    assert (answer.json()["width"], answer.json()["height"]) == (40, 60)
    assert open_image(buffer.getvalue()).pixels.shape == (60, 40, 3)
