"""Runs that are killed at any moment and resumed, against one that is left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("optax")

from gsam.training.checkpoints import Checkpoints
from gsam.training.trainer import train
from tests.helpers import killed
from tests.helpers.line import lines


@pytest.mark.long
def test_a_run_that_was_killed_three_times_repeats_one_that_was_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.helpers.killed", str(tmp_path / "killed"), "3", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    *at, code = map(int, done.stdout.split())
    assert code == 0
    whole = train(killed.task(), killed.CONFIG, tmp_path / "whole", quiet=True)
    size = killed.count(tmp_path / "whole")
    assert len(at) == 3
    assert sum(0 < n < size - 200 for n in at) >= 2, (at, size)  # most kills came in the middle
    for event in ("step", "skipped", "evaluate", "end"):
        assert lines(tmp_path / "killed", event) == lines(tmp_path / "whole", event)
        assert lines(tmp_path / "whole", event)
    states = []
    for name in ("killed", "whole"):
        with Checkpoints(tmp_path / name / "checkpoints") as saved:
            state, notes = saved.restore_any()
        states.append(state)
        assert int(state["step"]) == int(whole.step)
        assert notes["best"] is not None
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), *states)
