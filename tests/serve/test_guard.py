"""Who may ask: names, sites and tokens; and what every answer has and never has."""

from __future__ import annotations

import base64
import logging
import re

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from starlette._utils import get_route_path

from gsam.errors import UsageError
from gsam.serve import guard
from gsam.serve.config import ServeConfig
from tests.serve.tiny import SECRET, tiny


def client_of(**settings: object) -> TestClient:
    return TestClient(tiny(ServeConfig(**settings)), base_url="http://127.0.0.1:8000")  # type: ignore[arg-type]


def code_of(answer: object) -> str:
    return str(answer.json()["error"]["code"])  # type: ignore[attr-defined]


# Names


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "127.0.0.1:9", "localhost", "LOCALHOST:80", "localhost.", "[::1]", "[::1]:8000"],
)
def test_a_server_answers_to_this_machine_s_names(host: str) -> None:
    assert client_of().get("/unread", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.5:8000",
        "[::ffff:7f00:1]x",
        "localhost@evil.example",
        "evil.example#localhost",
        "localhost:8000:9",
        "localhost:port",
        "2130706433",
        "",
        "[::1",
        "::1",
        ".",
    ],
)
def test_a_server_answers_to_no_other_name(host: str) -> None:
    answer = client_of().get("/unread", headers={"Host": host})
    assert (answer.status_code, code_of(answer)) == (403, "host_refused")
    assert "--name" in answer.text
    assert not host or host == "." or host not in answer.text, "nothing of the request is repeated"


def test_names_are_given() -> None:
    named = client_of(names=("gpu.example", "192.0.2.7"))
    for host, status in {
        "gpu.example": 200,
        "GPU.example.:443": 200,
        "192.0.2.7:8000": 200,
        "gpu.example.org": 403,
    }.items():
        assert named.get("/unread", headers={"Host": host}).status_code == status
    assert client_of(names=("*",)).get("/unread", headers={"Host": "whatever"}).status_code == 200


def test_a_server_on_all_addresses_answers_to_addresses_but_not_to_names() -> None:
    for listens in ("0.0.0.0", "::", ""):
        client = client_of(host=listens, token=SECRET)
        client.headers["Authorization"] = f"Bearer {SECRET}"
        for host, status in {
            "203.0.113.9:8000": 200,
            "[2001:db8::1]": 200,
            "localhost": 200,
            "evil.example": 403,
        }.items():
            assert client.get("/unread", headers={"Host": host}).status_code == status
    one = client_of(host="203.0.113.9", insecure=True)
    assert one.get("/unread", headers={"Host": "203.0.113.9:8000"}).status_code == 200
    assert one.get("/unread", headers={"Host": "203.0.113.10:8000"}).status_code == 403


# Sites


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8000"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://127.0.0.1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "file://"}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(headers: dict[str, str], status: int) -> None:
    answer = client_of().post("/size", content=b"abc", headers=headers)
    assert answer.status_code == status
    assert status == 200 or code_of(answer) == "cross_site"
    assert client_of().get("/unread", headers=headers).status_code == 200, "to look is no harm"


def test_a_proxy_s_name_is_the_page_s_origin() -> None:
    client = client_of(names=("gpu.example",))
    assert client.post("/size", headers={"Origin": "https://gpu.example"}).status_code == 200
    assert client.post("/size", headers={"Origin": "https://gpu.example", "Host": "gpu.example"}).status_code == 200
    assert client.post("/size", headers={"Origin": "https://other.example", "Host": "gpu.example"}).status_code == 403


