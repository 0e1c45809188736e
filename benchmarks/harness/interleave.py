"""Sides in turns: processes that stay loaded, outputs compared before anything is timed, ratios of neighbouring calls."""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.cases import Row
from benchmarks.harness.differences import MEASURES
from benchmarks.harness.setting import Setting

ROOT = Path(__file__).parents[2]
BUSY = 0.2
"""Cores that others used (or the host took) while a call ran, from which on it is marked."""

ROUGH = 0.05
"""How much of the peer's deviation two bfloat16 results may differ by, root mean square."""


class Wrong(RuntimeError):
    """A side computes something else: nothing of the row is timed."""


class Worker:
    """A side in a process of its own, idle between calls."""

    patience: float = 600.0
    """Seconds after which a call that has not been answered has failed, and its process is ended."""

    def __init__(self, form: str, setting: Setting) -> None:
        self.form = form
        given = {"folder": str(setting.folder), "small": setting.small, "device": setting.device, "half": setting.half}
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        environment.setdefault("GSAM_CACHE", str(setting.folder / "cache"))
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the card is shared with the peers' processes
        if setting.device == "cpu":
            environment["JAX_PLATFORMS"] = "cpu"
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.harness.worker", form, json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip

    def call(self, do: str, **values: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps({"do": do, **values}), file=self.process.stdin, flush=True)
            ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
            if not ready:
                self.process.kill()
                return {"failed": f"no answer within {self.patience:.0f} s"}
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"failed": f"the process ended with code {self.process.wait()}"}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


class Sides:
    """The workers, each started when it is first needed."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.workers: dict[str, Worker] = {}

    def __getitem__(self, form: str) -> Worker:
        if form in self.workers and self.workers[form].process.poll() is not None:
            self.workers.pop(form).close()
        if form not in self.workers:
            self.workers[form] = Worker(form, self.setting)
        return self.workers[form]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()


def build(row: Row, sides: Any, folder: Path) -> tuple[dict[str, float], dict[str, str], dict[str, float]]:
    """Every side's case made ready.  First calls by form, absent peers with the reason, differences; raises `Wrong`."""
    first, absent, differences = {}, {}, {}
    for form in ("gsam", *row.peers):
        answer = sides[form].call(
            "build", name=row.name, case=row.case, options=dict(row.options), save=str(folder / f"{form}.npz")
        )
        if "failed" not in answer:
            first[form] = answer["first"]
        elif form == "gsam":
            raise Wrong(f"{row.name}: gsam failed: {answer['failed']}")
        else:
            absent[form] = answer["failed"]
    ours = dict(np.load(folder / "gsam.npz"))
    for form in first.keys() - {"gsam"}:
        half = sides.setting.half  # rounding alone turns ranks and single pixels over: `smoke` compares in float32
        measure, allowed = ("rough", ROUGH) if half else (row.measure, row.tolerance)
        found = MEASURES[measure](ours, dict(np.load(folder / f"{form}.npz")))
        differences[form] = found
        if not found <= allowed:
            raise Wrong(f"{row.name}: gsam and torch ({form}) differ by {found:.2e}, {allowed:g} is allowed")
    return first, absent, differences


def alternate(forms: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Everyone once a round; who begins changes."""
    for number in range(rounds):
        turn = number % len(forms)
        yield from ((number, form) for form in (*forms[turn:], *forms[:turn]))


def measure(row: Row, sides: Any, rounds: int | None = None) -> dict[str, Any]:
    """The whole row: what was compared, every call's figures, and their summary."""
    with tempfile.TemporaryDirectory() as name:
        first, absent, differences = build(row, sides, Path(name))
    calls: dict[str, list[dict[str, float]]] = {form: [] for form in first}
    for number, form in alternate(list(first), rounds or row.rounds):
        answer = sides[form].call("time", number=number, inner=row.inner)
        if "failed" in answer:
            raise Wrong(f"{row.name}: {form} failed: {answer['failed']}")
        calls[form].append(answer)
    return {"first": first, "absent": absent, "differences": differences, "calls": calls, **summary(calls)}


def summary(calls: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Medians by side, and gsam's ratio to every peer: median of the pairs, spread, and of the quiet pairs alone."""
    seconds = {form: [c["seconds"] for c in cs] for form, cs in calls.items()}
    ratios = {}
    for form in calls.keys() - {"gsam"}:
        pairs = list(zip(calls["gsam"], calls[form], strict=True))
        each = [a["seconds"] / b["seconds"] for a, b in pairs]
        quiet = [r for r, pair in zip(each, pairs, strict=True) if all(c["others"] + c["stolen"] <= BUSY for c in pair)]
        ratios[form] = {
            "median": statistics.median(each), "lowest": min(each), "highest": max(each),
            "pairs": len(each), "quiet": len(quiet), "quiet_median": statistics.median(quiet) if quiet else None,
        }  # fmt: skip
    return {"seconds": {form: statistics.median(s) for form, s in seconds.items()}, "ratios": ratios}


def peaks(row: Row, setting: Setting) -> dict[str, float]:
    """Peak resident bytes by side, of fresh processes that build the case and call it once.

    Not of those that first make another form of the model in the same process: what that takes is not theirs.
    """
    found = {}
    for form in ("gsam", *(form for form in row.peers if form not in ("compile", "onnx"))):
        worker = Worker(form, setting)
        answer = worker.call("build", name=row.name, case=row.case, options=dict(row.options), save=None)
        if "failed" not in answer:
            found[form] = float(answer["peak"])
        worker.close()
    return found
