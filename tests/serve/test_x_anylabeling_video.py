"""X-AnyLabeling's videos: words and points, followed to the last frame."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi")
av = pytest.importorskip("av")

from fastapi.testclient import TestClient  # noqa: E402
from PIL import Image  # noqa: E402

from gsam.results.masks import rle  # noqa: E402
from gsam.serve.app import create_app  # noqa: E402
from gsam.serve.config import ServeConfig  # noqa: E402
from gsam.serve.engine import Engine  # noqa: E402
from gsam.serve.problems import ServeError  # noqa: E402
from tests.serve import clips  # noqa: E402
from tests.serve.listening import listening  # noqa: E402
from tests.serve.x_anylabeling_calls import (  # noqa: E402
    CLIP,
    COUNT,
    MODEL,
    WORDS,
    Clients,
    asked,
    begun,
    clicked,
    data,
    files,
    filled,
    iou,
    plain,
    post,
    refused,
    share,
    told,
    uri,
)

pytestmark = pytest.mark.usefixtures("temporary")


@pytest.fixture
def tool(client_of: Clients) -> TestClient:
    return client_of(x_anylabeling=True, deadline=600)  # some programs are compiled


@pytest.fixture(scope="module")
def clip() -> list[str]:
    """The first frames of the shipped clip, as the client packs them."""
    with av.open(str(CLIP)) as file:
        pictures = [frame.to_image() for frame, _ in zip(file.decode(video=0), range(COUNT), strict=False)]
    return [uri(picture) for picture in pictures]


# what there is


def test_it_is_a_model_where_there_is_a_tracker(
    tool: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tool.get("/v1/models").json()["data"][MODEL]
    assert model["batch_processing_mode"] == "video"
    widgets = {widget["name"] for widget in model["widgets"]}
    assert {"edit_text", "button_send", "edit_conf", "button_add_point", "button_finish_object"} <= widgets
    assert "button_add_rect" not in widgets
    monkeypatch.setattr(engine.pipe, "_tracker", None)
    assert list(tool.get("/v1/models").json()["data"]) == ["gsam-words", "gsam-clicks"]
    for name in ("init", "prompt", "propagate", "propagate/stream", "status/x", "cancel/x", "cleanup/x"):
        answer = post(tool, name, frames=plain(1))
        assert refused(answer) == (501, "no_tracker")
        assert "--tracker" in answer.json()["message"]


# words


@pytest.mark.long
def test_words_are_followed_to_the_end(tool: TestClient, clip: list[str], engine: Engine) -> None:
    session = begun(tool, clip)
    first = asked(tool, session, text_prompt=WORDS)
    picture = base64.b64decode(clip[0].partition(",")[2])
    result = engine.pipe(picture, WORDS)
    assert {shape["label"] for shape in first} == set(result.labels) >= {"cow"}
    for label in set(result.labels):
        masks = [result.mask(i) for i in range(len(result)) if result.labels[i] == label]
        np.testing.assert_array_equal(filled([s for s in first if s["label"] == label]), np.any(masks, 0))

    events = told(tool, session, start_frame=0)
    assert [event["type"] for event in events] == ["started", *["progress"] * COUNT, "completed"]
    assert (events[0]["total_frames"], events[0]["start_frame_index"]) == (COUNT, 0)
    assert [event["current_frame"] for event in events[1:-1]] == list(range(COUNT))
    results = events[-1]["results"]
    assert list(results) == [str(i) for i in range(COUNT)]
    own = [f for kind, f in clips.followed(tool, f"/v1/videos/{session}", query=WORDS) if kind == "frame"]
    for frame in own:
        shapes = results[str(frame["index"])]["masks"]
        assert {s["group_id"] for s in shapes} == {o["id"] for o in frame["objects"]} != set()
        for one in frame["objects"]:
            parts = [s for s in shapes if s["group_id"] == one["id"]]
            assert {(s["label"], s["shape_type"], s["score"]) for s in parts} == {
                (one["label"], "polygon", one["score"])
            }
            np.testing.assert_array_equal(filled(parts), rle.decode(one["mask"]))


@pytest.mark.long
def test_a_part_is_followed_as_asked(tool: TestClient, clip: list[str]) -> None:
    session = begun(tool, clip)
    fine = asked(tool, session, 4, text_prompt=WORDS, params={"conf_threshold": 0.3})
    rough = asked(tool, session, 4, text_prompt=WORDS, params={"conf_threshold": 0.3, "epsilon_factor": 0.01})
    assert sum(len(s["points"]) for s in rough) < sum(len(s["points"]) for s in fine)
    events = told(tool, session, start_frame=4, end_frame=5)
    results = events[-1]["results"]
    assert events[0]["start_frame_index"] == 4
    assert list(results) == ["4", "5"]
    assert 0 < sum(len(s["points"]) for s in results["4"]["masks"]) < sum(len(s["points"]) for s in fine)

    scores = sorted({s["score"] for s in results["4"]["masks"]})
    high = (scores[-1] + scores[-2]) / 2
    asked(tool, session, 4, text_prompt=WORDS, params={"conf_threshold": high})
    few = told(tool, session, start_frame=4, end_frame=5)[-1]["results"]
    assert {s["score"] > high for frame in few.values() for s in frame["masks"]} == {True}


# points


@pytest.mark.long
def test_a_click_is_followed_to_the_end(tool: TestClient, clip: list[str]) -> None:
    session = begun(tool, clip)
    (shape, *_) = first = clicked(tool, session)
    assert shape["label"] == "AUTOLABEL_OBJECT"
    ball = filled(first)
    assert ball[110, 120]
    results = told(tool, session, start_frame=0)[-1]["results"]
    assert list(results) == [str(i) for i in range(COUNT)]
    prompts = [{"frame": 0, "object": 10000, "points": [[120, 110]], "labels": [1]}]
    own = [f for kind, f in clips.followed(tool, f"/v1/videos/{session}", prompts=prompts) if kind == "frame"]
    for frame in own:
        (one,) = frame["objects"]
        shapes = results[str(frame["index"])]["masks"]
        assert {s["label"] for s in shapes} == {"AUTOLABEL_OBJECT"}
        np.testing.assert_array_equal(filled(shapes), rle.decode(one["mask"]))
    assert iou(filled(results["0"]["masks"]), ball) > 0.5  # the predictor's, with another choice of masks
    for i, text in enumerate(clip):  # and that is where the blue is
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))).convert("RGB")).astype(int)
        blue = pixels[..., 2] - pixels[..., 0] > 60
        assert iou(filled(results[str(i)]["masks"]), blue) > 0.4
    assert data(post(tool, "propagate", session_id=session))["results"] == results


@pytest.mark.long
def test_points_add_up_and_words_take_their_place(tool: TestClient, clip: list[str]) -> None:
    session = begun(tool, clip)
    other = [93, 43]
    clicked(tool, session, 1, (0, 0))
    clicked(tool, session, 1)  # in place of the points on this frame
    asked(tool, session, 3, points=[share(*other), [0.0, 0.0]], point_labels=[1, 0], obj_id="other")
    kept = next(iter(tool.app.state.video_prompts.values()))  # type: ignore[attr-defined]
    assert list(kept.points) == [(1, 10000), (3, "other")]
    results = told(tool, session, start_frame=2)[-1]["results"]
    assert list(results) == ["2", "3", "4", "5"]
    prompts = [
        {"frame": 1, "object": 1, "points": [[120, 110]], "labels": [1]},
        {"frame": 3, "object": 2, "points": [other, [0, 0]], "labels": [1, 0]},
    ]
    own = [f for kind, f in clips.followed(tool, f"/v1/videos/{session}", prompts=prompts) if kind == "frame"]
    for frame in own[1:]:
        masks = [rle.decode(one["mask"]) for one in frame["objects"]]
        assert len(masks) == 2 or frame["index"] < 3
        np.testing.assert_array_equal(filled(results[str(frame["index"])]["masks"]), np.any(masks, 0))
    assert list(told(tool, session, end_frame=2)[-1]["results"]) == ["1", "2"]  # without the later click

    asked(tool, session, text_prompt="cow")
    labels = {s["label"] for s in told(tool, session, end_frame=1)[-1]["results"]["0"]["masks"]}
    assert labels == {"cow"}
    clicked(tool, session)
    assert list(next(iter(tool.app.state.video_prompts.values())).points) == [(0, 10000)]  # type: ignore[attr-defined]


# how it ends


class Work:
    """Stands for following: frames without end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.done = 0

    def __call__(self, *_: object) -> Iterator[tuple[str, dict[str, Any]] | None]:
        yield "start", {}
        while True:
            time.sleep(0.005)
            yield None
            if self.error is not None and self.done == 3:
                raise self.error
            mask = rle.encode(np.ones((48, 64), bool))
            objects = [{"id": 7, "label": "dog", "score": 0.5, "mask": mask}]
            yield "frame", {"index": self.done, "objects": objects}
            self.done += 1


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """In place of following points."""
    found = Work()
    monkeypatch.setattr("gsam.serve.v1.videos.by_clicks", found)
    return found


