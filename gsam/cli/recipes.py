"""``gsam recipes``: which pipelines there are, and what each takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gsam.cli.options import HELP, WeightsDir, command_app

app = command_app()
PARTS = ("ground", "detect", "segment", "classify", "track")
Row = tuple[str, str, str, str, str]
"""Name, models, size, licences, and whether all of it is here."""


@app.command(context_settings=HELP)
def recipes(weights_dir: WeightsDir = None) -> None:
    """List the recipes: what each is made of, size, licence, and whether it is here.

    A name serves as -p of the other commands and in gsam.load.  A model that two parts share is
    counted once.
    """
    from gsam.build.recipes import recipes as names

    rows: list[Row] = [("NAME", "MODELS", "SIZE", "LICENCE", "HERE"), *(_row(name) for name in names())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(w) if i == 2 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


def _row(name: str) -> Row:
    from gsam.build.recipes import read_recipe

    recipe = read_recipe(name)
    models = list(dict.fromkeys(recipe[part]["name"] for part in PARTS if part in recipe))
    entries = dict(_entries(models))
    size = sum(float(e["parameters"]) for e in entries.values()) * 4e-9
    licences = ", ".join(dict.fromkeys(str(e["licence"]) for e in entries.values()))
    here = [_is_here(model) for model in models]
    told = "yes" if all(here) else "no" if not any(here) else "in part"
    return name, ", ".join(models), f"{size:.2f} GB", licences, told


def _entries(models: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import tomllib

    from gsam.weights import find, folders

    shipped = tomllib.loads((folders.data_folder("nano") / "manifest.toml").read_text(encoding="utf-8"))
    known = {**shipped, **find.manifest()}
    return ((model, known[model]) for model in models if model in known)


def _is_here(model: str) -> bool:
    from gsam.weights import find

    return find.is_cached(model)
