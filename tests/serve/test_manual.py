"""docs/serve.md: its requests are made; its tables of codes, limits and metrics are complete."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi.testclient import TestClient

from gsam.cli.serve import app as command
from gsam.serve.config import MB, ServeConfig

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
UNDOCUMENTED = {("get", "/")}


def lines() -> list[str]:
    """The lines of the page that ask the server."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if "curl " in line]


class Curl:
    """As much of curl as the page uses, on a client of the tests."""

    def __init__(self, client: TestClient) -> None:
        self.client, self.variables = client, dict[str, str]()
        self.asked: list[tuple[str, str]] = []

    def run(self, line: str) -> Any:
        """Make the request of a line, and set the variable that it sets."""
        found = re.fullmatch(r"(\w+)=\$\((curl .*) \| jq -r \.(\w+)\)", line)
        answer = self._ask(shlex.split(found[2] if found else line))
        assert answer.status_code < 300, f"{line}: {answer.status_code} {answer.text[:300]}"
        if found:
            self.variables[found[1]] = answer.json()[found[3]]
        return answer

    def _ask(self, words: list[str]) -> Any:
        method, headers, fields, files, data, path = None, {}, {}, {}, None, ""
        rest = iter(words[1:])
        for word in rest:
            if word in ("-s", "-sN", "-N"):
                continue
            if word == "-X":
                method = next(rest)
            elif word == "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            elif word == "-d":
                data = next(rest)
            elif word == "-o":
                next(rest)
            elif word == "-F":
                name, _, value = next(rest).partition("=")
                if value.startswith("@"):
                    files[name] = (value[1:], (ROOT / value[1:]).read_bytes())
                else:
                    fields[name] = value
            else:
                assert word.startswith(ADDRESS), f"curl {word} is not known to this test"
                path = re.sub(r"\$(\w+)", lambda m: self.variables[m[1]], word.removeprefix(ADDRESS))
        method = method or ("POST" if files or data is not None else "GET")
        self.asked.append((method.lower(), path))
        content = None if data is None else data.encode()
        return self.client.request(
            method, path, headers=headers, data=fields or None, files=files or None, content=content
        )


@pytest.mark.long
def test_every_request_is_answered_and_every_path_has_one(client_of: Callable[..., TestClient]) -> None:
    pytest.importorskip("av")
    client = client_of(deadline=600)  # some of them compile
    curl = Curl(client)
    answers = {line: curl.run(line) for line in lines()}
    assert len(answers) > 20
    kinds = {answer.headers["content-type"].partition(";")[0] for answer in answers.values() if answer.content}
    assert {"application/json", "image/png", "image/jpeg", "text/event-stream", "text/plain"} <= kinds
    streams = [a.text for a in answers.values() if a.headers.get("content-type", "").startswith("text/event-stream")]
    assert len(streams) == 2
    assert all("event: start" in text and "event: end" in text for text in streams)
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        for method in methods:
            assert (
                any(m == method and re.fullmatch(pattern, p) for m, p in curl.asked) or (method, path) in UNDOCUMENTED
            ), f"{method} {path} has no example"


def test_every_code_is_said() -> None:
    said = set(re.findall(r"`(\w+)`", PAGE.split("\n## Errors")[1].split("\n## ")[0]))
    code = "".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "gsam" / "serve").rglob("*.py")))
    used = set(re.findall(r'ServeError\(\s*(?:\w+),\s*"(\w+)"', code))
    assert len(used) > 40
    assert used - said == set()
    everywhere = "".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "gsam").rglob("*.py")))
    assert {name for name in said if "_" in name and f'"{name}"' not in everywhere} == set()


def test_the_limits_are_those_of_the_command() -> None:
    table = PAGE.split("\n## Limits")[1].split("\n\n")[1].splitlines()[2:]
    options = {o: p for p in typer.main.get_command(command).params for o in p.opts}  # type: ignore[attr-defined]
    count = 0
    for row in table:
        names, values = (cell.strip() for cell in row.split("|")[1:3])
        for name, value in zip(re.findall(r"--[\w-]+", names), values.split("; "), strict=False):
            number = float(re.sub(r"[^\d.]", "", value))
            assert options[name].default == number, f"{name}: {value}"
            count += 1
    assert count >= 13
    config = ServeConfig()
    assert (config.max_body, config.max_session_bytes) == (25 * MB, 2048 * MB)
    assert (config.max_query, config.max_queries, config.max_prompts) == (2000, 512, 256)


def test_the_metrics_are_those_of_the_server(client: TestClient) -> None:
    table = PAGE.split("\n## Metrics")[1].split("\n\n")[2]
    named = set(re.findall(r"`(gsam_\w+)`", table))
    client.get("/livez")
    text = client.get("/metrics").text
    found = {re.sub(r"_created$", "", name) for name in re.findall(r"^# TYPE (gsam_\w+)", text, re.MULTILINE)}
    assert {name.removesuffix("_total") for name in found} == {name.removesuffix("_total") for name in named}


def test_the_manual_of_labelling_tools_quotes_the_panel() -> None:
    from gsam.serve.cvat.functions import CLICKS, TRACK, WORDS
    from gsam.serve.label_studio.access import SETTINGS
    from gsam.serve.label_studio.labelling_config import NONE, read_config

    text = " ".join((ROOT / "docs" / "labelling-tools.md").read_text(encoding="utf-8").split())
    assert NONE.partition(", so")[0] in text
    assert all(name in text for name in re.findall(r"LABEL_STUDIO_\w+|--label-studio-\w+", SETTINGS))
    assert all(f"| `{name}` |" in text for name in (WORDS, CLICKS, TRACK))
    config = re.search(r"<View>.*?</View>", text)
    assert config
    found = read_config(config[0])
    assert found.images == {"image": "image"}
    assert found.labels == ["dog", "pizza"]
    assert [(one.kind, one.smart) for one in found.controls] == [("rectangle", True), ("brush", False)]
