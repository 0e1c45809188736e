"""docs/threats.md: each of its promises names a test that exists, and none stands without one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "threats.md"


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row != ["promise", "test"] and set("".join(row)) != {"-"}]


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", [pytest.param(row, id=str(i)) for i, row in enumerate(rows())])
def test_a_promise_has_a_test(row: list[str]) -> None:
    promise, test = row
    assert promise.endswith(".")
    found = re.fullmatch(r"`((?:\w+/)+test_\w+\.py)::(test_\w+)`", test)
    assert found is not None, test
    assert (TESTS / found[1]).exists(), found[1]
    assert found[2] in functions(TESTS / found[1]), test


def test_no_test_is_named_for_two_promises() -> None:
    named = [test for _, test in rows()]
    assert len(named) > 40
    assert sorted(named) == sorted(set(named))


def test_the_numbers_are_those_of_the_settings() -> None:
    pytest.importorskip("fastapi")
    from gsam.inputs.remote import SECONDS
    from gsam.serve import bodies, connections
    from gsam.serve.config import MB, ServeConfig

    config, text = ServeConfig(), PAGE.read_text(encoding="utf-8")
    for number, says in (
        (config.max_body // MB, "at most {} MB, a video"),
        (config.max_video_body // MB, "a video {} MB"),
        (config.max_held // (1024 * MB), "at most {} GB together"),
        (config.read_timeout, "shorter than it says ends in {:g} seconds"),
        (bodies.GRACE, "in drops ends in {:g} seconds"),
        (config.head_timeout, "head of a request has {:g} seconds"),
        (connections.HEAD // 1024, "at most {} kB"),
        (config.connections, "More than {:,} connections"),
        (config.queue, "wait for the models are {} at most"),
        (SECONDS, "at an address has {:g} seconds"),
    ):
        assert says.format(number) in text, says
    assert connections.READER == 60.0
