"""Masks in bfloat16 and with int8 weights: ``python -m benchmarks.precision [--scenes 60]``.

On nano's held-out scenes (drawn, so Noto Color Emoji is needed), against float32.  Writes
``benchmarks/pages/precision.md`` and ``precision.json``.  Weights and what flows between operations
are in bfloat16 as on an accelerator; within a product a CPU may sum in float32, as accelerators do.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import gsam
from benchmarks.harness import machine
from gsam.evaluation.matching import Tally, overlaps
from gsam.inputs.image import Picture
from gsam.models import sam
from gsam.nano import heldout
from gsam.nano.names import LEAVES
from gsam.results.result import Result
from gsam.runtime.batch import gather
from gsam.types import Boxes, Params

PAGES = Path(__file__).parent / "pages"
GOAL = 0.99
"""Mean IoU of masks with float32's, for the same boxes."""
PAYS = 0.9
"""int8 pays if its products take less than this of bfloat16's time (float32's on a CPU)."""
LARGE = 4096
"""Kernels of so many numbers are worth rounding."""
PRODUCTS = ((4096, 1280, 3840), (4096, 1280, 5120), (4096, 5120, 1280))
"""Rows, inputs and outputs of a block's products in SAM ViT-H at 1024 x 1024."""


def quantise(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Quantise a kernel [..., out] to int8, with one symmetric step per output channel [out]."""
    step = jnp.abs(kernel).max(tuple(range(kernel.ndim - 1))) / 127.0
    step = jnp.maximum(step, 1e-12)
    return jnp.round(kernel / step).astype(jnp.int8), step


def rounded(params: Params) -> Params:
    """Return the parameters with every large kernel rounded to int8."""

    def one(name: str, value: jax.Array) -> jax.Array:
        if not name.endswith("kernel") or value.size < LARGE:
            return value
        whole, step = quantise(value.astype(jnp.float32))
        return (whole.astype(jnp.float32) * step).astype(value.dtype)

    return {name: one(name, value) for name, value in params.items()}


def masks_of(stage: sam.SamSegmenter, image: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Return masks [N, h, w] bool of boxes [N, 4], at low resolution, within the image."""
    images = gather([Picture(image)], [stage.view])
    count = len(xyxy)
    padded = np.zeros((1, 32, 4), np.float32)
    padded[0, :count] = xyxy
    boxes = Boxes(jnp.asarray(padded), jnp.asarray(np.arange(32)[None] < count))
    logits = np.asarray(_run(stage)(stage.params, images, boxes).logits[0, :count], np.float32)
    rows, columns = np.ceil(np.asarray(images.content[stage.view.key])[0] * logits.shape[-1] / stage.view.size).astype(
        int
    )
    return logits[:, :rows, :columns] > 0


_programs: dict[int, Any] = {}


def _run(stage: sam.SamSegmenter) -> Any:
    if id(stage) not in _programs:
        _programs[id(stage)] = jax.jit(lambda p, i, b: stage.segment(p, stage.features(p, i), i, b))
    return _programs[id(stage)]


def agreement(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Return the IoU of each mask of ``a`` with that of ``b``; 1 where both are empty."""
    both, either = (a & b).sum((1, 2)), (a | b).sum((1, 2))
    return [1.0 if e == 0 else float(i / e) for i, e in zip(both, either, strict=True)]


def same_objects(ours: Result, other: Result) -> list[float]:
    """Return the mask IoU of each object of ``other`` with ours of its label and place, or -1.

    In its place is a box of IoU above 0.5.
    """
    if not len(ours) or not len(other):
        return [-1.0] * len(other)
    shared = overlaps(other.masks, ours.masks)
    boxes = np.array([[_box_iou(a, b) for b in ours.xyxy] for a in other.xyxy])
    alike = (boxes > 0.5) & (np.array(other.labels)[:, None] == np.array(ours.labels)[None])
    return [float(shared[i][alike[i]].max()) if alike[i].any() else -1.0 for i in range(len(other))]


def _box_iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(width, 0.0) * max(height, 0.0)
    return float(shared / max(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared, 1e-9))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return mean, 5th percentile and count."""
    return {"mean": float(np.mean(values)), "low": float(np.percentile(values, 5)), "count": len(values)}


def on_scenes(scenes: Sequence[heldout.Example], device: jax.Device) -> dict[str, Any]:
    """Compare whole pipelines, and the segmenter alone, with float32."""
    kinds = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
    pipes = {kind: gsam.load("nano", dtype=dtype, device=[device]) for kind, dtype in kinds.items()}
    whole = gsam.segmenter("nano_sam")
    stages: dict[str, Any] = {
        "float32": whole,
        "bfloat16": sam.build(whole.config, {k: v.astype(jnp.bfloat16) for k, v in whole.params.items()}),
        "int8 weights, float32": sam.build(whole.config, rounded(whole.params)),
    }
    tallies = {kind: Tally() for kind in kinds}
    found: list[float] = []
    alone: dict[str, list[float]] = {kind: [] for kind in stages if kind != "float32"}
    for example in scenes:
        results = {kind: pipe(example.rgb, list(LEAVES)) for kind, pipe in pipes.items()}
        for kind, r in results.items():
            tallies[kind].add(r.masks, r.labels, r.scores, example.masks, example.names, example.ignored, r.xyxy)
        found += same_objects(results["bfloat16"], results["float32"])
        boxes = results["float32"].xyxy[:32]
        if len(boxes):
            masks = {kind: masks_of(stage, example.rgb, boxes) for kind, stage in stages.items()}
            for kind, values in alone.items():
                values += agreement(masks[kind], masks["float32"])
    matched = [v for v in found if v >= 0]
    return {
        "scenes": len(scenes),
        "pipeline": {"things": len(found), "found": len(matched) / max(len(found), 1), **summary(matched)},
        "truth": {kind: tally.report() for kind, tally in tallies.items()},
        "same boxes": {kind: summary(values) for kind, values in alone.items()},
    }


def products(device: jax.Device, rounds: int = 7) -> list[dict[str, Any]]:
    """Time ViT-H's products in each arithmetic, in turns."""
    out = []
    for n, k, m in PRODUCTS:
        rng = np.random.default_rng(0)
        x, w = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in ((n, k), (k, m)))
        whole, step = quantise(w)
        forms: Mapping[str, tuple[Callable[..., Any], tuple[jax.Array, ...]]] = {
            "float32": (lambda x, w: x @ w, (x, w)),
            "bfloat16": (lambda x, w: x @ w, (x.astype(jnp.bfloat16), w.astype(jnp.bfloat16))),
            "int8 weights": (lambda x, w, s: (x @ w.astype(x.dtype)) * s, (x, whole, step)),
            "int8 x int8": (_both, (x, whole, step)),
        }
        placed = {kind: (jax.jit(f), jax.device_put(args, device)) for kind, (f, args) in forms.items()}
        for f, args in placed.values():
            jax.block_until_ready(f(*args))
        seconds: dict[str, list[float]] = {kind: [] for kind in placed}
        for _ in range(rounds):
            for kind, (f, args) in placed.items():
                began = time.perf_counter()
                jax.block_until_ready(f(*args))
                seconds[kind].append(time.perf_counter() - began)
        out.append({"shape": (n, k, m), "seconds": {kind: statistics.median(s) for kind, s in seconds.items()}})
    return out


def _both(x: jax.Array, whole: jax.Array, step: jax.Array) -> jax.Array:
    """Multiply in int32, with activations rounded per row."""
    size = jnp.maximum(jnp.abs(x).max(1, keepdims=True) / 127.0, 1e-12)
    small = jnp.round(x / size).astype(jnp.int8)
    exact = lax.dot_general(small, whole, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32)
    return exact.astype(jnp.float32) * size * step


def pays(rows: Sequence[Mapping[str, Any]], cpu: bool) -> dict[str, float]:
    """Return the time of each int8 form over that of the usual arithmetic, over all products."""
    total = {kind: sum(r["seconds"][kind] for r in rows) for kind in rows[0]["seconds"]}
    usual = total["float32" if cpu else "bfloat16"]
    return {kind: total[kind] / usual for kind in ("int8 weights", "int8 x int8")}


def report(found: Mapping[str, Any]) -> str:
    """Write the page."""
    pipe, alone = found["pipeline"], found["same boxes"]
    lines = ["# bfloat16 and int8", ""]
    lines += [f"Made by `{found['command']}` on {found['date']}: {found['machine']}, {found['device']}.", ""]
    lines += [f"nano on {found['scenes']} held-out scenes, asked for all its names, against itself in float32.", ""]
    lines += ["| what | mean mask IoU with float32 | 5th percentile | masks | goal |", "|---|---|---|---|---|"]
    for kind, row in alone.items():
        goal = ("met" if row["mean"] >= GOAL else "**missed**") if kind == "bfloat16" else ""
        lines.append(
            f"| {kind}, the same boxes | {row['mean']:.4f} | {row['low']:.4f} | {row['count']} | {goal and f'>= {GOAL} {goal}'} |"
        )
    lines.append(f"| bfloat16, the whole pipeline | {pipe['mean']:.4f} | {pipe['low']:.4f} | {pipe['count']} | |")
    lines += ["", f"The whole pipeline in bfloat16 finds {pipe['found']:.1%} of the {pipe['things']} objects that float32 finds, "
              "with the same label and a box IoU above 0.5.", ""]  # fmt: skip
    lines += ["| against the truth | F1 | mask IoU | right label |", "|---|---|---|---|"]
    lines += [
        f"| {k} | {t['f1']:.3f} | {t['mask_iou']:.3f} | {t['right_label']:.3f} |" for k, t in found["truth"].items()
    ]
    lines += [
        "",
        "| product of SAM ViT-H | " + " | ".join(found["products"][0]["seconds"]) + " |",
        "|---|" + "---|" * 4,
    ]
    for row in found["products"]:
        n, k, m = row["shape"]
        lines.append(f"| {n} x {k} x {m} | " + " | ".join(f"{s * 1e3:.3g} ms" for s in row["seconds"].values()) + " |")
    best = min(found["pays"], key=found["pays"].__getitem__)
    verdict = "pays" if found["pays"][best] < PAYS else "does not pay, so there is no such option"
    ratios = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in found["pays"].items())
    sizes = ", ".join(f"{size:.2f} GB in {kind}" for kind, size in found["gigabytes"].items())
    lines += ["", f"Time over that of the arithmetic used otherwise: {ratios}. int8 {verdict} on this device."]
    lines += [f"ViT-H's weights take {sizes}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--out", type=Path, default=PAGES)
    args = parser.parse_args()
    device = jax.local_devices(backend=args.device)[0]
    rows = products(device)
    size = sam.spec(sam.VARIANTS["sam_vit_h"]).size
    found = {
        "command": f"python -m benchmarks.precision {' '.join(sys.argv[1:])}".strip(),
        "date": datetime.date.today().isoformat(), "machine": machine.processor(), "device": device.device_kind,
        "versions": machine.versions(), **on_scenes(list(heldout.examples("test", args.scenes)), device), "products": rows,
        "pays": pays(rows, args.device == "cpu"),
        "gigabytes": {"float32": 4 * size / 1e9, "bfloat16": 2 * size / 1e9, "int8": size / 1e9},
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "precision.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / "precision.md").write_text(report(found))
    print(report(found))


if __name__ == "__main__":
    main()
