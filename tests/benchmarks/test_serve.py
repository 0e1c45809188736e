"""The measurement of the server: its page, its clients, and what it takes for wrong."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks import serve
from benchmarks.harness import serve_clients, serve_page
from benchmarks.harness.sections import MADE, chooser, joined

OK = {"200": 4}
ABOUT = {"pipeline": "nano", "predictor": "nano_sam", "together": 1, "compilations": 9, "peak": 2e9}
ROW = {"p50": 0.012, "p99": 0.020, "count": 4, "each": 0.013, "statuses": OK}
CLICKS = {
    "runs": [{"alone": {"p50": 0.005, "p99": 0.007, "count": 4}, "1": ROW, "16": {**ROW, "p50": 0.150, "each": 0.009}}],
    "about": ABOUT, "clients": 16, "clicks": 400, "repeats": 1, "size": [768, 1024], "small": False,
}  # fmt: skip
WORDS = {
    "runs": {
        "stream": [{"rate": 10.0}, {"rate": 20.0}], "stream, written": [{"rate": 10.0}, {"rate": 10.0}],
        "server": [{"rate": 9.0, "statuses": OK, "p50": 1.0, "p99": 2.0}, {"rate": 19.0, "statuses": OK, "p50": 1.0, "p99": 2.0}],
    },
    "about": ABOUT, "clients": 32, "images": 64, "repeats": 2,
}  # fmt: skip
REPORT: dict[str, Any] = {
    "date": "2026-01-02", "command": "python -m benchmarks.serve", "machine": "a machine", "load": "0, 0, 0", "took": 9.0,
    "versions": {"jax": "1", "torch": "absent"}, "nano": CLICKS, "sam": {**CLICKS, "small": True}, "words": WORDS,
}  # fmt: skip


def test_the_page_tells_what_was_measured() -> None:
    text = serve_page.page(REPORT)
    told = " ".join(text.split())
    for part in (
        "| the predictor, without a server | 5.0 ms | 7.0 ms | |",
        "| one client | 12.0 ms | 20.0 ms | 13.0 ms |",
        "| 16 clients at once | 150.0 ms | 20.0 ms | 9.0 ms |",
        "one client, p50: **7.0 ms** (7.0 ms to 7.0 ms between rounds); goal 10.0 ms or less: met.",
        "a click takes 4.0 ms more than the predictor alone",
        "Model: nano_sam. A lone point",
        "Model: a tiny seeded SAM. A lone point",
        "| 32 clients at once | 14.0 | 1000.0 ms | 2000.0 ms |",
        "Clients to `pipe.stream`: **0.93** (0.90 to 0.95 between rounds); goal 0.85 or more: met.",
        "To the second row: 1.40.",
    ):
        assert part in told
    assert serve_page.wrong({name: REPORT[name] for name in serve.MEASURE}) == []


def test_a_goal_that_is_missed_is_told_and_a_request_that_is_lost_is_wrong() -> None:
    report = json.loads(json.dumps(REPORT))
    report["nano"]["runs"][0]["1"]["p50"] = 0.016
    report["words"]["runs"]["server"][1] |= {"rate": 2.0, "statuses": {"200": 3, "503": 1}}
    report["sam"]["runs"][0]["16"]["statuses"] = {"200": 3, "ConnectionResetError": 1}
    text = serve_page.page(report)
    assert text.count("**missed**") == 2
    assert serve_page.wrong({name: report[name] for name in serve.MEASURE}) == [
        "sam was answered ConnectionResetError",
        "words was answered 503",
    ]


def test_sections_are_measured_by_name_and_kept() -> None:
    assert chooser(serve.MEASURE)("words, sam") == ["words", "sam"]
    with pytest.raises(argparse.ArgumentTypeError, match="there is no speed"):
        chooser(serve.MEASURE)("speed")
    now = {key: REPORT[key] for key in MADE} | {"date": "2026-02-03", "sam": REPORT["sam"]}
    both = joined(now, {**REPORT, "sam": {}}, serve.MEASURE)
    assert both["sam"] == REPORT["sam"]
    assert (both["made"]["sam"]["date"], both["made"]["words"]["date"]) == ("2026-02-03", "2026-01-02")
    assert "Made by `python -m benchmarks.serve` on 2026-01-02" in serve_page.page(both)


# Clients, against a server that knows what it is asked


class Stub(BaseHTTPRequestHandler):
    """Counts requests; the third click of a session gets 503."""

    protocol_version = "HTTP/1.1"
    clicks: dict[str, list[list[float]]]
    images: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 200
        if self.path == "/v1/sessions":
            status, answer = 201, {"session": f"s{len(self.clicks)}"}
            self.clicks[answer["session"]] = []
        elif self.path == "/v1/segment":
            self.images.append(body)
            answer = {}
        else:
            clicks = self.clicks[self.path.split("/")[3]]
            clicks += json.loads(body)["points"]
            status, answer = (503 if len(clicks) == 3 else 200), {}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Stub.clicks, Stub.images = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Stub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_clients_click_in_sessions_of_their_own(address: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"an image")
    points = [[1.0, 2.0], [3.0, 4.0]]
    answer = serve_clients.click(address, str(tmp_path / "a.jpg"), points, clients=2, count=3)
    assert answer["statuses"] == {"200": 4, "503": 2}
    assert len(answer["seconds"]) == 6
    assert answer["together"] >= max(answer["seconds"])
    assert sorted(Stub.clicks.values()) == [[points[0], points[1], points[0]], [points[1], points[0], points[1]]]


def test_clients_ask_once_for_every_image(address: str, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(b"image %d" % number)
    answer = serve_clients.words(address, str(tmp_path), "dog", clients=2)
    assert (answer["images"], answer["statuses"]) == (4, {"200": 4})
    found = b"".join(sorted(Stub.images))
    assert all(found.count(b"image %d\r\n" % number) == 1 for number in range(4))
    assert found.count(b'name="query"\r\n\r\ndog\r\n') == 4


def test_percentiles() -> None:
    seconds = [float(n) for n in range(1, 101)]
    assert serve_clients.percentile(seconds, 0.99) == 100.0
    assert serve_clients.percentile(seconds, 0.5) == 51.0
    assert serve_clients.percentile([3.0], 0.99) == 3.0
