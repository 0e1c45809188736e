"""Folders, registry, manifests and recipes tell one story."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

from gsam.build import read_recipe, recipes
from gsam.registry import FAMILIES, family_of

ROOT = Path(__file__).parents[1]
ROLES = ("detect", "segment", "classify")


def test_every_folder_is_registered() -> None:
    folders = {d.name: r for r in ROLES for d in (ROOT / "gsam" / r).iterdir() if (d / "__init__.py").is_file()}
    assert folders == {family: role for family, (role, _) in FAMILIES.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_variants_and_manifests(family: str) -> None:
    role, variants = FAMILIES[family]
    module = importlib.import_module(f"gsam.{role}.{family}")
    assert set(module.VARIANTS) == set(variants)
    manifest = tomllib.loads((ROOT / "weights" / "manifests" / f"{family}.toml").read_text())
    assert set(manifest) == {v for v in variants if not v.startswith("nano_")}
    for name, entry in manifest.items():
        assert entry["parameters"] == module.spec(module.VARIANTS[name]).size, name
        assert entry["licence"], name


@pytest.mark.parametrize("name", recipes())
def test_recipes_name_models_that_exist(name: str) -> None:
    recipe = read_recipe(name)
    for table, role in (("everything", "segment"), *zip(ROLES, ROLES, strict=True)):
        if table in recipe:
            found = family_of(recipe[table]["name"])
            assert found is not None, f"{recipe[table]['name']} is not registered"
            assert found[0] == role
