"""Who may import whom, and which packages may be imported where."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "gsam"
LEAVES = {"types", "registry", "errors", "resampling"}
MODEL = {"nn", "ops", "port", "bind"} | LEAVES
PIPELINE = {"roles", "ops", "nn", "image", "text", "result", "formats", "everything"} | LEAVES
BUILD = {"pipeline", "store"} | PIPELINE
TOP = {
    "build",
    "export",
    "reading",
    "bind",
    "port",
    "predictor",
    "fast_sam",
    "nn",
    "formats",
    "tracks",
    "frames",
    "everything",
    "generator",
    "detect",
    "segment",
    "classify",
} | BUILD
MAY: dict[str, set[str]] = {
    "types": set(),
    "errors": set(),
    "registry": set(),
    "resampling": set(),
    "medical": LEAVES,
    "roles": {"types"},
    "bind": {"types"},
    "ops": {"types", "resampling"},
    "port": LEAVES,
    "nn": {"bind", "ops", "types"},
    "reading": {"ops", "text"},
    "detect": MODEL | {"text", "reading"},
    "segment": MODEL,
    "classify": MODEL | {"reading"},
    "letterbox": set(),
    "image": {"letterbox"} | LEAVES,
    "text": LEAVES,
    "result": {"errors", "formats"},
    "formats": {"errors", "result", "tracks", "frames", "resampling"},
    "tracks": {"errors", "formats"},
    "frames": {"errors", "image"},
    "store": {"port", "bind", "detect", "segment", "classify"} | LEAVES,
    "pipeline": PIPELINE | {"tracks", "video"},
    "export": {"pipeline", "reading", "port", "nn"} | PIPELINE,
    "build": {"export"} | BUILD,
    "everything": {"formats"} | LEAVES,
    "predictor": TOP - {"predictor"},
    "video": TOP | {"video"},
    "generator": TOP - {"predictor"},
    "fast_sam": {"letterbox"} | TOP - {"predictor"},
    "evaluation": TOP | {"training"},
    "training": TOP,
    "cli": TOP | {"__init__", "cli", "evaluation"},
    "__init__": TOP | {"medical", "video"},
    "__main__": {"cli"},
}
ONLY_IN = {
    "flax": {"bind", "nn", "detect", "segment", "classify"},
    "transformers": set[str](),
    "tokenizers": {"text", "training"},
    "orbax": {"store", "training"},
    "PIL": {"image", "result", "tracks", "formats", "frames", "training", "evaluation", "cli"},
    "torch": set[str](),
    "jax": set(MAY)
    - {
        "letterbox",
        "image",
        "text",
        "result",
        "formats",
        "tracks",
        "frames",
        "errors",
        "registry",
        "resampling",
        "medical",
        "__init__",
        "__main__",
    },
    "av": {"frames", "formats"},
    "nibabel": {"medical"},
    "pydicom": {"medical"},
    "scipy": {"image", "everything", "training", "evaluation"},
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(file: Path) -> list[str]:
    """Every module a file imports, inside functions too."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [f"{node.module}.{a.name}" if node.module == "gsam" else str(node.module) for a in node.names]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_arrows(file: Path) -> None:
    here = file.relative_to(ROOT).with_suffix("").parts
    room = here[0]
    assert room in MAY, f"gsam/{room} is not in the house's plan (tests/test_arrows.py)"
    for name in imports(file):
        parts = name.split(".")
        if parts[0] != "gsam":
            allowed = ONLY_IN.get(parts[0])
            assert allowed is None or room in allowed, f"{'/'.join(here)} imports {parts[0]}"
        elif len(parts) > 1 and parts[1] != room:
            assert parts[1] in MAY[room] or parts[1] == "__version__", f"{'/'.join(here)} imports {name}"
        elif len(parts) > 2 and room in ("detect", "segment", "classify"):
            assert parts[2] == here[1], f"{'/'.join(here)} imports another family, {name}"


def test_no_file_is_too_long() -> None:
    long = {str(f.relative_to(ROOT)): n for f in FILES if (n := len(f.read_text().splitlines())) > 500}
    assert not long


def test_importing_gsam_is_light() -> None:
    import subprocess
    import sys

    heavy = ["jax", "flax", "numpy", "PIL", "tokenizers", "huggingface_hub", "orbax", "typer"]
    code = f"import sys, gsam; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
