"""X-AnyLabeling's videos: what is refused, with its status and code."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
av = pytest.importorskip("av")

from fastapi.testclient import TestClient  # noqa: E402

from tests.serve import clips  # noqa: E402
from tests.serve.x_anylabeling_calls import (  # noqa: E402
    Clients,
    begun,
    clicked,
    files,
    plain,
    post,
    refused,
)

pytestmark = pytest.mark.usefixtures("temporary")


@pytest.fixture
def tool(client_of: Clients) -> TestClient:
    return client_of(x_anylabeling=True, deadline=600)  # some programs are compiled


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
