"""Everything in an image: gsam.MaskGenerator beside transformers' mask-generation pipeline.

``python -m benchmarks.everything [--model sam_b|small] [--image PHOTO] [--points N] [--rounds N] [--out DIR]``

SAM ViT-B with the same seeded random weights on both sides, whose masks were made to follow the picture; thresholds are chosen
so that half of the masks pass the predicted IoU and a quarter of those the stability, and boxes are not compared (random masks
fill the picture, so that one would be left).  Each side in a process of its own, called in turns, masks as arrays at the end.
``--points 8`` is a quick run.  Writes ``everything.md`` and ``everything.json``.  Needs the ``test`` extra.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import checkpoints, inputs
from benchmarks.harness import report as page
from benchmarks.harness.interleave import Sides, Worker, alternate, summary
from benchmarks.harness.setting import Setting

PAGES = Path(__file__).parent / "pages"
PEER = "sdpa"
GOALS = {"time": 0.45, "memory": 0.6}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("sam_b", "small"), default="sam_b")
    parser.add_argument("--image", default="", help="a photograph; a seeded picture of 1200 x 1800 by default")
    parser.add_argument("--points", type=int, default=32, help="a side of the grid")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PAGES)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    small = args.model == "small"
    if args.write:
        checkpoints.write(args.write, small, {f"sam_{checkpoints.SMOOTH}"})
        return 0
    Worker.patience = 1800.0
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(Path(name), small)
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.everything",
            "--model",
            args.model,
            "--write",
            name,
        ]
        subprocess.run(command, cwd=PAGES.parents[1], check=True)
        photo = str(Path(args.image).absolute()) if args.image else ""
        options = thresholds(setting, photo)
        report = run(setting, photo, args.points, args.rounds, options)
    report |= {
        "command": f"python -m benchmarks.everything --model {args.model} --points {args.points}",
        "date": datetime.date.today().isoformat(), "machine": page.machine(), "versions": page.versions(),
        "load": ", ".join(f"{x:.2f}" for x in os.getloadavg()), "picture": Path(photo).name or "a seeded picture",
    }  # fmt: skip
    text = written(report)
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "everything.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "everything.md").write_text(text)
    return 0


def thresholds(setting: Setting, photo: str) -> dict[str, float]:
    """Such that a realistic share passes, from the answers to a few points."""
    sides = Sides(setting)
    save = str(setting.folder / "answers.npz")
    answer = sides["gsam"].call("build", name="answers", case="answers", options={"photo": photo}, save=save)
    sides.close()
    if "failed" in answer:
        sys.exit(answer["failed"])
    found = np.load(save)
    cut = int(np.abs(np.median(found["area"], 1) - 0.1).argmin())  # masks of a tenth of the picture
    iou, stability = found["iou"][cut], found["stability"][cut]
    least = float(np.quantile(iou, 0.5))
    if least <= 0:
        sys.exit("predicted IoU of half of the masks is below zero: no threshold fits")
    steady = float(np.quantile(np.nan_to_num(stability[iou > least]), 0.75))
    return {
        "mask_threshold": inputs.CUTS[cut], "pred_iou_thresh": round(least, 3),
        "stability_score_thresh": round(steady, 3), "box_nms_thresh": 1.0,
    }  # fmt: skip


def run(setting: Setting, photo: str, points: int, rounds: int, options: dict[str, float]) -> dict[str, Any]:
    """Every call of both sides, peak memory, and how many masks were found."""
    sides, warm = Sides(setting), {}
    for form in ("gsam", PEER):
        given = {"photo": photo, "points": points, **options}
        save = str(setting.folder / f"{form}.npz")
        answer = sides[form].call("build", name="everything", case="everything", options=given, save=save)
        if "failed" in answer:
            sys.exit(f"{form}: {answer['failed']}")
        warm[form] = dict(np.load(save))
    counts = {form: len(found["masks"]) for form, found in warm.items()}
    if abs(counts["gsam"] - counts[PEER]) > max(0.1 * counts[PEER], 1):
        sys.exit(f"not timed: of {inputs.FEW**2} points gsam found {counts['gsam']} masks, transformers {counts[PEER]}")
    calls: dict[str, list[dict[str, float]]] = {form: [] for form in warm}
    for number, form in alternate(list(warm), rounds):
        answer = sides[form].call("time", number=number, inner=1)
        if "failed" in answer:
            sys.exit(f"{form}: {answer['failed']}")
        calls[form].append(answer)
    sides.close()
    return {"points": points, "thresholds": options, "warm": counts, "calls": calls, **summary(calls)}


def written(report: dict[str, Any]) -> str:
    """The run in Markdown."""
    peaks = {form: max(c["peak"] for c in calls) for form, calls in report["calls"].items()}
    ratio, memory = report["ratios"][PEER]["median"], peaks["gsam"] / peaks[PEER]
    seconds = report["seconds"]
    rows = [
        ("time", *(f"{seconds[f]:.1f} s" for f in ("gsam", PEER)), ratio),
        ("peak memory", *(f"{peaks[f] / 1e6:.0f} MB" for f in ("gsam", PEER)), memory),
    ]
    lines = [
        f"# Everything in an image, {report['points']} x {report['points']} points",
        "",
        f"Made by `{report['command']}` on {report['date']}: {report['machine']}.",
        "",
        "| | gsam | transformers | ratio | goal |",
        "|---|---|---|---|---|",
    ]
    for (name, ours, theirs, value), goal in zip(rows, GOALS.values(), strict=True):
        lines.append(
            f"| {name} | {ours} | {theirs} | **{value:.2f}** | {goal:g} {'met' if value <= goal else '**missed**'} |"
        )
    quiet = report["ratios"][PEER]
    notes = [
        f"Picture: {report['picture']}. Thresholds: {', '.join(f'{k} {v:g}' for k, v in report['thresholds'].items())}.",
        f"Masks of {inputs.FEW} x {inputs.FEW} points, which both were compared by: gsam {report['warm']['gsam']}, "
        f"transformers {report['warm'][PEER]} (its stability threshold is exclusive, its norms are the same here).",
        f"Pairs {quiet['pairs']}, quiet {quiet['quiet']}. Load: {report['load']}.",
        "Peak memory: the most that was resident in the process that loaded the model and ran, compiling included.",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
    ]
    return "\n".join([*lines, "", *(textwrap.fill(f"- {n}", 120, subsequent_indent="  ") for n in notes), ""])


if __name__ == "__main__":
    sys.exit(main())
