"""Everything in an image: gsam.MaskGenerator beside transformers' mask-generation pipeline.

``python -m benchmarks.everything [--model sam_b|small] [--image PHOTO] [--points N] [--rounds N]
[--out DIR]``

SAM ViT-B with the same seeded random weights on both sides, whose masks were made to follow the
image. Thresholds are chosen so that half of the masks pass the predicted IoU and a quarter of those
the stability; boxes are not compared, since random masks fill the image and one would be
left.  Each side runs in a process of its own, called in turns, and ends with masks as
arrays.  ``--points 8`` is a quick run.  Writes ``everything.md`` and ``everything.json`` to
``benchmarks/pages/``.  Needs the ``test`` extra.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine
from benchmarks.harness.checkpoints import SMOOTH
from benchmarks.harness.inputs import MASK_THRESHOLDS, WARM_UP_POINTS
from benchmarks.harness.interleave import alternate, summary
from benchmarks.harness.report import bullets
from benchmarks.harness.setting import Setting
from benchmarks.harness.worker import Worker, Workers

PAGES = Path(__file__).parent / "pages"
PEER = "sdpa"
PATIENCE = 1800.0
"""Seconds that a call may take."""
GOALS = {"time": 0.45, "memory": 0.6}


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("sam_b", "small"), default="sam_b")
    parser.add_argument("--image", default="", help="a photograph; by default an image of 1200 x 1800 is drawn")
    parser.add_argument("--points", type=int, default=32, help="points per side of the grid")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PAGES)
    args = parser.parse_args()
    small = args.model == "small"
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(Path(name), small)
        writer = Worker("checkpoints", setting, PATIENCE)
        answer = writer.call("write", folder=name, small=small, names=[f"sam_{SMOOTH}"])
        writer.close()
        if "failed" in answer:
            sys.exit(f"the checkpoint could not be written: {answer['failed']}")
        photo = str(Path(args.image).absolute()) if args.image else ""
        options = thresholds(setting, photo)
        report = run(setting, photo, args.points, args.rounds, options)
    report |= {
        "command": f"python -m benchmarks.everything --model {args.model} --points {args.points}",
        "date": datetime.date.today().isoformat(), "machine": machine.processor(), "versions": machine.versions(),
        "load": machine.load(), "picture": Path(photo).name or "a seeded image",
    }  # fmt: skip
    text = page(report)
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "everything.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "everything.md").write_text(text)
    return 0


def thresholds(setting: Setting, photo: str) -> dict[str, float]:
    """Choose thresholds that a realistic share of masks passes, from a few points."""
    workers = Workers(setting, PATIENCE)
    save = str(setting.folder / "answers.npz")
    answer = workers["gsam"].call("build", method="answers", options={"photo": photo}, save=save)
    workers.close()
    if "failed" in answer:
        sys.exit(answer["failed"])
    found = np.load(save)
    cut = int(np.abs(np.median(found["area"], 1) - 0.1).argmin())  # masks of a tenth of the image
    iou, stability = found["iou"][cut], found["stability"][cut]
    least = float(np.quantile(iou, 0.5))
    if least <= 0:
        sys.exit("predicted IoU of half of the masks is below zero: no threshold fits")
    steady = float(np.quantile(np.nan_to_num(stability[iou > least]), 0.75))
    return {
        "mask_threshold": MASK_THRESHOLDS[cut], "pred_iou_thresh": round(least, 3),
        "stability_score_thresh": round(steady, 3), "box_nms_thresh": 1.0,
    }  # fmt: skip


def run(setting: Setting, photo: str, points: int, rounds: int, options: dict[str, float]) -> dict[str, Any]:
    """Compare and time both sides; return every call, the thresholds and the numbers of masks."""
    workers, warm = Workers(setting, PATIENCE), {}
    for form in ("gsam", PEER):
        given = {"photo": photo, "points": points, **options}
        save = str(setting.folder / f"{form}.npz")
        answer = workers[form].call("build", method="everything", options=given, save=save)
        if "failed" in answer:
            sys.exit(f"{form}: {answer['failed']}")
        warm[form] = dict(np.load(save))
    counts = {form: len(found["masks"]) for form, found in warm.items()}
    if abs(counts["gsam"] - counts[PEER]) > max(0.1 * counts[PEER], 1):
        sys.exit(
            f"not timed: of {WARM_UP_POINTS**2} points gsam found {counts['gsam']} masks, transformers {counts[PEER]}"
        )
    calls: dict[str, list[dict[str, float]]] = {form: [] for form in warm}
    for number, form in alternate(list(warm), rounds):
        answer = workers[form].call("time", number=number, inner=1)
        if "failed" in answer:
            sys.exit(f"{form}: {answer['failed']}")
        calls[form].append(answer)
    workers.close()
    return {"points": points, "thresholds": options, "warm": counts, "calls": calls, **summary(calls)}


def page(report: dict[str, Any]) -> str:
    """Write the page."""
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
        f"Image: {report['picture']}. Thresholds: {', '.join(f'{k} {v:g}' for k, v in report['thresholds'].items())}.",
        f"Masks of {WARM_UP_POINTS} x {WARM_UP_POINTS} points, by which both were compared: gsam {report['warm']['gsam']}, "
        f"transformers {report['warm'][PEER]} (its stability threshold is exclusive, its norms are the same here).",
        f"Pairs {quiet['pairs']}, quiet {quiet['quiet']}. Load: {report['load']}.",
        "Peak memory: the most that was resident in the process that loaded the model and ran, compiling included.",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
    ]
    return "\n".join([*lines, "", *bullets(notes), ""])


if __name__ == "__main__":
    sys.exit(main())
