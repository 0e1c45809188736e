"""Label Studio's protocol: pre-labelling, clicks and words in its editor, and what goes wrong."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from PIL import Image

from gsam.errors import ImageError
from gsam.results.formats import label_studio
from gsam.results.masks import brush, rle
from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.label_studio.access import LabelStudioAccess
from gsam.serve.label_studio.labelling_config import read_config
from gsam.serve.problems import ServeError
from tests.serve.fake_label_studio import LEGACY, PERSONAL, FakeLabelStudio, fake_label_studio

Clients = Callable[..., TestClient]
DOG = [355.0, 158.0, 475.0, 288.0]
"""Where the scene's dog is."""
LABELS = '<Label value="Hund" predicted_values="dog"/><Label value="Pizza"/>'
HEAD = '<View><Image name="pic" value="$image"/>'
BOXES = f'{HEAD}<RectangleLabels name="box" toName="pic">{LABELS}</RectangleLabels></View>'
ALL = f"""{HEAD}<TextArea name="words" toName="pic"/>
  <KeyPointLabels name="point" toName="pic" smart="true">{LABELS}</KeyPointLabels>
  <RectangleLabels name="box" toName="pic">{LABELS}</RectangleLabels>
  <BrushLabels name="brush" toName="pic">{LABELS}</BrushLabels>
  <PolygonLabels name="outline" toName="pic">{LABELS}</PolygonLabels></View>"""
UPLOADED = "/data/upload/1/scene.png"


@pytest.fixture
def tool(scene: bytes) -> Iterator[FakeLabelStudio]:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    with Image.open(io.BytesIO(scene)) as picture:
        upright = picture.convert("RGB").crop((0, 100, 512, 400))
        upright.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG", exif=exif)
    with fake_label_studio(
        {"scene.png": scene, "turned.png": turned.getvalue(), "page.png": b"<!doctype html>"}
    ) as server:
        yield server


@pytest.fixture
def client(client_of: Clients, tool: FakeLabelStudio) -> TestClient:
    return client_of(label_studio=True, label_studio_url=tool.url, label_studio_token=LEGACY)


def ask(client: TestClient, config: Any = ALL, image: Any = UPLOADED, context: Any = None, number: Any = 7) -> Any:
    """What one task is answered."""
    request = {
        "tasks": [{"id": number, "data": {"image": image}, "annotations": [], "predictions": []}],
        "project": "1.1795406520",
        "label_config": config,
        "params": {"login": None, "password": None, "context": context},
    }
    answer = client.post("/predict", json=request)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["results"]
    return found


def status(client: TestClient) -> Any:
    return client.get("/v1/integrations").json()["label_studio"]


def point(x: float, y: float, positive: int = 1, label: str = "Hund") -> dict[str, Any]:
    value = {"x": x / 5.12, "y": y / 5.12, "width": 0.3, "keypointlabels": [label]}
    return {
        "id": "k",
        "type": "keypointlabels",
        "from_name": "point",
        "to_name": "pic",
        "is_positive": positive,
        "value": value,
    }


def rectangle(box: list[float]) -> dict[str, Any]:
    x0, y0, x1, y1 = (v / 5.12 for v in box)
    value = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0, "rectanglelabels": ["Hund"]}
    return {"id": "r", "type": "rectanglelabels", "from_name": "box", "to_name": "pic", "value": value}


def written(*texts: str) -> dict[str, Any]:
    return {"id": "t", "type": "textarea", "from_name": "words", "to_name": "pic", "value": {"text": list(texts)}}


def overlap(result: dict[str, Any], box: list[float]) -> float:
    """IoU of a brush's bounds and a box."""
    size = result["original_height"], result["original_width"]
    mask = brush.unpack(bytes(result["value"]["rle"]), size)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    own = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    x0, y0, x1, y1 = np.maximum(own[:2], box[:2]).tolist() + np.minimum(own[2:], box[2:]).tolist()
    inside = max(x1 - x0, 0) * max(y1 - y0, 0)
    area = lambda b: (b[2] - b[0]) * (b[3] - b[1])  # noqa: E731
    return float(inside / (area(own) + area(box) - inside))


