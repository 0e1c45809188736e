"""Rows 61 to 73: requests, which only a server meets.  ``tests/serve/test_bad_over_http.py`` makes
them.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

MB = 1 << 20
WORDS = "/v1/segment"


class Place(Protocol):
    """A server, for one row."""

    image: bytes
    """A PNG of 48 x 32."""

    def ask(self, path: str, settings: Mapping[str, Any] | None = None, **request: Any) -> Any:
        """The answer to a request, by POST if nothing else is said."""

    def say(self, text: bytes, *more: bytes, settings: Mapping[str, Any] | None = None) -> Any:
        """The answer to bytes on a connection, the rest of them in drops."""

    def unready(self, path: str, **request: Any) -> Any:
        """The answer of a server whose models are not loaded yet."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One request, and its answer."""

    id: str
    what: str
    ask: Callable[[Place], Any]
    http: int
    code: str = ""
    check: Callable[[Any], None] | None = None
    """Of the answer."""


def words(**fields: Any) -> Callable[[Place], Any]:
    """A request for words as JSON; the image is there unless it is said to be None."""

    def ask(place: Place) -> Any:
        body = {"image": base64.b64encode(place.image).decode(), "query": "dog", **fields}
        return place.ask(WORDS, json={name: value for name, value in body.items() if value is not None})

    return ask


def posted(content: bytes, kind: str | None = "application/json", **settings: Any) -> Callable[[Place], Any]:
    headers = {} if kind is None else {"Content-Type": kind}
    return lambda place: place.ask(WORDS, settings, content=content, headers=headers)


def form(files: Callable[[bytes], Any], fields: Any = None) -> Callable[[Place], Any]:
    return lambda place: place.ask(WORDS, files=files(place.image), data=fields or {"query": "dog"})


def said(text: bytes, *more: bytes, **settings: Any) -> Callable[[Place], Any]:
    return lambda place: place.say(text, *more, settings=settings)


def address(url: str, *hosts: str) -> Callable[[Place], Any]:
    return lambda place: place.ask(WORDS, {"allow_hosts": hosts}, json={"image": url, "query": "dog"})


