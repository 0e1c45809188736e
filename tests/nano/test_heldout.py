"""The held-out scenes: the same every time, and the shipped truth fits the shipped pictures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gsam.nano import drawings, heldout
from gsam.nano.backdrops import BACKDROPS
from gsam.nano.names import LEAVES
from gsam.nano.scenes import font_path
from gsam.ops.bounds import bounds

SHIPPED = Path(__file__).parents[1] / "data" / "heldout"


def has_font() -> bool:
    try:
        return font_path().is_file()
    except FileNotFoundError:
        return False


needs_font = pytest.mark.skipif(not has_font(), reason="drawing needs the font Noto Color Emoji")


@needs_font
@pytest.mark.parametrize("chosen", list(heldout.SETS))
def test_a_scene_is_the_same_every_time(chosen: str) -> None:
    style = heldout.SETS[chosen].style
    if style != drawings.FONT and "GSAM_DRAWINGS" not in os.environ:
        pytest.skip(f"drawing needs the style {style} (gsam.nano.drawings)")
    a, b, other = heldout.draw(chosen, 3), heldout.draw(chosen, 3), heldout.draw(chosen, 5)
    assert a.rgb.tobytes() == b.rgb.tobytes()
    assert a.instances.tobytes() == b.instances.tobytes()
    assert a.names == b.names
    assert a.rgb.shape != other.rgb.shape or a.rgb.tobytes() != other.rgb.tobytes()
    assert 256 <= max(a.rgb.shape) <= heldout.SETS[chosen].longest


@needs_font
def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    heldout.write(tmp_path, "test", 2)
    for got, wanted in zip(heldout.read(tmp_path), heldout.examples("test", 2), strict=True):
        assert got.names == wanted.names
        assert np.array_equal(got.rgb, wanted.rgb)
        assert np.array_equal(got.masks, wanted.masks)
        assert np.array_equal(got.ignored, wanted.ignored)


@needs_font
def test_the_sample_shows_what_it_should() -> None:
    drawn = heldout.sample()
    assert sorted(drawn.names) == sorted(heldout.SAMPLE)
    assert drawn.rgb.shape == (512, 512, 3)


@pytest.mark.parametrize("kind", list(BACKDROPS))
def test_backdrops_fill_any_shape(kind: str) -> None:
    made = BACKDROPS[kind](np.random.default_rng(0), 40, 61)
    assert made.shape == (40, 61, 3)
    assert np.isfinite(made).all()
    assert made.std() > 1


def test_shipped_truth_fits_the_pictures() -> None:
    told = json.loads((SHIPPED / "truth.json").read_text())["scenes"]
    scenes = heldout.read(SHIPPED)
    assert len(scenes) == 24
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 3_000_000
    assert {p.name for p in SHIPPED.iterdir()} == {s.file for s in scenes} | {"truth.json"}
    for scene, entry in zip(scenes, told, strict=True):
        assert scene.rgb.shape == (entry["height"], entry["width"], 3)
        assert scene.masks.shape[1:] == scene.ignored.shape == scene.rgb.shape[:2]
        assert set(scene.names) <= set(LEAVES)
        assert scene.masks.sum(0).max(initial=0) <= 1  # one thing a pixel
        assert not (scene.masks.any(0) & scene.ignored).any()
        for mask, thing in zip(scene.masks, entry["objects"], strict=True):
            assert list(bounds(mask)) == thing["box"]
