"""A run of `python -m benchmarks` as a page of Markdown."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.cases import Case
from benchmarks.harness.interleave import BUSY
from benchmarks.harness.roofline import Peak

FLAGS = (
    "XLA_FLAGS",
    "JAX_PLATFORMS",
    "JAX_NUM_CPU_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "GSAM_ATTENTION",
)
"""Variables of the environment that change what is measured."""
TITLES = {"cpu": "gsam beside its peers on a CPU", "gpu": "gsam beside its peers on an accelerator"}


def fastest_peer(case: Case, measured: Mapping[str, Any]) -> str | None:
    """Return the peer to which gsam's ratio is the largest, of quiet pairs where there are any."""
    ratios = {form: r for form, r in measured.get("ratios", {}).items() if form not in case.beside}
    return max(ratios, key=lambda form: ratios[form]["quiet_median"] or ratios[form]["median"], default=None)


def verdict(case: Case, measured: Mapping[str, Any]) -> str:
    """Return ``met``, ``missed``, or nothing where there is no goal.

    A ratio is judged by quiet pairs only.
    """
    peer = fastest_peer(case, measured)
    if case.goal is None or (peer is None and case.unit == "ratio"):
        return ""
    if case.unit == "ratio" and not measured["ratios"][peer]["quiet"]:
        return "not judged: no quiet pair"
    seconds = measured["seconds"]["gsam"]
    met = {
        "ratio": lambda: measured["ratios"][peer]["quiet_median"] <= case.goal,
        "per_second": lambda: case.items / seconds >= case.goal,
        "milliseconds": lambda: 1e3 * seconds <= case.goal,
    }[case.unit]()
    return "met" if met else "**missed**"


def duration(seconds: float) -> str:
    """Write seconds, or milliseconds below one second."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def line(case: Case, measured: Mapping[str, Any], precision: str = "float32") -> str:
    """Write the case's row of the table of times, computed in ``precision``."""
    if "skipped" in measured:
        return f"| {case.title} | {precision} | not measured: {measured['skipped']} | | | | |"
    if "wrong" in measured:
        return f"| {case.title} | {precision} | **not timed**: {measured['wrong']} | | | | |"
    peer, seconds = fastest_peer(case, measured), measured["seconds"]
    others = ", ".join(f"{form} {duration(seconds[form])}" for form in case.peers if form in seconds)
    others += "".join(
        f"; gsam / {form} {measured['ratios'][form]['median']:.2f}" for form in case.beside if form in seconds
    )
    absent = [f"{form}: {why}" for form, why in measured["absent"].items()]
    absent += [f"{', '.join(case.omitted)}: only with --full"] if case.omitted else []
    ratio = quiet = ""
    if peer:
        r = measured["ratios"][peer]
        ratio = f"**{r['median']:.2f}** ({r['lowest']:.2f} to {r['highest']:.2f}) to {peer}"
        quiet = f"{r['quiet']} of {r['pairs']}" + (f": {r['quiet_median']:.2f}" if r["quiet"] else "")
    form = {"ratio": "{:g}", "per_second": ">= {:g}/s", "milliseconds": "<= {:g} ms"}[case.unit]
    goal = form.format(case.goal) if case.goal else ""
    rate = f" ({case.items / seconds['gsam']:.3g}/s)" if case.unit == "per_second" else ""
    missing = f" (not measured: {'; '.join(absent)})" if absent else ""
    return (
        f"| {case.title} | {precision} | {duration(seconds['gsam'])}{rate} | {others}{missing} | {ratio} | "
        f"{goal} {verdict(case, measured)} | {quiet} |"
    )


def memory_line(case: Case, found: Mapping[str, float]) -> str:
    """Write the case's row of the table of memory."""
    peers = {form: found[form] for form in found if form != "gsam"}
    assert case.memory is not None
    own = f"| {case.title} | {found['gsam'] / 1e6:.0f} MB |"
    if not peers:
        return f"{own} | | {case.memory:g} |"
    leanest = min(peers, key=lambda form: peers[form])
    ratio = found["gsam"] / peers[leanest]
    others = ", ".join(f"{form} {size / 1e6:.0f} MB" for form, size in peers.items())
    met = "met" if ratio <= case.memory else "**missed**"
    return f"{own} {others} | **{ratio:.2f}** to {leanest} | {case.memory:g} {met} |"


