"""One side of a comparison in a process of its own, which stays loaded and answers calls.

`Worker` is the end that calls, ``python -m benchmarks.harness.worker FORM SETTING`` the end that
answers, one line of JSON per call.  Forms: ``gsam``; ``eager``, ``sdpa``, ``compile`` and ``onnx``
of torch; ``checkpoints``, which writes the models of both.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import checkpoints
from benchmarks.harness.machine import busy_seconds, peak_memory
from benchmarks.harness.setting import Setting

ROOT = Path(__file__).parents[2]


class Worker:
    """A process that computes one form."""

    def __init__(self, form: str, setting: Setting, patience: float = 600.0) -> None:
        """Start the process.

        Args:
            form: What it computes.
            setting: Where, and on which models.
            patience: Seconds after which a call without an answer has failed, and the process is
                ended.
        """
        self.form, self.patience = form, patience
        given = {"folder": str(setting.folder), "small": setting.small, "device": setting.device, "half": setting.half}
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.harness.worker", form, json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=ROOT,
            env=_environment(form, setting),
        )  # fmt: skip

    def call(self, do: str, **values: Any) -> dict[str, Any]:
        """Call ``do`` and wait: its answer, or ``{"failed": reason}``."""
        self.send(do, **values)
        return self.receive()

    def send(self, do: str, **values: Any) -> None:
        """Call ``do`` and go on; `receive` waits for the answer."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"do": do, **values}), file=self.process.stdin, flush=True)

    def receive(self) -> dict[str, Any]:
        """Wait for the answer to what was sent, for no longer than the worker's patience."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
        if not ready:
            self.process.kill()
            return {"failed": f"no answer within {self.patience:.0f} s"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"failed": f"the process ended with code {self.process.wait()}"}

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.log.close()


def _environment(form: str, setting: Setting) -> dict[str, str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    environment.setdefault("GSAM_CACHE", str(setting.folder / "cache"))
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the card is shared with the peers' processes
    if setting.device == "cpu" or form != "gsam":
        environment["JAX_PLATFORMS"] = "cpu"
    return environment


class Workers:
    """Workers by form, each started when it is first needed."""

    def __init__(self, setting: Setting, patience: float = 600.0) -> None:
        self.setting, self.patience = setting, patience
        self._running: dict[str, Worker] = {}

    def __getitem__(self, form: str) -> Worker:
        if form in self._running and self._running[form].process.poll() is not None:
            self._running.pop(form).close()
        if form not in self._running:
            self._running[form] = Worker(form, self.setting)
        self._running[form].patience = self.patience
        return self._running[form]

    def start(self, forms: Iterable[str]) -> None:
        """Start several at once, so that they import side by side."""
        for form in forms:
            self[form]

    def close(self) -> None:
        """End all of them."""
        for worker in self._running.values():
            worker.close()
        self._running.clear()


class CheckpointWriter:
    """The answers of the form ``checkpoints``."""

    def __init__(self) -> None:
        import torch  # noqa: F401  # once, while the others start
        import transformers  # noqa: F401

    def write(self, folder: str, small: bool, names: list[str]) -> dict[str, Any]:
        """Write checkpoints, see `benchmarks.harness.checkpoints.write`."""
        checkpoints.write(Path(folder), small, names)
        return {}


class CaseRunner:
    """The answers of every other form: it builds one case at a time, and runs it."""

    def __init__(self, form: str, setting: Setting) -> None:
        self.cases: Any
        self.run: Any = None
        if form == "gsam":
            from benchmarks.harness import gsam_cases

            self.cases = gsam_cases.GsamCases(setting)
        else:
            from benchmarks.harness import torch_cases

            self.cases = torch_cases.TorchCases(setting, form)

    def build(self, method: str, options: dict[str, Any], save: str | None) -> dict[str, Any]:
        """Make a case ready, call it once, and save what it computes to the file ``save``."""
        began = time.perf_counter()
        self.run = None
        gc.collect()
        self.run = self.cases.case(method, **options)
        outputs = self.run(0)
        self.cases.wait(outputs)
        seconds = time.perf_counter() - began
        if save:
            np.savez(save, **self.cases.host(outputs))
        return {"first": seconds, "peak": peak_memory()}

    def time(self, number: int, inner: int) -> dict[str, float]:
        """Call the case ``inner`` times, then wait; return seconds per call, and what else ran."""
        before, own, began = busy_seconds(), os.times(), time.perf_counter()
        outputs = [self.run(number * inner + i + 1) for i in range(inner)]
        self.cases.wait(outputs[-1])
        wall, used, after = time.perf_counter() - began, os.times(), busy_seconds()
        cpu = used.user + used.system - own.user - own.system
        return {
            "seconds": wall / inner,
            "cpu": cpu / inner,
            "others": max(after[0] - before[0] - cpu, 0.0) / wall,
            "stolen": (after[1] - before[1]) / wall,
            "peak": peak_memory(),
        }

    def cost(self) -> dict[str, float]:
        """Return what the case's program costs by count (gsam's only)."""
        return self.cases.cost()

    def device(self) -> dict[str, Any]:
        """Return the name of the device and the rates that it reaches (gsam's only)."""
        return self.cases.device_and_peak()


def main() -> None:
    """Answer the calls on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    form, given = sys.argv[1], json.loads(sys.argv[2])
    setting = Setting(Path(given.pop("folder")), **given)
    # A failure to start is the answer to every call.
    start = CheckpointWriter if form == "checkpoints" else functools.partial(CaseRunner, form, setting)
    answering: Any = None
    failure: Exception | None = None
    try:
        answering = start()
    except Exception as error:
        failure = error
    for line in sys.stdin:
        call = json.loads(line)
        try:
            if failure is not None:
                raise failure
            answer: dict[str, Any] = getattr(answering, call.pop("do"))(**call)
        except Exception as error:
            with contextlib.suppress(Exception):
                import traceback

                traceback.print_exc()
            reason = str(error).strip().splitlines() or [type(error).__name__]
            answer = {"failed": reason[0][:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