def test_no_other_site_may_read() -> None:
    client = client_of()
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (client.options("/size", headers=asked), client.get("/unread", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


# Tokens


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {SECRET}", 200),
        (f"bearer {SECRET}", 200),
        (f"Bearer  {SECRET}", 200),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (f"Bearer {SECRET}x", 401),
        (f"Bearer {SECRET[:-1]}", 401),
        (f"Basic {SECRET}", 401),
        (SECRET, 401),
    ],
)
def test_a_token_is_asked_for(given: str | None, status: int) -> None:
    client = client_of(token=SECRET)
    headers = {} if given is None else {"Authorization": given}
    for path in ("/unread", "/openapi.json", "/metrics", "/v1/models", "/pages/x", "/livez/x"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == (status if path in ("/unread", "/openapi.json") or status == 401 else 404)
    assert client.get(f"/unread?token={SECRET}").status_code == 401, "a token in an address is not one"


def test_bytes_that_are_no_text_are_a_wrong_token() -> None:
    answer = client_of(token=SECRET).get("/unread", headers={b"Authorization": b"Bearer \xff\xfe\xe9"})  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_passwords_of_any_text_are_compared() -> None:
    client = client_of(token=SECRET)
    for password, status in {SECRET: 404, "x": 401, "пароль 🔑": 401}.items():
        given = base64.b64encode(f"user:{password}".encode()).decode()
        for path in ("/setup", "/unread"):
            answer = client.get(path, headers={"Authorization": f"Basic {given}"})
            assert answer.status_code == (status if path == "/setup" else 401), "only Label Studio's paths take it"


def test_what_is_open_is_open_to_looking_alone() -> None:
    client = client_of(token=SECRET)
    for path in ("/", "/livez", "/readyz", "/page/x.js"):
        assert client.get(path).status_code == 404, "there is none in this application, but no token is asked for"
        assert client.head(path).status_code == 404
        assert client.post(path).status_code == 401
        assert client.delete(path).status_code == 401


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    client = client_of(token=SECRET)
    assert client.get("/unread", headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.get("/unread", headers={"Authorization": f"Bearer {SECRET}"}).status_code == 200
    assert compared == [(b"x", SECRET.encode()), (SECRET.encode(), SECRET.encode())]


@pytest.mark.parametrize("root", ["", "/gsam", "/page"])
@pytest.mark.parametrize(
    "path", ["/", "/livez", "/page/a", "/gsam", "/gsam/", "/gsam/livez", "/gsamx", "/page/v1/models"]
)
def test_the_gate_and_the_routes_see_one_path(root: str, path: str) -> None:
    scope = {"type": "http", "path": path, "root_path": root}
    assert guard.path_of(scope) == get_route_path(scope)


def test_a_root_path_opens_nothing() -> None:
    client = client_of(token=SECRET, root_path="/page")
    assert client.get("/page/unread").status_code == 401
    assert client.get("/page/unread", headers={"Authorization": f"Bearer {SECRET}"}).status_code == 200
    assert client.get("/page/livez").status_code == 404
    assert client.get("/page/openapi.json", headers={"Authorization": f"Bearer {SECRET}"}).json()["servers"] == [
        {"url": "/page"}
    ]


# Answers


def test_every_answer_has_the_headers() -> None:
    client = client_of(token=SECRET)
    good = {"Authorization": f"Bearer {SECRET}"}
    answers = [
        client.get("/unread", headers=good),
        client.get("/nothing", headers=good),
        client.delete("/unread", headers=good),
        client.post("/named", json={"nam": 1}, headers=good),
        client.post("/boom", content=b"x", headers=good),
        client.post("/size", content=bytes(26 << 20), headers=good),
        client.get("/unread"),
        client.get("/unread", headers={"Host": "evil.example"}),
        client.post("/unread", headers={"Origin": "null"}),
    ]
    assert [a.status_code for a in answers] == [200, 404, 405, 422, 500, 413, 401, 403, 403]
    for answer in answers:
        for name, value in guard.HEADERS.items():
            assert answer.headers[name] == value
        if answer.status_code >= 400:
            assert re.fullmatch(r"[a-z_]+", code_of(answer))
            assert set(answer.json()) == {"error"}
            assert set(answer.json()["error"]) == {"code", "message"}


def test_an_error_of_ours_shows_no_trace_and_no_input(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = client_of().post("/boom", content=SECRET.encode())
    assert (answer.status_code, code_of(answer)) == (500, "internal")
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    assert "KeyError" not in answer.text
    number = re.search(r"error (\w{12})", answer.text)
    assert number is not None
    assert f"error {number[1]}: KeyError" in caplog.text, "the log has it"
    assert "in boom" in caplog.text
    assert SECRET not in caplog.text


def test_the_text_of_errors_is_in_the_log_when_asked_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GSAM_TRACEBACK", "1")
    assert SECRET not in client_of().post("/boom", content=SECRET.encode()).text
    assert SECRET in caplog.text


def test_wrong_fields_are_named_but_not_repeated() -> None:
    client = client_of()
    answer = client.post("/named", json={"name": {"x": SECRET}})
    assert (answer.status_code, code_of(answer)) == (422, "request_invalid")
    assert answer.json()["error"]["message"].startswith("name: ")
    assert SECRET not in answer.text
    for content in (b"{", SECRET.encode(), b"\xff\xfe", b""):
        answer = client.post("/named", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)
        assert SECRET not in answer.text


def test_logs_hold_nothing_of_requests(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = client_of(token=f"token-{SECRET}")
    for given in (f"token-{SECRET}", f"wrong-{SECRET}"):
        headers = {"Authorization": f"Bearer {given}", "Cookie": f"a={SECRET}"}
        client.get(f"/unread?q={SECRET}", headers=headers)
        client.get(f"/v1/sessions/{SECRET}", headers=headers)
        client.post("/named", json={"name": SECRET}, headers=headers)
        client.post("/form", data={"a": SECRET}, files={"f": (SECRET, SECRET.encode())}, headers=headers)
        client.post("/boom", content=SECRET.encode(), headers=headers)
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("httpx")]  # the client's own
    assert ours, "there is an error in the log"
    assert not [text for text in ours if SECRET in text]


# Settings


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "::", "", "[::]", "192.168.1.4", "203.0.113.9", "::ffff:0.0.0.0", "127.1", "2130706433"),
        *("gpu.example", "localhost.evil.example"),
    ],
)
def test_a_public_address_needs_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="--token") as caught:
        ServeConfig(host=host)
    assert caught.value.code == "serve_public"
    assert ServeConfig(host=host, token=SECRET).token == SECRET
    assert ServeConfig(host=host, insecure=True).insecure


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "localhost", "::1", "[::1]"])
def test_this_machine_s_addresses_need_none(host: str) -> None:
    assert ServeConfig(host=host).token is None


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"max_body": 0}, "serve_limit"),
        ({"deadline": float("nan")}, "serve_limit"),
        ({"batch_wait": -1.0}, "serve_limit"),
        ({"port": 65536}, "serve_limit"),
        ({"names": ("http://gpu.example",)}, "serve_name"),
        ({"names": ("gpu.example:8000",)}, "serve_name"),
        ({"names": ("",)}, "serve_name"),
        ({"names": ("*.example",)}, "serve_name"),
        ({"allow_hosts": ("*",)}, "serve_allow_host"),
        ({"allow_hosts": ("https://images.example/",)}, "serve_allow_host"),
        ({"allow_hosts": ("a.example,b.example",)}, "serve_allow_host"),
        ({"root_path": "gsam"}, "serve_root"),
        ({"root_path": "/gsam/"}, "serve_root"),
        ({"token": "two words"}, "serve_token"),
        ({"token": "clé"}, "serve_token"),
        ({"token": "", "host": "0.0.0.0"}, "serve_token"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        ServeConfig(**settings)  # type: ignore[arg-type]
    assert caught.value.code == code
