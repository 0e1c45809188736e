"""A run as a table for people."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.cases import Row
from benchmarks.harness.interleave import BUSY
from benchmarks.harness.worker import cores

PACKAGES = ("jax", "jaxlib", "flax", "torch", "transformers", "onnxruntime", "numpy", "pillow")
FLAGS = ("XLA_FLAGS", "JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "GSAM_ATTENTION")


def machine() -> str:
    """The processor, as the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = found[0] if found else platform.machine()
    return f"{model}, {cores()} cores, {platform.system()}, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """Of what is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def fastest(measured: Mapping[str, Any]) -> str | None:
    """The peer that gsam's ratio to is the largest."""
    ratios = measured.get("ratios", {})
    return max(ratios, key=lambda form: ratios[form]["median"], default=None)


def verdict(row: Row, measured: Mapping[str, Any]) -> str:
    """``met``, ``missed``, or nothing where there is no goal."""
    peer = fastest(measured)
    if row.goal is None or (peer is None and row.unit == "ratio"):
        return ""
    seconds = measured["seconds"]["gsam"]
    value = {
        "ratio": lambda: measured["ratios"][peer]["median"] <= row.goal,
        "per_second": lambda: row.items / seconds >= row.goal,
        "milliseconds": lambda: 1e3 * seconds <= row.goal,
    }[row.unit]()
    return "met" if value else "**missed**"


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def line(row: Row, measured: Mapping[str, Any]) -> str:
    """One row of the table of times."""
    if "skipped" in measured:
        return f"| {row.title} | not run: {measured['skipped']} | | | | |"
    if "wrong" in measured:
        return f"| {row.title} | **not timed**: {measured['wrong']} | | | | |"
    peer, seconds = fastest(measured), measured["seconds"]
    others = ", ".join(f"{form} {duration(seconds[form])}" for form in row.peers if form in seconds)
    absent = [f"{form}: {why}" for form, why in measured["absent"].items()]
    ratio = quiet = ""
    if peer:
        r = measured["ratios"][peer]
        ratio = f"**{r['median']:.2f}** ({r['lowest']:.2f} to {r['highest']:.2f}) to {peer}"
        quiet = f"{r['quiet']} of {r['pairs']}" + (f": {r['quiet_median']:.2f}" if r["quiet"] else "")
    goal = (
        {"ratio": "{:g}", "per_second": ">= {:g}/s", "milliseconds": "<= {:g} ms"}[row.unit].format(row.goal)
        if row.goal
        else ""
    )
    ours = duration(seconds["gsam"]) + (f" ({row.items / seconds['gsam']:.3g}/s)" if row.unit == "per_second" else "")
    missing = f" (absent: {'; '.join(absent)})" if absent else ""
    return f"| {row.title} | {ours} | {others}{missing} | {ratio} | {goal} {verdict(row, measured)} | {quiet} |"


def memory(row: Row, found: Mapping[str, float]) -> str:
    """One row of the table of memory."""
    peers = {form: found[form] for form in found if form != "gsam"}
    least = min(peers, key=lambda form: peers[form])
    ratio = found["gsam"] / peers[least]
    assert row.memory is not None
    others = ", ".join(f"{form} {size / 1e6:.0f} MB" for form, size in peers.items())
    met = "met" if ratio <= row.memory else "**missed**"
    return (
        f"| {row.title} | {found['gsam'] / 1e6:.0f} MB | {others} | **{ratio:.2f}** to {least} | {row.memory:g} {met} |"
    )


def page(report: Mapping[str, Any], rows: Mapping[str, Row]) -> str:
    """The whole run in Markdown."""
    title = {"cpu": "gsam beside its peers on a CPU", "gpu": "gsam beside its peers on an accelerator"}[report["kind"]]
    out = [f"# {title}" + (" (reduced models)" if report["small"] else ""), ""]
    out += [
        f"Made by `{report['command']}` on {report['date']}: {report['machine']}. It took {report['took']:.0f} s.",
        "",
    ]
    out += ["| what | gsam | peers | gsam / fastest peer | goal | quiet pairs |", "|---|---|---|---|---|---|"]
    out += [line(rows[name], measured) for name, measured in report["rows"].items()]
    if report.get("memory"):
        out += ["", "| peak memory | gsam | peers | gsam / leanest peer | goal |", "|---|---|---|---|---|"]
        out += [memory(rows[name], found) for name, found in report["memory"].items()]
    if report.get("floors"):
        out += ["", "| what | GFLOP counted | GB least | floor | gsam | of the floor | TFLOP/s | GB/s (XLA's count) |"]
        out += ["|---|---|---|---|---|---|---|---|", *report["floors"]]
    for heading, table in report.get("growth", {}).items():
        out += ["", f"## {heading}", "", *table]
    notes = [
        "All sides run on the same seeded random weights and inputs, in float32 on a CPU and in bfloat16 on an accelerator, each "
        "in a process of its own that stays loaded. They are called in turns, one at a time, and who begins changes. Nothing "
        "is timed before its output agrees with gsam's. A row is judged by the fastest peer: the largest median of ratios of "
        "neighbouring calls; the spread is in brackets.",
        f"A pair is quiet when others used less than {BUSY} cores during both calls, time the host took included; the number "
        f"behind it is their median. Load before the run: {report['load']}.",
        "eager, sdpa and compile are transformers' models in torch with that attention, and torch.compile of the sdpa form; "
        "onnx is ONNX Runtime on an export of the same model.",
        "Peak memory: the most that was resident in a fresh process that loads and calls once, compiled programs coming from "
        "gsam's cache as in every start but the first.",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
        "Environment: " + (", ".join(f"{k}={os.environ[k]}" for k in FLAGS if k in os.environ) or "nothing set") + ".",
    ]
    return "\n".join([*out, "", *(textwrap.fill(f"- {n}", 120, subsequent_indent="  ") for n in notes), ""])
