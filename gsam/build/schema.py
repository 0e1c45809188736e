"""The closed schema of recipes: which tables and keys there are, and what each value may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import get_args, get_type_hints

from gsam.errors import UsageError
from gsam.runtime.settings import GRID, LIMITS, REFINE, SHARE, Number, unknown_setting
from gsam.text.templates import templates
from gsam.tracking.config import PROMPTS, SETTINGS, TRACKING
from gsam.types import View

GRID_SETTINGS = frozenset(GRID)
"""Settings of `gsam.GridProposer`, which makes a promptable segmenter find everything."""
_SEGMENT = frozenset({"name", "chunk", "hq_token_only", "dynamic_multimask", "max_hole_area", "max_sprinkle_area"})
RECIPE: Mapping[str, frozenset[str]] = {
    "ground": _SEGMENT | GRID_SETTINGS,
    "detect": frozenset({"name", "template", "span", "labels"}),
    "segment": _SEGMENT,
    "refine": frozenset({*REFINE, "prompt", "canvas"}),
    "classify": frozenset({"name", "template", "negatives", "weight", "context", "background", "canvas"}),
    "track": frozenset({"name", *SETTINGS}),
    "limits": frozenset(LIMITS),
}
"""The tables of ``pipelines/*.toml`` and their keys: names and numbers only."""
NAMELESS = frozenset({"refine", "limits"})
"""Tables that name no model."""
NUMBERS: Mapping[str, Number] = {
    **LIMITS,
    **TRACKING,
    "chunk": Number(1, 4096, whole=True),
    "max_hole_area": Number(0),
    "max_sprinkle_area": Number(0),
    **GRID,
    **REFINE,
    "weight": SHARE,
    "context": Number(0, 10),
    "background": SHARE,
}
"""Ranges of the keys that are numbers."""
CHOICES: Mapping[str, tuple[str | int, ...]] = {
    "span": ("mean", "max"),
    "prompt": PROMPTS,
    "labels": ("queries", "phrases"),
    "redraw": (0, 1),
    "hq_token_only": (0, 1),
    "dynamic_multimask": (0, 1),
}
FITS = get_args(get_type_hints(View)["fit"])
SIDES = Number(16, 8192, whole=True)
"""Pixels of a canvas."""


def check_recipe(recipe: Mapping[str, object], where: str) -> None:
    """Check the tables of a recipe.

    Args:
        recipe: Table -> key -> value.
        where: What errors begin with.

    Raises:
        gsam.errors.UsageError: A table or key does not exist, or a value may not be what it is.
    """
    for table, values in recipe.items():
        if table not in RECIPE:
            raise unknown_setting(table, RECIPE, f"{where}: unknown table [{table}]")
        if not isinstance(values, dict):
            raise UsageError(f"{where}: {table} must be a table")
        check_settings(table, values, where)
        if table not in NAMELESS and "name" not in values:
            raise UsageError(f"{where}: {table}.name is missing")
    if ("detect" in recipe) == ("ground" in recipe):
        raise UsageError(f"{where}: a pipeline begins with [detect] or with [ground]")


def check_settings(table: str, values: Mapping[str, object], where: str = "") -> None:
    """Check the keys and values of one table.

    Args:
        table: Its name, one of `RECIPE`.
        values: Key -> value.
        where: What errors begin with; by default nothing, for settings of a call.

    Raises:
        gsam.errors.UsageError: A key does not exist, or a value may not be what it is.
    """
    where = f"{where}: " if where else ""
    for key, value in values.items():
        if key not in RECIPE[table]:
            raise unknown_setting(key, RECIPE[table], f"{where}unknown key {table}.{key}")
        if isinstance(value, bool):
            told = f"{table}.{key} is {str(value).lower()}: recipes have names and numbers only"
            raise UsageError(f"{where}{told}, 0 or 1 for a switch")
        check_value(key, value, f"{where}{table}.", table)


def check_value(key: str, value: object, where: str = "", table: str = "") -> None:
    """Check one value, of a recipe or of a call.

    Args:
        key: Its name; nothing is known of others than those of recipes.
        value: The value.
        where: Put before the name in an error.
        table: The role it is for: detectors read one sentence only.

    Raises:
        gsam.errors.UsageError: It may not be what it is.
    """
    if key == "template" and table == "detect" and not isinstance(value, str):
        raise UsageError(f"{where}{key} is {value!r}, it must be one sentence with {{}} for the query")
    if key in NUMBERS:
        NUMBERS[key].check(where + key, value)
    elif key in CHOICES:
        if value not in CHOICES[key]:
            raise UsageError(f"{where}{key} is {value!r}, it must be one of {', '.join(map(str, CHOICES[key]))}")
    elif key in _OTHERS:
        _OTHERS[key](where + key, value)


def _text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{name} is {value!r}, it must be a name in quotes")


def _template(name: str, value: object) -> None:
    if not isinstance(value, str) and not (
        isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value)
    ):
        raise UsageError(f"{name} is {value!r}, it must be a sentence with {{}} for the query, or a list of them")
    try:
        templates(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _texts(name: str, value: object) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v.strip() for v in value):
        raise UsageError(f"{name} is {value!r}, it must be a list of texts")


def _canvas(name: str, value: object) -> None:
    if value is None or isinstance(value, View):
        return
    found = re.fullmatch(r"([a-z_]+) (\d+)", value) if isinstance(value, str) else None
    if not found or found[1] not in FITS:
        example = '"longest 160" for instance'
        text = f"{name} is {value!r}, it must be a fit and a side in pixels, {example}"
        raise UsageError(f"{text}; fits are {', '.join(FITS)}")
    SIDES.check(f"the side of {name}", int(found[2]))


_OTHERS: Mapping[str, Callable[[str, object], None]] = {
    "name": _text,
    "template": _template,
    "negatives": _texts,
    "canvas": _canvas,
}
