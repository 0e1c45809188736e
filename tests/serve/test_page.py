"""The page's files: how they are served, and that they load nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.serve.page_files import PAGE, page_files

SCRIPTS = sorted(PAGE.glob("*.js"))
HTML = (PAGE / "index.html").read_text()
BUTTONS_WITHOUT_WORDS = ("problemClose", "undo", "redo", "nearer", "farther", "fit", "play")


class Elements(HTMLParser):
    """All elements of the page: name and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, {name: value or "" for name, value in attrs}))


ELEMENTS = Elements(HTML).all
IDS = [attributes["id"] for _, attributes in ELEMENTS if "id" in attributes]


def test_the_page_is_served_with_its_policy(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == HTML


def test_every_file_that_the_page_names_is_there(client: TestClient) -> None:
    named = set(re.findall(r'(?:href|src)="(page/[^"#]+)"', HTML))
    for script in SCRIPTS:
        named |= {f"page/{name}" for name in re.findall(r"from '\./([\w.]+)'", script.read_text())}
        named |= set(re.findall(r"'(page/[\w.]+)'", script.read_text()))
    assert {"page/app.js", "page/theme.css", "page/sample.webp", "page/icon.svg", "page/png.js"} <= named
    assert {f"page/{name}" for name in page_files()} == named | {"page/index.html"}  # and none that is not used
    kinds = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    for name in named:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"] == kinds.get("." + name.split(".")[-1], "image/webp")


def test_files_are_sent_again_only_when_they_have_changed(client: TestClient) -> None:
    first = client.get("/page/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/page/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/app.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page",
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page/%2fetc%2fpasswd",
        "/page/app.py",
        "/page/x%00.js",
    ],
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_the_page_is_open_where_a_token_is_wanted(client_of: Callable[..., TestClient]) -> None:
    client = client_of(token="secret-token")
    assert client.get("/").status_code == 200
    assert client.get("/page/app.js").status_code == 200
    assert client.get("/v1/models").status_code == 401
    assert "secret-token" not in client.get("/").text


def test_a_server_can_do_without_the_page(client_of: Callable[..., TestClient]) -> None:
    client = client_of(page=False)
    assert client.get("/").status_code == 404
    assert client.get("/page/app.js").status_code == 404
    assert client.get("/livez").status_code == 200


def test_the_page_is_no_part_of_the_interface(client: TestClient) -> None:
    assert not [path for path in client.get("/openapi.json").json()["paths"] if path == "/" or "page" in path]


@pytest.mark.parametrize("name", sorted(page_files()))
def test_no_file_names_another_host(name: str) -> None:
    data = page_files()[name].data
    if name.endswith(".webp"):
        assert data[:4] == b"RIFF"
        return
    text = data.decode().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"(?:https?:|wss?:|[\"'(])//\w", text)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_no_script_makes_code_or_markup_of_text() -> None:
    for script in SCRIPTS:
        text = script.read_text()
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert forbidden not in text, f"{forbidden} in {script.name}"
        assert len(text.splitlines()) <= 400


def test_nothing_in_the_page_is_inline() -> None:
    assert [attributes for tag, attributes in ELEMENTS if tag == "script"] == [{"type": "module", "src": "page/app.js"}]
    assert "style" not in {tag for tag, _ in ELEMENTS}
    for tag, attributes in ELEMENTS:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag


def test_ids_are_there_once_and_are_all_that_scripts_ask_for() -> None:
    assert len(IDS) == len(set(IDS))
    for script in SCRIPTS:
        asked = set(re.findall(r"\bby\('(\w+)'\)", script.read_text()))
        asked |= set(re.findall(r"\bpress\('(\w+)'", script.read_text()))
        assert asked <= set(IDS), script.name


def test_every_control_has_a_name_for_those_who_do_not_see_it() -> None:
    labelled = {attributes["for"] for tag, attributes in ELEMENTS if "for" in attributes and tag == "label"}
    assert re.search(r'<label [^>]*><input id="file"', HTML)
    for tag, attributes in ELEMENTS:
        if tag == "input" and "id" in attributes and attributes["id"] != "file":
            assert attributes["id"] in labelled, attributes
        if attributes.get("id") in BUTTONS_WITHOUT_WORDS or "data-tool" in attributes:
            assert attributes.get("aria-label"), attributes
        if tag == "img":
            assert "alt" in attributes
        for reference in ("aria-labelledby", "aria-describedby", "for"):
            if attributes.get(reference) and tag != "output":
                assert attributes[reference] in IDS
    assert sum(attributes.get("aria-live") == "polite" for _, attributes in ELEMENTS) == 2
    assert 'lang="en"' in HTML
    assert [attributes for tag, attributes in ELEMENTS if attributes.get("role") == "alert"]


def test_words_can_be_read_on_their_grounds() -> None:
    styles = "".join(page_files()[name].data.decode() for name in ("theme.css", "style.css"))
    dark = "".join(re.findall(r"prefers-color-scheme: dark\)\s*\{\s*:root\s*\{([^}]*)\}", styles))
    light = re.sub(r"@media \(prefers-color-scheme: dark\)\s*\{\s*:root\s*\{[^}]*\}\s*\}", "", styles)
    for text in (light, light + dark):
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", text))
        for ink, grounds in {
            "ink": ("ground", "card", "sunk", "chosen"),
            "soft": ("ground", "card", "sunk", "chosen"),
            "accent": ("card", "chosen"),
            "on-accent": ("accent",),
            "go": ("sunk",),
            "wait": ("sunk",),
            "halt": ("halt-ground", "sunk"),
        }.items():
            for ground in grounds:
                assert contrast(colour[ink], colour[ground]) >= 4.5, (ink, ground)


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    linear = []
    for i in (0, 2, 4):
        v = int(digits[i : i + 2], 16) / 255
        linear.append(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