def test_leaving_ends_the_work(engine: Engine, work: Work, temporary: Path) -> None:
    config = ServeConfig(x_anylabeling=True)
    app = create_app(config, engine=engine)
    with listening(app, config) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        session = begun(client, plain(2))
        clicked(client, session)
        asking = {"json": {"session_id": session, "model": MODEL}}
        with client.stream("POST", "/v1/video/propagate/stream", **asking) as answer:  # type: ignore[arg-type]
            coming = clips.events(answer.iter_lines())
            assert [next(coming)[1]["type"] for _ in range(3)] == ["started", "progress", "progress"]
            assert data(client.get(f"/v1/video/status/{session}"))["running"] is True
            assert refused(client.post("/v1/video/propagate", **asking)) == (409, "busy_video")  # type: ignore[arg-type]
        until = time.monotonic() + 10
        while len(app.state.jobs) and time.monotonic() < until:
            time.sleep(0.01)
        assert not len(app.state.jobs)
        assert data(client.post("/v1/video/status", json={"session_id": session})) == {
            "session_id": session,
            "total_frames": 2,
            "running": False,
        }
        with client.stream("POST", "/v1/video/propagate/stream", **asking) as answer:  # type: ignore[arg-type]
            coming = clips.events(answer.iter_lines())
            next(coming)
            data(client.post(f"/v1/video/cancel/{session}"))
            (*_, (_, last)) = coming
            assert (last["type"], last["code"]) == ("error", "cancelled")
            assert last["message"]
        with client.stream("POST", "/v1/video/propagate/stream", **asking) as answer:  # type: ignore[arg-type]
            next(clips.events(answer.iter_lines()))
            data(client.post(f"/v1/video/cleanup/{session}?model={MODEL}"))
        assert not files(temporary)


