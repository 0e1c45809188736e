"""The held-out clips: the same every time, and the shipped truth fits the shipped frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gsam.nano import heldout_clips
from gsam.nano.names import LEAVES
from gsam.nano.scenes import font_path

SHIPPED = Path(__file__).parents[1] / "data" / "clips"


def has_font() -> bool:
    try:
        return font_path().is_file()
    except FileNotFoundError:
        return False


needs_font = pytest.mark.skipif(not has_font(), reason="drawing needs the font Noto Color Emoji")


@needs_font
@pytest.mark.parametrize("chosen", list(heldout_clips.SETS))
def test_a_clip_is_the_same_every_time(chosen: str) -> None:
    a, b, other = heldout_clips.draw(chosen, 3, 4), heldout_clips.draw(chosen, 3, 4), heldout_clips.draw(chosen, 5, 4)
    assert a.rgb.tobytes() == b.rgb.tobytes()
    assert a.instances.tobytes() == b.instances.tobytes()
    assert a.names == b.names
    assert a.rgb.shape != other.rgb.shape or a.rgb.tobytes() != other.rgb.tobytes()
    _, least, longest = heldout_clips.SETS[chosen]
    assert least <= max(a.rgb.shape[1:]) <= longest


@needs_font
def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    heldout_clips.write(tmp_path, "shipped", 2, 3, sheets=True)
    for got, wanted in zip(heldout_clips.read(tmp_path), heldout_clips.examples("shipped", 2, 3), strict=True):
        assert got.name == wanted.name
        assert got.clip.names == wanted.clip.names
        np.testing.assert_array_equal(got.clip.instances, wanted.clip.instances)
        assert np.abs(got.clip.rgb.astype(float) - wanted.clip.rgb).mean() < 8  # JPEG
        assert (tmp_path / f"{got.name}.png").is_file()


def test_shipped_truth_fits_the_frames() -> None:
    found = heldout_clips.read(SHIPPED)
    assert [e.name for e in found] == ["00", "01", "02"]
    files = [p for p in SHIPPED.rglob("*") if p.is_file()]
    assert len(files) == 3 * 12 * 2 + 1
    assert sum(p.stat().st_size for p in files) < 300_000
    for example in found:
        clip = example.clip
        assert clip.rgb.shape == (12, *clip.instances.shape[1:], 3)
        assert set(clip.names) <= set(LEAVES)
        assert clip.present[0].any()
        assert clip.present.any(0).all()
        assert set(np.unique(clip.instances)) <= {0, 255, *range(1, len(clip.names) + 1)}
    car = found[1].clip
    assert car.names == ["car", "car", "camera"]
    assert car.present[0].tolist() == [True, True, False]
    assert car.present[-1].tolist() == [True, False, True]  # one leaves, one enters late


def test_the_truth_as_tracks() -> None:
    example = heldout_clips.read(SHIPPED)[1]
    tracks = example.tracks()
    assert tracks.ids == [1, 2, 3]
    assert tracks.labels == {1: "car", 2: "car", 3: "camera"}
    assert tracks.queries == ["camera", "car"]
    assert tracks.count == len(tracks) == 12
    for frame, here in zip(tracks, example.clip.present, strict=True):
        assert frame.ids.tolist() == (np.flatnonzero(here) + 1).tolist()
        for i, mask in zip(frame.ids, frame.masks, strict=True):
            np.testing.assert_array_equal(mask, example.clip.instances[frame.index] == i)
    assert tracks.masks_of(3)[0] is None
    assert tracks.frames[6].time == 0.5
