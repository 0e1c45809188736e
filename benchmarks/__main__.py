"""gsam beside its peers: ``python -m benchmarks cpu|gpu [--only CASE ...] [--full] [--out DIR]``.

``cpu`` compares with torch (eager, sdpa, compile) and ONNX Runtime in float32; ``gpu`` with torch
in bfloat16 on one card, and with the lower bound that the card's own rates give.  The cases are in
`benchmarks.harness.cases`; ``growth`` and ``start`` are measured with ``--full`` or ``--only``.  A
run writes ``benchmarks/pages/cpu.md`` (``gpu.md``) and the ``.json`` with every call; with
``--only`` or ``--small`` it prints, and writes to ``--out`` only.  Without ``--full`` it ends after
``--seconds``, says which cases it did not measure, and then leaves the page as it was.

Needs the ``test`` extra for the peers (without them ``gpu`` measures gsam alone, on random
weights), no network, and 8 GB of memory (24 GB with ``--full``).  The exit code is 1 when an output
was wrong or gsam failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import scaling, smoke
from benchmarks.harness import cases, machine, report
from benchmarks.harness.cases import Case
from benchmarks.harness.interleave import WrongOutput, measure, peak_memories
from benchmarks.harness.setting import Setting
from benchmarks.harness.worker import Worker, Workers

PAGES = Path(__file__).parent / "pages"
SECONDS = {"cpu": 1500.0, "gpu": 210.0}
"""Seconds after which a run without ``--full`` begins no further case."""
GRACE = 20.0
"""Seconds that a case may run on after that."""
SMOKE_SECONDS = 60.0
"""Seconds after which the smoke tests of a ``gpu`` run without ``--full`` begin no further case."""
PATIENCE = 3600.0
"""Seconds that a call may take with ``--full``."""


def main() -> int:
    """Measure, print and write what was asked for; return the exit code."""
    began = time.monotonic()
    args, known, chosen, more = _parse()
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(Path(name), args.small, args.device or args.kind, half=args.kind == "gpu")
        found = run(args, setting, chosen, began, more)
    found["took"] = time.monotonic() - began
    text = report.page(found, known)
    print(text)
    out = args.out or (None if args.only or args.small else PAGES)
    skipped = [name for name, measured in found["rows"].items() if "skipped" in measured]
    if skipped and not args.out:
        print(f"the page stays as it was, without a time for {', '.join(skipped)}: give --seconds", file=sys.stderr)
    elif out:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{args.kind}.json").write_text(json.dumps(found, indent=1) + "\n")
        (out / f"{args.kind}.md").write_text(text)
    return int(any("wrong" in measured for measured in found["rows"].values()))


def _parse() -> tuple[argparse.Namespace, dict[str, Case], list[Case], list[str]]:
    """Return arguments, every case by name, the chosen cases, and the chosen other tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("cpu", "gpu"))
    parser.add_argument("--only", nargs="+", metavar="CASE", default=[])
    parser.add_argument("--full", action="store_true", help="every case and peer, however long")
    parser.add_argument("--small", action="store_true", help="reduced models, to try the script")
    parser.add_argument("--rounds", type=int, help="timings per side, instead of each case's own number")
    parser.add_argument("--seconds", type=float, help=f"begin no case after so long; by default {SECONDS}")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="where `gpu` runs; cpu to try it")
    parser.add_argument("--out", type=Path, help="folder of the pages")
    args = parser.parse_args()
    known = {case.name: case.with_peers(args.full) for case in (cases.CPU if args.kind == "cpu" else cases.GPU)}
    if args.small and args.kind == "gpu":
        known = {name: case.reduced() for name, case in known.items()}
    others = ("growth", "start") if args.kind == "cpu" else ()
    if unknown := [name for name in args.only if name not in (*known, *others)]:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join((*known, *others))}")
    chosen = [c for c in known.values() if (c.name in args.only if args.only else args.full or not c.full)]
    return args, known, chosen, [o for o in others if (o in args.only if args.only else args.full)]


def run(
    args: argparse.Namespace, setting: Setting, chosen: Sequence[Case], began: float, more: Sequence[str]
) -> dict[str, Any]:
    """Measure.

    Args:
        args: What the command was given.
        setting: Where, and on which models.
        chosen: The cases, in their order.
        began: When the run began, by the monotonic clock.
        more: ``"growth"``, ``"start"``, both or none.

    Returns:
        The report, as `benchmarks.harness.report.page` and the ``.json`` have it.
    """
    until = math.inf if args.full else began + (args.seconds or SECONDS[args.kind])
    found: dict[str, Any] = {
        "kind": args.kind, "small": args.small, "command": f"python -m benchmarks {' '.join(sys.argv[1:])}",
        "date": datetime.date.today().isoformat(), "machine": machine.processor(), "versions": machine.versions(),
        "load": machine.load(), "rows": {}, "memory": {}, "tables": {},
    }  # fmt: skip
    workers = Workers(setting)
    writer = Worker("checkpoints", setting)
    if setting.half:
        workers.start(dict.fromkeys(["gsam", *(form for case in chosen for form in case.peers)]))
        names = smoke.CASES if args.full else smoke.QUICK
        seconds = PATIENCE if args.full else SMOKE_SECONDS
        found["tables"]["Compared first"] = smoke.table(setting.device, writer, names, seconds)
    models = list(dict.fromkeys(model for case in chosen if case.peers for model in sorted(case.models)))
    written = writer.call("write", folder=str(setting.folder), small=setting.small, names=models)
    writer.close()
    if "failed" in written and not setting.half:
        sys.exit(f"the checkpoints could not be written: {written['failed']}")
    if setting.half:
        found |= _peak(workers)
    for case in chosen:
        started = time.monotonic()
        workers.patience = max(min(until + GRACE - started, PATIENCE), 1.0)
        found["rows"][case.name] = _measured(case, workers, args.rounds, until)
        if setting.half and "seconds" in found["rows"][case.name]:
            cost = workers["gsam"].call("cost")  # of the case that is still built
            if "failed" not in cost:
                found["roofline"][case.name] = cost
        told = report.line(case, found["rows"][case.name])
        print(told, f"[{time.monotonic() - started:.0f} s]", file=sys.stderr, flush=True)
    workers.close()
    for case in chosen:
        if case.memory is not None and setting.device == "cpu" and "seconds" in found["rows"][case.name]:
            found["memory"][case.name] = peak_memories(case, setting)
    if "growth" in more:
        found["tables"] |= scaling.growth(setting, args.full)
    if "start" in more:
        found["tables"] |= scaling.starts()
    return found


def _measured(case: Case, workers: Workers, rounds: int | None, until: float) -> dict[str, Any]:
    """Measure one case, or say why not."""
    if time.monotonic() > until:
        return {"skipped": "no time was left"}
    try:
        return measure(case, workers, rounds)
    except WrongOutput as error:
        if time.monotonic() > until:
            return {"skipped": "no time was left"}
        return {"wrong": str(error)}


def _peak(workers: Workers) -> dict[str, Any]:
    """Return the accelerator's name and rates, and an empty table of lower bounds."""
    answer = workers["gsam"].call("device")
    if "failed" in answer:
        sys.exit(f"gsam cannot use the device: {answer['failed']}")
    return {"device": answer.pop("device"), "peak": answer, "roofline": {}}


if __name__ == "__main__":
    sys.exit(main())
