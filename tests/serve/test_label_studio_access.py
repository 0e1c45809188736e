"""Label Studio where something is wrong: addresses, tokens, configs, and whom gsam asks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.errors import ImageError, UsageError
from gsam.serve.config import ServeConfig
from gsam.serve.label_studio.access import LabelStudioAccess
from gsam.serve.problems import ServeError
from tests.serve.fake_label_studio import (
    BOXES,
    HEAD,
    LABELS,
    LEGACY,
    PERSONAL,
    UPLOADED,
    FakeLabelStudio,
    ask,
    fake_label_studio,
    point,
    status,
)

Clients = Callable[..., TestClient]


@pytest.fixture
def client(client_of: Clients, studio: FakeLabelStudio) -> TestClient:
    return client_of(label_studio=True, label_studio_url=studio.url, label_studio_token=LEGACY)


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
    client_of: Clients, studio: FakeLabelStudio, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = client_of(label_studio=True, label_studio_url=studio.url, label_studio_token="dead" * 10)
    with caplog.at_level(logging.DEBUG):
        assert ask(wrong) == []
    for text in (status(wrong)["message"], caplog.text):
        assert f"Label Studio at {studio.url} answered 401" in text
        assert "its access token is wrong" in text
        assert "newer servers need both" in text
    assert "dead" not in caplog.text
    without = client_of(label_studio=True, label_studio_url=studio.url)
    assert ask(without) == []
    assert "its access token is missing" in status(without)["message"]
    assert ask(without, context={"result": [point(1, 1)]})["result"] == []


def test_a_wrong_token_shows_before_a_task_fails(client_of: Clients, studio: FakeLabelStudio) -> None:
    told = status(client_of(label_studio=True, label_studio_url=studio.url, label_studio_token="wrong"))
    assert told["state"] == "problem"
    assert "answered 401 for /api/current-user/whoami" in told["message"]


def test_a_wrong_address_is_told(client_of: Clients, studio: FakeLabelStudio, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = client_of(label_studio=True, label_studio_url="http://127.0.0.1:9", label_studio_token=LEGACY)
    told = status(nowhere)
    assert told["state"] == "problem"
    assert "Label Studio at http://127.0.0.1:9 cannot be reached from here" in told["message"]
    assert "is LABEL_STUDIO_URL right?" in told["message"]
    other_path = client_of(label_studio=True, label_studio_url=f"{studio.url}/tools", label_studio_token=LEGACY)
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


def access_of(studio: FakeLabelStudio, token: str | None = LEGACY, **settings: Any) -> LabelStudioAccess:
    settings = {"label_studio_url": studio.url, **settings}
    return LabelStudioAccess(ServeConfig(label_studio=True, label_studio_token=token, **settings))


def test_personal_tokens_are_exchanged(studio: FakeLabelStudio, scene: bytes) -> None:
    access = access_of(studio, PERSONAL)
    assert access.fetch(studio.url + UPLOADED) == scene
    assert access.fetch(studio.url + UPLOADED) == scene
    assert studio.given == 1, "one exchange serves many pictures"
    studio.valid = set()  # it has run out
    assert access.fetch(studio.url + UPLOADED) == scene
    assert studio.given == 2
    assert access.look() is None
    with pytest.raises(ImageError, match="its access token is wrong"):
        access_of(studio, "a.b.c").fetch(studio.url + UPLOADED)
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
def test_addresses_are_label_studio_s(studio: FakeLabelStudio, image: str, asked: str, scene: bytes) -> None:
    access = access_of(studio)
    assert access.fetch(access.address_of(image, 7)) == scene
    assert studio.asked == [(asked, f"Token {LEGACY}")]


@pytest.mark.parametrize("url", ["file:///etc", "http://", "http://[", "ftp://labels.example"])
def test_an_address_that_is_none_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(UsageError, match="LABEL_STUDIO_URL has to be an address"):
        LabelStudioAccess(ServeConfig(label_studio=True, label_studio_url=url))


def test_a_path_before_label_studio_s_own_is_kept(studio: FakeLabelStudio) -> None:
    access = access_of(studio, label_studio_url=f"{studio.url}/tools/")
    assert access.address_of("/data/upload/a.png", 1) == f"{studio.url}/tools/data/upload/a.png"
    assert access.address_of("/tools/data/upload/a.png", 1) == f"{studio.url}/tools/data/upload/a.png"


def test_whole_addresses_of_label_studio_get_the_token(studio: FakeLabelStudio, scene: bytes) -> None:
    access = access_of(studio)
    for host in ("127.0.0.1", "localhost"):
        assert access.fetch(f"http://{host}:{studio.server_port}/data/upload/1/scene.png") == scene
    assert [who for _, who in studio.asked] == [f"Token {LEGACY}"] * 2


@pytest.mark.parametrize(
    "image", ["scene.png", "../etc/passwd", "//evil.example/a.png", "file:///etc/passwd", "\x00", "a" * 9000]
)
def test_other_texts_are_no_addresses(client: TestClient, studio: FakeLabelStudio, image: str) -> None:
    before = len(studio.asked)
    found = ask(client, BOXES, image)
    assert found == []
    assert status(client)["state"] == "problem"
    assert len(status(client)["message"]) < 700
    assert all("passwd" not in path for path, _ in studio.asked[before:])


def test_other_hosts_are_not_asked(client: TestClient, studio: FakeLabelStudio, scene: bytes) -> None:
    with fake_label_studio({"scene.png": scene}) as other:
        assert ask(client, BOXES, f"{other.url}/open.png") == []
        assert "start gsam with --allow-host" in status(client)["message"]
        studio.elsewhere = f"{other.url}/open.png"
        assert ask(client, BOXES, "/away.png") == [], "neither by a redirect"
        assert "sends on to" in status(client)["message"]
        assert not other.asked


def test_the_token_does_not_follow_a_redirect(
    studio: FakeLabelStudio, scene: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gsam.inputs.remote._public", lambda address: True)  # as if it were one of the internet
    with fake_label_studio({"scene.png": scene}) as other:
        access = access_of(studio, allow_hosts=(f"127.0.0.1:{other.server_port}",))
        studio.elsewhere = f"{other.url}/open.png?signature=abc"
        assert access.fetch(f"{studio.url}/away.png") == scene
        assert other.asked == [("/open.png?signature=abc", None)]


def test_allowed_hosts_have_to_be_public(studio: FakeLabelStudio, scene: bytes) -> None:
    with fake_label_studio({"scene.png": scene}) as other:
        access = access_of(studio, allow_hosts=(f"127.0.0.1:{other.server_port}",))
        with pytest.raises(ImageError, match="has no public address") as caught:
            access.fetch(f"{other.url}/open.png?key=secret")
        assert "secret" not in str(caught.value)
        assert not other.asked


def test_a_hostname_of_this_machine_is_believed_without_a_token(client_of: Clients, studio: FakeLabelStudio) -> None:
    client = client_of(label_studio=True, label_studio_token=LEGACY)
    client.post("/setup", json={"schema": BOXES, "hostname": studio.url})
    assert ask(client, BOXES, "/open.png")["result"]
    assert studio.asked == [("/open.png", None)], "the token is for the address that gsam was started with"


@pytest.mark.parametrize(
    "hostname", ["http://169.254.169.254", "https://labels.example", "file:///", 3, "http://[", None]
)
def test_other_hostnames_are_not_believed(client_of: Clients, hostname: Any) -> None:
    client = client_of(label_studio=True)
    assert client.post("/setup", json={"schema": BOXES, "hostname": hostname}).status_code == 200
    assert ask(client, BOXES) == []
    assert "where that is has not been said" in status(client)["message"]


@pytest.mark.parametrize(
    "settings", [{"host": "0.0.0.0", "insecure": True, "names": ("*",)}, {"names": ("a.example",)}]
)
def test_a_server_of_others_believes_no_hostname(
    client_of: Clients, studio: FakeLabelStudio, settings: dict[str, Any]
) -> None:
    client = client_of(label_studio=True, **settings)
    client.post("/setup", json={"schema": BOXES, "hostname": studio.url})
    assert ask(client, BOXES, "/open.png") == []
    assert not studio.asked


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
