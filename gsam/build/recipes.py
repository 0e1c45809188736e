"""Read recipes, ``pipelines/*.toml``: which models a pipeline is made of, and its settings."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from gsam.build.schema import check_recipe
from gsam.errors import UsageError
from gsam.registry import roles_of
from gsam.weights import folders


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
            raise UsageError(f"no pipeline {str(name)!r}{_hint(str(name))}")
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not TOML: {error}") from error
    if "everything" in recipe:  # what [ground] was called before 0.7
        recipe.setdefault("ground", recipe.pop("everything"))
    check_recipe(recipe, path.name)
    return recipe


def _hint(name: str) -> str:
    """Guess the meaning of a name that is no recipe's."""
    if roles := roles_of(name):
        role = next(iter(roles))
        return f": {name} is a {_MODELS[role][0]}, {_MODELS[role][1].format(name)}"
    near = difflib.get_close_matches(name, recipes(), 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{hint} There are {', '.join(recipes())}, or give a .toml file."


_MODELS = {
    "detect": ("detector", "which serves as --detector {0} or load(detector={0!r})"),
    "segment": (
        "segmenter",
        "which serves as --segmenter {0} or load(segmenter={0!r}), and alone in gsam everything -m {0}",
    ),
    "classify": ("classifier", "which serves as --classifier {0} or load(classifier={0!r})"),
    "track": ("tracker", "which serves as --tracker {0} or load(tracker={0!r})"),
}
"""The word for a model of a role, and where its name goes."""


def _recipe_folder() -> Path:
    return folders.data_folder("pipelines")
