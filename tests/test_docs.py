"""The pages: their code runs, their commands are parsed, their links lead somewhere, their tables
are complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jax
import pytest
import typer
from PIL import Image

import gsam
from gsam import cli
from gsam.build import recipes, schema
from gsam.dataset.outputs import formats_of
from gsam.text.query_files import read_queries
from tests.helpers import stand_ins
from tests.helpers.command import in_process
from tests.helpers.one_device import one_device

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*GUIDES, *(p for p in sorted(ROOT.glob("*.md")) if p not in GUIDES), ROOT / "benchmarks" / "README.md"]
PROSE = [p for p in PAGES if p.name != "CHANGELOG.md"]
"""What is held to the rules of prose; old entries of the changelog stay as they were written."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def prose_of(page: Path) -> str:
    """The text without code and tables."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("|", "![")))


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}


def rows(page: Path, head: str) -> list[str]:
    """The first cells of the table that begins with ``head``, without backticks."""
    table = page.read_text(encoding="utf-8").split(f"\n| {head} |")[1].split("\n\n")[0].splitlines()[2:]
    return [line.split("|")[1].strip().strip("`") for line in table]


# Links and prose


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", re.sub(r"\n\s*", " ", page.read_text(encoding="utf-8"))):
        place, _, anchor = link.partition("#")
        if place.startswith("http"):
            continue
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PROSE, ids=name_of)
def test_prose(page: Path) -> None:
    text = prose_of(page)
    assert not [line for line in text.splitlines() if len(line) > 100]
    assert not re.findall(r"(?:^|[.!?:] |\n\n)What [^?]*[.]", text), "a sentence begins with 'What'"
    words = re.sub(r"`[^`]*`", "", text)
    assert not re.findall(r".*\b[Pp]ictures?\b.*", words), "the field says image"


def test_the_front_page_fits() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    commands = re.findall(r"```bash\n(.*?)```", text.split("## Two commands")[1].split("\n## ")[0], re.DOTALL)
    assert len(commands) == 2
    assert "gsam segment notebooks/scene.png" in commands[0]
    assert "pytest" in commands[1]


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in GUIDES[1:]:
        if page.name != "README.md":
            assert f"]({page.name})" in index
            assert f"](docs/{page.name})" in front


# Tables


@pytest.mark.parametrize("page", ["README.md", "docs/words.md"])
def test_every_recipe_has_a_row(page: str) -> None:
    named = {name for row in rows(ROOT / page, "recipe") for name in row.replace("`", "").split(", ")}
    assert named == set(gsam.recipes())


def test_every_setting_has_a_row() -> None:
    from gsam.pipeline import Limits
    from gsam.predictors.automatic.settings import Settings
    from gsam.tracking.config import TrackingConfig

    for page, head, kind in (
        ("words", "setting", Limits),
        ("video", "setting", TrackingConfig),
        ("everything", "option", Settings),
    ):
        assert rows(ROOT / "docs" / f"{page}.md", head) == [f.name for f in dataclasses.fields(kind)]


def test_every_key_of_a_recipe_is_said() -> None:
    page = (ROOT / "docs" / "compose.md").read_text(encoding="utf-8")
    assert rows(ROOT / "docs" / "compose.md", "table") == [
        "[detect]",
        "[ground]",
        "[segment]",
        "[refine]",
        "[classify]",
        "[track]",
        "[limits]",
    ]
    for table, keys in schema.RECIPE.items():
        missing = [key for key in keys - {"name"} if f"`{key}`" not in page]
        assert not missing or table == "limits", f"[{table}] takes {missing}"


def test_every_variable_is_said() -> None:
    page = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "gsam").rglob("*.py"))
    assert {v for v in re.findall(r'"(GSAM_[A-Z]+)"', code) if v not in page} == set()


def test_every_error_has_a_row() -> None:
    from gsam import errors

    kinds = [k.__name__ for k in vars(errors).values() if inspect.isclass(k) and k.__mro__[1] is errors.GsamError]
    assert rows(ROOT / "docs" / "errors.md", "class") == [*kinds, "ServeError"]  # which the server alone has


def test_the_architecture_names_every_room_and_floor() -> None:
    from tests.test_arrows import FLOORS

    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    tree = page.split("```\n")[1]
    entries = {p.name for p in (ROOT / "gsam").iterdir() if p.name not in ("__pycache__", "py.typed", "_data")}
    assert {e if e.endswith(".py") else f"{e}/" for e in entries} <= set(tree.split())
    assert [line[4:] for line in page.split("```\n")[3].splitlines()] == list(FLOORS)


# Commands


def commands() -> list[Any]:
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r" && | \| ", line):
                    words = shlex.split(part, comments=True)
                    if words and words[0].rsplit("/", 1)[-1] == "gsam":
                        found.append(pytest.param(words[1:], id=f"{name_of(page)}: {shlex.join(words)}"))
    return found


@pytest.mark.parametrize("words", commands())
def test_commands_are_parsed(words: list[str]) -> None:
    """Down to the last option, and no further."""
    command: Any = typer.main.get_command(importlib.import_module(f"gsam.cli.{words[0]}").app)
    assert words[0] in cli.COMMANDS
    arguments = words[1:]
    with contextlib.ExitStack() as stack:
        if isinstance(command, click.Group) or hasattr(command, "commands"):
            command, arguments = command.commands[arguments[0]], arguments[1:]
        context = stack.enter_context(command.make_context("gsam", list(arguments)))
    known = inspect.signature(command.callback).parameters
    assert set(context.params) <= {*known, "help"}
    for option in ("pipeline", "model"):
        given = context.params.get(option)
        if given and words[0] in ("segment", "track", "export") and not Path(given).suffix:
            assert given in gsam.recipes() or given.endswith("_exported"), f"there is no recipe {given}"
    if context.params.get("formats") and words[0] != "geo":
        known_formats = importlib.import_module(f"gsam.cli.{words[0]}").FORMATS
        formats_of(context.params["formats"], known_formats)


@pytest.mark.long
def test_a_command_of_the_front_page_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    line = next(line for block in blocks(ROOT / "README.md", "bash") for line in block.splitlines() if "| jq" in line)
    command, jq = line.split(" | jq ")
    assert in_process(monkeypatch)(*shlex.split(command)[1:]) == 0
    value: Any = json.loads(capsys.readouterr().out)
    for key in re.findall(r"\w+", jq):
        value = value[int(key) if key.isdigit() else key]
    assert value == "dog"


# Code


@pytest.fixture
def _as_users_run_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    one_device(monkeypatch)
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def address() -> Iterator[str]:
    """A server with nano that listens on this machine."""
    pytest.importorskip("fastapi")
    pytest.importorskip("av")
    from gsam.serve.app import create_app
    from gsam.serve.config import ServeConfig
    from tests.serve.listening import listening

    config = ServeConfig(deadline=600)
    with listening(create_app(config), config) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.usefixtures("_as_users_run_it")
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name_of)
@pytest.mark.long
def test_python_runs(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every block of a page, in order, with small models in place of official ones; and what it
    then says.
    """
    if page.stem == "serve":
        monkeypatch.setenv("GSAM_ADDRESS", request.getfixturevalue("address"))
    stand_ins.write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image.Image, "show", lambda self: None)
    asked = stand_ins.official(monkeypatch)
    space: dict[str, Any] = {"names_of_300_classes": [f"thing {i}" for i in range(30)]}
    for block in blocks(page, "python"):
        exec(compile(block, name_of(page), "exec"), space)
    if check := globals().get(f"_{page.stem.lower()}"):
        check(space, asked.settings)


