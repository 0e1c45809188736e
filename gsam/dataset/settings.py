"""The settings that the results of a run depend on, as plain values to be noted down."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.version import __version__

if TYPE_CHECKING:
    from gsam.pipeline import Pipeline
    from gsam.text.queries import Queries
    from gsam.types import Json

SLOTS = {"detector": "detect", "segmenter": "segment", "classifier": "classify", "tracker": "track"}
"""Arguments of `gsam.load` that put another model into a table of the recipe."""


def platform_of(device: str) -> str:
    """The part of a device's name that results depend on: its number changes nothing."""
    return device.partition(":")[0].strip().lower()


def pipeline_settings(pipeline: str, queries: Queries, given: Mapping[str, object]) -> Json:
    """Describe what a pipeline finds: recipe, weights, limits, queries.

    Args:
        pipeline: The name of a recipe, a ``.toml`` or an exported folder, as `gsam.load` takes it.
        queries: What is asked for.
        given: Other arguments of `gsam.load`; those that are None were not given.

    Returns:
        Plain values; the same ones give the same results for the same input.

    Raises:
        UsageError: There is no such recipe, or it does not fit the schema.
    """
    from gsam.build.recipes import read_recipe, recipes
    from gsam.pipeline.limits import Limits

    known = {k: v for k, v in given.items() if v is not None}
    if "device" in known:
        known["device"] = platform_of(str(known["device"]))
    exported = Path(pipeline).is_dir() and pipeline not in recipes()
    recipe = {} if exported else read_recipe(pipeline)
    masks = "ground" if "ground" in recipe and "segment" not in recipe else "segment"
    for argument, table in SLOTS.items():
        if argument in known and not exported:
            table = masks if table == "segment" else table
            recipe[table] = {**recipe.get(table, {}), "name": known.pop(argument)}
    fields = {f.name for f in dataclasses.fields(Limits)}
    limits = {**dataclasses.asdict(Limits()), **recipe.pop("limits", {})} if not exported else {}
    limits |= {k: known.pop(k) for k in list(known) if k in fields}
    models = [table["name"] for table in recipe.values() if "name" in table] if not exported else [pipeline]
    return {
        "gsam": __version__,
        **({} if exported else {"recipe": plain(recipe)}),
        "limits": plain(limits),
        "options": plain(known),
        "queries": query_settings(queries),
        "weights": weights_of(models),
    }


def settings_of(pipe: Pipeline, queries: Queries) -> Json:
    """Describe a pipeline that a user made: its steps by their names, its limits and parameters.

    Args:
        pipe: The pipeline.
        queries: What is asked for.

    Returns:
        Plain values, as `pipeline_settings` gives them; the code of functions is not in them.
    """
    import jax
    import numpy as np

    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(pipe.params):
        value = np.ascontiguousarray(jax.device_get(leaf))
        digest.update(f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    steps = [getattr(step, "__name__", type(step).__name__) for step in pipe.steps.values()]
    return {
        "gsam": __version__,
        "pipeline": {"name": pipe.name, "steps": steps, "platform": pipe.devices[0].platform},
        "limits": plain(dataclasses.asdict(pipe.limits)),
        "queries": query_settings(queries),
        "weights": {"sha256": digest.hexdigest()},
    }


def query_settings(queries: Queries) -> Json:
    """Describe what is asked for, and what it is called in the results."""
    return {"prompts": list(queries.prompts), "names": list(queries.names), "labels": list(queries.labels)}


def weights_of(models: list[str]) -> Json:
    """Give the hashes of the files of models, by the models' names."""
    from gsam.weights.identity import identity

    return {name: identity(name) for name in models}


def plain(value: object) -> Json:
    """Give a mapping as JSON would give it back; what JSON has no form for becomes its text."""
    found: Json = json.loads(json.dumps(value, default=str))
    return found