def head(*lines: str) -> bytes:
    return "\r\n".join([f"POST {WORDS} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def unlogged(secret: str) -> Callable[[Any], None]:
    def check(answer: Any) -> None:
        assert secret not in answer.text

    return check


def retried(answer: Any) -> None:
    assert int(answer.headers["retry-after"]) >= 1


CHUNK = b"400\r\n" + bytes(1024) + b"\r\n"
KIND = "Content-Type: application/json"
CASES: list[Case] = [
    Case("61a", "a body of 26 MB", posted(bytes(26 * MB)), 413, "body_too_large"),
    Case("61b", "chunks without an end", said(head("Transfer-Encoding: chunked", KIND), *[CHUNK] * 40, max_body=20_000),
         413, "body_too_large"),
    Case("61c", "a body shorter than it says", said(head("Content-Length: 50", KIND) + b"{}", read_timeout=0.4), 408,
         "body_too_slow"),
    Case("61d", "two lengths of a body", said(head("Content-Length: 2", "Transfer-Encoding: chunked", KIND) + b"{}"), 400,
         "body_length"),
    Case("61e", "a length that is no number", said(head("Content-Length: many", KIND)), 400, "request_malformed"),
    Case("62", "more connections than there may be", said(head("Content-Length: 2", KIND) + b"{}", connections=0.5), 503,
         "connections", retried),
    Case("64a", "half the head of a request", said(head(KIND)[:40], head_timeout=0.4), 408, "request_too_slow"),
    Case("64b", "a body that comes in drops", said(head("Content-Length: 5000", KIND), *[b" "] * 20, read_timeout=0.4), 408,
         "body_too_slow"),
    Case("65a", "a body of another type", posted(b"dog", "text/plain"), 415, "content_type"),
    Case("65b", "a body of no type", posted(b"dog", None), 415, "content_type"),
    Case("65c", "a body that is no JSON", posted(b"{"), 400, "body_invalid"),
    Case("65d", "JSON that is no object", posted(b"[1]"), 400, "body_invalid"),
    Case("65e", "JSON of 50 000 brackets", posted(b"[" * 50_000), 400, "body_invalid"),
    Case("65f", "a request without an image", words(image=None), 422, "image_field"),
    Case("65g", "an image that is no base64", words(image="b%"), 422, "image_field"),
    Case("65h", "a number for the image", words(image=3), 422, "image_field"),
    Case("65i", "a path for the image", words(image="../../etc/passwd"), 422, "image_field", unlogged("passwd")),
    Case("65j", "a request without a query", words(query=None), 422, "query_empty"),
    Case("65k", "a field that means nothing", words(querry="dog"), 422, "field_unknown"),
    Case("65l", "a threshold of 7", words(threshold=7), 422, "usage"),
    Case("65m", "masks as video", words(masks="mp4"), 422, "masks_kind"),
    Case("65n", "a form without its boundary", posted(b"--b", "multipart/form-data"), 400, "bad_request"),
    Case("65o", "a form of two files", form(lambda image: [("image", image), ("image", image)]), 400, "bad_request"),
    Case("65p", "a file of another name", form(lambda image: {"picture": image}), 422, "image_field"),
    Case("65q", "a form with a field twice", form(lambda image: {"image": image}, {"query": ["dog", "cat"]}), 422,
         "field_twice"),
    Case("65r", "TLS to a server of HTTP", said(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(99)), 400,
         "request_malformed"),
    Case("65s", "a path that is not there", lambda place: place.ask("/v2/segment"), 404, "not_found"),
    Case("65t", "a method that is not there", lambda place: place.ask(WORDS, method="PUT"), 405, "method_not_allowed"),
    Case("65u", "a session that is not there", lambda place: place.ask("/v1/sessions/x/predict", json={"box": [0, 0, 9, 9]}),
         404, "session_unknown"),
    Case("66a", "a file called ../../etc/x.png: its name is not used",
         form(lambda image: {"image": ("../../etc/x.png", image)}), 200, "", unlogged("etc")),
    Case("66b", "a file with a name of 5 kB", form(lambda image: {"image": ("x" * 5000, image)}), 400, "bad_request"),
    Case("67a", "an address, where no host is allowed", address("http://images.example/a.png"), 403, "url_forbidden"),
    Case("67b", "an address of the machine's metadata", address("http://169.254.169.254/latest", "images.example"), 403,
         "url_forbidden"),
    Case("67c", "an allowed host with a private address", address("http://localhost:9/a.png", "localhost:9"), 403,
         "url_private"),
    Case("67d", "an allowed address of IPv4 in IPv6", address("http://[::ffff:10.0.0.1]/a.png", "[::ffff:10.0.0.1]"), 403,
         "url_private"),
    Case("67e", "another port of an allowed host", address("http://images.example:22/a.png", "images.example"), 403,
         "url_forbidden"),
    Case("69a", "words before the models are loaded", lambda place: place.unready(WORDS, json={"query": "dog"}), 503,
         "not_ready", retried),
    Case("69b", "whether it is ready, before it is", lambda place: place.unready("/readyz", method="GET"), 503, "not_ready",
         retried),
    Case("69c", "whether it is alive, before it is ready", lambda place: place.unready("/livez", method="GET"), 200),
    Case("71a", "no token", lambda place: place.ask(WORDS, {"token": "right"}), 401, "unauthorized"),
    Case("71b", "a wrong token", lambda place: place.ask(WORDS, {"token": "right"}, headers={"Authorization": "Bearer left"}),
         401, "unauthorized"),
    Case("72", "a name that is not the server's", lambda place: place.ask(WORDS, headers={"Host": "evil.example"}), 403,
         "host_refused"),
    Case("73", "a page of another site", lambda place: place.ask(WORDS, headers={"Origin": "https://evil.example"}), 403,
         "cross_site"),
]  # fmt: skip
