"""Clicks and words in Label Studio's editor, as its protocol brings them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.results.masks import brush
from gsam.serve.engine import Engine
from gsam.serve.label_studio.context import read_context
from tests.serve.fake_label_studio import (
    BOXES,
    DOG,
    HEAD,
    LABELS,
    LEGACY,
    FakeLabelStudio,
    ask,
    overlap,
    point,
    rectangle,
    status,
    written,
)

Clients = Callable[..., TestClient]


@pytest.fixture
def client(client_of: Clients, studio: FakeLabelStudio) -> TestClient:
    return client_of(label_studio=True, label_studio_url=studio.url, label_studio_token=LEGACY)


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


@pytest.mark.long
def test_words_are_answered(client: TestClient) -> None:
    found = ask(client, context={"result": [written("DOG")]})["result"]
    assert {one["value"]["brushlabels"][0] for one in found} == {"Hund"}
    assert max(overlap(one, DOG) for one in found) > 0.75
    both = ask(client, context={"result": [written("dog, pizza")]})["result"]
    assert {one["value"]["brushlabels"][0] for one in both} == {"Hund", "Pizza"}
    other = ask(client, context={"result": [written("umbrella")]})["result"]
    assert {one["value"]["brushlabels"][0] for one in other} == {"Hund"}, "never without a label"
    assert "'umbrella' is no label of this project" in status(client)["message"]


def test_a_second_click_encodes_and_fetches_nothing(
    client: TestClient, engine: Engine, studio: FakeLabelStudio
) -> None:
    first = ask(client, context={"result": [point(420, 220)]})["result"]
    pictures, fetched = engine.predictor.counts["pictures"], len(studio.asked)
    second = ask(client, context={"result": [point(420, 220)]})["result"]
    assert (engine.predictor.counts["pictures"], len(studio.asked)) == (pictures, fetched)
    assert second[0]["value"] == first[0]["value"]


def test_kept_pictures_are_bounded(client_of: Clients, studio: FakeLabelStudio) -> None:
    client = client_of(label_studio=True, label_studio_url=studio.url, label_studio_token=LEGACY, max_sessions=2)
    for i in range(4):
        ask(client, image=f"/data/upload/{i}/scene.png", context={"result": [point(420, 220)]})
    state = client.app.state  # type: ignore[attr-defined]
    assert len(state.sessions) == len(state.label_studio.labelling._remembered) == 2


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


def test_a_region_whose_label_is_another_result_counts_once() -> None:
    """Tools without labels of their own come as two results of one id."""
    value = {"x": 25, "y": 50, "width": 1}
    plain = {"id": "a", "type": "keypoint", "from_name": "tool", "to_name": "pic", "is_positive": False, "value": value}
    labelled = {**plain, "type": "labels", "from_name": "what", "value": {**value, "labels": ["Pizza"]}}
    other = {**plain, "id": "b", "is_positive": 1, "value": {"x": 75, "y": 10}}
    prompt = read_context({"result": [plain, labelled, other]}, 8)
    assert prompt.points == [(0.25, 0.5), (0.75, 0.1)]
    assert prompt.positive == [0, 1]
    assert (prompt.label, prompt.image) == ("Pizza", "pic")


def test_a_turned_rectangle_is_asked_for_by_its_bounds() -> None:
    value = {"x": 50, "y": 50, "width": 10, "height": 20, "rotation": 90}
    one = {"type": "rectanglelabels", "original_width": 200, "original_height": 100, "value": value}
    (box,) = read_context({"result": [one]}, 8).boxes
    assert np.allclose(box, [0.4, 0.5, 0.5, 0.7])  # 20 x 20 pixels, to the left of the corner it turns about
