"""Clips of moving pictograms: the truth fits the frames, a seed makes one clip, and what should
happen in them does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsam.nano import clips, motion, scenes
from gsam.nano.layer import Layer
from gsam.nano.moving import draw_clip
from gsam.nano.names import LEAVES
from gsam.results.draw import contact_sheet


def has_font() -> bool:
    try:
        return scenes.font_path().is_file()
    except FileNotFoundError:
        return False


needs_font = pytest.mark.skipif(not has_font(), reason="drawing needs the font Noto Color Emoji")


def test_a_path_goes_through_its_points_smoothly() -> None:
    points = np.array([[0.0, 1], [4, 1], [4, 9], [-2, 3]])
    path = motion.smooth(points, 31)
    np.testing.assert_allclose(path[::10], points, atol=1e-12)
    assert np.abs(np.diff(path, 2, axis=0)).max() < 0.5  # steps of about 0.4, no jump and no corner
    line = np.arange(5.0)[:, None] * [2, -1]
    np.testing.assert_allclose(motion.smooth(line, 9), np.arange(9.0)[:, None] * [1, -0.5], atol=1e-12)
    assert motion.smooth(points, 1).shape == (1, 2)


@pytest.mark.parametrize("kind", list(motion.HABITS))
def test_habits(kind: str) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        inside = motion.habit(rng, motion.count(16), kind)
        told = {"stay": (True, True, 0), "late": (False, True, 1), "leave": (True, False, 1), "away": (True, True, 2)}
        assert (bool(inside[0]), bool(inside[-1]), int((np.diff(inside.astype(int)) != 0).sum())) == told[kind]
        at = motion.places(rng, (100, 150), 30, inside)
        within = ((at > 0) & (at < [150, 100])).all(1)
        np.testing.assert_array_equal(within, inside)
        gone = np.maximum(-at, at - [150, 100]).max(1)[~inside]
        assert (gone >= 0.75 * 30).all()  # half a diagonal is 0.71: nothing is seen


def test_a_layer_lies_where_its_path_says() -> None:
    """A sprite whose left half is solid and red, without the font."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = 200, 0, 0, 255
    source = Image.fromarray(pixels).convert("RGBa")
    for turn, mirror, x, y in [
        (0.0, 1, 60, 40),
        (0.0, -1, 25, 40),
        (np.pi / 2, 1, 60, 20),
        (np.pi, 1, 8, 40),
        (0.6, 1, 95, 5),
    ]:
        rgb, truth = np.zeros((80, 100, 3), np.float32), np.zeros((80, 100), np.uint8)
        path = np.array([[0, 0, 0, 0], [x, y, turn, np.log(1.5)]])
        Layer(source, path, 20.0, np.ones(2), float(mirror), number=3).put(rgb, truth, 1)
        ys, xs = np.mgrid[:80, :100] + 0.5
        along = (xs - x) * np.cos(turn) + (ys - y) * np.sin(turn)
        across = -(xs - x) * np.sin(turn) + (ys - y) * np.cos(turn)
        want = (np.abs(across) < 15) & (along * mirror < 0) & (along * mirror > -15)
        assert ((truth == 3) ^ want).sum() <= 2 * 30, (turn, mirror)  # at most one pixel along an edge
        assert want.sum() > 100
        inner = want & (truth == 3) & (rgb[..., 0] == 200)
        assert inner.sum() > 0.8 * want.sum()
        assert not rgb[..., 1].any()


@needs_font
def test_a_seed_makes_one_clip() -> None:
    one, same, other = (clips.draw_row((3, i), 6, 64) for i in (5, 5, 6))
    for a, b in zip(one, same, strict=True):
        assert a.tobytes() == b.tobytes()
    assert one[0].tobytes() != other[0].tobytes()
    assert one[0].tobytes() != clips.draw_row((4, 5), 6, 64)[0].tobytes()


@needs_font
@pytest.mark.parametrize("size", [(96, 96), (80, 140)])
def test_the_truth_fits(size: tuple[int, int]) -> None:
    for seed in range(8):
        clip = draw_clip(np.random.default_rng(seed), size, 9)
        assert clip.rgb.shape == (9, *size, 3)
        assert clip.instances.shape == (9, *size)
        assert clip.rgb.dtype == clip.instances.dtype == np.uint8
        assert set(clip.names) <= set(LEAVES)
        assert 1 <= len(clip.names) <= 4
        assert set(np.unique(clip.instances)) <= {0, scenes.IGNORE, *range(1, len(clip.names) + 1)}
        assert clip.present[0].any()
        assert clip.present.any(0).all()
        boxes = clip.boxes()
        for t, k in np.ndindex(*clip.present.shape):
            y, x = np.nonzero(clip.masks(k)[t])
            assert clip.present[t, k] == bool(len(y))
            if len(y):
                assert len(y) >= 8 / 160**2 * max(size) ** 2
                assert boxes[t, k].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@needs_font
