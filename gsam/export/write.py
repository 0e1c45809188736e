"""A pipeline -> a folder of programs, weights and tokenizers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from gsam.errors import UsageError
from gsam.export.artefact import KIND, NOTE, PLATFORMS, VERSION, WEIGHTS, listed, serialisation
from gsam.export.load import Exported
from gsam.export.programs import Canvas, ProgramSpec, programs
from gsam.files import atomic_folder
from gsam.inputs.image import canvas
from gsam.pipeline import Pipeline
from gsam.roles import ReadsText, UpsamplesMasks
from gsam.text.model_text import to_config
from gsam.text.tokenizer import Tokenizer
from gsam.types import View
from gsam.weights import ported

SHAPES = ((3, 4), (4, 3), (2, 3), (3, 2), (9, 16), (16, 9), (1, 1))
"""Shapes of images that a pipeline with rectangular views is exported for by default."""


def export(
    pipe: Pipeline,
    folder: Path | str,
    *,
    platforms: Sequence[str] = PLATFORMS,
    canvases: Sequence[Canvas] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a pipeline as a folder that `gsam.load` runs without the code of its models.

    The number of boxes is fixed with it; every other limit stays a run-time value.  The folder is
    there whole or not at all.

    Args:
        pipe: The pipeline.
        folder: Where it is written; it must not exist.
        platforms: JAX's names: ``cpu``, ``cuda``, ``rocm``, ``tpu``.
        canvases: Rows and columns of rectangular views (Grounding DINO's), multiples of 64; by
            default those of the common shapes of images.  Others are padded to the smallest that
            holds them.
        progress: Called with the number of programs written, and of all.

    Returns:
        The folder.

    Raises:
        UsageError: ``folder`` exists, an argument does not fit, or a stage reads text with code of
            its own.
    """
    folder = Path(folder).absolute()
    if folder.exists():
        raise UsageError(f"{folder} exists already", "output_exists")
    if unknown := sorted(set(platforms) - {*PLATFORMS, "rocm"}):
        raise UsageError(f"no platform {unknown[0]!r}; there are {', '.join(PLATFORMS)} and rocm", "platform_unknown")
    if isinstance(pipe, Exported):
        raise UsageError(f"{pipe.name} is an exported pipeline already: copy its folder", "exported_already")
    from gsam.nn.attention import portable

    writer = serialisation()
    todo = list(programs(pipe, _canvases(pipe.views, canvases), writer.symbolic_shape))
    with atomic_folder(folder) as partial:
        (partial / "programs").mkdir()
        for done, program in enumerate(todo):
            if progress:
                progress(done, len(todo))
            with portable():  # a kernel that this device proved is not for the others
                lowered = writer.export(jax.jit(program.function), platforms=tuple(platforms))(*program.shapes())
            (partial / "programs" / f"{program.name}.bin").write_bytes(lowered.serialize())
        if progress:
            progress(len(todo), len(todo))
        stages = {slot: s for slot, s in pipe.steps.items() if pipe.roles[slot]}
        own = {slot: s.params for slot, s in stages.items() if _holder(pipe, slot) == slot}
        ported.write({f"{slot}/{k}": v for slot, params in own.items() for k, v in params.items()}, partial / WEIGHTS)
        note = _note(pipe, platforms, todo, partial)
        note["files"] = dict(listed(partial))
        (partial / NOTE).write_text(json.dumps(note, indent=1), encoding="utf-8")
    return folder


def _holder(pipe: Pipeline, slot: str) -> str:
    """Name the first slot whose stage has the very parameters of that in ``slot``."""
    params = pipe.steps[slot].params
    return next(s for s, stage in pipe.steps.items() if pipe.roles[s] and stage.params is params)


def _note(pipe: Pipeline, platforms: Sequence[str], programs: Sequence[ProgramSpec], partial: Path) -> dict[str, Any]:
    """Make the content of ``pipeline.json``, and the tokenizers beside it."""
    from gsam.version import __version__

    steps = []
    for slot, step in pipe.steps.items():
        role = pipe.roles[slot]
        entry: dict[str, Any] = {"slot": slot, "role": role}
        if role:
            entry["view"] = dataclasses.asdict(step.view)
            if (held := _holder(pipe, slot)) != slot:
                entry["weights"] = held
            if isinstance(step, UpsamplesMasks):
                entry["upsample"] = step.upsample
        if isinstance(step, ReadsText):
            text: Any = step.text
            if not isinstance(text.tokenizer, Tokenizer):
                raise UsageError(f"the tokenizer of {slot} cannot be written to a file", "export_tokenizer")
            (partial / "tokenizers").mkdir(exist_ok=True)
            entry |= {"text": to_config(text), "tokenizer": f"tokenizers/{slot}.json"}
            (partial / entry["tokenizer"]).write_text(text.tokenizer.dumps(), encoding="utf-8")
        steps.append(entry)
    return {
        "kind": KIND,
        "version": VERSION,
        "gsam": __version__,
        "jax": jax.__version__,
        "name": pipe.name,
        "platforms": list(platforms),
        "limits": dataclasses.asdict(pipe.limits),
        "steps": steps,
        "programs": [{"file": f"programs/{p.name}.bin", **p.note} for p in programs],
    }


def _canvases(views: Sequence[View], asked: Sequence[Canvas] | None) -> list[dict[str, Canvas]]:
    """Rectangles of every view that is no square, by `View.key`: one entry per set of programs."""
    free = [v for v in views if v.fit in ("shortest", "letterbox")]
    if not free:
        return [{}]
    if asked is None:
        sets = [{v.key: canvas(v, [(1000 * h, 1000 * w)]) for v in free} for h, w in SHAPES]
        return [c for i, c in enumerate(sets) if c not in sets[:i]]
    if bad := [c for c in asked if min(c) <= 0 or any(n % 64 for n in c)]:
        raise UsageError(f"a canvas is two multiples of 64, not {bad[0][0]}x{bad[0][1]}", "canvas_invalid")
    return [dict.fromkeys([v.key for v in free], c) for c in dict.fromkeys(asked)]
