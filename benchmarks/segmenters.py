"""Time and memory of each segmenter: ``python -m benchmarks.segmenters [--only VARIANT ...]``.

Every registered segmenter on random numbers of its own sizes, each in a process of its own:
parameters, seconds to encode an image of 1024 x 1536 once (view made and encoded), milliseconds
for 1 and 16 boxes after that (low-resolution masks), and the most memory that was
resident.  float32 on a CPU, bfloat16 elsewhere.  Rounds go through all of them in turns.  Writes
``benchmarks/pages/segmenters.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.report import duration
from gsam.registry import FAMILIES
from gsam.weights import find

PAGES = Path(__file__).parent / "pages"
SIZE = (1024, 1536)


def measure(variant: str) -> dict[str, Any]:
    """Measure one segmenter, in this process."""
    import importlib
    import time

    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmarks.harness.images import draw_image
    from gsam import bind
    from gsam.build.devices import default_dtype
    from gsam.inputs.image import open_image
    from gsam.registry import family_of
    from gsam.runtime.batch import gather
    from gsam.runtime.compilation_cache import enable_compilation_cache
    from gsam.runtime.memory import low_memory_options
    from gsam.types import Boxes

    enable_compilation_cache()
    family = family_of(variant)
    package = importlib.import_module(f"gsam.models.{family}")
    dtype = default_dtype(jax.local_devices())
    spec = package.spec(package.VARIANTS[variant])
    params = {k: v.astype(dtype) for k, v in bind.random_params(spec).items()}
    stage = package.build(package.VARIANTS[variant], params)
    options = low_memory_options(jax.local_devices()[0].platform)
    features = jax.jit(stage.features, compiler_options=options)
    segment = jax.jit(stage.segment, compiler_options=options)

    def boxes(count: int) -> Boxes:
        corners = np.random.default_rng(0).uniform(0, 0.5, (1, count, 2)) * SIZE[::-1]
        xyxy = np.concatenate([corners, corners + 200], -1).astype(np.float32)
        return Boxes(jnp.asarray(xyxy), jnp.ones((1, count), bool))

    def seconds(work: Callable[[], Any], calls: int) -> float:
        jax.block_until_ready(work())
        each = []
        for _ in range(calls):
            began = time.perf_counter()
            jax.block_until_ready(work())
            each.append(time.perf_counter() - began)
        return statistics.median(each)

    image = open_image(draw_image(SIZE, 0))
    images = gather([image], [stage.view])
    seen = features(params, images)
    found = {"look": seconds(lambda: features(params, gather([image], [stage.view])), 1)}
    for count in (1, 16):
        asked = boxes(count)
        found[f"boxes_{count}"] = seconds(lambda asked=asked: segment(params, seen, images, asked), 3)
    return {**found, "parameters": spec.size, "view": stage.view.size, "peak": machine.peak_memory()}


def run(variants: Sequence[str], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Measure every segmenter in a process of its own, in turns."""
    found: dict[str, list[dict[str, Any]]] = {v: [] for v in variants}
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.segmenters", "--measure", variant]
            done = subprocess.run(command, cwd=PAGES.parents[1], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{variant}: {done.stderr.strip().splitlines()[-1]}")
            found[variant].append(json.loads(done.stdout.splitlines()[-1]))
            print(variant, found[variant][-1], file=sys.stderr, flush=True)
    return found


def report(found: dict[str, list[dict[str, Any]]], rounds: int) -> str:
    """Write the page."""
    manifest = find.manifest()
    head = "| variant | parameters | file, float32 | encode once | 1 box | 16 boxes | peak memory | weights' licence |"
    out = ["# What each segmenter costs", ""]
    out += [f"Made by `python -m benchmarks.segmenters` on {datetime.date.today()}: {machine.processor()}.", ""]
    out += [head, "|---|---|---|---|---|---|---|---|"]
    for variant, runs in found.items():
        middle = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
        out.append(
            f"| `{variant}` | {middle['parameters'] / 1e6:.1f} M | {middle['parameters'] * 4 / 1e6:.0f} MB | "
            f"{duration(middle['look'])} | {duration(middle['boxes_1'])} | {duration(middle['boxes_16'])} | "
            f"{middle['peak'] / 1e6:.0f} MB | {manifest.get(variant, {}).get('licence', 'Apache-2.0')} |"
        )
    out += [
        "",
        f"An image of {SIZE[0]} x {SIZE[1]}; encode once: its view is made and encoded, which further prompts on it do not",
        "repeat. Masks at low resolution, random numbers for weights. "
        + ("One process each." if rounds == 1 else f"Medians of {rounds} processes each."),
        "",
    ]
    return "\n".join(out)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [v for family in FAMILIES.values() if "segment" in family.roles for v in family.variants]
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="VARIANT")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PAGES)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    found = run(args.only, args.rounds)
    text = report(found, args.rounds)
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "segmenters.md").write_text(text)
    (args.out / "segmenters.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