# Connecting


def test_a_project_is_connected(client: TestClient, tool: FakeLabelStudio, caplog: pytest.LogCaptureFixture) -> None:
    assert status(client)["state"] == "waiting"
    assert client.get("/health").json() == {"status": "UP", "model_class": "GSAM"}
    request = {
        "project": "12.1795406520",
        "schema": ALL,
        "hostname": tool.url,
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
    assert ("/api/current-user/whoami", f"Token {LEGACY}") in tool.asked, "the token is tried out"
    assert "very-secret" not in caplog.text + str(told)
    assert LEGACY not in caplog.text + str(told)
    assert all("very-secret" not in str(asked) for asked in tool.asked)


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


def test_every_tool_shows_what_its_labels_name(client: TestClient) -> None:
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
    assert np.allclose([box["x"] * 5.12, box["y"] * 5.12], DOG[:2], atol=25)
    assert len({one["id"] for one in found["result"]}) == len(found["result"])


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


# Clicks and words


def test_a_click_is_answered(client: TestClient) -> None:
    (one,) = ask(client, context={"result": [point(415, 225)]})["result"]
    assert (one["type"], one["from_name"], one["to_name"]) == ("brushlabels", "brush", "pic")
    assert one["value"]["brushlabels"] == ["Hund"]
    assert overlap(one, DOG) > 0.5


def test_a_negative_click_takes_away(client: TestClient) -> None:
    def pixels(*clicks: dict[str, Any]) -> int:
        (one,) = ask(client, context={"result": [rectangle([60, 100, 480, 360]), *clicks]})["result"]
        return int(brush.unpack(bytes(one["value"]["rle"]), (512, 512)).sum())

    wide = [point(240, 170), point(420, 220)]
    assert pixels(*wide, point(100, 280, positive=0)) != pixels(*wide, point(100, 280, positive=1))


def test_rectangles_are_answered_each(client: TestClient) -> None:
    found = ask(client, context={"result": [rectangle(DOG), rectangle([161, 110, 273, 242])]})["result"]
    assert [one["type"] for one in found] == ["brushlabels"] * 2
    assert overlap(found[0], DOG) > 0.8
    assert overlap(found[1], DOG) < 0.1
    outline = f'{HEAD}<PolygonLabels name="outline" toName="pic">{LABELS}</PolygonLabels></View>'
    assert {one["type"] for one in ask(client, outline, context={"result": [rectangle(DOG)]})["result"]} == {
        "polygonlabels"
    }
    (box,) = ask(client, BOXES, context={"result": [rectangle(DOG)]})["result"]
    assert np.allclose([box["value"]["x"], box["value"]["y"]], np.array(DOG[:2]) / 5.12, atol=3)


def test_words_are_answered(client: TestClient) -> None:
    found = ask(client, context={"result": [written("DOG")]})["result"]
    assert {one["value"]["brushlabels"][0] for one in found} == {"Hund"}
    assert max(overlap(one, DOG) for one in found) > 0.75
    both = ask(client, context={"result": [written("dog, pizza")]})["result"]
    assert {one["value"]["brushlabels"][0] for one in both} == {"Hund", "Pizza"}
    other = ask(client, context={"result": [written("umbrella")]})["result"]
    assert {one["value"]["brushlabels"][0] for one in other} == {"Hund"}, "never without a label"
    assert "'umbrella' is no label of this project" in status(client)["message"]


def test_a_second_click_encodes_and_fetches_nothing(client: TestClient, engine: Engine, tool: FakeLabelStudio) -> None:
    first = ask(client, context={"result": [point(420, 220)]})["result"]
    pictures, fetched = engine.predictor.counts["pictures"], len(tool.asked)
    second = ask(client, context={"result": [point(420, 220)]})["result"]
    assert (engine.predictor.counts["pictures"], len(tool.asked)) == (pictures, fetched)
    assert second[0]["value"] == first[0]["value"]


def test_kept_pictures_are_bounded(client_of: Clients, tool: FakeLabelStudio) -> None:
    client = client_of(label_studio=True, label_studio_url=tool.url, label_studio_token=LEGACY, max_sessions=2)
    for i in range(4):
        ask(client, image=f"/data/upload/{i}/scene.png", context={"result": [point(420, 220)]})
    kept = client.app.state.label_studio.labelling._kept  # type: ignore[attr-defined]
    assert len(kept) == 2
    assert len(kept._keys) <= 8


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ([{"type": "choices", "value": {"choices": ["a"]}}], "got: choices"),
        (["nothing"], "got: nothing"),
        ([{"type": "keypointlabels", "value": {"x": "left", "y": 2}}], "got: keypointlabels"),
        ([{"type": "rectanglelabels", "value": {"x": 10, "y": 10, "width": 0, "height": 5}}], "got: rectanglelabels"),
        ([{"type": "keypointlabels", "image_rotation": 90, "value": {"x": 1, "y": 2}}], "turn it back"),
        ([{"type": "keypointlabels", "value": {"x": 1, "y": 2}}] * 300, "300 prompts"),
        ([{"type": "textarea", "value": {"text": ["..."]}}], "nothing is asked for"),
    ],
)
def test_prompts_that_are_none_are_told(client: TestClient, result: Any, says: str) -> None:
    assert ask(client, context={"result": result})["result"] == []
    assert says in status(client)["message"]


