"""gsam beside its peers: ``python -m benchmarks cpu|gpu [--only ROW ...] [--full] [--small] [--rounds N] [--out DIR]``.

``cpu`` compares with torch (eager, sdpa, compile) and ONNX Runtime in float32; ``gpu`` with torch in bfloat16 on one card.
Rows are in `benchmarks.harness.cases`; ``growth`` and ``start`` besides, with ``--full`` or ``--only``.  A run writes
``benchmarks/cpu.md`` (``gpu.md``) and the ``.json`` with every call; with ``--only`` or ``--small`` it prints, and writes to
``--out`` only.  Needs the ``test`` extra for the peers, and 8 GB of memory (24 GB with ``--full``).  The exit code is 1 when an
output was wrong or gsam failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import scaling, smoke
from benchmarks.harness import cases as rows
from benchmarks.harness import report as page
from benchmarks.harness.interleave import Sides, Worker, Wrong, measure, peaks
from benchmarks.harness.setting import Setting

PAGES = Path(__file__).parent / "pages"
LAST = 390
"""Seconds after which a short run begins no further row: a table that is late is no table."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("cpu", "gpu"))
    parser.add_argument("--only", nargs="+", metavar="ROW", default=[])
    parser.add_argument("--full", action="store_true", help="every row, however long")
    parser.add_argument("--small", action="store_true", help="reduced models, to try the script")
    parser.add_argument("--rounds", type=int, help="instead of each row's own")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="where `gpu` runs; cpu to try it")
    parser.add_argument("--out", type=Path, help="folder of the pages")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    known = {row.name: row for row in (rows.CPU if args.kind == "cpu" else rows.GPU)}
    more = ("growth", "start") if args.kind == "cpu" else ()
    if unknown := [name for name in args.only if name not in (*known, *more)]:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join((*known, *more))}")
    if args.small and args.kind == "gpu":
        few = {"batch": 2, "pictures": 4, "prompts": 16}
        known = {
            n: dataclasses.replace(
                r,
                inner=1,
                goal=None,
                options={k: min(v, few.get(k, v)) if isinstance(v, int) else v for k, v in r.options.items()},
            )
            for n, r in known.items()
        }
    known = {name: row.with_peers(args.full) for name, row in known.items()}
    chosen = [r for r in known.values() if (r.name in args.only if args.only else args.full or not r.full)]
    if args.write:
        from benchmarks.harness.checkpoints import write

        write(args.write, args.small, set().union(*(r.models for r in chosen)))
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(Path(name), args.small, args.device or args.kind, half=args.kind == "gpu")
        report = run(args, chosen, setting, began, [m for m in more if (m in args.only if args.only else args.full)])
    report["took"] = time.monotonic() - began
    text = page.page(report, known)
    print(text)
    out = args.out or (None if args.only or args.small else PAGES)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{args.kind}.json").write_text(json.dumps(report, indent=1) + "\n")
        (out / f"{args.kind}.md").write_text(text)
    return int(any("wrong" in measured for measured in report["rows"].values()))


def run(
    args: argparse.Namespace, chosen: list[rows.Row], setting: Setting, began: float, more: list[str]
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "kind": args.kind, "small": args.small, "command": f"python -m benchmarks {' '.join(sys.argv[1:])}",
        "date": datetime.date.today().isoformat(), "machine": page.machine(), "versions": page.versions(),
        "load": ", ".join(f"{x:.2f}" for x in os.getloadavg()), "rows": {}, "memory": {}, "growth": {},
    }  # fmt: skip
    models = [sys.executable, "-W", "ignore", "-m", "benchmarks", args.kind, "--write", str(setting.folder)]
    models += ["--full"] * args.full + ["--small"] * args.small + (["--only", *args.only] if args.only else [])
    written = subprocess.run(models, cwd=PAGES.parents[1], env={**os.environ, "TRANSFORMERS_VERBOSITY": "error"})
    if written.returncode and args.kind == "cpu":
        sys.exit("the checkpoints could not be written")  # an accelerator is measured without peers then
    if setting.half:
        report["growth"]["Compared first"] = smoke.table(setting.device)
    sides = Sides(setting)
    patience = 3600.0 if args.full else 240.0 if args.kind == "cpu" else 120.0
    for row in chosen:
        if not args.full and time.monotonic() - began > LAST:
            report["rows"][row.name] = {"skipped": "no time was left"}
            continue
        started = time.monotonic()
        Worker.patience = patience if args.full else min(patience, LAST + 20 - (started - began))
        try:
            report["rows"][row.name] = measure(row, sides, args.rounds)
        except Wrong as error:
            report["rows"][row.name] = {"wrong": str(error)}
        print(
            page.line(row, report["rows"][row.name]),
            f"[{time.monotonic() - started:.0f} s]",
            file=sys.stderr,
            flush=True,
        )
    if setting.half:
        report["floors"] = scaling.floors(chosen, report["rows"], setting, sides["gsam"])
    sides.close()
    for row in chosen:
        if row.memory is not None and setting.device == "cpu" and "seconds" in report["rows"][row.name]:
            report["memory"][row.name] = peaks(row, setting)
    if "growth" in more:
        report["growth"] |= scaling.tables(setting, args.full)
    if "start" in more:
        report["growth"] |= scaling.start()
    return report


if __name__ == "__main__":
    sys.exit(main())
