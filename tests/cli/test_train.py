"""`gsam train segmenter`: options, exit codes, and a run that is killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gsam.cli.train_options import check_length, held_out_of
from gsam.errors import UsageError
from tests.helpers.command import in_process
from tests.helpers.drawings import write_drawings
from tests.helpers.tiny_sam import write_tiny_sam


def test_held_out_is_a_share_or_a_data_set() -> None:
    assert held_out_of("0.25") == 0.25
    assert held_out_of("0") == 0.0
    assert held_out_of("test.json") == Path("test.json")
    for wrong in ("1", "1.5", "-0.1"):
        with pytest.raises(UsageError, match="a share from 0 up to 1"):
            held_out_of(wrong)
    with pytest.raises(UsageError, match="two lengths of one run"):
        check_length(10, 5.0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", "5", "--minutes", "1"], "two lengths of one run"),
        (["--held-out", "7"], "a share from 0 up to 1"),
        (["-m", "fast_sam_s"], "[train_family]"),
        (["-m", "grounding_dino_tiny"], "it is a model to detect"),
        (["-m", "nano_sam"], "train.json is not there"),
        (["-m", "nano_sam", "--what", "head"], "is not one of"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optax")
    call = in_process(
        monkeypatch, "train", "segmenter", "--data", str(tmp_path / "train.json"), "-o", str(tmp_path / "o")
    )
    assert call(*words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_without_optax_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    call = in_process(
        monkeypatch, "train", "segmenter", "--data", str(tmp_path / "train.json"), "-o", str(tmp_path / "o")
    )
    assert call() == 2
    assert "pip install 'gsam-jax[train]' [extra_missing]" in capsys.readouterr().err


def start(data: Path, model: Path, out: Path) -> subprocess.Popen[str]:
    words = ["train", "segmenter", "--data", data, "-m", model, "-o", out, "--steps", "30", "--save-every", "2"]
    words += ["--batch-size", "2", "--objects", "3", "--corrections", "2", "--rate", "1e-3", "--evaluate-every", "10"]
    words += ["--held-out", "0.34"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    environment["XLA_FLAGS"] = environment["XLA_FLAGS"].replace("device_count=4", "device_count=1")
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "gsam", *map(str, words)], env=environment, **pipes)


def lines(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def saved(out: Path) -> int:
    return max((int(p.name) for p in (out / "checkpoints").glob("*") if p.name.isdigit()), default=0)


@pytest.mark.slow
def test_killed_and_started_again_it_is_as_if_never_killed(tmp_path: Path) -> None:
    """By SIGKILL twice and by SIGTERM once: the log and the model are the same, bit for bit."""
    data, model = write_drawings(tmp_path / "data", 6, size=(24, 36)), write_tiny_sam(tmp_path / "sam")
    whole = start(data, model, tmp_path / "whole")
    printed, said = whole.communicate(timeout=600)
    assert (whole.returncode, printed.splitlines()[-1]) == (0, str(tmp_path / "whole" / "model")), said
    cut = tmp_path / "cut"
    for number, at in ((signal.SIGKILL, 2), (signal.SIGTERM, 8), (signal.SIGKILL, 16)):
        process = start(data, model, cut)
        while saved(cut) < at and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=600)
        assert process.returncode == (143 if number == signal.SIGTERM else -number), said
        assert not (cut / "model").exists()
        if number == signal.SIGTERM:
            assert "the same command goes on from there" in said
    last = start(data, model, cut)
    _, said = last.communicate(timeout=600)
    assert last.returncode == 0, said
    assert lines(cut) == lines(tmp_path / "whole")
    for name in ("model/model.safetensors", "before.json"):
        assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
