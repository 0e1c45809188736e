"""Which file of ``benchmarks/`` may import which, and what lies where."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(BENCHMARKS.rglob("*.py"))
}
"""Every module of ``benchmarks/`` by its name."""


def imports(file: Path) -> set[str]:
    """Return every module that a file imports, inside functions and for typing too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_benchmarks_do_not_import_tests() -> None:
    assert len(FILES) > 30
    assert not {name for name, file in FILES.items() if any(m.split(".")[0] == "tests" for m in imports(file))}


def test_the_harness_imports_no_benchmark() -> None:
    measured = FILES.keys() - {name for name in FILES if name.startswith("benchmarks.harness")} - {"benchmarks"}
    assert not {name for name, file in FILES.items() if name not in measured and imports(file) & measured}


def test_no_benchmark_imports_itself_in_a_circle() -> None:
    packages = {name for name, file in FILES.items() if file.name == "__init__.py"}
    todo = {name: (imports(file) & FILES.keys()) - packages - {name} for name, file in FILES.items()}
    while free := {name for name, needs in todo.items() if not needs}:
        todo = {name: needs - free for name, needs in todo.items() if name not in free}
    assert not todo, f"files that import each other, or what does: {sorted(todo)}"


def test_pages_lie_in_pages() -> None:
    written = {p for p in BENCHMARKS.rglob("*") if p.suffix in (".md", ".json", ".png")}
    by_hand = {BENCHMARKS / "README.md", BENCHMARKS / "RESULTS.md"}
    assert {p.parent for p in written - by_hand} == {BENCHMARKS / "pages"}
    assert {p.suffix for p in (BENCHMARKS / "pages").iterdir()} == {".md", ".json", ".png"}
