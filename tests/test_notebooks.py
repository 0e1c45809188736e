"""The notebooks as they are committed: with their outputs, so that a visitor sees pictures.

``pytest --nbmake notebooks`` runs them; ``python -m tests.helpers.notebooks`` writes the outputs.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command import in_process

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LARGEST = 500_000


def cells(path: Path) -> list[dict[str, Any]]:
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


def pictures(path: Path) -> list[Image.Image]:
    found = []
    for output in (output for cell in cells(path) for output in cell["outputs"]):
        data = output.get("data", {})
        coded = [data[kind] for kind in ("image/png", "image/jpeg") if kind in data]
        coded += re.findall(r'src="data:image/\w+;base64,([^"]+)"', "".join(data.get("text/html", "")))
        found += [Image.open(io.BytesIO(base64.b64decode("".join(text)))) for text in coded]
    return found


def test_there_are_four() -> None:
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_there_and_small(path: Path) -> None:
    code = cells(path)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run in order, from the top"
    for cell in code:
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert kinds, f"no output: {''.join(cell['source'])[:60]}"
        assert "error" not in kinds
        assert not [o for o in cell["outputs"] if o.get("name") == "stderr"], "a warning is kept"
    shown = pictures(path)
    assert shown
    for picture in shown:
        picture.load()
        assert max(picture.size) <= 1100
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_nothing_of_the_machine_is_kept(path: Path) -> None:
    text = re.sub(r"[A-Za-z0-9+/]{200,}", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"/(home|work|Users|tmp|root)/", text)


def test_the_first_shows_a_table_too() -> None:
    html = ["".join(o["data"].get("text/html", "")) for c in cells(NOTEBOOKS[0]) for o in c["outputs"] if "data" in o]
    assert any("<table>" in text for text in html)


@pytest.mark.long
def test_the_picture_of_the_front_page_is_what_its_command_makes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of the same numbers: to a grey level or two on another processor."""
    root = Path(__file__).parents[1]
    text = (root / "README.md").read_text(encoding="utf-8")
    [line] = [
        part for part in re.split(r" && |\n", text) if "segment notebooks/scene.png" in part and "--json" not in part
    ]
    monkeypatch.chdir(root)
    words = shlex.split(line)[1:]
    words[words.index("-o") + 1] = str(tmp_path)
    assert in_process(monkeypatch)(*words) == 0
    shown, made = (
        np.asarray(Image.open(p)).astype(int) for p in (root / "notebooks/result.png", tmp_path / "scene.png")
    )
    assert (np.abs(shown - made).max(-1) > 8).mean() < 0.002
