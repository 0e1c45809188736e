"""A folder that `gsam.export.write` made -> a pipeline, without the code of its models."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp

from gsam.errors import CheckpointError, UsageError
from gsam.export.artefact import NOTE, WEIGHTS, plain, read_note, serialisation
from gsam.pipeline import Pipeline
from gsam.pipeline.limits import Limits
from gsam.runtime.program import Program, R
from gsam.text.model_text import from_config
from gsam.text.processor import TextProcessor
from gsam.text.tokenizer import load_tokenizer
from gsam.types import Boxes, Images, Labels, Masks, Params, PyTree, Scene, Text, Thresholds, View
from gsam.weights.read import read


def load_exported(folder: Path | str, *, devices: Sequence[jax.Device] | None = None, **limits: Any) -> Exported:
    """Load an exported pipeline.

    Args:
        folder: What `gsam.export.write.export` wrote.
        devices: Where it runs; the first local device by default.
        **limits: As for `gsam.load`; the number of boxes is fixed.

    Raises:
        UsageError: It is no exported pipeline, of another format, or not exported for this kind of
            device or this number of boxes.
        CheckpointError: It is damaged.
    """
    folder = Path(folder)
    note = read_note(folder)
    reader = serialisation()
    devices = tuple(devices or jax.local_devices()[:1])
    kinds = {"gpu": {"cuda", "rocm"}}.get(devices[0].platform, {devices[0].platform})
    if not kinds & set(note["platforms"]):
        text = f"{folder} was exported for {', '.join(note['platforms'])}, not for {devices[0].platform}"
        raise UsageError(f"{text}: export it with --platform {sorted(kinds)[0]}", "platform_not_exported")
    if "boxes" in limits and limits["boxes"] != note["limits"]["boxes"]:
        text = f"{folder} was exported for {note['limits']['boxes']} boxes: export it again for another number"
        raise UsageError(text, "boxes_fixed")
    weights: dict[str, Params] = {}
    for name, tensor in read(folder / WEIGHTS).items():
        slot, _, path = name.partition("/")
        weights.setdefault(slot, {})[path] = tensor.load()  # type: ignore[assignment]
    try:
        programs = [
            ExportedProgram(
                folder / p["file"], p["is"], p.get("slot"), p.get("canvas", {}), p.get("captions"), note["jax"], reader
            )
            for p in note["programs"]
        ]
        steps = [_step(folder, entry, weights, programs) for entry in note["steps"]]
        known = {k: v for k, v in note["limits"].items() if k in Limits.__dataclass_fields__}
        return Exported(steps, programs, name=note["name"], limits=Limits(**{**known, **limits}), devices=devices)
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise CheckpointError(f"{folder / NOTE} is damaged: {error!r}. Export it again.", "export_damaged") from None


class ExportedProgram:
    """One program of the folder, read when it is first called."""

    def __init__(
        self,
        file: Path,
        kind: str,
        slot: str | None,
        canvas: Mapping[str, Sequence[int]],
        captions: str | None,
        made_by: str,
        reader: Any,
    ) -> None:
        self.file, self.kind, self.slot, self.captions, self.jax = file, kind, slot, captions, made_by
        self.canvas: dict[str, tuple[int, int]] = {k: (int(h), int(w)) for k, (h, w) in canvas.items()}
        self._reader = reader

    @functools.cached_property
    def call(self) -> Callable[..., Any]:
        try:
            program = self._reader.deserialize(bytearray(self.file.read_bytes()))
            if _release(self.jax) > _release(jax.__version__):  # else what was written is always understood
                program.mlir_module()
        except (ValueError, jax.errors.JaxRuntimeError):
            text = (
                f"{self.file} was written by JAX {self.jax}, JAX {jax.__version__} cannot read it: install a newer one"
            )
            raise UsageError(f"{text}, or export the pipeline with this one", "export_jax_version") from None
        return cast(Callable[..., Any], program.call)

    @property
    def area(self) -> int:
        return sum(math.prod(c) for c in self.canvas.values())


class ExportedStage:
    """The host's part of an exported stage; its part on the device is in the programs.

    It has ``text`` and ``embed`` if the stage had them.
    """

    text: TextProcessor
    embed: Callable[..., Any]

    def __init__(self, role: str, view: View, params: Params, upsample: str = "view") -> None:
        self.params, self.view, self.upsample = params, view, upsample
        setattr(self, role, _compiled)


class Exported(Pipeline):
    """See `gsam.Pipeline`.  `encode` and `apply` call what was exported."""

    def __init__(self, steps: Sequence[Any], programs: Sequence[ExportedProgram], **settings: Any) -> None:
        super().__init__(*steps, **settings)
        self._programs = programs

    def encode(self, params: Mapping[str, Params], images: Images) -> dict[str, PyTree]:
        """Pure.  ``{"features": leaves}``: what is computed once an image."""
        program, images = self._fit(images, "encode")
        return {"features": program.call(_tree(params), plain(images))}

    def apply(
        self,
        params: Mapping[str, Params],
        images: Images,
        tokens: Text,
        features: Mapping[str, PyTree] | None = None,
        thresholds: Thresholds | None = None,
    ) -> Scene:
        """Pure.  As `gsam.Pipeline.apply`."""
        features = self.encode(params, images) if features is None else features
        thresholds = self.limits.thresholds if thresholds is None else thresholds
        own = jnp.broadcast_to(thresholds.threshold, tokens.valid.shape)
        if tokens.groups is None:
            each = jnp.broadcast_to(jnp.arange(own.shape[1], dtype=jnp.int32), own.shape)
            tokens = dataclasses.replace(tokens, groups=each)
        thresholds = dataclasses.replace(thresholds, threshold=own)
        counts = [x.shape[1] for slot in self.captions for x in jax.tree.leaves(tokens.stages[slot])]
        captions = ("several" if max(counts) > 1 else "one") if counts else None
        program, seen = self._fit(images, "apply", captions)
        found = program.call(_tree(params), plain(seen), plain(tokens), plain(thresholds), list(features["features"]))
        masks = None if found["masks"] is None else Masks(**found["masks"])
        return Scene(images, tokens, thresholds, Boxes(**found["boxes"]), Labels(**found["labels"]), masks)

    def _fit(self, images: Images, kind: str, captions: str | None = None) -> tuple[ExportedProgram, Images]:
        """The program whose canvas holds these images best, and the images on it."""
        programs = [p for p in self._programs if p.kind == kind and p.captions == captions]
        free = {k: images.views[k].shape[1:3] for k in programs[0].canvas}
        holds = [p for p in programs if all(p.canvas[k][0] >= h and p.canvas[k][1] >= w for k, (h, w) in free.items())]
        if not holds:
            asked = " ".join(f"--canvas {h}x{w}" for h, w in dict.fromkeys(free.values()))
            there = ", ".join("x".join(map(str, c)) for p in programs for c in dict.fromkeys(p.canvas.values()))
            text = f"no canvas of this exported pipeline holds this picture, there are {there}: export it with {asked}"
            raise UsageError(text, "canvas_not_exported")
        best = min(holds, key=lambda p: p.area)
        views = dict(images.views)
        for key, (h, w) in best.canvas.items():
            if (free[key][0], free[key][1]) != (h, w):
                pad = ((0, 0), (0, h - free[key][0]), (0, w - free[key][1]), (0, 0))
                level = next(round(v.pad) for v in self.views if v.key == key)
                views[key] = jnp.pad(views[key], pad, constant_values=level)
        return best, Images(views, images.content, images.size)

    @functools.cached_property
    def _encode(self) -> Program[dict[str, PyTree]]:
        return _OnCanvas(self.encode, self.devices[0].platform, self._fit)

    @functools.cached_property
    def _decode(self) -> Program[Scene]:
        return _OnCanvas(self.apply, self.devices[0].platform, self._fit)


class _OnCanvas(Program[R]):
    """A program of images, which are first brought onto its canvas: one compilation per canvas."""

    def __init__(self, function: Callable[..., R], platform: str, fit: Callable[..., Any]) -> None:
        super().__init__(function, platform)
        self._fit = fit

    def __call__(self, params: PyTree, images: Images, *rest: Any) -> R:
        return super().__call__(params, self._fit(images, "encode")[1], *rest)


def _step(
    folder: Path, entry: Mapping[str, Any], weights: Mapping[str, Params], programs: Sequence[ExportedProgram]
) -> PyTree:
    if entry["role"] is None:  # a function of the user's, which is in the programs
        return lambda scene: scene
    slot = entry["slot"]
    stage = ExportedStage(
        entry["role"], View(**entry["view"]), weights.get(entry.get("weights", slot), {}), entry.get("upsample", "view")
    )
    if "text" in entry:
        stage.text = from_config(entry["text"], load_tokenizer(folder / entry["tokenizer"]))
    if embed := next((p for p in programs if p.kind == "embed" and p.slot == slot), None):
        stage.embed = lambda params, tokens: embed.call(_tree(params), tokens)
    return stage


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def _tree(params: PyTree) -> PyTree:
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in params.items()}


def _compiled(*_: Any) -> PyTree:
    raise NotImplementedError("this stage is part of the programs of an exported pipeline and does not run by itself")
