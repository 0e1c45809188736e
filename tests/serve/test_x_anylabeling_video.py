"""X-AnyLabeling's videos: requests as its client makes them, answers as it reads them."""

from __future__ import annotations

import base64
import io
import tempfile
import time
from collections.abc import Callable, Iterator
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

from gsam.results.masks import polygons, rle  # noqa: E402
from gsam.serve.app import create_app  # noqa: E402
from gsam.serve.config import ServeConfig  # noqa: E402
from gsam.serve.engine import Engine  # noqa: E402
from gsam.serve.problems import ServeError  # noqa: E402
from gsam.serve.video_folder import LOCK  # noqa: E402
from tests.serve import clips  # noqa: E402
from tests.serve.listening import listening  # noqa: E402

CLIP = Path(__file__).parents[2] / "notebooks" / "clip.mp4"
MODEL = "gsam-video"
WORDS = "cow. cactus. blue circle"
COUNT = 6
SIZE = (158, 172)
Clients = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def tool(client_of: Clients) -> TestClient:
    return client_of(x_anylabeling=True, deadline=600)  # some programs are compiled


@pytest.fixture(scope="module")
def clip() -> list[str]:
    """The first frames of the shipped clip, as the client packs them."""
    with av.open(str(CLIP)) as file:
        pictures = [frame.to_image() for frame, _ in zip(file.decode(video=0), range(COUNT), strict=False)]
    return [uri(picture) for picture in pictures]


def uri(picture: Image.Image, form: str = "PNG") -> str:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def plain(count: int, width: int = 64, height: int = 48) -> list[str]:
    """Frames of one colour each."""
    return [uri(Image.new("RGB", (width, height), (10 + 9 * i, 90, 120))) for i in range(count)]


def post(client: Any, name: str, **fields: object) -> Any:
    return client.post(f"/v1/video/{name}", json={"model": MODEL, **fields})


def data(answer: Any) -> Any:
    body = answer.json()
    assert (answer.status_code, body["success"]) == (200, True), body
    return body["data"]


def begun(client: Any, frames: list[str]) -> str:
    """Begin a session; its id."""
    found = data(post(client, "init", frames=frames, start_frame_index=0))
    assert found["total_frames"] == len(frames)
    return str(found["session_id"])


def asked(client: Any, session: str, frame: int = 0, **fields: object) -> list[dict[str, Any]]:
    """The shapes of words or points on a frame."""
    params = fields.pop("params", {"epsilon_factor": 0.0})
    return list(data(post(client, "prompt", session_id=session, frame_index=frame, params=params, **fields))["masks"])


def share(x: float, y: float) -> list[float]:
    """A point of the clip as the client sends it."""
    return [x / SIZE[1], y / SIZE[0]]


def clicked(client: Any, session: str, frame: int = 0, point: tuple[float, float] = (120, 110)) -> list[dict[str, Any]]:
    return asked(client, session, frame, points=[share(*point)], point_labels=[1], obj_id=10000)


