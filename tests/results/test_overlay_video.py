"""The video to look at: even sizes, the source's times, stable colours, and nothing
half-written.
"""

from __future__ import annotations

import io
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="video files need PyAV")

import av

from gsam.errors import UsageError
from gsam.inputs.video import open_frames
from gsam.results.draw.colours import numbered
from gsam.results.draw.outline import TINT
from gsam.results.formats.overlay_video import OverlayVideo, draw
from gsam.results.tracks import TrackedFrame
from tests.inputs.video import made

GREY = np.full((60, 80, 3), 90, np.uint8)


def tracked(index: int = 0, ids: tuple[int, ...] = (3,), size: tuple[int, int] = (60, 80), x: int = 50) -> TrackedFrame:
    masks = np.zeros((len(ids), *size), bool)
    for k in range(len(ids)):
        masks[k, 30:55, x - 30 * k : x + 25 - 30 * k] = True
    return TrackedFrame.of(index, masks, ids, ["dog"] * len(ids))


def test_masks_have_the_colour_of_their_id_in_every_frame() -> None:
    a = np.asarray(draw(GREY, tracked(0, (3, 8))), int)
    b = np.asarray(draw(GREY, tracked(5, (8, 3))), int)
    left, right = (50, 30), (50, 62)
    np.testing.assert_array_equal(a[right], b[left])
    np.testing.assert_array_equal(a[left], b[right])
    expected = TINT * np.array(numbered(3)) + (1 - TINT) * 90
    np.testing.assert_allclose(a[right], expected, atol=2)
    edges = [a[54, 50], a[54, 20]]  # the last row of each mask
    assert np.abs(edges[0] - edges[1]).max() > 25
    np.testing.assert_allclose(edges, [numbered(3), numbered(8)], atol=12)
    changed = (a != 90).any(-1)
    assert changed[:30].any()  # the plates
    assert not changed[:8].any()


def test_the_plate_says_label_and_id() -> None:
    one, two = (np.asarray(draw(GREY, tracked(0, (i,)))) for i in (3, 12))
    unnamed = TrackedFrame.of(0, tracked().masks, [3])
    assert (one != np.asarray(draw(GREY, unnamed))).any()
    assert (one[:28] != two[:28]).any()
    assert (np.asarray(draw(GREY, None)) == GREY).all()
    assert (np.asarray(draw(GREY, tracked(0, ()))) == GREY).all()
    hidden = TrackedFrame.of(0, np.zeros((1, 60, 80), bool), [3], ["dog"])
    assert (np.asarray(draw(GREY, hidden)) == GREY).all()
    with pytest.raises(ValueError, match="frame 4"):
        draw(GREY, tracked(4, size=(60, 82)))


@pytest.mark.parametrize("times", [None, [0, 100, 150, 400, 900, 1000]])
@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_times_and_rate_are_those_of_the_source(times: list[int] | None, kind: str, tmp_path: Path) -> None:
    source = open_frames(made.video(6, times=times, kind=kind))
    with OverlayVideo(tmp_path / "o.mp4", source.rate, source.time_base) as out:
        for frame in source:
            out.add(frame.pixels, tracked(frame.index, size=(48, 64), x=30), frame.time)
        assert not (tmp_path / "o.mp4").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["o.mp4"]
    found = open_frames(tmp_path / "o.mp4")
    assert found.size == source.size
    assert [f.time for f in found] == [f.time for f in source]
    if times is None:
        assert found.rate == source.rate == 10


def test_what_is_written_plays_everywhere(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    with OverlayVideo(tmp_path / "o.mp4", rate, quality=10) as out:
        for i in range(5):
            out.add(np.full((45, 63, 3), (200, 30, 30 + i), np.uint8))
    data = (tmp_path / "o.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")  # can be shown before all of it is there
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (64, 46)  # even
        assert stream.codec_context.colorspace == 1
        assert not container.streams.audio
    frames = open_frames(data)
    assert frames.rate == rate
    assert [f.time for f in frames] == [i / rate for i in range(5)]
    for frame in frames:
        assert np.abs(frame.pixels.astype(int) - (200, 30, 30 + frame.index)).max() <= 4


def test_times_that_a_file_cannot_hold_are_moved(tmp_path: Path) -> None:
    with OverlayVideo(tmp_path / "o.mp4", Fraction(10), Fraction(1, 1000)) as out:
        for time in (0.0, 0.1, 0.1, 0.05, 0.2):
            out.add(GREY, None, time)
    times = [0, Fraction(100, 1000), Fraction(101, 1000), Fraction(102, 1000), Fraction(200, 1000)]
    assert [f.time for f in open_frames(tmp_path / "o.mp4")] == times


def test_an_error_leaves_nothing_and_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "o.mp4"
    path.write_bytes(b"before")

    def write() -> None:
        with OverlayVideo(path, Fraction(10)) as out:
            out.add(GREY)
            out.add(GREY[:-2])

    with pytest.raises(ValueError, match="frame 1 is"):
        write()
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["o.mp4"]
    with OverlayVideo(tmp_path / "none.mp4"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["o.mp4"]


def test_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="should end in one of") as caught:
        OverlayVideo(tmp_path / "a.gif")
    assert caught.value.code == "video_suffix"
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"gsam-jax\[video\]"):
        OverlayVideo(tmp_path / "a.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_and_pixel_shape_are_kept(suffix: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="not square"):
        frames = open_frames(made.video(12, sound=True, shape=Fraction(3, 2)))
    path = tmp_path / f"a{suffix}"
    assert frames.has_sound
    with OverlayVideo(path, frames.rate, pixel_shape=frames.pixel_shape, sound=frames.source) as video:
        for frame in frames:
            video.add(frame.pixels, None, frame.time)
    with av.open(io.BytesIO(frames.source)) as before, av.open(str(path)) as after:
        assert after.streams.video[0].sample_aspect_ratio == Fraction(3, 2)
        assert after.streams.audio[0].codec_context.name == "aac"
        assert sum(1 for _ in after.decode(audio=0)) >= sum(1 for _ in before.decode(audio=0)) - 1


def test_sound_that_a_file_cannot_hold_is_said_to_be_lost(tmp_path: Path) -> None:
    data = io.BytesIO()
    with av.open(data, "w", format="avi") as container:
        heard, seen = container.add_stream("pcm_u8", rate=8000, layout="mono"), container.add_stream("mpeg4", rate=10)
        seen.width, seen.height, seen.pix_fmt = 64, 48, "yuv420p"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.uint8), "u8", "mono")
        silence.sample_rate = 8000
        container.mux(heard.encode(silence))
        container.mux(seen.encode(av.VideoFrame.from_ndarray(made.picture(0), "rgb24")))
        container.mux(seen.encode(None))
    with (
        pytest.warns(UserWarning, match="has no sound"),
        OverlayVideo(tmp_path / "a.mp4", sound=data.getvalue()) as video,
    ):
        video.add(made.picture(0))
    assert list(open_frames(tmp_path / "a.mp4"))
