"""``python -m tests.helpers.killed RUN TIMES SEED``: train, killed at random moments and resumed.

Every part of the run is a process of its own, forked before JAX begins to work, so that it need not
import everything anew.  Prints the lines that the log had at each kill.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint  # noqa: F401

from gsam.training.schedule import TrainConfig
from gsam.training.trainer import train
from tests.helpers.line import Line

CONFIG = TrainConfig(
    steps=60, learning_rate=3e-2, log_every=4, save_steps=3, evaluate_steps=10, watch="iou", patience=4, ema_decay=0.9
)


def task() -> Line:
    """The task, one of whose steps is not finite."""
    return Line(poison=(7, 8))


def main() -> int:
    """Kill ``TIMES`` times, then let the run end."""
    run, times, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = np.random.default_rng(seed)
    for number in range(times + 1):
        child = os.fork()
        if not child:
            train(task(), CONFIG, run, resume=True, quiet=True)
            os._exit(0)
        if number < times:
            moments(run, child, float(rng.uniform(0, 0.4)))
        code = os.waitpid(child, 0)[1]
        print(count(run) if number < times else code, flush=True)
    return 0


def moments(run: Path, child: int, wait: float) -> None:
    """Kill a process some time after it has written more to the log."""
    before = count(run)
    while count(run) <= before and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.01)
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)


def count(run: Path) -> int:
    """Bytes of the log."""
    log = run / "log.jsonl"
    return log.stat().st_size if log.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
