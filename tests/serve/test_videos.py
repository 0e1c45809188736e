"""Videos that clients upload: what is taken, what is refused, and when it is gone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
av = pytest.importorskip("av")

from fastapi.testclient import TestClient  # noqa: E402
from PIL import Image  # noqa: E402

from gsam.serve import video_folder  # noqa: E402
from tests.serve import clips  # noqa: E402

CLIP = Path(__file__).parents[2] / "notebooks" / "clip.mp4"
Clients = Callable[..., TestClient]
pytestmark = pytest.mark.usefixtures("temporary")


def files(folder: Path) -> list[Path]:
    """The videos that are on disk."""
    return [f for f in folder.rglob("*") if f.is_file() and f.name != video_folder.LOCK]


def code(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]  # type: ignore[attr-defined]


def test_upload_tells_what_it_is(client: TestClient, temporary: Path) -> None:
    answer = clips.upload(client, CLIP.read_bytes(), "../../etc/cron.d/evil.mp4")
    assert answer.status_code == 201
    found = answer.json()
    assert {k: found[k] for k in ("frames", "fps", "width", "height")} == {
        "frames": 36,
        "fps": 12,
        "width": 172,
        "height": 158,
    }
    assert 0 < found["expires_in"] <= 1800
    (file,) = files(temporary)
    assert file.read_bytes() == CLIP.read_bytes()
    assert "evil" not in str(file)
    assert client.get(f"/v1/videos/{found['video']}").json()["frames"] == 36


def test_frames_are_those_of_the_video(client: TestClient) -> None:
    path = clips.uploaded(client, clips.plain(9))
    for number in (0, 7, 3, 8, 7):
        answer = client.get(f"{path}/frames/{number}")
        assert answer.headers["content-type"] == "image/jpeg"
        pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert pixels.shape == (48, 64, 3)
        assert abs(pixels.mean() - (10 + 20 * number)) < 4
    assert code(client.get(f"{path}/frames/9")) == (404, "frame_unknown")
    assert code(client.get(f"{path}/frames/-1")) == (404, "frame_unknown")
    assert client.get(f"{path}/frames/first").status_code == 422


def test_pictures_are_kept_within_a_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clips.uploaded(client, clips.plain(9))
    size = len(client.get(f"{path}/frames/0").content)
    monkeypatch.setattr("gsam.serve.videos.MOST_PICTURES", 3 * size + size // 2)
    for number in range(6):
        client.get(f"{path}/frames/{number}")
    kept = client.app.state.videos._pictures  # type: ignore[attr-defined]
    assert [number for _, number in kept] == [3, 4, 5]
    client.delete(path)
    assert not kept


def test_deleted_is_gone(client: TestClient, temporary: Path) -> None:
    path = clips.uploaded(client, clips.plain(3))
    client.get(f"{path}/frames/1")
    assert client.delete(path).status_code == 204
    assert not files(temporary)
    for answer in (
        client.get(path),
        client.delete(path),
        client.get(f"{path}/frames/1"),
        client.delete(f"{path}/track"),
    ):
        assert code(answer) == (404, "video_unknown")
    assert code(client.post(f"{path}/track", json={"query": "dog"})) == (404, "video_unknown")
    assert code(client.get("/v1/videos/nothing")) == (404, "video_unknown")


def test_oldest_unused_is_forgotten(client_of: Clients, temporary: Path) -> None:
    client = client_of(max_videos=2)
    first, second = (clips.uploaded(client, clips.plain(n)) for n in (2, 3))
    client.get(f"{first}/frames/0")  # now the second is older
    clips.uploaded(client, clips.plain(4))
    assert client.get(first).status_code == 200
    assert client.get(second).status_code == 404
    assert len(files(temporary)) == 2


def test_one_in_use_is_not_forgotten(client_of: Clients) -> None:
    client = client_of(max_videos=1)
    path = clips.uploaded(client, clips.plain(2))
    videos = client.app.state.videos  # type: ignore[attr-defined]
    let_go = videos.hold(videos.find(path.rpartition("/")[2]))
    assert code(clips.upload(client, clips.plain(3))) == (503, "videos_full")
    let_go()
    assert clips.upload(client, clips.plain(3)).status_code == 201
    assert client.get(path).status_code == 404


def test_unused_is_forgotten_without_a_request(client_of: Clients, temporary: Path) -> None:
    client = client_of(session_age=0.2)
    path = clips.uploaded(client, clips.plain(2))
    until = time.monotonic() + 10
    while files(temporary) and time.monotonic() < until:
        time.sleep(0.02)
    assert not files(temporary)
    assert code(client.get(path)) == (404, "video_unknown")


def test_shutdown_removes_all(client_of: Clients, temporary: Path) -> None:
    client = client_of()
    clips.uploaded(client, clips.plain(2))
    (folder,) = temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    client.__exit__(None, None, None)
    assert not list(temporary.iterdir())
    client.__enter__()  # the fixture leaves it once more


@pytest.mark.long
def test_a_killed_server_leaves_nothing_for_long(temporary: Path) -> None:
    """The next one removes its folder, and not that of one that runs, nor what a link leads to."""
    script = (
        "from gsam.serve.video_folder import VideoFolder; import time\n"
        "folder = VideoFolder(); place = folder.file(); place.write_bytes(b'x'); print(place, flush=True); time.sleep(60)"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(temporary)},
        )
        for _ in range(2)
    ]
    try:
        killed, running = (Path(run.stdout.readline().strip()) for run in runs)  # type: ignore[union-attr]
        runs[0].kill()
        runs[0].wait()
        (temporary / "mine").mkdir()
        (temporary / "mine" / "lock").write_text("precious")
        (temporary / f"{video_folder.PREFIX}link").symlink_to(temporary / "mine")
        assert killed.exists()
        folder = video_folder.VideoFolder()
        folder.file()
        assert not killed.parent.exists()
        assert running.exists()
        assert (temporary / "mine" / "lock").read_text() == "precious"
        folder.close()
    finally:
        for run in runs:
            run.kill()
            run.communicate()


@pytest.mark.parametrize(
    ("data", "status", "name"),
    [
        (b"", 400, "video_unreadable"),
        (b"nothing that is a video " * 99, 400, "video_unreadable"),
        (b"<html></html>", 400, "video_unreadable"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n", 400, None),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 400, None),
        (clips.plain(4)[:200], 400, None),
    ],
    ids=["empty", "noise", "html", "playlist", "concat", "cut off"],
)
def test_what_is_no_video(client: TestClient, temporary: Path, data: bytes, status: int, name: str | None) -> None:
    answer = clips.upload(client, data)
    assert answer.status_code == status
    assert name is None or answer.json()["error"]["code"] == name
    assert str(temporary) not in answer.text  # no path of the server's
    assert "passwd" not in answer.text
    assert not files(temporary)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_no_video(client: TestClient, temporary: Path, form: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32), (90, 120, 160)).save(buffer, form)
    assert code(clips.upload(client, buffer.getvalue())) == (400, "video_is_image")
    assert not files(temporary)


def test_limits(client_of: Clients, temporary: Path) -> None:
    data = clips.plain(5)
    for settings, wanted in (
        ({"max_frames": 4}, (413, "video_too_long")),
        ({"max_pixels": 48 * 64 - 1}, (413, "video_too_large")),
        ({"max_video_body": len(data) - 1}, (413, "body_too_large")),
    ):
        assert code(clips.upload(client_of(**settings), data)) == wanted
    assert clips.upload(client_of(max_frames=5, max_pixels=48 * 64), data).status_code == 201
    assert len(files(temporary)) == 1


def test_a_chunked_body_is_counted(client_of: Clients, temporary: Path) -> None:
    """Nothing announces its length: the file is cut off at the limit and removed."""
    head = b'--b\r\nContent-Disposition: form-data; name="video"; filename="x"\r\n\r\n'
    largest = 0

    def body() -> Iterator[bytes]:
        nonlocal largest
        yield head
        for _ in range(100):
            yield bytes(1000)
            largest = max([largest, *(f.stat().st_size for f in files(temporary))])

    client = client_of(max_video_body=10_000)
    answer = client.post("/v1/videos", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert code(answer) == (413, "body_too_large")
    assert largest <= 10_000
    assert not files(temporary)


PART = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n%s\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status", "name"),
    [
        ("application/json", b"{}", 415, "content_type"),
        ("video/mp4", b"x", 415, "content_type"),
        ("", b"x", 415, "content_type"),
        ("multipart/form-data", b"x", 400, "body_invalid"),
        ("multipart/form-data; boundary=" + "b" * 300, b"x", 400, "body_invalid"),
        ("multipart/form-data; boundary=b", b"x" * 99, 400, "body_invalid"),
        ("multipart/form-data; boundary=b", b"", 400, "body_invalid"),
        ("multipart/form-data; boundary=b", PART % (b"video", b"x"), 400, "body_invalid"),
        ("multipart/form-data; boundary=b", PART % (b"image", b"x") + b"--b--\r\n", 422, "video_field"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 422, "video_field"),
        ("multipart/form-data; boundary=b", PART % (b"video", b"x") * 2 + b"--b--\r\n", 422, "field_twice"),
    ],
)
def test_other_bodies(client: TestClient, temporary: Path, kind: str, body: bytes, status: int, name: str) -> None:
    assert code(client.post("/v1/videos", content=body, headers={"Content-Type": kind})) == (status, name)
    assert not files(temporary)


def test_too_many_uploads_at_a_time(client_of: Clients) -> None:
    client = client_of(max_videos=1)
    with client.app.state.videos.arriving():  # type: ignore[attr-defined]
        assert code(clips.upload(client, clips.plain(2))) == (503, "busy")
    assert clips.upload(client, clips.plain(2)).status_code == 201


def test_a_full_disk(client: TestClient, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gsam.serve.video_upload._copy", full)
    assert code(clips.upload(client, clips.plain(2))) == (503, "storage_full")
    assert not files(temporary)
