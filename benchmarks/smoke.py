"""Before an accelerator is timed: its float32 beside torch's on the CPU in reduced models, its bfloat16 beside its float32."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.cases import CPU
from benchmarks.harness.checkpoints import write
from benchmarks.harness.differences import agreement
from benchmarks.harness.interleave import Worker, Wrong, build
from benchmarks.harness.setting import Setting

ROWS = ("encoder_b", "decoder_16", "deformable", "clip_crops", "grounding_dino", "grounded_sam")


class _Mixed:
    """gsam on the accelerator in float32, torch on the CPU."""

    def __init__(self, device: str, folder: Path) -> None:
        self.setting = Setting(folder, True, device)
        os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"  # read by the process that starts next
        try:
            self.workers = {"gsam": Worker("gsam", self.setting)}
        finally:
            del os.environ["JAX_DEFAULT_MATMUL_PRECISION"]

    def __getitem__(self, form: str) -> Worker:
        if form not in self.workers:
            self.workers[form] = Worker(form, dataclasses.replace(self.setting, device="cpu"))
        return self.workers[form]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()


def table(device: str, names: Iterable[str] = ROWS) -> list[str]:
    """What was compared, in Markdown.  A row that differs says so: the rows of times are then not to be believed."""
    out = ["| reduced model, float32 against torch on the CPU | difference | allowed | |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [dataclasses.replace(row, peers=("eager",)) for row in CPU if row.name in names]
        try:
            write(folder, True, set().union(*(row.models for row in rows)))
        except ImportError as error:
            return [*out, f"| not compared: {error} | | | |"]
        sides: Any = _Mixed(device, folder)
        for row in rows:
            try:
                _, absent, found = build(row, sides, folder)
            except Wrong as error:
                out.append(f"| {row.title} | **wrong**: {error} | | |")
                continue
            text = f"{found['eager']:.1e}" if "eager" in found else f"not compared: {absent['eager']}"
            out.append(f"| {row.title} | {text} | {row.tolerance:g} | {'ok' if found else ''} |")
        out.append(_halves(sides.setting, sides["gsam"]))
        sides.close()
    return out


def _halves(setting: Setting, full: Worker) -> str:
    """The agreement of masks decoded from one embedding in bfloat16 and in float32."""
    worker = Worker("gsam", dataclasses.replace(setting, half=True))
    found = []
    for side, name in ((worker, "half"), (full, "full")):
        path = setting.folder / f"{name}.npz"
        answer = side.call("build", name=name, case="decoder", options={"prompts": 16}, save=str(path))
        if "failed" in answer:
            return f"| bfloat16 masks | not compared: {answer['failed']} | | |"
        found.append(dict(np.load(path)))
    worker.close()
    return (
        f"| masks of 16 boxes in bfloat16 against float32, least IoU (random weights) | {agreement(*found):.4f} | | |"
    )
