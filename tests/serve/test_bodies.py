"""Bodies that are too large, too slow, of a length that lies, or too many."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.serve import bodies
from gsam.serve.config import ServeConfig
from tests.serve.listening import Raw, head, listening
from tests.serve.tiny import tiny

LIMITS = ServeConfig(max_body=100_000, max_video_body=300_000, read_timeout=1.0, head_timeout=1.0)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening(tiny(LIMITS), LIMITS) as found:
        yield found


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_a_body_at_the_limit_is_read(port: int) -> None:
    with Raw(port) as raw:
        status, _, body = raw.send(head("/size", "Content-Length: 100000") + bytes(100_000)).answer()
    assert (status, body) == (200, {"size": 100_000})


def test_a_body_over_the_limit_is_refused_before_it_is_sent(port: int) -> None:
    with Raw(port) as raw:
        began = time.monotonic()
        status, headers, body = raw.send(head("/size", "Content-Length: 100001")).answer()
        assert time.monotonic() - began < 0.9
    assert (status, body["error"]["code"]) == (413, "body_too_large")
    assert "100,000 bytes" in body["error"]["message"]
    assert headers["x-content-type-options"] == "nosniff"


def test_26_megabytes_are_refused_by_the_limit_that_is_the_default() -> None:
    config = ServeConfig()
    assert config.max_body == 25 << 20
    with listening(tiny(config), config) as port, Raw(port) as raw:
        sent = raw.send(head("/size", f"Content-Length: {26 << 20}") + bytes(26 << 20))
        status, _, body = sent.answer()
    assert (status, body["error"]["code"]) == (413, "body_too_large")


def test_chunks_are_counted_as_they_arrive(port: int) -> None:
    with Raw(port) as raw:
        raw.send(head("/size", "Transfer-Encoding: chunked"))
        for _ in range(30):  # without an end
            raw.send(chunk(bytes(4000)))
        status, _, body = raw.answer()
    assert (status, body["error"]["code"]) == (413, "body_too_large")


def test_a_refused_body_that_goes_on_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gsam.serve.connections.LINGER", 0.3)
    with Raw(port) as raw:
        assert raw.send(head("/size", "Content-Length: 10000000000")).answer()[0] == 413
        began = time.monotonic()
        while time.monotonic() - began < 10:
            try:
                raw.socket.sendall(bytes(10_000))
            except OSError:
                break
            time.sleep(0.02)
        assert time.monotonic() - began < 5


def test_a_refused_body_that_ends_leaves_the_connection_usable(port: int) -> None:
    with Raw(port) as raw:
        assert raw.send(head("/size", "Content-Length: 150000") + bytes(150_000)).answer()[0] == 413
        assert raw.send(head("/size", "Content-Length: 3") + b"abc").answer()[2] == {"size": 3}


def test_videos_have_a_limit_of_their_own(port: int) -> None:
    with Raw(port) as raw:
        assert raw.send(head("/v1/videos", "Content-Length: 250000") + bytes(250_000)).answer()[2] == {"size": 250_000}
        assert raw.send(head("/v1/videos", "Content-Length: 300001")).answer()[0] == 413
    assert bodies.most_of("/v1/videos/x/track", LIMITS) == 100_000
    assert bodies.most_of("/v1/video/init", LIMITS) == 300_000
    assert bodies.most_of("/v1/video/prompt", LIMITS) == 100_000


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 3", "Content-Length: 4"),
        ("Content-Length: -3",),
        ("Content-Length: 3x",),
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip, chunked",),
    ],
)
def test_a_length_that_is_not_clear_is_refused(port: int, lines: tuple[str, ...]) -> None:
    with Raw(port) as raw:
        status, headers, body = raw.send(head("/size", *lines) + b"abc").answer()
        assert status in (400, 501)
        assert body["error"]["code"] in ("body_length", "request_malformed")
        assert headers["connection"] == "close"
        assert raw.everything() == b""


def test_a_body_longer_than_it_says_is_no_second_request(port: int) -> None:
    with Raw(port) as raw:
        raw.send(head("/size", "Content-Length: 3") + b"abcdef\r\n\r\n")
        assert raw.answer()[2] == {"size": 3}
        assert raw.answer()[2]["error"]["code"] == "request_malformed"


def test_a_body_shorter_than_it_says_ends_in_time(port: int) -> None:
    began = time.monotonic()
    with Raw(port) as raw:
        status, headers, body = raw.send(head("/size", "Content-Length: 50") + b"abc").answer()
        assert raw.everything() == b""
    assert (status, body["error"]["code"], headers["connection"]) == (408, "body_too_slow", "close")
    assert 0.8 < time.monotonic() - began < 5


@pytest.mark.parametrize("path", ["/size", "/form", "/named"])
def test_a_body_of_drops_ends_in_time(port: int, path: str) -> None:
    kind = "multipart/form-data; boundary=b" if path == "/form" else "application/json"
    with Raw(port) as raw:
        raw.send(head(path, "Content-Length: 5000", f"Content-Type: {kind}"))
        began = time.monotonic()
        raw.send(b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n')
        for _ in range(24):
            raw.send(b"-")
            time.sleep(0.05)
        status, _, body = raw.answer()
    assert (status, body["error"]["code"]) == (408, "body_too_slow")
    assert time.monotonic() - began < 10


@pytest.mark.long
def test_the_least_rate_is_for_the_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE", 0.3)
    monkeypatch.setattr(bodies, "LEAST_RATE", 20_000)
    config = ServeConfig(read_timeout=30.0)

    def send(port: int, size: int) -> int:
        with Raw(port) as raw:
            raw.send(head("/size", f"Content-Length: {30 * size}"))
            for _ in range(30):
                raw.send(bytes(size))
                time.sleep(0.05)
            return raw.answer()[0]

    with listening(tiny(config), config) as port:
        assert send(port, 4000) == 200, "80 kB a second"
        assert send(port, 200) == 408, "4 kB a second"


def test_bodies_together_have_a_limit() -> None:
    config = ServeConfig(max_body=100_000, max_held=150_000)
    app = tiny(config)
    with listening(app, config) as port, Raw(port) as one:
        one.send(head("/size", "Content-Length: 90000") + bytes(80_000))
        until = time.monotonic() + 10
        status = 0
        while status != 503 and time.monotonic() < until:
            with Raw(port) as other:
                status, headers, body = other.send(head("/size", "Content-Length: 90000") + bytes(90_000)).answer()
        assert (status, body["error"]["code"], headers["retry-after"]) == (503, "busy", "1")
        one.send(bytes(10_000))
        assert one.answer()[2] == {"size": 90_000}, "the one before it is not lost"
        with Raw(port) as other:
            assert other.send(head("/size", "Content-Length: 90000") + bytes(90_000)).answer()[0] == 200


def test_a_client_that_leaves_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    config = ServeConfig(max_body=100_000, max_held=150_000)
    with listening(tiny(config), config) as port:
        for _ in range(5):
            with Raw(port) as raw:
                raw.send(head("/form", "Content-Length: 90000", "Content-Type: multipart/form-data; boundary=b"))
                raw.send(b"--b\r\n" + bytes(80_000))
                time.sleep(0.05)
        time.sleep(0.2)
        with Raw(port) as raw:
            assert raw.send(head("/size", "Content-Length: 90000") + bytes(90_000)).answer()[0] == 200
    assert "error" not in caplog.text


def test_deep_json_is_no_trouble() -> None:
    client = TestClient(tiny(LIMITS), base_url="http://127.0.0.1")
    answer = client.post("/named", content=b"[" * 90_000, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_forms_have_few_parts() -> None:
    client = TestClient(tiny(LIMITS), base_url="http://127.0.0.1")
    assert client.post("/form", data={"a": "1"}, files={"f": b"x"}).json() == {"fields": 2}
    for many in ({"data": {str(i): "x" for i in range(9)}, "files": {"f": b""}}, {"files": [("f", b"x")] * 2}):
        answer = client.post("/form", **many)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    answer = client.post("/form", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert answer.status_code == 400
    assert "oundary" in answer.json()["error"]["message"]


@pytest.fixture
def at_once() -> Callable[[int, Callable[[int], object]], list[object]]:
    def run(n: int, call: Callable[[int], object]) -> list[object]:
        with concurrent.futures.ThreadPoolExecutor(n) as pool:
            return list(pool.map(call, range(n)))

    return run


def test_bodies_of_many_do_not_mix(port: int, at_once: Callable[[int, Callable[[int], object]], list[object]]) -> None:
    def send(i: int) -> object:
        data = json.dumps({"name": f"n{i}" * 100}).encode()
        with Raw(port) as raw:
            raw.send(head("/named", f"Content-Length: {len(data)}", "Content-Type: application/json"))
            for at in range(0, len(data), 50):
                raw.send(data[at : at + 50])
            return raw.answer()[2]["name"]

    assert at_once(16, send) == [f"n{i}" * 100 for i in range(16)]
