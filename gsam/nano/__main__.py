"""``python -m gsam.nano {detector|segmenter|classifier|tracker} --pool DIR --out DIR --minutes M
[--resume]``, then ``ship``.

``--pool`` holds ``train`` and ``val`` (`gsam.nano.pool`, of the model's side), for the tracker
``clips`` and ``clips_val`` (`gsam.nano.clips`).  Each run is one process; two of them keep two
cores busy, and so does one with ``JAX_NUM_CPU_DEVICES=2``.  ``--start`` goes on from weights, of
another image size too.  ``ship`` turns the runs' averaged weights into ``weights/nano``.

The tracker learns in two runs: images (``--frames 1 --teacher
weights/nano/segmenter.safetensors``), and then videos (``--frames 8 --start`` what the first
shipped): the shortest clips in which a memory gets as old as it can be.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, Protocol

from gsam import bind
from gsam.dataset.report import explain, tell
from gsam.errors import GsamError, UsageError
from gsam.nano.teacher import Teacher
from gsam.runtime.process import make_room_for_callbacks
from gsam.training.schedule import TrainConfig
from gsam.training.task import Task
from gsam.training.trainer import train
from gsam.types import Params

ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc hands large blocks back to the system after every step; keeping them is worth a third of
the speed on CPU."""

LEARNING_RATES = {"detector": 2e-3, "segmenter": 2e-3, "classifier": 2e-3, "tracker": 2e-3}


class NanoTask(Task, Protocol):
    """A task on pools of drawn scenes or clips."""

    spec: bind.Spec[Any]
    batch_size: int
    count: int
    """Scenes or clips to learn from."""


def main() -> int:
    """Parse the command line and do it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gsam.nano", description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True)
    for name in LEARNING_RATES:
        job = jobs.add_parser(name, help=f"train the {name}")
        job.add_argument("--pool", type=Path, required=True)
        job.add_argument("--out", type=Path, required=True, help="the run's folder is made in this one")
        length = job.add_mutually_exclusive_group(required=True)
        length.add_argument("--minutes", type=float)
        length.add_argument("--steps", type=int)
        job.add_argument("--rate", type=float, default=LEARNING_RATES[name])
        job.add_argument("--seed", type=int, default=0)
        job.add_argument("--start", type=Path, help="safetensors of `ship` to go on from, with a new schedule")
        if name == "tracker":
            job.add_argument("--frames", type=int, default=8, help="of a clip; 1 for the image's side alone")
            job.add_argument("--teacher", type=Path, help="safetensors of the segmenter that teaches")
        job.add_argument("--machine", default=f"{os.cpu_count()} CPU cores ({platform.machine()})")
        job.add_argument("--resume", action="store_true")
    job = jobs.add_parser("ship", help="write weights/nano from finished or running runs")
    job.add_argument("--runs", type=Path, required=True)
    job.add_argument("--out", type=Path, default=weights())
    job.add_argument(
        "--mean",
        nargs="*",
        default=[],
        metavar="RUN=FILE",
        help="export the mean with weights that the run went on from",
    )
    args = parser.parse_args()
    if args.job == "ship":
        from gsam.nano.ship import ship

        means = {name: Path(file) for name, _, file in (one.partition("=") for one in args.mean)}
        for variant, entry in ship(args.runs, args.out, means).items():
            print(variant, json.dumps(entry["results"]), file=sys.stderr)
        return 0
    keep_allocations()
    try:
        run(args)
    except GsamError as error:
        tell(f"gsam: {explain(error)}")
        return 2 if isinstance(error, UsageError) else 1
    return 0


def keep_allocations() -> None:
    """Start this command anew under `ALLOCATOR`: the C library reads it only at the start of a
    process.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        arguments = [sys.executable, "-m", "gsam.nano", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | ALLOCATOR)


def weights() -> Path:
    """The folder of the shipped weights in a checkout."""
    return Path(__file__).parents[2] / "weights" / "nano"


def run(args: argparse.Namespace) -> None:
    """Train what was asked for; its folder holds what `train` leaves, and ``machine.txt``."""
    if cramped := make_room_for_callbacks():
        raise cramped
    folder = args.out / args.job
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainConfig(
        minutes=args.minutes, steps=args.steps, seed=args.seed, learning_rate=args.rate, dtype="float32"
    )
    task = make(args.job, args.pool, args.seed, getattr(args, "frames", 0), getattr(args, "teacher", None))
    length = f"--minutes {args.minutes:g}" if args.minutes else f"--steps {args.steps}"
    command = f"{args.job} --pool POOL --out RUNS {length} --rate {args.rate:g} --seed {args.seed}"
    command += " --start WEIGHTS" if args.start else ""
    if args.job == "tracker":
        command += f" --frames {args.frames}" + (" --teacher WEIGHTS" if args.teacher else "")
    notes: dict[str, str | int] = {
        "command": f"python -m gsam.nano {command}",
        "seed": args.seed,
        "batch": task.batch_size,
        "scenes": task.count,
    }
    if args.job == "tracker":
        notes["frames"] = args.frames
    (folder / "machine.txt").write_text(args.machine)
    params = read_weights(args.start, task.spec) if args.start else None
    train(task, config, folder, params=params, settings=notes, resume=args.resume)


def read_weights(path: Path, spec: bind.Spec[Any]) -> Params:
    """Parameters that `ship` wrote, as float32; of another image size too (`gsam.nano.resized`).

    Raises `gsam.bind.MismatchError` or ValueError where they are another model's.
    """
    import jax.numpy as jnp
    from safetensors.numpy import load_file

    from gsam.nano.resized import resized

    params = resized({k: jnp.asarray(v, jnp.float32) for k, v in load_file(path).items()}, spec.shapes)
    spec.check(params)
    return params


def load_teacher(segmenter: Path) -> Teacher:
    """A teacher from the segmenter's file."""
    from gsam.models import sam

    config = sam.VARIANTS["nano_sam"]
    spec = sam.spec(config)
    return Teacher(config, spec, read_weights(segmenter, spec))


def make(job: str, pool: Path, seed: int, frames: int = 0, teacher: Path | None = None) -> NanoTask:
    """The task of a run."""
    if job == "tracker":
        from gsam.models.sam2.config import NANO
        from gsam.nano import clips
        from gsam.nano.tracking import Tracking

        batch = 12 if frames == 1 else 2 * -(-12 // frames)
        learnt, held_out = clips.read(pool / "clips"), clips.read(pool / "clips_val")
        return Tracking(
            NANO,
            learnt,
            held_out,
            seed=seed,
            frames=frames,
            teacher=load_teacher(teacher) if teacher else None,
            batch_size=batch,
        )
    from gsam.nano.batches import Pool
    from gsam.nano.prompts import encoder, read

    scenes, validation = Pool(pool / "train"), Pool(pool / "val")
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
    from gsam.nano.classifier import Classification

    config = CLIP["nano_clip"]
    return Classification(config, encoder(tokenizer, config.context), scenes, validation, seed=seed)


if __name__ == "__main__":
    sys.exit(main())