def _readme(space: dict[str, Any], asked: list[Any]) -> None:
    if Path("out/scene.json").is_file():  # the front page, not an index
        assert space["result"].image == "b.jpg"
        assert {"dog", "pizza"} <= {s["label"] for s in json.loads(Path("out/scene.json").read_text())["segments"]}


def _words(space: dict[str, Any], asked: list[Any]) -> None:
    assert asked == [("grounded_sam", {"threshold": 0.3}), ("grounded_sam", {"labels": "phrases"})]
    assert space["again"].queries == ["traffic light", "car"]
    assert space["many"].queries == space["names_of_300_classes"]
    assert space["result"].image == "b.jpg"
    assert space["small"].size == (70, 1100)
    assert space["pipe"].counts["pictures"] == 1 + 2 + 3  # street.jpg once, a pair, and the whole with two tiles
    assert Path("out/b.png").is_file()
    assert space["coco"]["images"][0]["file_name"] == "b.jpg"


def _clicks(space: dict[str, Any], asked: list[Any]) -> None:
    assert space["many"].masks.shape == (2, 3, 70, 90)
    assert Path("out/clicked.png").is_file()
    assert space["later"].counts["pictures"] == 0
    assert space["slice_40"].shape[2] == 3


def _everything(space: dict[str, Any], asked: list[Any]) -> None:
    assert {"segmentation", "predicted_iou", "stability_score"} <= space["records"][0].keys()
    assert Path("out/fast.png").is_file()


def _video(space: dict[str, Any], asked: list[Any]) -> None:
    assert space["ids"] == [1, 2]
    shapes = {frame: masks.shape for frame, masks in space["corrected"].items()}
    assert shapes == dict.fromkeys(range(4), (2, 1, 70, 90))
    assert space["frame"].index == 3


def _compose(space: dict[str, Any], asked: list[Any]) -> None:
    assert isinstance(space["pipe"]("notebooks/scene.png", "dog"), gsam.Result)
    assert space["scene"].boxes.xyxy.shape == (1, 32, 4)
    for name in ("only_large", "Bright"):
        code = next(b for b in blocks(ROOT / "docs" / "compose.md", "python") if name in b)
        assert len([line for line in code.splitlines() if line.strip()]) <= 18


def _checkpoints(space: dict[str, Any], asked: list[Any]) -> None:
    assert [name for name, _ in asked] == ["grounded_sam"]
    assert space["predictor"].model.config.image_size < 1024


def _serve(space: dict[str, Any], asked: list[Any]) -> None:
    from fastapi.testclient import TestClient

    assert {"dog", "pizza"} <= {segment["label"] for segment in space["found"]["segments"]}
    assert [len(space[name]) for name in ("first", "better")] == [3, 1]
    assert space["event"] == {"frames": 3}
    block = next(b for b in blocks(ROOT / "docs" / "serve.md", "python") if "class Server" in b)
    assert len([line for line in block.split("class Server")[1].splitlines() if line.strip()]) <= 32
    with TestClient(space["app"]) as client, open("notebooks/scene.png", "rb") as image:
        assert client.post("/count", files={"image": image}, data={"query": "dog"}).json() == {"dog": 1}


def _formats(space: dict[str, Any], asked: list[Any]) -> None:
    assert Path("out/clip/00000.png").is_file()


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "toml")], ids=name_of)
def test_recipes_fit_the_schema(page: Path, tmp_path: Path) -> None:
    for i, block in enumerate(blocks(page, "toml")):
        path = tmp_path / f"{i}.toml"
        path.write_text(block, encoding="utf-8")
        assert recipes.read_recipe(path) if "[" in block else read_queries(path)  # an ontology has no tables


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "json")], ids=name_of)
def test_examples_are_json(page: Path) -> None:
    for block in blocks(page, "json"):
        json.loads(block)
