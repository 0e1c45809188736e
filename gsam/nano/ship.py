"""From training runs to the weights that ship: averaged parameters in half precision, and a
manifest that says how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam import bind
from gsam.files import atomic_file, sha256
from gsam.models import clip, owl_vit, sam, sam2
from gsam.models.sam2 import tracker
from gsam.models.sam2.config import NANO
from gsam.types import Json, JsonMapping

MODELS: dict[str, tuple[str, str, bind.Spec[Any]]] = {
    "detector": ("owl_vit", "nano_owl", owl_vit.spec(owl_vit.VARIANTS["nano_owl"])),
    "segmenter": ("sam", "nano_sam", sam.spec(sam.VARIANTS["nano_sam"])),
    "tracker": ("sam2", "nano_sam2", tracker.spec(NANO)),
    "classifier": ("clip", "nano_clip", clip.spec(clip.VARIANTS["nano_clip"])),
}
"""Run -> family, variant, and the model without its numbers."""
COUNTED = {"nano_sam2": sam2.spec(NANO).size}
"""Parameters as manifests count them, where it is not the whole: of SAM 2 the image's part, without
the memory."""

LIMIT = 16_000_000
"""Bytes that all of ``weights/nano`` may take."""


def export(average: JsonMapping, target: Path, spec: bind.Spec[Any]) -> str:
    """Write ``average`` as float16 safetensors, atomically; returns the sha256.

    Raises `ValueError` beyond float16's range.
    """
    from safetensors.numpy import save

    spec.check(average)
    halves: dict[str, NDArray[np.float16]] = {k: np.asarray(v, np.float16) for k, v in sorted(average.items())}
    broken = [k for k, v in halves.items() if not np.isfinite(v).all()]
    if broken:
        raise ValueError(f"not finite in half precision: {', '.join(broken[:10])}")
    with atomic_file(target) as file:
        file.write(save(halves))
    return sha256(target)


def ship(runs: Path, out: Path, means: Mapping[str, Path] | None = None) -> Json:
    """Export every run found in ``runs`` (folders named as `MODELS`) and rewrite
    ``out/manifest.toml``.

    What is not found keeps its entry and its file.  ``means``: run -> a file that it went on from,
    with whose weights the mean is exported (Wortsman et al. 2022).  Raises `ValueError` where all
    together would pass `LIMIT`, and for a mean of a run that there is none of.
    """
    from gsam.training.checkpoints import Checkpoints
    from gsam.training.run import read_run

    if strange := set(means or {}) - set(MODELS):
        raise ValueError(f"{', '.join(sorted(strange))}: there are only {', '.join(MODELS)}")
    entries = _entries(out / "manifest.toml")
    for name, (family, variant, spec) in MODELS.items():
        folder = runs / name
        if not (folder / "checkpoints").is_dir():
            continue
        with Checkpoints(folder / "checkpoints") as saved:
            if saved.latest is None:
                continue
            state, notes = saved.restore_any()
        learnt, other = state["average"], (means or {}).get(name)
        digest = export(mean_of(learnt, other) if other else learnt, out / f"{name}.safetensors", spec)
        run = read_run(folder)
        if run is None:
            raise ValueError(f"{folder} has checkpoints and no run.json")
        told = {**run["settings"], "machine": (folder / "machine.txt").read_text()}
        if (folder / "notes.txt").is_file():  # what the command does not say: changes on the way, for instance
            told["notes"] = " ".join((folder / "notes.txt").read_text().split())
        if other:
            told["mean_with"] = sha256(other)
        entries[variant] = {
            "family": family,
            "variant": variant,
            "file": f"{name}.safetensors",
            "sha256": digest,
            "parameters": COUNTED.get(variant, spec.size),
            "licence": "Apache-2.0",
            **told,
            "steps": int(state["step"]),
            "images": int(state["step"]) * int(told["batch"]) * int(told.get("frames", 1)),
            "skipped_steps": int(state["skipped"]),
            "minutes": round(float(notes["seconds"]) / 60, 1),
            "results": last_results(folder / "log.jsonl"),
        }
    size = sum(p.stat().st_size for p in out.iterdir())
    if size > LIMIT:
        raise ValueError(f"{out} holds {size / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}")
    (out / "manifest.toml").write_text(written(entries))
    return entries


def mean_of(learnt: JsonMapping, other: Path) -> Json:
    """The mean of parameters and of those that `ship` wrote to a file."""
    from safetensors.numpy import load_file

    earlier = load_file(other)
    return {k: (np.asarray(v, np.float32) + earlier[k].astype(np.float32)) / 2 for k, v in learnt.items()}


def last_results(log: Path) -> dict[str, float]:
    """The figures of the last evaluation in a log."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    looks = [r for r in rows if r["event"] in ("evaluate", "end")]
    skip = {"event", "progress", "seconds", "skipped"}
    return {k: round(v, 4) for k, v in looks[-1].items() if k not in skip} if looks else {}


def written(entries: Mapping[str, JsonMapping]) -> str:
    """The manifest as TOML: one table a model, its results in a table below."""
    lines = ["# How nano's weights were made.  Written by `python -m gsam.nano ship`; do not edit.", ""]
    for variant, entry in entries.items():
        lines.append(f"[{variant}]")
        lines += [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in entry.items() if not isinstance(v, dict)]
        for table, values in entry.items():
            if isinstance(values, dict):
                lines += [f"[{variant}.{table}]", *(f"{k} = {json.dumps(v)}" for k, v in values.items())]
        lines.append("")
    return "\n".join(lines)


def _entries(path: Path) -> Json:
    import tomllib

    return tomllib.loads(path.read_text()) if path.is_file() else {}
