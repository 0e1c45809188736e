"""The table of formats: judged by other readers, and honest about what is lost."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import formats
from benchmarks.harness import format_cases, format_judging, format_runs
from benchmarks.harness.format_judging import cell, compare
from benchmarks.harness.format_packages import readers_of
from benchmarks.harness.format_readers import image, segment
from gsam.results.formats import known
from gsam.results.formats.jsonl import Writer

PAGE = Path(formats.__file__).parent / "pages" / "formats.md"
TRUE = segment("cat", [0, 3, 3], [0, 0, 1, 3], 0.5)
GIVES = format_judging.FIELDS


@pytest.mark.parametrize("name", known.FORMATS)
def test_every_format_has_a_reader_that_is_not_ours(name: str) -> None:
    assert readers_of(name)


def test_the_page_has_every_format_and_case_and_no_failure() -> None:
    text = PAGE.read_text(encoding="utf-8")
    first = text.partition("## By independent readers")[2].partition("## Each reader alone")[0]
    rows = {line.split("|")[1].strip() for line in first.splitlines() if line.startswith("| ")}
    assert rows == {"format", *known.FORMATS}
    assert all(f" {case} " in first for case in format_cases.CASES)
    assert "FAIL" not in first.replace("`FAIL`", "")


def judged(*found: Mapping[str, Any], told: tuple[str, ...] = ()) -> str:
    return cell(compare([image("a.png", [TRUE])], [image("x/a.jpg", [dict(f) for f in found])], GIVES), told)


def test_what_is_the_same_is_exact() -> None:
    assert judged(TRUE) == "exact"
    assert judged(TRUE | {"box": [0, 0, 1.009, 3]}) == "exact"


def test_what_is_lost_is_named() -> None:
    assert judged() == "FAIL: lost"
    assert judged(TRUE | {"label": "cats"}) == "FAIL: label reads 'cats'"
    assert judged(TRUE | {"runs": [0, 2, 4]}) == "FAIL: IoU 0.667"
    assert judged(TRUE | {"runs": None}) == "FAIL: mask lost"
    assert judged(TRUE | {"box": [0, 0, 1.02, 3]}) == "FAIL: box off 0.02 px"
    assert judged(TRUE | {"score": None}) == "FAIL: score lost"
    assert judged(TRUE, TRUE) == "FAIL: 1 more objects"


def test_an_iou_next_to_one_is_not_rounded_to_it() -> None:
    long = TRUE | {"runs": [0, 100_000, 6]}
    found = compare([image("a.png", [long])], [image("a.png", [long | {"runs": [0, 99_999, 7]}])], GIVES)
    assert cell(found) == "FAIL: IoU 0.999"


def test_a_loss_is_told_by_words_about_the_same_field_only() -> None:
    assert judged(TRUE | {"score": None}, told=("scores",)) == "score lost (told)"
    assert judged(TRUE | {"score": None}, told=("empty masks",)) == "FAIL: score lost"
    assert judged(told=("empty masks",)) == "lost (told)"


def test_the_best_of_readers_counts_field_by_field() -> None:
    one = compare([image("a.png", [TRUE])], [image("a.png", [TRUE | {"runs": [0, 2, 4]}])], ("label", "mask"))
    other = compare([image("a.png", [TRUE])], [image("a.png", [TRUE | {"label": None}])], ("mask",))
    assert "label" not in other
    assert cell(format_judging.best([one, other])) == "exact"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in set(format_cases.CASES) - {"hole", "score"}:
        monkeypatch.delitem(format_cases.CASES, name)
    monkeypatch.setattr(formats, "PAGES", tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["formats", *arguments])
    formats.main()


@pytest.mark.usefixtures("few")
def test_the_command_writes_reads_and_says_what_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--only", "voc", "--only", "jsonl")
    text = capsys.readouterr().out
    assert "reader from the description" in text
    assert "score lost (told)" in text
    assert "- voc: scores (score)" in text
    assert "FAIL" not in text.replace("`FAIL`", "")


class Forgetful(Writer):
    """Loses scores and tells nobody."""

    def add(self, scene: Mapping[str, Any]) -> None:
        super().add({**scene, "segments": [{**s, "score": None} for s in scene["segments"]]})


def test_the_command_fails_where_a_loss_is_not_told(
    few: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(known, "writer_of", lambda name: Forgetful)
    with pytest.raises(SystemExit, match="nobody told"):
        run(monkeypatch, "--only", "jsonl")
    assert "FAIL: score lost" in capsys.readouterr().out
    assert not list(few.iterdir())


def test_a_reader_that_ends_its_process_is_a_cell_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written = format_runs.write(tmp_path, ["hole", "score"], ["jsonl"])
    monkeypatch.setattr(format_runs, "ask", lambda *_: [{"images": written["jsonl", "hole"].truth}])
    found = format_runs.read_by(readers_of("jsonl")[0], sys.executable, "jsonl", written)
    assert cell(found["hole"].fates or {}) == "exact"
    assert found["score"] == format_runs.Read(error="it ended the process")
