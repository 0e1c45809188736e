"""``python -m gsam.nano {detector|segmenter|classifier|tracker} --pool DIR --out DIR --minutes M [--resume]``, then
``ship``.

``--pool`` holds ``train`` and ``val160`` (`gsam.nano.pool`), for the tracker ``clips`` and ``clips_val``
(`gsam.nano.clips`).  Each run is one process; two of them keep two cores busy, and so does one with
``JAX_NUM_CPU_DEVICES=2``.  ``ship`` turns the runs' averaged weights into ``weights/nano``.

The tracker learns in two runs: pictures (``--frames 1 --teacher weights/nano/segmenter.safetensors``), and then videos
(``--frames 8 --start`` what the first shipped): the shortest clips in which a memory gets as old as it can be.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from gsam.training.schedule import Plan

ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc hands large blocks back to the system after every step; keeping them is worth a third of the speed on CPU."""

RATES = {"detector": 2e-3, "segmenter": 2e-3, "classifier": 2e-3, "tracker": 2e-3}


def main() -> int:
    """Parse the command line and do it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gsam.nano", description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True)
    for name in RATES:
        job = jobs.add_parser(name, help=f"train the {name}")
        job.add_argument("--pool", type=Path, required=True)
        job.add_argument("--out", type=Path, required=True, help="the run's folder is made in this one")
        length = job.add_mutually_exclusive_group(required=True)
        length.add_argument("--minutes", type=float)
        length.add_argument("--steps", type=int)
        job.add_argument("--rate", type=float, default=RATES[name])
        job.add_argument("--seed", type=int, default=0)
        job.add_argument("--start", type=Path, help="safetensors of `ship` to go on from, with a new schedule")
        if name == "tracker":
            job.add_argument("--frames", type=int, default=8, help="of a clip; 1 for the picture's side alone")
            job.add_argument("--teacher", type=Path, help="safetensors of the segmenter that teaches")
        job.add_argument("--machine", default=f"{os.cpu_count()} CPU cores ({platform.machine()})")
        job.add_argument("--resume", action="store_true")
    job = jobs.add_parser("ship", help="write weights/nano from finished or running runs")
    job.add_argument("--runs", type=Path, required=True)
    job.add_argument("--out", type=Path, default=weights())
    asked = parser.parse_args()
    if asked.job == "ship":
        from gsam.nano.ship import ship

        for variant, entry in ship(asked.runs, asked.out).items():
            print(variant, json.dumps(entry["results"]), file=sys.stderr)
        return 0
    keep_memory()
    run(asked)
    return 0


def keep_memory() -> None:
    """Start this command anew under `ALLOCATOR`: the C library reads it only at the start of a process."""
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        arguments = [sys.executable, "-m", "gsam.nano", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | ALLOCATOR)


def weights() -> Path:
    """The folder of the shipped weights in a checkout."""
    return Path(__file__).parents[2] / "weights" / "nano"


def run(asked: argparse.Namespace) -> None:
    """Train what was asked for and leave checkpoints, a log and ``run.json`` in its folder."""
    from gsam.training.trainer import train

    folder = asked.out / asked.job
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(minutes=asked.minutes, steps=asked.steps, seed=asked.seed, rate=asked.rate)
    task = make(asked.job, asked.pool, asked.seed, getattr(asked, "frames", 0), getattr(asked, "teacher", None))
    length = f"--minutes {asked.minutes:g}" if asked.minutes else f"--steps {asked.steps}"
    given = f"{asked.job} --pool POOL --out RUNS {length} --rate {asked.rate:g} --seed {asked.seed}"
    given += " --start WEIGHTS" if asked.start else ""
    if asked.job == "tracker":
        given += f" --frames {asked.frames}" + (" --teacher WEIGHTS" if asked.teacher else "")
    told = {
        "command": f"python -m gsam.nano {given}",
        "machine": asked.machine,
        "seed": asked.seed,
        "batch": task.batch_size,
        "scenes": task.count if asked.job == "tracker" else task.train.count,
    }
    if asked.job == "tracker":
        told["frames"] = asked.frames
    (folder / "run.json").write_text(json.dumps(told, indent=1))
    train(task, plan, folder, start=read_weights(asked.start, task.spec) if asked.start else None, resume=asked.resume)


def read_weights(path: Path, spec: Any) -> Any:
    """Parameters that `ship` wrote, as float32.  Raises `ModelConfigError` where they are another model's."""
    import numpy as np
    from safetensors.numpy import load_file

    params = {k: v.astype(np.float32) for k, v in load_file(path).items()}
    spec.check(params)
    return params


def learned(segmenter: Path) -> Any:
    """A teacher from the segmenter's file."""
    from gsam.models import sam
    from gsam.nano.teacher import Teacher

    config = sam.VARIANTS["nano_sam"]
    spec = sam.spec(config)
    return Teacher(config, spec, read_weights(segmenter, spec))


def make(job: str, pool: Path, seed: int, frames: int = 0, teacher: Path | None = None) -> Any:
    """The task of a run."""
    if job == "tracker":
        from gsam.models.sam2.config import NANO
        from gsam.nano import clips
        from gsam.nano.tracking import Tracking

        batch = 12 if frames == 1 else 2 * -(-12 // frames)
        train, held_out = clips.read(pool / "clips"), clips.read(pool / "clips_val")
        taught = learned(teacher) if teacher else None
        return Tracking(NANO, train, held_out, seed=seed, frames=frames, teacher=taught, batch_size=batch)
    from gsam.nano.batches import Pool
    from gsam.nano.prompts import encoder, read

    scenes, validation = Pool(pool / "train"), Pool(pool / "val160")
    tokenizer = weights() / "tokenizer.json"
    if job == "detector":
        from gsam.models.owl_vit import VARIANTS as OWL
        from gsam.nano.detector import Detection

        owl = OWL["nano_owl"]
        return Detection(owl, read(tokenizer, owl.context), scenes, validation, seed=seed)
    if job == "segmenter":
        from gsam.models.sam import VARIANTS as SAM
        from gsam.nano.segmenter import Segmentation

        return Segmentation(SAM["nano_sam"], scenes, validation, seed=seed)
    from gsam.models.clip import VARIANTS as CLIP
    from gsam.nano.classifier import Naming

    config = CLIP["nano_clip"]
    return Naming(config, encoder(tokenizer, config.context), scenes, validation, seed=seed)


if __name__ == "__main__":
    sys.exit(main())
