"""Lines about what was found."""

from __future__ import annotations

from pathlib import Path

from gsam.dataset.report import count_labels, describe, display_path


def test_labels_are_counted_in_order() -> None:
    assert count_labels(["dog", "cat", "dog"]) == "2 dog, 1 cat"
    assert count_labels([]) == "nothing"


def test_a_path_takes_one_line() -> None:
    assert display_path(Path("a/b.png")) == str(Path("a/b.png"))
    assert "\n" not in display_path(Path("line\nbreak.png"))


def test_describe() -> None:
    assert describe(Path("a.png"), ["dog"], []) == "a.png: 1 dog"
    assert describe(Path("a.png"), [], [Path("a.json"), Path("b.png")]) == "a.png: nothing -> a.json, b.png"