def test_cleanup_removes_the_frames(tool: TestClient, temporary: Path) -> None:
    first, second = begun(tool, plain(3)), begun(tool, plain(2))
    folders = files(temporary)
    assert sorted(len(list(folder.iterdir())) for folder in folders) == [2, 3]
    data(tool.post(f"/v1/video/cleanup/{first}?model={MODEL}"))
    (left,) = files(temporary)
    assert len(list(left.iterdir())) == 2
    data(tool.post("/v1/video/cleanup", json={"session_id": second}))
    assert not files(temporary)
    assert not tool.app.state.video_prompts  # type: ignore[attr-defined]
    for answer in (
        tool.post(f"/v1/video/cleanup/{first}"),
        tool.get(f"/v1/video/status/{first}"),
        tool.post(f"/v1/video/cancel/{first}"),
        post(tool, "prompt", session_id=first, text_prompt="dog"),
        post(tool, "propagate/stream", session_id=first),
        post(tool, "propagate", session_id=[first]),
    ):
        assert refused(answer) == (404, "video_unknown")


def test_the_oldest_is_forgotten_with_its_frames(client_of: Clients, temporary: Path) -> None:
    client = client_of(x_anylabeling=True, max_videos=1)
    first = begun(client, plain(2))
    begun(client, plain(3))
    assert refused(client.get(f"/v1/video/status/{first}")) == (404, "video_unknown")
    (folder,) = files(temporary)
    assert len(list(folder.iterdir())) == 3


def test_frames_that_go_while_a_prompt_comes(tool: TestClient, temporary: Path) -> None:
    session = begun(tool, plain(2))
    (folder,) = files(temporary)
    (folder / "1").unlink()
    assert refused(post(tool, "prompt", session_id=session, frame_index=1, text_prompt="dog")) == (404, "video_unknown")


@pytest.mark.parametrize("name", ["propagate", "propagate/stream"])
def test_what_goes_wrong_while_it_works(tool: TestClient, work: Work, name: str) -> None:
    session = begun(tool, plain(2))
    clicked(tool, session)
    work.error = ServeError(400, "video_unreadable", 'the frame {0} is "gone"')
    answer = post(tool, name, session_id=session)
    if name == "propagate":
        assert refused(answer) == (500, "video_unreadable")
    else:
        last = [found for _, found in clips.events(answer.text.split("\n"))][-1]
        assert last == {"type": "error", "code": "video_unreadable", "message": str(work.error)}
        assert tool.get("/v1/integrations").json()["x_anylabeling"]["state"] == "problem"


def test_results_have_a_limit(tool: TestClient, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    session = begun(tool, plain(2))
    clicked(tool, session)
    monkeypatch.setattr("gsam.serve.x_anylabeling_video.MOST_RESULTS", 1000)
    events = told(tool, session)
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "results_too_large")
    assert 2 <= len(events) < 15


# the token


def test_the_token_comes_in_its_own_header(client_of: Clients) -> None:
    client = client_of(x_anylabeling=True, token="secret")
    assert post(client, "init", frames=plain(2)).status_code == 401
    with_token = SimpleNamespace(post=lambda path, json: client.post(path, json=json, headers={"Token": "secret"}))
    session = begun(with_token, plain(2))
    clicked(with_token, session)
    for path in ("propagate", "propagate/stream", f"status/{session}", f"cancel/{session}", f"cleanup/{session}"):
        body = {"model": MODEL, "session_id": session, "start_frame": 5}
        assert client.post(f"/v1/video/{path}", json=body, headers={"Token": "wrong"}).status_code == 401
        status = 422 if "propagate" in path else 200
        assert with_token.post(f"/v1/video/{path}", json=body).status_code == status