def test_what_is_drawn_is_where_the_truth_says() -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    moved = 0.0
    for seed in range(6):
        clip = draw_clip(np.random.default_rng(seed), (96, 96), 5, names=["black heart"], behind=white)
        for t in np.flatnonzero(clip.present[:, 0]):
            inside = clip.rgb[t][clip.masks(0)[t]].mean()
            assert inside < clip.rgb[t][clip.instances[t] == 0].mean() - 40
        boxes = clip.boxes()[clip.present[:, 0], 0]
        moved = max(moved, float(np.abs(boxes[0] - boxes[-1]).max()))
    assert moved > 5
    assert (white == 255).all()


@needs_font
def test_frames_follow_one_another() -> None:
    for seed in range(4):
        clip = draw_clip(np.random.default_rng(seed), (96, 96), 16)
        areas = np.array([[(f == k + 1).sum() for k in range(len(clip.names))] for f in clip.instances], float)
        step = np.abs(np.diff(areas, axis=0)) / np.maximum(areas.max(0), 1)
        assert np.median(step) < 0.15
        change = np.abs(np.diff(clip.rgb.astype(float), axis=0)).mean()
        shuffled = np.abs(clip.rgb[:8].astype(float) - clip.rgb[8:]).mean()
        assert change < shuffled


@needs_font
def test_things_leave_come_back_enter_late_and_hide() -> None:
    late = back = left = hidden = 0
    for seed in range(40):
        clip = draw_clip(np.random.default_rng((11, seed)), (64, 64), 16)
        here = clip.present
        for k in range(len(clip.names)):
            seen = np.flatnonzero(here[:, k])
            late += seen[0] > 0
            left += seen[-1] < 15
            back += (np.diff(seen) > 1).any()
            areas = clip.masks(k).sum((1, 2))[seen]
            hidden += areas.min() < 0.6 * areas.max()
    assert min(late, back, left, hidden) >= 4, (late, back, left, hidden)


@needs_font
def test_a_pool_is_written_and_read(tmp_path: Path) -> None:
    clips.draw_pool(tmp_path / "p", 3, 4, 32, 9, 1)
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == [f"{n}.npy" for n in sorted(clips.fields(1, 1))]
    pool = clips.read(tmp_path / "p")
    assert {n: (a.shape[1:], a.dtype) for n, a in pool.items()} == {
        n: (shape, np.dtype(kind)) for n, (shape, kind) in clips.fields(4, 32).items()
    }
    for i in range(3):
        for name, value in zip(pool, clips.draw_row((9, i), 4, 32), strict=True):
            np.testing.assert_array_equal(pool[name][i], value)
    (tmp_path / "p" / "leaf.npy").unlink()
    with pytest.raises(FileNotFoundError, match="no finished pool"):
        clips.read(tmp_path / "p")


def test_sizes_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        draw_clip(np.random.default_rng(0), (64, 64), 0)
    with pytest.raises(ValueError, match="smaller than the frame"):
        draw_clip(np.random.default_rng(0), (64, 64), 2, behind=np.zeros((60, 70, 3), np.uint8))


def test_a_sheet_shows_every_frame_and_mask() -> None:
    frames = np.full((5, 20, 30, 3), 90, np.uint8)
    masks = np.zeros((5, 20, 30), np.uint8)
    masks[1, 4:12, 5:15], masks[3, 4:12, 5:15], masks[4, 2:6, 2:6] = 1, 2, 255
    sheet = np.asarray(contact_sheet.draw(frames, masks, names=["dog", "cat"], columns=3, zoom=2))
    bare = np.asarray(contact_sheet.draw(frames, names=["dog", "cat"], columns=3, zoom=2))
    assert sheet.shape == bare.shape
    top = sheet.shape[0] - (2 * 44 + 4)

    def cell(t: int) -> tuple[slice, slice]:
        y, x = top + 4 + (t // 3) * 44, 4 + (t % 3) * 64
        return slice(y, y + 40), slice(x, x + 60)

    changed = [bool((sheet[cell(t)] != bare[cell(t)]).any()) for t in range(5)]
    assert changed == [False, True, False, True, True]
    assert (bare[cell(0)] == 90).all()
    one, two = sheet[cell(1)][16, 20].astype(int), sheet[cell(3)][16, 20].astype(int)
    assert np.abs(one - two).max() > 20
    with pytest.raises(ValueError, match="do not fit"):
        contact_sheet.draw(frames, masks[:4])
    with pytest.raises(ValueError, match="T at least 1"):
        contact_sheet.draw(frames[:0])
