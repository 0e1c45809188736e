from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gsam.cli.distil import app
from gsam.errors import UsageError


def test_help_names_the_two_models() -> None:
    found = CliRunner().invoke(app, ["--help"])
    assert found.exit_code == 0
    assert "--teacher" in found.output


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--steps", "5", "--minutes", "1"], "usage"),
        (["--teacher", "sam2.1_hiera_tiny"], "distil_family"),
        (["--teacher", "mobile_sam"], "distil_same"),
        (["--teacher", "nano_sam", "--init", "scratch"], "distil_shapes"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, options: list[str], code: str) -> None:
    pytest.importorskip("optax")
    arguments = ["--images", str(tmp_path), "-o", str(tmp_path / "run"), *options]
    found = CliRunner().invoke(app, arguments)
    assert isinstance(found.exception, UsageError)
    assert found.exception.code == code
    assert not (tmp_path / "run").exists()
