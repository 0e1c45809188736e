"""Compare sides in turns: outputs first, then times, as ratios of neighbouring calls."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.cases import Case
from benchmarks.harness.differences import MEASURES
from benchmarks.harness.setting import Setting
from benchmarks.harness.worker import Worker

BUSY = 0.2
"""Cores that others used, or the host took, while a call ran, above which it is not quiet."""
ROUGH = 0.05
"""Tolerance of the measure ``rough``, by which two bfloat16 results are compared."""


class WrongOutput(RuntimeError):
    """gsam failed or computes something else than a peer: nothing of the case is timed."""


def build(case: Case, workers: Any, folder: Path) -> tuple[dict[str, float], dict[str, str], dict[str, float]]:
    """Make the case ready on every side and compare the outputs.

    Args:
        case: What to compute.
        workers: A worker by form, and their ``setting``.
        folder: Where outputs are kept, for as long as they are compared.

    Returns:
        Seconds of the first call by form; why a peer is absent, by form; differences by form.

    Raises:
        WrongOutput: gsam failed, or an output differs by more than the case tolerates.
    """
    first, absent, differences = {}, {}, {}
    for form, answer in _built(case, workers, folder).items():
        if "failed" not in answer:
            first[form] = answer["first"]
        elif form == "gsam":
            raise WrongOutput(f"{case.name}: gsam failed: {answer['failed']}")
        else:
            absent[form] = answer["failed"]
    ours = dict(np.load(folder / "gsam.npz"))
    for form in first.keys() - {"gsam"}:
        # Rounding to bfloat16 swaps ranks and single pixels; `benchmarks.smoke` is in float32.
        rough = workers.setting.half or form in case.beside
        measure, allowed = ("rough", ROUGH) if rough else (case.measure, case.tolerance)
        found = MEASURES[measure](ours, dict(np.load(folder / f"{form}.npz")))
        differences[form] = found
        if not found <= allowed:
            raise WrongOutput(f"{case.name}: gsam and torch ({form}) differ by {found:.2e}, {allowed:g} is allowed")
    return first, absent, differences


def _built(case: Case, workers: Any, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the answers to ``build`` by form; on an accelerator all sides compile at once."""
    given = {
        form: {"method": case.method, "options": dict(case.options), "save": str(folder / f"{form}.npz")}
        for form in ("gsam", *case.peers)
    }
    if not workers.setting.half:
        return {form: workers[form].call("build", **values) for form, values in given.items()}
    running = {form: workers[form] for form in given}
    for form, values in given.items():
        running[form].send("build", **values)
    return {form: worker.receive() for form, worker in running.items()}


def alternate(forms: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield the number of each round with every form once; the form that begins changes."""
    for number in range(rounds):
        turn = number % len(forms)
        yield from ((number, form) for form in (*forms[turn:], *forms[:turn]))


def measure(case: Case, workers: Any, rounds: int | None = None) -> dict[str, Any]:
    """Compare and time a case on all sides.

    Args:
        case: What to compute.
        workers: A worker by form, and their ``setting``.
        rounds: How often each side is timed; the case's own number by default.

    Returns:
        First calls, absent peers and differences as of `build`, every call's figures, and
        `summary`.

    Raises:
        WrongOutput: As of `build`, or a side failed while it was timed.
    """
    with tempfile.TemporaryDirectory() as name:
        first, absent, differences = build(case, workers, Path(name))
    calls: dict[str, list[dict[str, float]]] = {form: [] for form in first}
    for number, form in alternate(list(first), rounds or case.rounds):
        answer = workers[form].call("time", number=number, inner=case.inner)
        if "failed" in answer:
            raise WrongOutput(f"{case.name}: {form} failed: {answer['failed']}")
        calls[form].append(answer)
    return {"first": first, "absent": absent, "differences": differences, "calls": calls, **summary(calls)}


def summary(calls: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Summarise calls: median seconds by form, and gsam's ratio to every peer.

    A ratio is the median of those of neighbouring calls, with its spread, and that of the quiet
    pairs.
    """
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


def peak_memories(case: Case, setting: Setting) -> dict[str, float]:
    """Return peak resident bytes by form, of fresh processes that build the case and call it once.

    ``compile``, ``bf16`` and ``onnx`` are left out: they make another form of the model first, in
    the same process.
    """
    found = {}
    plain = [form for form in case.peers if form.partition("_by_")[0] not in ("compile", "bf16", "onnx")]
    for form in ("gsam", *plain):
        worker = Worker(form, setting)
        answer = worker.call("build", method=case.method, options=dict(case.options), save=None)
        if "failed" not in answer:
            found[form] = float(answer["peak"])
        worker.close()
    return found
