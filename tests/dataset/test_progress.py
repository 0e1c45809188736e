"""Progress on stderr: lines where there is no terminal."""

from __future__ import annotations

import pytest

from gsam.dataset import progress
from gsam.dataset.progress import Progress


def test_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Progress(4) as bar:
        for clock[0] in (1.0, 6.0, 7.0):
            bar.step()
        bar.print("between")
        bar.step()
    assert capsys.readouterr() == ("", "gsam: 2/4\nbetween\ngsam: 4/4\n")


def test_one_item_needs_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1) as bar:
        bar.step()
    assert capsys.readouterr().err == ""
