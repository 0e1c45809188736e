"""Reports of training runs: what is read from the log, and what is written and printed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gsam.errors import OutputError
from gsam.training.report import Score, print_scores, read_curves, write_report

NAN = math.nan


def test_a_log_that_was_killed_and_resumed_gives_one_curve(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    rows = [
        {"event": "step", "step": 1, "progress": 0.1, "seconds": 1.0, "skipped": 0, "loss": 3.0, "note": None},
        {"event": "step", "step": 2, "loss": 9.0},
        {"event": "step", "step": 2, "loss": 2.0},
        {"event": "step", "step": 3, "loss": "nan"},
        {"event": "evaluate", "step": 2, "one box": 0.5},
        {"event": "resume", "step": 2},
        {"event": "evaluate", "step": 3, "one box": 0.75},
        {"event": "end", "step": 3, "one box": 0.8, "seconds": 9.0},
    ]
    log.write_text("\n".join(json.dumps(row) for row in rows) + '\nnull\n[1]\n{"event": "step", "ste')
    curves, last = read_curves(log)
    assert last == 3
    assert curves.steps["loss"][:2] == [(1, 3.0), (2, 2.0)]
    assert math.isnan(curves.steps["loss"][2][1])
    assert curves.evaluations == {"one box": [(2, 0.5), (3, 0.75)]}
    assert set(curves.steps) == {"loss"}


def test_no_log_is_no_error(tmp_path: Path) -> None:
    curves, last = read_curves(tmp_path / "log.jsonl")
    assert (dict(curves.steps), dict(curves.evaluations), last) == ({}, {}, 0)


def test_a_report_is_a_page_and_numbers(tmp_path: Path) -> None:
    scores = [Score("dog", "one box", 3, 0.5, 0.75), Score("고양이", "one box", 1, NAN, 0.25)]
    page = write_report(
        tmp_path, title="sam_vit_b", settings={"rate": 1e-4}, scores=scores, seconds=12.5, peak_memory=2**30
    )
    assert page == tmp_path / "index.html"
    numbers = json.loads((tmp_path / "results.json").read_text())
    assert numbers["scores"][1] == {"label": "고양이", "prompt": "one box", "count": 1, "before": None, "after": 0.25}
    assert numbers["means"][0]["before"] == 0.5
    assert numbers["means"][0]["after"] == 0.75
    assert (numbers["seconds"], numbers["peak_memory"], numbers["settings"]) == (12.5, 2**30, {"rate": 1e-4})


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError, match="run: the results page cannot be written"):
        write_report(tmp_path / "run", title="", settings={}, scores=[], seconds=0.0)


def test_scores_are_printed_in_columns(capsys: pytest.CaptureFixture[str]) -> None:
    scores = [
        Score("강아지", "one box", 2, 0.5, 0.625),
        Score("강아지", "three clicks", 2, 0.25, 1.0),
        Score("dog", "one box", 30, NAN, NAN),
    ]
    print_scores(scores)
    assert capsys.readouterr().out.splitlines() == [
        "                        one box    three clicks",
        "class   objects  before   after  before   after",
        "dog          30       –       –       –       –",
        "강아지        2   0.500   0.625   0.250   1.000",
        "all          32   0.500   0.625   0.250   1.000",
    ]
    print_scores([])
    assert capsys.readouterr().out == ""