def test_points_outside_are_at_the_border(client: TestClient) -> None:
    assert len(ask(client, context={"result": [point(420, 220), point(-40, 900, positive=0)]})["result"]) == 1


# What goes wrong


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "sent no labelling config"),
        ("<View><", "cannot be read"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "DOCTYPE"),
        ("<View><Text name='t' value='$text'/></View>", "no BrushLabels, PolygonLabels or RectangleLabels"),
        (f'{HEAD}<Cube name="c" toName="pic"/></View>', "no BrushLabels, PolygonLabels or RectangleLabels"),
        (f'{HEAD}<BrushLabels name="b" toName="other">{LABELS}</BrushLabels></View>', "no BrushLabels"),
        (f'{HEAD}<BrushLabels name="b" toName="pic"/></View>', "no labels"),
    ],
)
def test_configs_without_use_are_told(client: TestClient, config: Any, says: str) -> None:
    assert ask(client, config) == [], "no prediction, so that the task can be asked for again"
    told = status(client)
    assert told["state"] == "problem"
    assert says in told["message"]
    assert ask(client, config, context={"result": [point(1, 1)]})["result"] == []


def test_no_tasks_are_told(client: TestClient) -> None:
    for tasks in ([], None, {"a": 1}):
        assert client.post("/predict", json={"tasks": tasks}).json() == {"results": []}
    assert "no tasks" in status(client)["message"]
    assert client.post("/predict", json=[]).json()["error"]["code"] == "body_invalid"
    assert client.post("/predict", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_a_wrong_token_is_told_in_plain_words(
    client_of: Clients, tool: FakeLabelStudio, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = client_of(label_studio=True, label_studio_url=tool.url, label_studio_token="dead" * 10)
    with caplog.at_level(logging.DEBUG):
        assert ask(wrong) == []
    for text in (status(wrong)["message"], caplog.text):
        assert f"Label Studio at {tool.url} answered 401" in text
        assert "its access token is wrong" in text
        assert "newer servers need both" in text
    assert "dead" not in caplog.text
    without = client_of(label_studio=True, label_studio_url=tool.url)
    assert ask(without) == []
    assert "its access token is missing" in status(without)["message"]
    assert ask(without, context={"result": [point(1, 1)]})["result"] == []


def test_a_wrong_token_shows_before_a_task_fails(client_of: Clients, tool: FakeLabelStudio) -> None:
    told = status(client_of(label_studio=True, label_studio_url=tool.url, label_studio_token="wrong"))
    assert told["state"] == "problem"
    assert "answered 401 for /api/current-user/whoami" in told["message"]


def test_a_wrong_address_is_told(client_of: Clients, tool: FakeLabelStudio, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = client_of(label_studio=True, label_studio_url="http://127.0.0.1:9", label_studio_token=LEGACY)
    told = status(nowhere)
    assert told["state"] == "problem"
    assert "Label Studio at http://127.0.0.1:9 cannot be reached from here" in told["message"]
    assert "is LABEL_STUDIO_URL right?" in told["message"]
    other_path = client_of(label_studio=True, label_studio_url=f"{tool.url}/tools", label_studio_token=LEGACY)
    assert ask(other_path, image="/data/upload/1/none.png") == []
    assert "answered 404 for /tools/data/upload/1/none.png: is LABEL_STUDIO_URL right" in caplog.text
    assert "answered 404 for /tools/api/current-user/whoami" in status(other_path)["message"]


def test_an_unknown_label_studio_is_told(client_of: Clients) -> None:
    unknown = client_of(label_studio=True)
    assert ask(unknown) == []
    assert "where that is has not been said: start gsam with LABEL_STUDIO_URL" in status(unknown)["message"]


def test_a_login_page_is_a_wrong_token(client: TestClient) -> None:
    assert ask(client, image="/login-first.png") == []
    assert "answered 401 for /login-first.png" in status(client)["message"]


def test_a_page_is_no_picture(client: TestClient) -> None:
    assert ask(client, image="/data/upload/page.png?key=secret") == []
    message = status(client)["message"]
    assert "a web page" in message
    assert "secret" not in message


# Addresses and tokens


def access_of(tool: FakeLabelStudio, token: str | None = LEGACY, **settings: Any) -> LabelStudioAccess:
    settings = {"label_studio_url": tool.url, **settings}
    return LabelStudioAccess(ServeConfig(label_studio=True, label_studio_token=token, **settings))


def test_personal_tokens_are_exchanged(tool: FakeLabelStudio, scene: bytes) -> None:
    access = access_of(tool, PERSONAL)
    assert access.fetch(tool.url + UPLOADED) == scene
    assert access.fetch(tool.url + UPLOADED) == scene
    assert tool.given == 1, "one exchange serves many pictures"
    tool.valid = set()  # it has run out
    assert access.fetch(tool.url + UPLOADED) == scene
    assert tool.given == 2
    assert access.look() is None
    with pytest.raises(ImageError, match="its access token is wrong"):
        access_of(tool, "a.b.c").fetch(tool.url + UPLOADED)
    assert PERSONAL not in repr(access) + repr(access._token)


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        ("/data/upload/1/scene.png", "/data/upload/1/scene.png"),
        ("upload/1/scene.png", "/data/upload/1/scene.png"),
        ("/data/local-files/?d=some%20folder/scene.png", "/data/local-files/?d=some%20folder/scene.png"),
        ("s3://bucket/scene.png", "/tasks/7/presign/?fileuri=czM6Ly9idWNrZXQvc2NlbmUucG5n"),
        ("gs://b/ä.png", "/tasks/7/presign/?fileuri=Z3M6Ly9iL8OkLnBuZw%3D%3D"),
    ],
)
def test_addresses_are_label_studio_s(tool: FakeLabelStudio, image: str, asked: str, scene: bytes) -> None:
    access = access_of(tool)
    assert access.fetch(access.address_of(image, 7)) == scene
    assert tool.asked == [(asked, f"Token {LEGACY}")]


def test_a_path_before_label_studio_s_own_is_kept(tool: FakeLabelStudio) -> None:
    access = access_of(tool, label_studio_url=f"{tool.url}/tools/")
    assert access.address_of("/data/upload/a.png", 1) == f"{tool.url}/tools/data/upload/a.png"
    assert access.address_of("/tools/data/upload/a.png", 1) == f"{tool.url}/tools/data/upload/a.png"


def test_whole_addresses_of_label_studio_get_the_token(tool: FakeLabelStudio, scene: bytes) -> None:
    access = access_of(tool)
    for host in ("127.0.0.1", "localhost"):
        assert access.fetch(f"http://{host}:{tool.server_port}/data/upload/1/scene.png") == scene
    assert [who for _, who in tool.asked] == [f"Token {LEGACY}"] * 2


@pytest.mark.parametrize(
    "image", ["scene.png", "../etc/passwd", "//evil.example/a.png", "file:///etc/passwd", "\x00", "a" * 9000]
)
def test_other_texts_are_no_addresses(client: TestClient, tool: FakeLabelStudio, image: str) -> None:
    before = len(tool.asked)
    found = ask(client, BOXES, image)
    assert found == []
    assert status(client)["state"] == "problem"
    assert len(status(client)["message"]) < 700
    assert all("passwd" not in path for path, _ in tool.asked[before:])


def test_other_hosts_are_not_asked(client: TestClient, tool: FakeLabelStudio, scene: bytes) -> None:
    with fake_label_studio({"scene.png": scene}) as other:
        assert ask(client, BOXES, f"{other.url}/open.png") == []
        assert "start gsam with --allow-host" in status(client)["message"]
        tool.elsewhere = f"{other.url}/open.png"
        assert ask(client, BOXES, "/away.png") == [], "neither by a redirect"
        assert "sends on to" in status(client)["message"]
        assert not other.asked


def test_the_token_does_not_follow_a_redirect(
    tool: FakeLabelStudio, scene: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gsam.inputs.remote._public", lambda address: True)  # as if it were one of the internet
    with fake_label_studio({"scene.png": scene}) as other:
        access = access_of(tool, allow_hosts=(f"127.0.0.1:{other.server_port}",))
        tool.elsewhere = f"{other.url}/open.png?signature=abc"
        assert access.fetch(f"{tool.url}/away.png") == scene
        assert other.asked == [("/open.png?signature=abc", None)]


def test_allowed_hosts_have_to_be_public(tool: FakeLabelStudio, scene: bytes) -> None:
    with fake_label_studio({"scene.png": scene}) as other:
        access = access_of(tool, allow_hosts=(f"127.0.0.1:{other.server_port}",))
        with pytest.raises(ImageError, match="not a public address") as caught:
            access.fetch(f"{other.url}/open.png?key=secret")
        assert "secret" not in str(caught.value)
        assert not other.asked


def test_a_hostname_of_this_machine_is_believed_without_a_token(client_of: Clients, tool: FakeLabelStudio) -> None:
    client = client_of(label_studio=True, label_studio_token=LEGACY)
    client.post("/setup", json={"schema": BOXES, "hostname": tool.url})
    assert ask(client, BOXES, "/open.png")["result"]
    assert tool.asked == [("/open.png", None)], "the token is for the address that gsam was started with"


@pytest.mark.parametrize(
    "hostname", ["http://169.254.169.254", "https://labels.example", "file:///", 3, "http://[", None]
)
def test_other_hostnames_are_not_believed(client_of: Clients, hostname: Any) -> None:
    client = client_of(label_studio=True)
    assert client.post("/setup", json={"schema": BOXES, "hostname": hostname}).status_code == 200
    assert ask(client, BOXES) == []
    assert "where that is has not been said" in status(client)["message"]


def test_a_public_server_believes_no_hostname(client_of: Clients, tool: FakeLabelStudio) -> None:
    client = client_of(label_studio=True, host="0.0.0.0", insecure=True, names=("*",))
    client.post("/setup", json={"schema": BOXES, "hostname": tool.url})
    assert ask(client, BOXES, "/open.png") == []
    assert not tool.asked


def test_a_client_that_left_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(_: Any, work: Any, seconds: float) -> None:
        work.close()
        raise ServeError(499, "client_gone", "the client has left")

    monkeypatch.setattr("gsam.serve.label_studio.routes.within", gone)
    assert client.post("/predict", json={"tasks": []}).status_code == 499
    assert "a larger ML_TIMEOUT_PREDICT" in status(client)["message"]


def test_an_error_of_ours_is_told_by_its_number(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("inside")

    monkeypatch.setattr("gsam.serve.label_studio.labelling._drawn", broken)
    assert ask(client, BOXES) == []
    message = status(client)["message"]
    assert "the log has it as error" in message
    assert "inside" not in message
    assert message.rpartition(" ")[2] in caplog.text


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
