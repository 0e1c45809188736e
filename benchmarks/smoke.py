"""Check an accelerator before it is timed: ``python -m benchmarks.smoke [--device cpu|gpu]``.

gsam on the device in float32 beside torch on the CPU, in reduced models, and gsam's bfloat16 beside
its float32.  Prints the table that ``python -m benchmarks gpu`` begins with.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.harness.cases import CPU
from benchmarks.harness.differences import worst_mask_iou
from benchmarks.harness.interleave import WrongOutput, build
from benchmarks.harness.setting import Setting
from benchmarks.harness.worker import Worker

CASES = ("encoder_b", "decoder_16", "deformable", "clip_crops", "grounding_dino", "grounded_sam")
QUICK = ("encoder_b", "decoder_16", "deformable")
"""The cases of a run whose time is short."""


class _MixedWorkers:
    """gsam on the device in float32 and in bfloat16, torch on the CPU."""

    def __init__(self, device: str, folder: Path) -> None:
        self.setting = Setting(folder, True, device)
        os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"  # read by the process that starts next
        try:
            self._running = {"gsam": Worker("gsam", self.setting)}
        finally:
            del os.environ["JAX_DEFAULT_MATMUL_PRECISION"]
        self._running["half"] = Worker("gsam", dataclasses.replace(self.setting, half=True))
        self._running["eager"] = Worker("eager", dataclasses.replace(self.setting, device="cpu"))

    def __getitem__(self, form: str) -> Worker:
        return self._running[form]

    def close(self) -> None:
        for worker in self._running.values():
            worker.close()


def table(device: str, writer: Worker, names: Iterable[str] = CASES, seconds: float = 600.0) -> list[str]:
    """Compare, and return the table in Markdown.

    A row that differs says so: times on this device are then not to be believed.

    Args:
        device: ``"cpu"`` or ``"gpu"``.
        writer: A worker that writes checkpoints.
        names: Cases of `benchmarks.harness.cases.CPU`.
        seconds: After so long, what is left is not compared.
    """
    out = ["| reduced model, float32 against torch on the CPU | difference | allowed | |", "|---|---|---|---|"]
    cases = [dataclasses.replace(case, peers=("eager",)) for case in CPU if case.name in names]
    with tempfile.TemporaryDirectory() as name:
        workers = _MixedWorkers(device, Path(name))
        models = sorted(set().union(*(case.models for case in cases)))
        written = writer.call("write", folder=name, small=True, names=models)
        if "failed" in written:
            workers.close()
            return [*out, f"| not compared: {written['failed']} | | | |"]
        until = time.monotonic() + seconds  # processes have started by now
        for case in cases:
            if time.monotonic() > until:
                out.append(f"| {case.title} | not compared: no time was left | {case.tolerance:g} | |")
                continue
            try:
                _, absent, found = build(case, workers, Path(name))
            except WrongOutput as error:
                out.append(f"| {case.title} | **wrong**: {error} | | |")
                continue
            text = f"{found['eager']:.1e}" if "eager" in found else f"not compared: {absent['eager']}"
            out.append(f"| {case.title} | {text} | {case.tolerance:g} | {'ok' if found else ''} |")
        out.append(_half_against_full(workers, Path(name)))
        workers.close()
    return out


def _half_against_full(workers: _MixedWorkers, folder: Path) -> str:
    """Compare masks decoded from one embedding in bfloat16 and in float32."""
    found = []
    for form in ("half", "gsam"):
        path = folder / f"{form}.npz"
        answer = workers[form].call("build", method="decoder", options={"prompts": 16}, save=str(path))
        if "failed" in answer:
            return f"| bfloat16 masks | not compared: {answer['failed']} | | |"
        found.append(dict(np.load(path)))
    iou = worst_mask_iou(*found)
    return f"| masks of 16 boxes in bfloat16 against float32, least IoU (random weights) | {iou:.4f} | | |"


def main() -> int:
    """Print the table; the exit code is 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES, metavar="CASE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        writer = Worker("checkpoints", Setting(Path(name), True))
        lines = table(args.device, writer, args.only)
        writer.close()
    print("\n".join(lines))
    return int(any("**wrong**" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
