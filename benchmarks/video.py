"""SAM 2.1 on video, frames with 1, 4 and 16 objects: gsam beside transformers' Sam2Video, in turns.

``python -m benchmarks.video [--objects 1 4 16] [--rounds N] [--small] [--flat] [--out DIR]``

Hiera-T with the same seeded random weights on both sides.  Every object remembers one frame with a
prompt and the six before, and nine pointers, random and the same for both, so that each call is a
frame in the middle of a video: encoder, memory attention, decoder, memory encoder, masks of all
objects. Masks are compared before anything is timed.  ``--flat`` tracks one object through 50 and
through 500 frames instead, each in a process of its own, and compares peak memory.  Writes
``video.md`` and ``video.json`` to ``benchmarks/pages/``.  Needs the ``test`` extra.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.cases import Case
from benchmarks.harness.interleave import measure, peak_memories
from benchmarks.harness.report import bullets, line
from benchmarks.harness.setting import Setting
from benchmarks.harness.worker import Worker, Workers

PAGES = Path(__file__).parent / "pages"
GOALS = {1: 0.8, 4: 0.6, 16: 0.4}
LENGTHS = (50, 500)
"""Frames of the short and of the long video of ``--flat``."""
PATIENCE = 1800.0
"""Seconds that a call may take."""


def case(objects: int, rounds: int) -> Case:
    """Make the case of a frame with so many objects."""
    title = f"a frame with {objects} object{'s' * (objects > 1)}"
    return Case(
        f"video_{objects}", title, "video", {"objects": objects}, frozenset({"sam2"}), ("sdpa",), goal=GOALS.get(objects),
        rounds=rounds, memory=1.0,
    )  # fmt: skip


def main() -> int:
    """Measure, print and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=sorted(GOALS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="a reduced model, to try the script")
    parser.add_argument("--flat", action="store_true", help="memory of a short and of a long video instead")
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="folder of the pages")
    args = parser.parse_args()
    if args.length:
        print(json.dumps(track_one(args.length)))
        return 0
    if args.flat:
        print(json.dumps(flat(), indent=1))
        return 0
    report: dict[str, Any] = {
        "command": f"python -m benchmarks.video {' '.join(sys.argv[1:])}".strip(), "date": datetime.date.today().isoformat(),
        "machine": machine.processor(), "versions": machine.versions(), "load": machine.load(),
        "rows": {}, "memory": {}, "flat": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(Path(name), args.small)
        writer = Worker("checkpoints", setting, PATIENCE)
        answer = writer.call("write", folder=name, small=args.small, names=["sam2"])
        writer.close()
        if "failed" in answer:
            sys.exit(f"the checkpoint could not be written: {answer['failed']}")
        workers = Workers(setting, PATIENCE)
        cases = {objects: case(objects, args.rounds) for objects in args.objects}
        for objects, one in cases.items():
            report["rows"][objects] = measure(one, workers)
            print(line(one, report["rows"][objects]), file=sys.stderr, flush=True)
        workers.close()
        for objects, one in cases.items():
            report["memory"][objects] = peak_memories(one, setting)
    if not args.small:
        report["flat"] = flat()
    text = page(report)
    print(text)
    out = args.out or (None if args.small else PAGES)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "video.json").write_text(json.dumps(report, indent=1) + "\n")
        (out / "video.md").write_text(text)
    return 0


def flat() -> dict[str, Any]:
    """Track one object through a short and a long video; return time and peak memory by length."""
    found = {}
    for length in LENGTHS:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.video", "--length", str(length)]
        done = subprocess.run(command, cwd=PAGES.parents[1], check=True, stdout=subprocess.PIPE, text=True)
        found[str(length)] = json.loads(done.stdout)
    return found


def track_one(length: int) -> dict[str, Any]:
    """Track one object in this process, at nano's sizes with random weights, on drawn frames."""
    import time

    import numpy as np

    import gsam
    from gsam import bind
    from gsam.inputs.video import open_frames
    from gsam.models.sam2 import tracker
    from gsam.models.sam2.config import NANO

    class DrawnFrames:
        """A sequence of images, none of which is kept."""

        def __len__(self) -> int:
            return length

        def __getitem__(self, i: int) -> Any:
            if i >= length:
                raise IndexError(i)
            return np.random.default_rng(i).integers(0, 256, (240, 320, 3), dtype=np.uint8)

    from collections.abc import Sequence

    Sequence.register(DrawnFrames)
    predictor = gsam.VideoPredictor(tracker.build(NANO, bind.random_params(tracker.spec(NANO))), progress=False)
    state = predictor.init_state(open_frames(DrawnFrames()))
    predictor.add_new_points_or_box(state, 0, 1, [[160, 120]], [1])
    began = time.monotonic()
    frames = sum(1 for _ in predictor.propagate_in_video(state))
    seconds, programs = time.monotonic() - began, predictor.compilations
    return {"frames": frames, "seconds": seconds, "peak": machine.peak_memory(), "programs": programs}


def page(report: dict[str, Any]) -> str:
    """Write the page."""
    lines = [
        "# SAM 2.1 Hiera-T on video",
        "",
        f"Made by `{report['command']}` on {report['date']}: {report['machine']}.",
        "",
        "| objects | gsam | transformers (sdpa) | time | goal | pairs, quiet | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for objects, found in report["rows"].items():
        ratio, goal = found["ratios"]["sdpa"], GOALS.get(objects)
        verdict = "" if goal is None else f"{goal:g} {'met' if ratio['median'] <= goal else '**missed**'}"
        memory = report["memory"].get(objects, {})
        told = f"{memory['gsam'] / 1e6:.0f} MB, {memory['sdpa'] / 1e6:.0f} MB" if len(memory) == 2 else ""
        spread = f"{ratio['lowest']:.2f} to {ratio['highest']:.2f}"
        lines.append(
            f"| {objects} | {found['seconds']['gsam']:.2f} s per frame | {found['seconds']['sdpa']:.2f} s | "
            f"**{ratio['median']:.2f}** ({spread}) | {verdict} | {ratio['pairs']}, {ratio['quiet']} | {told} |"
        )
    if report["flat"]:
        short, far = (report["flat"][str(n)] for n in LENGTHS)
        each = [1000 * run["seconds"] / run["frames"] for run in (short, far)]
        lines += [
            "",
            f"One object through {LENGTHS[0]} and through {LENGTHS[1]} frames of 240 x 320, at nano's sizes: at most "
            f"{short['peak'] / 1e6:.0f} MB and {far['peak'] / 1e6:.0f} MB were resident, {short['programs']} and "
            f"{far['programs']} programs compiled, {each[0]:.0f} and {each[1]:.0f} ms per frame.",
        ]
    notes = [
        "A call is a frame in the middle of a video: encoder, memory attention over 7 frames and 10 pointers per "
        "object, decoder, memory encoder. transformers takes one object after the other.",
        f"Load before the run: {report['load']}.",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
    ]
    return "\n".join([*lines, "", *bullets(notes), ""])


if __name__ == "__main__":
    sys.exit(main())
