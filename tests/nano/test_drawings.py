"""Drawings beside the font: found by name, drawn whole, and the font where a style has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gsam.nano import drawings, heldout, scenes
from gsam.nano.names import GLYPHS

pytest.importorskip("resvg_py")
RED = '<path fill="#ff0000" d="M2 2h6v6h-6z"/>'


@pytest.fixture
def styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A style with a dog, a cat by another name, and nothing else."""
    for name in ("twemoji", "emojione"):
        (tmp_path / name).mkdir()
        icons = {"dog": {"body": RED}, "cat-face": {"body": RED.replace("ff0000", "00ff00")}}
        (tmp_path / name / "icons.json").write_text(
            json.dumps({"icons": icons, "aliases": {"cat": {"parent": "cat-face"}}, "width": 10, "height": 10})
        )
    (tmp_path / "twemoji" / "chars.json").write_text(json.dumps({"1f415": "dog", "1f408": "cat", "1f68c": "bus"}))
    monkeypatch.setenv("GSAM_DRAWINGS", str(tmp_path))
    caches = (drawings._icons, drawings._names, drawings.body, scenes.sprite)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("styles")
def test_a_style_draws_what_it_has() -> None:
    dog = np.asarray(drawings.drawn("emojione", "🐕", 100))
    assert dog.shape == (100, 100, 4)
    assert (dog[20:80, 20:80] == (255, 0, 0, 255)).all()
    assert not dog[:19].any()
    assert tuple(np.asarray(drawings.drawn("emojione", "🐈", 100))[50, 50]) == (0, 255, 0, 255)
    whole = np.asarray(scenes.sprite("🐕", style="emojione"))
    assert whole.shape == (scenes.CELL, scenes.CELL, 4)
    assert (whole[30:-30, 30:-30, 3] == 255).all()
    assert scenes.sprite("🐕", 1, "emojione").size == (scenes.CELL // 2,) * 2


@pytest.mark.usefixtures("styles")
def test_names_of_a_style_itself_and_numbered_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"icons": {"hound": {"body": RED}, "dog": {"body": "<g/>"}, "bus-1": {"body": "<b/>"}}}
    (tmp_path / "hand").mkdir()
    (tmp_path / "hand" / "icons.json").write_text(json.dumps(own))
    assert drawings.body("hand", "🐕") == "<g/>"
    assert drawings.body("hand", "🚌") == "<b/>"  # the first of several
    monkeypatch.setitem(drawings.OWN_NAMES, "hand", {"🐕": "hound"})
    drawings._names.cache_clear()
    drawings.body.cache_clear()
    assert drawings.body("hand", "🐕") == RED


def test_own_names_are_of_glyphs_that_are_drawn() -> None:
    known = set("".join(GLYPHS.values()))
    assert all(set(names) <= known for names in drawings.OWN_NAMES.values())
    assert set(drawings.OWN_NAMES) <= set(drawings.LEARNT)


@pytest.mark.usefixtures("styles")
def test_the_font_stands_in_for_what_a_style_lacks() -> None:
    assert drawings.body("emojione", "🚌") is None  # a name without a drawing
    assert drawings.body("emojione", "🍕") is None  # no name
    rng = np.random.default_rng(0)
    assert scenes.pick_style(rng, ("emojione",), "🍕") == drawings.FONT
    assert scenes.pick_style(rng, ("emojione",), "🐕") == "emojione"
    picked = [scenes.pick_style(rng, (drawings.FONT, "emojione"), "🐕") for _ in range(200)]
    assert 60 < picked.count("emojione") < 140
    with pytest.raises(ValueError, match="emojione has no drawing"):
        drawings.drawn("emojione", "🍕", 20)


def test_one_style_takes_nothing_from_the_chance_of_a_scene() -> None:
    rng, same = np.random.default_rng(3), np.random.default_rng(3)
    scenes.pick_style(rng, (drawings.FONT,), "🐕")
    assert rng.random() == same.random()


def test_drawings_that_are_not_there_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GSAM_DRAWINGS", raising=False)
    with pytest.raises(FileNotFoundError, match="npm install @iconify-json/fluent-emoji-flat"):
        drawings.folder(drawings.UNSEEN)


def test_the_unseen_style_is_in_no_training_scene() -> None:
    assert drawings.UNSEEN not in drawings.LEARNT
    assert [name for name, one in heldout.SETS.items() if one.style != drawings.FONT] == ["unseen_font"]
    assert all(one.style not in drawings.LEARNT for one in heldout.SETS.values())
    assert "🐕" in GLYPHS["dog"]