def told(client: Any, session: str, **fields: object) -> list[dict[str, Any]]:
    """The events of a following, as the client reads them."""
    answer = post(client, "propagate/stream", session_id=session, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [found for _, found in clips.events(answer.text.split("\n")) if found.get("type")]


def refused(answer: Any) -> tuple[int, str]:
    body = answer.json()
    assert body["success"] is False
    assert body["message"] == body["error"]["message"]
    return answer.status_code, body["error"]["code"]


def files(folder: Path) -> list[Path]:
    """The files and folders of videos."""
    return [f for f in folder.glob("*/*") if f.name != LOCK]


def filled(shapes: list[dict[str, Any]]) -> np.ndarray:
    return polygons.filled([[np.array(shape["points"])] for shape in shapes], SIZE)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


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
    fine = asked(tool, session, 2, text_prompt=WORDS, params={"conf_threshold": 0.3})
    rough = asked(tool, session, 2, text_prompt=WORDS, params={"conf_threshold": 0.3, "epsilon_factor": 0.01})
    assert sum(len(s["points"]) for s in rough) < sum(len(s["points"]) for s in fine)
    events = told(tool, session, start_frame=2, end_frame=3)
    results = events[-1]["results"]
    assert events[0]["start_frame_index"] == 2
    assert list(results) == ["2", "3"]
    assert 0 < sum(len(s["points"]) for s in results["2"]["masks"]) < sum(len(s["points"]) for s in fine)

    scores = sorted({s["score"] for s in results["2"]["masks"]})
    high = (scores[-1] + scores[-2]) / 2
    asked(tool, session, 2, text_prompt=WORDS, params={"conf_threshold": high})
    few = told(tool, session, start_frame=2, end_frame=3)[-1]["results"]
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


# what is refused


@pytest.mark.parametrize(
    ("frames", "status", "code"),
    [
        (None, 422, "frames_invalid"),
        ([], 422, "frames_invalid"),
        ("all", 422, "frames_invalid"),
        ([5], 422, "frames_invalid"),
        (["no base64!"], 422, "frames_invalid"),
        (["https://example.org/x.png"], 422, "frames_invalid"),
        ([base64.b64encode(b"no image").decode()], 400, "image_unreadable"),
        ([*plain(2), *plain(1, 65)], 422, "frames_invalid"),
        (plain(5), 413, "video_too_long"),
        (plain(2, 80, 80), 413, "image_too_large"),
    ],
)
def test_frames_that_are_none(client_of: Clients, temporary: Path, frames: object, status: int, code: str) -> None:
    client = client_of(x_anylabeling=True, max_frames=4, max_pixels=5000)
    answer = post(client, "init", frames=frames)
    assert refused(answer) == (status, code)
    assert str(temporary) not in answer.text
    assert not files(temporary)


def test_a_body_of_other_things_is_not_parsed(client_of: Clients) -> None:
    client = client_of(x_anylabeling=True, max_frames=4)
    assert refused(post(client, "init", frames=plain(1), more=[[]] * 3000)) == (413, "video_too_long")
    begun(client, plain(4))


def test_other_sizes_are_told_in_words(tool: TestClient) -> None:
    message = post(tool, "init", frames=[*plain(2), *plain(1, 65)]).json()["message"]
    assert "frame 2 is 65 x 48, the first is 64 x 48" in message


def test_plain_base64_is_a_frame_too(tool: TestClient) -> None:
    begun(tool, [text.partition(",")[2] for text in plain(2)])


def test_bodies_of_frames_have_the_limit_of_videos(client_of: Clients, temporary: Path) -> None:
    frames = plain(3)
    size = len("".join(frames))
    client = client_of(x_anylabeling=True, max_body=size // 2, max_video_body=size + 500)
    begun(client, frames)
    assert refused_body(post(client, "init", frames=[*frames, *plain(3)])) == (413, "body_too_large")
    assert refused_body(post(client, "prompt", session_id="x" * size)) == (413, "body_too_large")
    for body, kind, status in (
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "text/plain", 415),
    ):
        answer = client.post("/v1/video/init", content=body, headers={"content-type": kind})
        assert refused(answer) == (status, {400: "body_invalid", 415: "content_type"}[status])
    assert len(files(temporary)) == 1


def refused_body(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_full_disk(tool: TestClient, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert refused(post(tool, "init", frames=plain(2))) == (503, "storage_full")
    assert not files(temporary)


def test_a_client_that_leaves_while_frames_are_stored(
    client_of: Clients, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gsam.serve import video_pictures

    opened, count = video_pictures.opened, []

    def slowly(*given: Any) -> Any:
        count.append(1)
        time.sleep(0.1)
        return opened(*given)

    monkeypatch.setattr(video_pictures, "opened", slowly)
    client = client_of(x_anylabeling=True, deadline=0.35)
    assert refused(post(client, "init", frames=plain(30))) == (504, "deadline")
    assert 2 <= len(count) < 10
    assert not files(temporary)


POINT = {"points": [[0.5, 0.5]], "point_labels": [1], "obj_id": 10000}


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 422, "nothing_asked"),
        ({**POINT, "text_prompt": "dog"}, 422, "nothing_asked"),
        ({"text_prompt": ""}, 422, "query_empty"),
        ({"text_prompt": 5}, 422, "query_invalid"),
        ({"text_prompt": "dog", "params": 5}, 422, "params_invalid"),
        ({"text_prompt": "dog", "params": {"conf_threshold": 2}}, 422, "params_invalid"),
        ({**POINT, "params": {"epsilon_factor": "1"}}, 422, "params_invalid"),
        ({"text_prompt": "dog", "frame_index": 2}, 422, "frame_invalid"),
        ({"text_prompt": "dog", "frame_index": -1}, 422, "frame_invalid"),
        ({**POINT, "frame_index": True}, 422, "frame_invalid"),
        ({**POINT, "points": "all"}, 422, "points_invalid"),
        ({**POINT, "points": [[0.5]]}, 422, "points_invalid"),
        ({**POINT, "points": [[0.5, 1.01]]}, 422, "points_invalid"),
        ({**POINT, "points": [[-0.1, 0.5]]}, 422, "points_invalid"),
        ({**POINT, "points": [[0.5, "0.5"]]}, 422, "points_invalid"),
        ({**POINT, "points": []}, 422, "labels_invalid"),
        ({**POINT, "points": [], "point_labels": []}, 422, "nothing_asked"),
        ({**POINT, "point_labels": [1, 0]}, 422, "labels_invalid"),
        ({**POINT, "point_labels": [2]}, 422, "labels_invalid"),
        ({"points": [[0.5, 0.5]]}, 422, "labels_invalid"),
        ({**POINT, "obj_id": [1]}, 422, "object_invalid"),
        ({**POINT, "points": [[0.5, 0.5]] * 300, "point_labels": [1] * 300}, 422, "too_many_points"),
        ({"text_prompt": "dog", "model": "gsam-words"}, 404, "model_unknown"),
        ({"text_prompt": "dog", "session_id": "x"}, 404, "video_unknown"),
        ({"text_prompt": "dog", "session_id": None}, 404, "video_unknown"),
    ],
)
def test_prompts_that_are_none(tool: TestClient, fields: dict[str, Any], status: int, code: str) -> None:
    session = begun(tool, plain(2))
    assert refused(post(tool, "prompt", **{"session_id": session, **fields})) == (status, code)
    assert refused(post(tool, "propagate/stream", session_id=session)) == (422, "nothing_asked")


def test_objects_have_a_limit(tool: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    session = begun(tool, plain(2))
    clicked(tool, session)
    monkeypatch.setattr("gsam.serve.following.MOST_OBJECTS", 1)
    clicked(tool, session, 1)
    assert refused(post(tool, "prompt", session_id=session, **{**POINT, "obj_id": 2})) == (422, "too_many_objects")


def test_followings_that_are_none(tool: TestClient) -> None:
    session = begun(tool, plain(2))
    clicked(tool, session, 1)
    for name in ("propagate", "propagate/stream"):
        for fields, wanted in (
            ({"start_frame": 2}, (422, "frame_invalid")),
            ({"start_frame": "0"}, (422, "frame_invalid")),
            ({"start_frame": 1, "end_frame": 0}, (422, "frame_invalid")),
            ({"end_frame": 2}, (422, "frame_invalid")),
            ({"end_frame": 0}, (422, "nothing_asked")),  # before the click
            ({"model": "gsam-clicks"}, (404, "model_unknown")),
        ):
            assert refused(post(tool, name, session_id=session, **fields)) == wanted
    assert refused(post(tool, "init", frames=plain(1), model="sam2")) == (404, "model_unknown")


def test_a_video_of_this_server_s_own_is_no_session(tool: TestClient) -> None:
    other = clips.uploaded(tool, clips.plain(2)).rpartition("/")[2]
    assert refused(tool.get(f"/v1/video/status/{other}")) == (404, "video_unknown")


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
