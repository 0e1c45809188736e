"""Grounded SAM in full beside torch: ``python -m benchmarks.grounded_sam [--rounds N] [--small]``.

Grounding DINO (Swin-T, 800 x 1066) and SAM (ViT-B, 1024), float32 on CPU, on the same seeded random weights: gsam, and the
same composition of transformers' models.  Each side is a process of its own that stays loaded; they are called in turns, one
at a time.  Nothing is timed before the outputs agree.  Writes ``benchmarks/grounded_sam.json`` and ``grounded_sam.md``.

Needs the ``test`` extra and about 16 GB of memory.  ``--small``: reduced models, to try the script; only prints.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grounded_sam_sides import KEPT, SIZES, cores

HERE = Path(__file__).parent
CASES = {
    "a": ("one picture, 5 queries", 0.8),
    "b": ("4 pictures of one size, 5 queries", 0.8),
    "c": ("5 other queries on the picture asked before", 0.5),
}
MEMORY_GOAL = 0.8
NEAR, SAME_BOXES, SAME_MASKS = 1e-3, 0.9, 0.99
"""A box is the same within so much of the picture's side; so many of all must be; masks of the same boxes in IoU."""
BUSY = 0.2
"""Cores that others used (or the host took) while a call ran, from which on it is marked."""
PACKAGES = ("jax", "jaxlib", "flax", "torch", "transformers", "numpy", "pillow")
FLAGS = ("XLA_FLAGS", "JAX_PLATFORMS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "MALLOC_ARENA_MAX")


def write(folder: Path, small: bool) -> None:
    """The seeded checkpoints, as on the hub."""
    import torch

    from tests.parity import grounding, oracles

    name, segmenter, *_ = SIZES[small]
    detector = grounding.model(name)
    with torch.no_grad():  # random words and boxes fit each other so well or badly that most scores would be 0 or 1
        for p in detector.model.decoder.layer_norm.parameters():
            p.mul_(0.1)
    oracles.save(detector, folder / "detect")
    oracles.save(oracles.sam(segmenter), folder / "segment")


class Worker:
    """A side in a process of its own, idle between calls."""

    def __init__(self, side: str, folder: Path, small: bool) -> None:
        self.side = side
        self.process = subprocess.Popen(
            command("grounded_sam_sides", side, folder, small=small), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=HERE.parent, env=environment(),
        )  # fmt: skip
        self.loaded = self._answer()

    def call(self, case: str, number: int, **more: Any) -> dict[str, float]:
        assert self.process.stdin is not None
        print(json.dumps({"case": case, "number": number, **more}), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.side} ended with code {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def command(module: str, *words: str | Path, small: bool) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", *map(str, words), *["--small"] * small]


def environment() -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def alike(folder: Path, case: str, side: int) -> dict[str, float]:
    """What both found in a case: how many of the kept boxes are the same, and the IoU of their masks at worst."""
    ours, theirs = (np.load(folder / f"{who}_{case}.npz") for who in ("ours", "torch"))
    if ours["boxes"].shape != theirs["boxes"].shape:
        sys.exit(f"case {case}: boxes {ours['boxes'].shape} and {theirs['boxes'].shape}, not as many on both sides")
    same, worst, score = 0, 1.0, 0.0
    for i, boxes in enumerate(theirs["boxes"]):
        distance = np.abs(boxes[:, None] - ours["boxes"][i][None]).max(-1) / side
        taken = set()
        for j, k in enumerate(distance.argmin(1).tolist()):
            if k in taken or not distance[j, k] <= NEAR:  # so that what is not a number is not the same
                continue
            taken.add(k)
            same += 1
            a, b = theirs["masks"][i, j], ours["masks"][i, k]
            worst = min(worst, float((a & b).sum() / max((a | b).sum(), 1)) if (a | b).any() else 1.0)
            score = max(score, float(abs(theirs["scores"][i, j] - ours["scores"][i, k])))
    total = theirs["boxes"].shape[0] * theirs["boxes"].shape[1]
    covered = float(theirs["masks"].mean())
    return {"kept": total, "same": same, "mask_iou": worst, "score": score, "mask_share": covered}


def compare(workers: dict[str, Worker], folder: Path, side: int) -> tuple[dict[str, Any], bool, dict[str, Any]]:
    """Warms up and compares every case; exits where an output is wrong.  Also whether torch's batch beats its loop."""
    report: dict[str, Any] = {}
    first = {}
    for case in ("a", "c", "b"):
        for who, worker in workers.items():
            first[f"{who} {case}"] = worker.call(case, 0, save=str(folder / f"{who}_{case}.npz"))["seconds"]
        report[case] = alike(folder, case, side)
        print(f"case {case}:", report[case], flush=True)
    for who, worker in workers.items():
        worker.call("every", 0, save=str(folder / f"{who}_every.npy"))
    ours, theirs = (np.load(folder / f"{who}_every.npy") for who in ("ours", "torch"))
    nearest = np.array([np.abs(box - ours).max(-1).min() for box in theirs]) / side
    report["all"] = {"queries": len(theirs), "same": int((nearest <= NEAR).sum()), "median": float(np.median(nearest))}
    print("all queries of the detector:", report["all"], flush=True)
    wrong = [
        c
        for c, r in report.items()
        if c in CASES and (r["same"] < 1 or r["mask_iou"] < SAME_MASKS or not 0 < r["mask_share"] < 1)
    ]
    if wrong or report["all"]["same"] < SAME_BOXES * len(theirs):
        sys.exit(f"the two sides do not agree, nothing was timed: cases {wrong}, {report}")  # code 1
    ways = {way: workers["torch"].call("b", 0, batch=way)["seconds"] for way in (True, False)}
    first |= {"torch b, as one batch": ways[True], "torch b, one by one": ways[False]}
    return report, ways[True] <= ways[False], first


def measure(workers: dict[str, Worker], rounds: int, batch: bool) -> list[dict[str, Any]]:
    """Every case in turns; who comes first alternates."""
    rows = []
    for number in range(1, rounds + 1):
        for case in ("a", "c", "b"):
            for who in ("ours", "torch") if number % 2 else ("torch", "ours"):
                row: dict[str, Any] = {"case": case, "round": number, "side": who}
                row |= workers[who].call(case, number, batch=batch)
                row["busy"] = row["others"] + row["stolen"] > BUSY
                rows.append(row)
                print(f"{number} {case} {who}: {row['seconds']:.2f} s{' (busy)' if row['busy'] else ''}", flush=True)
    return rows


def memory(folder: Path, small: bool, batch: bool) -> dict[str, dict[str, float]]:
    """Peak resident bytes of fresh processes that load and run twice, by case and side."""
    found: dict[str, dict[str, float]] = {}
    for case, who in itertools.product("ab", ("ours", "torch")):
        worker = Worker(who, folder, small)
        peaks = [worker.call(case, number, batch=batch)["peak"] for number in (1, 2)]
        found.setdefault(case, {})[who] = peaks[-1]
        found[case][f"{who} loaded"] = worker.loaded["peak"]
        worker.close()
    return found


def summary(rows: Sequence[dict[str, Any]], case: str) -> dict[str, Any]:
    """Seconds of both sides and the ratios of the pairs."""
    by = {who: [r for r in rows if r["case"] == case and r["side"] == who] for who in ("ours", "torch")}
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(by["ours"], by["torch"], strict=True)]
    quiet = [r for r, a, b in zip(ratios, by["ours"], by["torch"], strict=True) if not (a["busy"] or b["busy"])]
    return {
        **{who: {"median": statistics.median(s), "min": min(s), "max": max(s)}
           for who, s in ((w, [r["seconds"] for r in rs]) for w, rs in by.items())},
        "cpu": {who: statistics.median(r["cpu"] for r in rs) for who, rs in by.items()},
        "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios), "pairs": len(ratios),
        "quiet": len(quiet), "quiet_ratio": statistics.median(quiet) if quiet else None,
        "goal": CASES[case][1], "met": statistics.median(ratios) <= CASES[case][1],
    }  # fmt: skip


def page(report: dict[str, Any]) -> str:
    """For people."""
    same, first = report["compared"], report["first"]
    lines = ["# Grounded SAM beside torch" + " (reduced models)" * ("--small" in report["command"]), ""]
    lines += [f"Made by `{report['command']}` on {report['date']}: {report['machine']}.", ""]
    lines += [
        "| case | gsam, median (min) | torch, median (min) | gsam / torch, median of pairs | goal | | quiet pairs |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for case, (title, goal) in CASES.items():
        r = report["cases"][case]
        a, b = (f"{r[who]['median']:.2f} s ({r[who]['min']:.2f})" for who in ("ours", "torch"))
        spread = f"{r['ratio']:.2f} ({r['lowest']:.2f} to {r['highest']:.2f})"
        quiet = f"{r['quiet']} of {r['pairs']}" + (f": {r['quiet_ratio']:.2f}" if r["quiet"] else "")
        lines.append(
            f"| {title} | {a} | {b} | **{spread}** | {goal} | {'met' if r['met'] else '**missed**'} | {quiet} |"
        )
    for case, r in report["memory"].items():
        ratio = r["ours"] / r["torch"]
        a, b = (f"{r[who] / 1e6:.0f} MB" for who in ("ours", "torch"))
        verdict = "met" if ratio <= MEMORY_GOAL else "**missed**"
        lines.append(f"| peak memory: {CASES[case][0]} | {a} | {b} | **{ratio:.2f}** | {MEMORY_GOAL} | {verdict} | |")
    cpu = ", ".join(f"{c}: {r['cpu']['ours']:.1f} and {r['cpu']['torch']:.1f}" for c, r in report["cases"].items())
    way = "as one batch" if report["torch_batch"] else "one by one"
    lines += ["", *(textwrap.fill(f"- {text}", 120, subsequent_indent="  ") for text in (
        "Both: Grounding DINO tiny (Swin-T) at 800 x 1066 and SAM ViT-B at 1024, float32, the same seeded random weights, "
        f"a drawn picture of 1200 x 1600, five names of two tokens, the {KEPT} best boxes segmented. A call is from the "
        "uint8 array to boolean masks of the picture's size.",
        "A pair is one call of each side, in turns, the other side idle; who begins alternates. Every call has a picture "
        "and names that no call had before, so nothing is remembered, but for the last case, where the picture was asked "
        "before. There gsam encodes no picture (checked by `Pipeline.counts`); torch is given what can be kept outside of "
        "its models, SAM's embedding (`get_image_embeddings`) and the prepared pixels, but Grounding DINO's forward takes "
        "picture and text together and runs in full.",
        "torch: transformers' models in eager mode with their default attention, `inference_mode`, threads as cores. The "
        f"four pictures go {way} (gsam on a CPU takes large pictures singly by itself), which was the faster in the "
        f"warm-up ({first['torch b, as one batch']:.1f} s as one batch, "
        f"{first['torch b, one by one']:.1f} s one by one). Its inverse sigmoid is set to the original's eps of 1e-3.",
        f"A pair is quiet when others used less than {BUSY} cores during both calls, time the host took included; the number "
        f"is their median. Load before the run: {report['load']}. CPU seconds of a call, gsam and torch: {cpu}.",
        f"First calls, compiling included: gsam {first['ours a']:.0f} s for one picture and {first['ours b']:.0f} s more for "
        f"four, torch {first['torch a']:.0f} s and {first['torch b']:.0f} s.",
        "Peak memory: most that was resident (VmHWM) in a fresh process that loads and calls twice, compiling included.",
        f"Compared before: {same['all']['same']} of {same['all']['queries']} boxes of the detector are the same within "
        f"{NEAR} of the side (median distance {same['all']['median']:.0e}); of the kept ones "
        + ", ".join(f"{c}: {same[c]['same']} of {same[c]['kept']}, mask IoU at least {same[c]['mask_iou']:.4f}" for c in CASES)
        + ". The rest are near ties that rank otherwise.",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
        "Environment: " + (", ".join(f"{k}={v}" for k, v in report["flags"].items()) or "none of " + ", ".join(FLAGS)) + ".",
    )), ""]  # fmt: skip
    return "\n".join(lines)


def machine() -> str:
    found = [
        s.split(":")[1].strip() for s in Path("/proc/cpuinfo").read_text().splitlines() if s.startswith("model name")
    ]
    model = found[0] if found else platform.machine()
    return f"{model}, {cores()} cores, {platform.system()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, help="folder of the page; default: this one, with --small none")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        return write(args.write, args.small)
    if args.rounds < 1:
        parser.error("at least one round is needed")
    began, load = time.time(), ", ".join(f"{x:.2f}" for x in os.getloadavg())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            command("grounded_sam", "--write", folder, small=args.small), check=True, cwd=HERE.parent, env=environment()
        )
        workers = {side: Worker(side, folder, args.small) for side in ("ours", "torch")}
        compared, batch, first = compare(workers, folder, max(SIZES[args.small][2]))
        rows = measure(workers, args.rounds, batch)
        for worker in workers.values():
            worker.close()
        peaks = memory(folder, args.small, batch)
    report = {
        "command": f"python -m benchmarks.grounded_sam --rounds {args.rounds}" + " --small" * args.small,
        "date": datetime.date.today().isoformat(), "machine": machine(), "load": load, "seconds": time.time() - began,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "flags": {name: environment()[name] for name in FLAGS if name in environment()},
        "compared": compared, "torch_batch": batch, "first": first, "memory": peaks,
        "cases": {case: summary(rows, case) for case in CASES}, "calls": rows,
    }  # fmt: skip
    text = page(report)
    print(text)
    if out := args.out or (None if args.small else HERE):
        (out / "grounded_sam.json").write_text(json.dumps(report, indent=1) + "\n")
        (out / "grounded_sam.md").write_text(text)


if __name__ == "__main__":
    main()
