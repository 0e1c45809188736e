"""Build a pipeline from the name of a recipe, or from a folder that was exported."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import jax
from jax.typing import DTypeLike

from gsam.build.devices import devices_of, dtype_of
from gsam.build.missing import explained
from gsam.build.recipes import read_recipe, recipes
from gsam.build.schema import NAMELESS, check_settings, check_value
from gsam.build.stages import second_look, stage
from gsam.build.stages import tracker as load_tracker
from gsam.errors import CheckpointError, UsageError
from gsam.export.artefact import is_exported
from gsam.pipeline import Pipeline
from gsam.pipeline.limits import Limits, LimitSettings, check_names, check_phrases
from gsam.registry import FAMILIES
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.runtime.rebuild import by_recipe

DEFAULT = "grounded_sam"
"""The recipe of `load` and of ``gsam segment``: any words, photographs."""
OPTIONS = ("detector", "segmenter", "classifier", "tracker", "refine", "device", "dtype", "labels")
"""Arguments of `load` that are no limits."""


@by_recipe
def load(
    name: str | Path = DEFAULT,
    *,
    detector: str | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
    tracker: str | None = None,
    refine: bool | Mapping[str, Any] | None = None,
    device: str | jax.Device | Sequence[jax.Device] | None = None,
    dtype: DTypeLike | None = None,
    labels: Literal["queries", "phrases"] | None = None,
    **limits: Unpack[LimitSettings],
) -> Pipeline:
    """Build a pipeline from a recipe, a ``.toml`` file, or a folder that `gsam export` wrote.

    A text that is the name of a recipe is that recipe, whatever lies in the working folder:
    ``"./nano"`` is a folder.

    Args:
        name: The name of a recipe (`recipes`), the path of a ``.toml``, or of an exported folder;
            by default Grounding DINO and SAM, for photographs.  ``"nano"`` needs no download and
            knows pictograms.
        detector: Any name of a model, in place of the recipe's detector.
        segmenter: The same for the segmenter, also where a recipe begins with ``[ground]``.
        classifier: The same for the classifier.
        tracker: The same for the model that `gsam.Pipeline.track` uses; by default the recipe's, or
            its segmenter where that can track (SAM 2).
        refine: Whether small things are segmented again, each in a window of its own
            (`gsam.SecondLook`), or settings of that step in place of the recipe's; by default as
            the recipe says: few do.
        device: A platform (``"cpu"``, ``"gpu"``, ``"tpu"``: all its local devices), one of its
            devices (``"cuda:0"``) or devices of JAX; by default all local devices of JAX's default
            platform.
        dtype: Floating-point type of the parameters, ``"float32"``, ``"bfloat16"`` or
            ``"float16"``; by default float32 on CPU and bfloat16 elsewhere.
        labels: ``"phrases"`` decodes labels as the original demo of Grounding DINO does and
            suppresses nothing unless ``limits`` say so: for comparing, not for use. By default the
            user's words.
        **limits: Fields of `gsam.Limits`, ``threshold=0.4`` for instance, in place of the recipe's.

    Returns:
        The pipeline, with its parameters loaded; they go to the device at its first call.

    Raises:
        gsam.errors.UsageError: The recipe does not exist or does not fit the schema, or a model or
            a setting does not.
        gsam.errors.CheckpointError: A model cannot be found, trusted or understood.

    Example:
        >>> pipe = gsam.load("nano", threshold=0.2)
        >>> result = pipe("notebooks/scene.png", "dog. pizza")
        >>> sorted(result.labels)
        ['dog', 'pizza']
    """
    if _is_folder(name):
        fixed = {
            "detector": detector,
            "segmenter": segmenter,
            "classifier": classifier,
            "tracker": tracker,
            "refine": refine,
            "dtype": dtype,
            "labels": labels,
        }
        return _exported(Path(name), fixed, devices_of(device), limits)
    recipe = read_recipe(name)
    check_names(limits, OPTIONS)
    limit = Limits().replaced(recipe.get("limits", {})).replaced(limits)
    check_phrases(limits, "phrases" in (labels, recipe.get("detect", {}).get("labels")))
    if labels is not None:
        check_value("labels", labels)
    masks = "ground" if "ground" in recipe and "segment" not in recipe else "segment"
    replaced = {"detect": detector, masks: segmenter, "classify": classifier, "track": tracker}
    if "ground" in recipe and (detector or labels is not None):
        what = "labels are" if labels is not None else "detector is"
        raise UsageError(f"{name} finds everything without words: no {what} to be changed")
    recipe |= {table: {**recipe.get(table, {}), "name": model} for table, model in replaced.items() if model}
    looks = _looks(recipe, refine)
    if labels is not None:
        recipe["detect"] = {**recipe["detect"], "labels": labels}
    if labels == "phrases":
        limit = limit.replaced({name: 1.0 for name in ("nms", "duplicate", "group", "inside") if name not in limits})
    enable_compilation_cache()
    devices = devices_of(device)
    kind = dtype_of(dtype, devices)
    try:
        stages = {
            role: stage(role, table["name"], {k: v for k, v in table.items() if k != "name"}, kind)
            for role in ("ground", "detect", "segment", "classify")
            if (table := recipe.get(role))
        }
    except CheckpointError as error:
        models = [table["name"] for role, table in recipe.items() if role not in NAMELESS]
        raise explained(error, str(name), models) from None
    steps = list(stages.values())
    if looks is not None:
        made = "segment" if "segment" in stages else "ground"
        steps.append(second_look(stages[made], looks))  # at what a classifier has left
    track = dict(recipe.get("track", {})) or ({"name": recipe[masks]["name"]} if _can(steps, "track") else {})
    make = functools.partial(load_tracker, track.pop("name"), dtype=kind) if track else None
    return Pipeline(*steps, name=Path(name).stem, limits=limit, devices=devices, tracker=make, tracking=track)


def _looks(recipe: Mapping[str, Any], refine: bool | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Settings of the second look, None for none: the recipe's, then those of the call."""
    if refine is False or (refine is None and "refine" not in recipe):
        return None
    own = {} if isinstance(refine, bool | None) else refine
    if not isinstance(own, Mapping):
        raise UsageError(f"refine is {refine!r}, it must be True, False or settings: {{'most': 8}}")
    check_settings("refine", own)
    return {**recipe.get("refine", {}), **own}


def _can(stages: Sequence[Any], role: str) -> bool:
    """Whether the weights of one of these stages can play another role too."""
    packages = {module for family in FAMILIES.values() if role in family.roles for module in family.roles.values()}
    return any(type(stage).__module__ in packages for stage in stages)


def _is_folder(name: str | Path) -> bool:
    path = Path(name)
    return path.is_dir() and (str(name) not in recipes() or (isinstance(name, Path) and is_exported(path)))


def _exported(
    folder: Path, fixed: Mapping[str, Any], devices: Sequence[jax.Device], limits: Mapping[str, Any]
) -> Pipeline:
    from gsam.export import load_exported

    if given := [key for key, value in fixed.items() if value is not None]:
        raise UsageError(
            f"{folder} is an exported pipeline: {given[0]} cannot be changed, export it again with another"
        )
    Limits().replaced(limits)
    enable_compilation_cache()
    return load_exported(folder, devices=devices, **limits)
