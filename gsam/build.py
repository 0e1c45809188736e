"""Names -> stages -> pipelines: read recipes, find weights, put them on the device."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp

from gsam.errors import UsageError
from gsam.export.artefact import is_exported
from gsam.pipeline import Limits, Pipeline
from gsam.registry import FAMILIES
from gsam.roles import Classifier, Detector, Segmenter, Tracker
from gsam.runtime.compilation_cache import keep_programs
from gsam.types import View
from gsam.weights.store import Loaded

RECIPE: Mapping[str, frozenset[str]] = {
    "detect": frozenset({"name", "template", "span", "labels"}),
    "segment": frozenset({"name", "chunk", "hq_token_only", "dynamic_multimask", "max_hole_area", "max_sprinkle_area"}),
    "classify": frozenset({"name", "template", "negatives", "weight", "context", "background", "canvas"}),
    "track": frozenset({"name", "every", "match", "covered", "same", "patience", "most", "prompt"}),
    "limits": frozenset(f.name for f in dataclasses.fields(Limits)),
}
"""The closed schema of ``pipelines/*.toml``: tables and their keys, names and numbers only."""
_GRID = frozenset(
    {"points_per_side", "pred_iou_thresh", "stability_score_thresh", "stability_score_offset", "box_nms_thresh"}
)
RECIPE = {"ground": RECIPE["segment"] | _GRID, **RECIPE}

KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "span", "labels", "canvas", "prompt"), (str,)),
    "template": (list, str),
    "negatives": (list,),
}
"""What is not a number in a recipe."""
CHOICES: Mapping[str, tuple[str | int, ...]] = {
    "span": ("mean", "max"),
    "prompt": ("box", "mask"),
    "labels": ("queries", "phrases"),
    "hq_token_only": (0, 1),
    "dynamic_multimask": (0, 1),
}


def detector(name: str, **settings: Any) -> Detector:
    """Build a text-conditioned box detector.

    Args:
        name: An official name (``gsam weights list``), a hub id, a folder or a file.
        **settings: Settings of the family's detector, see `gsam.models`.

    Returns:
        A detector, the first step of a `gsam.Pipeline`.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model or setting, or it is no detector.

    Example:
        >>> detect, segment = gsam.detector("nano_owl"), gsam.segmenter("nano_sam")
        >>> pipe = gsam.Pipeline(detect, segment, threshold=0.4)
        >>> "pizza" in pipe("notebooks/scene.png", "pizza").labels
        True
    """
    return cast(Detector, _stage("detect", name, settings))


def segmenter(name: str, **settings: Any) -> Segmenter:
    """Build a promptable segmenter.

    Args:
        name: An official name (``gsam weights list``), a hub id, a folder or a file.
        **settings: Settings of the family's segmenter, see `gsam.models`.

    Returns:
        A segmenter, a step of a `gsam.Pipeline` or the model of a `gsam.Predictor`.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model or setting, or it is no segmenter.

    Example:
        >>> gsam.segmenter("nano_sam").view.size
        160
    """
    return cast(Segmenter, _stage("segment", name, settings))


def classifier(name: str, **settings: Any) -> Classifier:
    """Build a classifier of images and text.

    Args:
        name: An official name (``gsam weights list``), a hub id, a folder or a file.
        **settings: Settings of the family's classifier, see `gsam.models`.

    Returns:
        A classifier, a step of a `gsam.Pipeline`.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model or setting, or it is no classifier.
    """
    return cast(Classifier, _stage("classify", name, settings))


def tracker(name: str, **settings: Any) -> Tracker:
    """Build a SAM 2 with its memory.

    Args:
        name: An official name (``gsam weights list``), a hub id, a folder or a file.
        **settings: Settings of the family's tracker, see `gsam.models`.

    Returns:
        A tracker, the model of a `gsam.VideoPredictor`.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model or setting, or it is no tracker.
    """
    return cast(Tracker, _stage("track", name, settings))


_tracker = tracker


def load(
    name: str | Path = "nano",
    *,
    detector: str | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
    tracker: str | None = None,
    device: str | Sequence[jax.Device] | None = None,
    dtype: Any = None,
    labels: Literal["queries", "phrases"] | None = None,
    **limits: Any,
) -> Pipeline:
    """Build a pipeline from a recipe, a ``.toml`` file, or a folder that `gsam export` wrote.

    A text that is the name of a recipe is that recipe, whatever lies in the working folder:
    ``"./nano"`` is a folder.

    Args:
        name: The name of a recipe (`recipes`), the path of a ``.toml``, or of an exported folder.
        detector: Any name of a model, in place of the recipe's detector.
        segmenter: The same for the segmenter, also where a recipe begins with ``[ground]``.
        classifier: The same for the classifier.
        tracker: The same for the model that `gsam.Pipeline.track` uses; by default the recipe's, or
            its segmenter where that can track (SAM 2).
        device: A platform (``"cpu"``, ``"gpu"``, ``"tpu"``: all its local devices) or devices; by
            default all local devices of JAX's default platform.
        dtype: Floating-point type of the parameters; by default float32 on CPU and bfloat16
            elsewhere.
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
        >>> pipe = gsam.load("nano", threshold=0.4)
        >>> result = pipe("notebooks/scene.png", "dog. pizza")
        >>> result
        <Result scene.png 512 x 512: 1 pizza, 1 dog>
    """
    if _is_folder(name):
        fixed = {
            "detector": detector,
            "segmenter": segmenter,
            "classifier": classifier,
            "tracker": tracker,
            "dtype": dtype,
            "labels": labels,
        }
        return _exported(Path(name), fixed, _devices(device), limits)
    recipe = read_recipe(name)
    masks = "ground" if "ground" in recipe and "segment" not in recipe else "segment"
    replaced = {"detect": detector, masks: segmenter, "classify": classifier, "track": tracker}
    if "ground" in recipe and (detector or labels is not None):
        what = "labels are" if labels is not None else "detector is"
        raise UsageError(f"{name} finds everything without words: no {what} to be changed")
    recipe |= {table: {**recipe.get(table, {}), "name": model} for table, model in replaced.items() if model}
    if labels is not None:
        recipe["detect"] = {**recipe["detect"], "labels": labels}
    if labels == "phrases":
        recipe["limits"] = {**recipe.get("limits", {}), **dict.fromkeys(("nms", "duplicate", "group", "inside"), 1.0)}
    _check_limits(limits)
    keep_programs()
    devices = _devices(device)
    stages = [
        _stage(role, table["name"], {k: v for k, v in table.items() if k != "name"}, dtype or default_dtype(devices))
        for role in ("ground", "detect", "segment", "classify")
        if (table := recipe.get(role))
    ]
    limit = Limits(**{**recipe.get("limits", {}), **limits})
    track = dict(recipe.get("track", {})) or ({"name": recipe[masks]["name"]} if _can(stages, "track") else {})
    make = functools.partial(_tracker, track.pop("name")) if track else None
    return Pipeline(*stages, name=Path(name).stem, limits=limit, devices=devices, tracker=make, following=track)


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
    _check_limits(limits)
    keep_programs()
    return load_exported(folder, devices=devices, **limits)


def _check_limits(limits: Mapping[str, Any]) -> None:
    allowed = RECIPE["limits"]
    if unknown := sorted(set(limits) - allowed):
        raise UsageError(f"no setting {unknown[0]!r}; there are {', '.join(sorted(allowed))}")


def recipes() -> list[str]:
    """List the names of the recipes that `load` knows.

    Returns:
        The names in alphabetical order.

    Example:
        >>> "nano" in gsam.recipes()
        True
    """
    return sorted(p.stem for p in _recipe_folder().glob("*.toml"))


def read_recipe(name: str | Path) -> dict[str, Any]:
    """Read the tables of a recipe and check them against the schema.

    Args:
        name: The name of a recipe, or the path of a ``.toml`` file.

    Returns:
        Table -> key -> value.

    Raises:
        gsam.errors.UsageError: The recipe does not exist, is no TOML or does not fit the schema.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = _recipe_folder() / f"{name}.toml"
        if not path.is_file():
            near = difflib.get_close_matches(str(name), recipes(), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"no pipeline {str(name)!r}{hint} There are {', '.join(recipes())}, or give a .toml file.")
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not TOML: {error}") from error
    if "everything" in recipe:  # what [ground] was called before 0.7
        recipe.setdefault("ground", recipe.pop("everything"))
    _check(recipe, path.name)
    return recipe


def default_dtype(devices: Sequence[jax.Device]) -> Any:
    """float32 on CPU, bfloat16 on accelerators."""
    return jnp.float32 if devices[0].platform == "cpu" else jnp.bfloat16


def _check(recipe: Mapping[str, Any], where: str) -> None:
    if unknown := sorted(set(recipe) - set(RECIPE)):
        raise UsageError(f"{where}: unknown table [{unknown[0]}]; there are {', '.join(RECIPE)}")
    for table, values in recipe.items():
        if not isinstance(values, dict):
            raise UsageError(f"{where}: {table} must be a table")
        if unknown := sorted(set(values) - RECIPE[table]):
            raise UsageError(f"{where}: unknown key {table}.{unknown[0]}; there are {', '.join(sorted(RECIPE[table]))}")
        for key, value in values.items():
            wanted = KINDS.get(key, (int, float))
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise UsageError(f"{where}: {table}.{key} is {value!r}, a {wanted[-1].__name__} is needed")
            if key in CHOICES and value not in CHOICES[key]:
                choices = ", ".join(map(str, CHOICES[key]))
                raise UsageError(f"{where}: {table}.{key} is {value!r}, it must be one of {choices}")
        if table != "limits" and "name" not in values:
            raise UsageError(f"{where}: {table}.name is missing")
    if ("detect" in recipe) == ("ground" in recipe):
        raise UsageError(f"{where}: a pipeline begins with [detect] or with [ground]")


def _stage(role: str, name: str, settings: Mapping[str, Any], dtype: Any = None) -> Any:
    from gsam.weights import store

    keep_programs()
    loaded = store.load(name, role=role, dtype=dtype or default_dtype(jax.local_devices()))
    roles = FAMILIES[loaded.family].roles
    own = {k: v for k, v in settings.items() if k in _GRID}
    on_a_grid = role == "ground" and role not in roles and "segment" in roles
    if not on_a_grid and role not in roles:
        raise UsageError(f"{name!r} is a model to {next(iter(roles))}, one to {role} is needed")
    if not on_a_grid and own:
        raise UsageError(f"{name!r} finds everything by itself and does not take {next(iter(own))}")
    stage = _build(loaded, "segment" if on_a_grid else role, {k: v for k, v in settings.items() if k not in own})
    if not on_a_grid:
        return stage
    from gsam.pipeline.grid import GridProposer

    return GridProposer(stage, **own)


def _build(loaded: Loaded, role: str, settings: Mapping[str, Any]) -> Any:
    from gsam.text.tokenizer import load_tokenizer

    module = importlib.import_module(FAMILIES[loaded.family].roles[role])
    tokenizer = load_tokenizer(loaded.tokenizer) if loaded.tokenizer else None
    try:
        return module.build(loaded.config, loaded.params, tokenizer, **_settings(settings))
    except TypeError as error:
        raise UsageError(f"{loaded.name!r} does not take this setting: {error}") from error
    except ValueError as error:
        raise UsageError(f"{loaded.name!r}: {error}") from error


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(settings)
    for key in ("negatives", "template"):
        if isinstance(values.get(key), list):
            values[key] = tuple(values[key])
    if isinstance(values.get("canvas"), str):  # "longest 160": a recipe's word for a View
        fit, size = values["canvas"].split()
        values["canvas"] = View(int(size), cast(Any, fit))
    return values


def _devices(device: str | Sequence[jax.Device] | None) -> tuple[jax.Device, ...]:
    if device is None:
        return tuple(jax.local_devices())
    return tuple(jax.local_devices(backend=device)) if isinstance(device, str) else tuple(device)


def _recipe_folder() -> Path:
    from gsam.weights import folders

    return folders.data_folder("pipelines")
