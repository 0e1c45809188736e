"""Every bad checkpoint of the table gives the error it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsam import cli
from tests.bad.checkpoints import ROWS, Row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
@pytest.mark.long
def test_bad(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))
    run = row.make(tmp_path)
    with pytest.raises(row.error) as error:
        run()
    assert (type(error.value), error.value.code) == (row.error, row.code), error.value
    assert len(str(error.value)) > 20

    def fail(**_: object) -> None:
        raise error.value

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == row.exit
    printed = capsys.readouterr().err
    assert f"[{row.code}]" in printed
    assert "Traceback" not in printed


def test_ids_are_unique_and_complete() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert {int(row.id[:2]) for row in ROWS} == set(range(32, 40))
