"""Folders, registry, manifests and recipes tell one story."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

from gsam.build.recipes import read_recipe, recipes
from gsam.models.stage import ModelStage
from gsam.registry import FAMILIES, ROLES, family_of, variants

ROOT = Path(__file__).parents[1]


def test_every_folder_is_registered() -> None:
    folders = {d.name for d in (ROOT / "gsam" / "models").iterdir() if (d / "__init__.py").is_file()}
    assert folders == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_can_do_what_is_registered(family: str) -> None:
    roles, known = FAMILIES[family]
    assert known
    assert roles
    for role, name in roles.items():
        assert role in ROLES
        module = importlib.import_module(name)
        assert name.startswith(f"gsam.models.{family}")
        assert callable(module.spec)
        assert module.LAYOUTS
        stage = module.build.__self__
        assert issubclass(stage, ModelStage)
        assert callable(getattr(stage, role))


def test_variants_are_told_apart() -> None:
    assert len(set(variants())) == len(variants())
    assert all(variant in FAMILIES[family_of(variant) or ""].variants for variant in variants())
    assert family_of("no such model") is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.long
def test_variants_and_manifests(family: str) -> None:
    known = FAMILIES[family].variants
    module = importlib.import_module(f"gsam.models.{family}")
    assert set(module.VARIANTS) == set(known)
    manifest = tomllib.loads((ROOT / "weights" / "manifests" / f"{family}.toml").read_text())
    assert set(manifest) == {v for v in known if not v.startswith("nano_")}
    for name, entry in manifest.items():
        assert entry["parameters"] == module.spec(module.VARIANTS[name]).size, name
        assert entry["licence"], name


@pytest.mark.parametrize("name", recipes())
def test_recipes_name_models_that_exist(name: str) -> None:
    recipe = read_recipe(name)
    for role in ROLES:
        if role in recipe:
            family = family_of(recipe[role]["name"])
            assert family is not None, f"{recipe[role]['name']} is not registered"
            can = FAMILIES[family].roles
            assert role in can or (role == "ground" and "segment" in can)  # on a grid of points
