"""Who may import whom, and which packages may be imported where."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "gsam"
FLOORS = (
    "version types errors registry files",
    "text",
    "bind ops roles weights",
    "nn inputs",
    "models runtime results",
    "tracking",
    "pipeline",
    "export",
    "build",
    "predictors dataset",
    "evaluation serve",
    "training",
    "__init__",
    "nano cli",
    "__main__",
)
"""From the ground up.  A room imports only what stands on a lower floor, lazily and for typing too.
"""
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms.split()}
ONLY_IN = {
    "flax": {"bind", "nn", "models"},
    "transformers": set[str](),
    "tokenizers": {"text", "nano"},
    "orbax": {"weights", "training"},
    "PIL": {"inputs", "results", "nano", "evaluation", "cli"},
    "torch": set[str](),
    "av": {"inputs", "results"},
    "nibabel": {"inputs"},
    "pydicom": {"inputs"},
}
WITHOUT_JAX = {"version", "errors", "registry", "files", "text", "inputs", "results", "__init__", "__main__"}
FILES = sorted(ROOT.rglob("*.py"))


def imports(file: Path) -> list[str]:
    """Every module a file imports, inside functions and for typing too."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            found += [f"{node.module}.{a.name}" if node.module == "gsam" else str(node.module) for a in node.names]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
@pytest.mark.long
def test_arrows(file: Path) -> None:
    here = file.relative_to(ROOT).with_suffix("").parts
    room = here[0]
    assert room in HEIGHT, f"gsam/{room} stands on no floor (tests/test_arrows.py)"
    for name in imports(file):
        parts = name.split(".")
        if parts[0] != "gsam":
            allowed = ONLY_IN.get(parts[0])
            assert allowed is None or room in allowed, f"{'/'.join(here)} imports {parts[0]}"
            assert parts[0] != "jax" or room not in WITHOUT_JAX, f"{'/'.join(here)} imports jax"
            continue
        other = parts[1] if len(parts) > 1 and parts[1] in HEIGHT else "__init__"
        if other != room:
            assert HEIGHT[other] < HEIGHT[room], f"{'/'.join(here)} imports {name}, which does not stand below it"
        elif room == "models" and len(here) > 2 and len(parts) > 2 and (ROOT / "models" / parts[2]).is_dir():
            assert parts[2] == here[1], f"{'/'.join(here)} imports another family, {name}"


def test_no_room_imports_itself_in_a_circle() -> None:
    """Files of a room stand in an order too."""
    names = {".".join(("gsam", *f.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): f for f in FILES}
    todo = {name: {m for m in imports(f) if m in names and m != name} for name, f in names.items()}
    while free := {name for name, needs in todo.items() if not needs}:
        todo = {name: needs - free for name, needs in todo.items() if name not in free}
    assert not todo, f"files that import each other, or what does: {sorted(todo)}"


def test_the_house_is_small() -> None:
    entries = [p.name for p in ROOT.iterdir() if p.name not in ("__pycache__", "py.typed")]
    assert len(entries) <= 28
    long = {str(f.relative_to(ROOT)): n for f in FILES if (n := len(f.read_text().splitlines())) > 400}
    assert not long


def test_importing_gsam_is_light() -> None:
    import subprocess
    import sys

    heavy = ["jax", "flax", "numpy", "PIL", "tokenizers", "huggingface_hub", "orbax", "typer"]
    code = f"import sys, gsam; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
