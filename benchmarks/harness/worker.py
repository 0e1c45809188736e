"""One side in a process of its own: ``python -m benchmarks.harness.worker FORM SETTING``.  Answers calls, a JSON line each."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.harness.setting import Setting


def cores() -> int:
    return len(os.sched_getaffinity(0))


def busy() -> tuple[float, float]:
    """CPU seconds of all processes of the machine, and those that its host took, since it was started."""
    user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + soft) / tick, steal / tick


def peak() -> int:
    """Bytes that this process had resident at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class Answering:
    """Builds cases and runs them."""

    def __init__(self, form: str, setting: Setting) -> None:
        self.module: ModuleType
        if form == "gsam":
            from benchmarks.harness import gsam_cases

            self.module, self.side = gsam_cases, gsam_cases.Side(setting)
        else:
            from benchmarks.harness import torch_cases

            self.module, self.side = torch_cases, torch_cases.Side(setting, form)
        self.name, self.run = "", None

    def build(self, name: str, case: str, options: dict[str, Any], save: str | None) -> dict[str, Any]:
        """Make a case ready, warm it up, and save what it computes."""
        began = time.perf_counter()
        self.name, self.run = "", None
        gc.collect()
        self.run, self.name = self.side.case(case, **options), name
        outputs = self.run(0)
        self.module.wait(outputs)
        seconds = time.perf_counter() - began
        if save:
            np.savez(save, **self.module.host(outputs))
        return {"first": seconds, "peak": peak()}

    def time(self, number: int, inner: int) -> dict[str, float]:
        """``inner`` calls in a row, waited for at the end: seconds a call, and what else went on."""
        before, own, began = busy(), os.times(), time.perf_counter()
        outputs = [self.run(number * inner + i + 1) for i in range(inner)]
        self.module.wait(outputs[-1])
        wall, used, after = time.perf_counter() - began, os.times(), busy()
        cpu = used.user + used.system - own.user - own.system
        return {
            "seconds": wall / inner,
            "cpu": cpu / inner,
            "others": max(after[0] - before[0] - cpu, 0.0) / wall,
            "stolen": (after[1] - before[1]) / wall,
            "peak": peak(),
        }

    def cost(self) -> dict[str, float]:
        """What the program of the case costs by count; of gsam's side only."""
        if self.side.counted is None:
            raise RuntimeError("this case is no single program")
        return self.side.counted.cost()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    form, given = sys.argv[1], json.loads(sys.argv[2])
    setting = Setting(Path(given.pop("folder")), **given)
    answering: Answering | None = None
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answering = answering or Answering(form, setting)
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