def roofline_line(case: Case, seconds: float, cost: Mapping[str, float], peak: Peak) -> str:
    """Write the case's row of the table of lower bounds."""
    least = peak.least_seconds(cost["operations"], cost["bytes"])
    return (
        f"| {case.title} | {cost['operations'] / 1e9:.4g} | {cost['bytes'] / 1e9:.3g} | {least * 1e3:.3g} ms | "
        f"{seconds * 1e3:.4g} ms | {least / seconds:.0%} | {cost['operations'] / seconds / 1e12:.3g} | "
        f"{cost['accessed'] / seconds / 1e9:.3g} |"
    )


def page(report: Mapping[str, Any], cases: Mapping[str, Case]) -> str:
    """Write the whole run in Markdown.

    Args:
        report: The run, as the ``.json`` beside the page keeps it.
        cases: By name, every case of the run.

    Returns:
        The page.
    """
    device = f", {report['device']}" if report.get("device") else ""
    out = [f"# {TITLES[report['kind']]}" + (" (reduced models)" if report["small"] else ""), ""]
    out += [
        f"Made by `{report['command']}` on {report['date']}: {report['machine']}{device}. It took {report['took']:.0f} s.",
        "",
        "| what | precision | gsam | peers | gsam / fastest peer | goal | quiet pairs |",
        "|---|---|---|---|---|---|---|",
    ]
    precision = "bfloat16" if report["kind"] == "gpu" else "float32"
    out += [line(cases[name], measured, precision) for name, measured in report["rows"].items()]
    if report.get("memory"):
        out += ["", "| peak memory | gsam | peers | gsam / leanest peer | goal |", "|---|---|---|---|---|"]
        out += [memory_line(cases[name], found) for name, found in report["memory"].items()]
    out += _roofline(report, cases)
    for heading, table in report.get("tables", {}).items():
        out += ["", f"## {heading}", "", *table]
    return "\n".join([*out, "", *bullets(_notes(report)), ""])


def bullets(notes: Sequence[str]) -> list[str]:
    """Wrap notes as the items of a list."""
    return [textwrap.fill(f"- {note}", 100, subsequent_indent="  ") for note in notes]


def _roofline(report: Mapping[str, Any], cases: Mapping[str, Case]) -> list[str]:
    if not report.get("roofline"):
        return []
    peak = Peak(**report["peak"])
    out = [
        "",
        "## Lower bounds",
        "",
        f"This device reaches {peak.operations / 1e12:.3g} TFLOP/s in large plain products of this dtype, and",
        f"{peak.bandwidth / 1e12:.3g} TB/s in copies. No case can take less time than its operations and bytes take at",
        "these rates.",
        "",
        "| what | GFLOP counted | GB at least | lower bound | gsam | bound / gsam | TFLOP/s | GB/s by XLA's count |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, cost in report["roofline"].items():
        out.append(roofline_line(cases[name], report["rows"][name]["seconds"]["gsam"], cost, peak))
    return out


def _notes(report: Mapping[str, Any]) -> list[str]:
    return [
        "All sides run on the same seeded random weights and inputs, in float32 on a CPU and in bfloat16 on an "
        "accelerator, each in a process of its own that stays loaded. They are called in turns, one at a time, and the "
        "side that begins changes. Nothing is timed before its output agrees with gsam's. A row is judged by the "
        "fastest peer in its precision: the largest median of ratios of neighbouring calls; the spread is in brackets.",
        f"A pair is quiet when others used less than {BUSY} cores during both calls, time the host took included; the "
        f"number behind it is their median, by which goals are judged. Load before the run: {report['load']}.",
        "eager, sdpa and compile are transformers' models in torch with that attention, and torch.compile of the sdpa "
        "form; by_1 and by_4 take prompts one by one and four at a time, as torch is fastest on a CPU; bf16 is the compiled "
        "form under autocast to bfloat16, shown beside and not judged: XLA has no fast bfloat16 on a CPU; onnx is ONNX "
        "Runtime on an export of the same model.",
        "Peak memory: the most that was resident in a fresh process that loads and calls once, compiled programs "
        "coming from gsam's cache as in every start but the first.",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
        "Environment: " + (", ".join(f"{k}={os.environ[k]}" for k in FLAGS if k in os.environ) or "nothing set") + ".",
    ]
