"""Which inputs paths, folders and patterns name, and what their results are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsam.dataset.sources import MAX_NAME, collect


@pytest.fixture(autouse=True)
def tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.png", "b/x.png", "b/y.jpg", "c/x.png", "c/x.jpg", "c/deep/z.png", "c/.hidden.png", "a.b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "notes.txt").touch()


def stems(*arguments: str, recursive: bool = False) -> list[str]:
    return [item.stem for item in collect(arguments, recursive)]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["a/x.png"], ["x"]),
        (["a.b.png"], ["a.b"]),
        (["a/x.png", "b/x.png"], ["a/x", "b/x"]),
        (["a", "b"], ["a/x", "b/x", "b/y"]),
        (["c"], ["x.jpg", "x.png"]),
        (["*/x.png"], ["a/x", "b/x", "c/x"]),
        (["**/z.png"], ["z"]),
        (["no/such.png"], ["such"]),
        (["*.gif"], []),
    ],
)
def test_stems(arguments: list[str], wanted: list[str]) -> None:
    assert stems(*arguments) == wanted


def test_each_file_once(tmp_path: Path) -> None:
    assert stems("b", "b/y.jpg", str(tmp_path / "b" / "x.png")) == ["x", "y"]


def test_folders_of_folders() -> None:
    assert stems("c", recursive=True) == ["deep/z", "x.jpg", "x.png"]
    assert [item.name for item in collect(["c"], recursive=True)] == ["deep/z.png", "x.jpg", "x.png"]


def test_reserved_stems() -> None:
    assert [item.stem for item in collect(["a/x.png"], reserved={"x"})] == ["x.png"]


def test_long_names_are_cut_and_stay_apart() -> None:
    long = stems("x" * 251 + ".png", "x" * 250 + "y.png")
    assert len(set(long)) == 2
    assert all(len(s) <= MAX_NAME for s in long)


def test_no_result_leaves_the_folder() -> None:
    assert not any(".." in s for s in stems("../elsewhere/x.png", "a/x.png", "b/../b/x.png"))


def test_linked_folders_are_looked_into_once(tmp_path: Path) -> None:
    for name in ("set/a.png", "elsewhere/b.png", "elsewhere/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "same").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    found = collect([str(tmp_path / "set")], recursive=True)
    assert [item.name for item in found] == ["a.png", "link/b.png", "link/deep/c.png"]
    assert [item.name for item in collect([str(tmp_path / "set")])] == ["a.png"]
