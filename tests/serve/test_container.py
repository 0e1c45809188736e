"""The container file: what it copies is there, and it runs a server as a plain user."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer

from gsam.cli.serve import app
from gsam.serve.config import ServeConfig

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Each instruction and what follows it, on one line, without comments."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [
        (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())
    ]


def final() -> list[tuple[str, str]]:
    """The instructions of the last stage: of what runs."""
    found = instructions()
    last = max(i for i, (name, _) in enumerate(found) if name == "FROM")
    return found[last:]


def of(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for found, rest in stage if found == name]


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a path be sent: the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            fits = fnmatch.fnmatch(path, pattern) or path.startswith(f"{pattern}/")
            if pattern.startswith("**/"):
                fits = any(fnmatch.fnmatch(part, pattern[3:]) for part in path.split("/"))
            if fits:
                sent = line.startswith("!")
    return sent


def test_what_it_copies_is_there() -> None:
    sources = [source for rest in of(instructions(), "COPY") if "--from" not in rest for source in rest.split()[:-1]]
    assert {"gsam", "pipelines", "weights", "pyproject.toml"} <= set(sources)
    assert all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for needed in ("gsam/serve/app.py", "README.md", "LICENSE", *(f"{folder}/a" for folder in shipped)):
        assert in_context(needed), f"{needed} is not in the build's context"
        assert any(needed == s or needed.startswith(f"{s}/") for s in sources), f"{needed} is not copied"
    for left in (
        ".git/config",
        "tests/conftest.py",
        "weights/ported/a.safetensors",
        "gsam/__pycache__/a.pyc",
        "venv/a",
    ):
        assert not in_context(left), f"{left} is in the build's context"


def test_the_extras_that_it_installs_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    chosen = next(rest for rest in of(instructions(), "ARG") if rest.startswith("EXTRAS="))
    named = chosen.removeprefix("EXTRAS=").strip('"').split(",")
    assert "serve" in named
    assert set(named) <= extras.keys()
    page = (ROOT / "docs" / "accelerators.md").read_text()
    for extra in re.findall(r"JAX=(cuda\d+)", (ROOT / "Dockerfile").read_text()):
        assert f"jax[{extra}]" in page


def test_it_runs_as_a_plain_user_with_one_folder_of_its_own() -> None:
    stage = final()
    names = [name for name, _ in stage]
    user = of(stage, "USER")[-1]
    assert user not in ("root", "0")
    assert re.search(rf"useradd .*--uid [1-9]\d+ .*\b{user}\b", " ".join(of(stage, "RUN")))
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert of(stage, "VOLUME") == ["/cache"]
    assert "GSAM_CACHE=/cache" in of(stage, "ENV")[0]
    assert not [rest for _, rest in instructions() if "GSAM_TOKEN=" in rest], "a token is no part of an image"


def test_its_command_is_one_that_wants_a_token() -> None:
    stage = final()
    words = [*json.loads(of(stage, "ENTRYPOINT")[0]), *json.loads(of(stage, "CMD")[0])]
    assert words[:2] == ["gsam", "serve"]
    given = typer.main.get_command(app).make_context("gsam", words[2:]).params  # type: ignore[attr-defined]
    assert (given["host"], given["pipeline"], given["insecure"]) == ("0.0.0.0", "nano", False)
    assert of(stage, "EXPOSE") == [str(given["port"])]
    with pytest.raises(ValueError, match="can be reached from other machines"):
        ServeConfig(host=given["host"])


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_its_health_check_asks_whether_the_models_are_ready(status: int, code: int) -> None:
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    check = of(final(), "HEALTHCHECK")[0]
    options, _, command = check.partition(" CMD ")
    assert {option.partition("=")[0] for option in shlex.split(options)} >= {
        "--interval",
        "--timeout",
        "--start-period",
    }
    words = json.loads(command)
    assert words[0] == "python"
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        here = [word.replace(":8000/", f":{server.server_port}/") for word in words[1:]]
        assert here != words[1:]
        ended = subprocess.run([sys.executable, *here], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, asked) == (code, ["/readyz"])
