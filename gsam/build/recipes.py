"""Read recipes, ``pipelines/*.toml``: which models a pipeline is made of, and its settings."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gsam.build.stages import GRID_SETTINGS
from gsam.errors import UsageError
from gsam.pipeline.limits import Limits
from gsam.weights import folders

_SEGMENT = frozenset({"name", "chunk", "hq_token_only", "dynamic_multimask", "max_hole_area", "max_sprinkle_area"})
RECIPE: Mapping[str, frozenset[str]] = {
    "ground": _SEGMENT | GRID_SETTINGS,
    "detect": frozenset({"name", "template", "span", "labels"}),
    "segment": _SEGMENT,
    "classify": frozenset({"name", "template", "negatives", "weight", "context", "background", "canvas"}),
    "track": frozenset({"name", "every", "match", "covered", "same", "patience", "most", "prompt"}),
    "limits": frozenset(f.name for f in dataclasses.fields(Limits)),
}
"""The closed schema of ``pipelines/*.toml``: tables and their keys, names and numbers only."""
KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "span", "labels", "canvas", "prompt"), (str,)),
    "template": (list, str),
    "negatives": (list,),
}
"""Types of the keys of a recipe that are not numbers."""
CHOICES: Mapping[str, tuple[str | int, ...]] = {
    "span": ("mean", "max"),
    "prompt": ("box", "mask"),
    "labels": ("queries", "phrases"),
    "hq_token_only": (0, 1),
    "dynamic_multimask": (0, 1),
}


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


def _recipe_folder() -> Path:
    return folders.data_folder("pipelines")
