"""Video files: every frame once, upright, at its own time, from any place, and what is said of
files that are no good.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="video files need PyAV")

import av
from PIL import Image

from gsam.errors import UsageError, VideoError
from gsam.inputs.video import container as container_module
from gsam.inputs.video import open_frames
from gsam.inputs.video.file import upright
from tests.inputs.video import made

BROWSER = {"movflags": "faststart"}


def levels(frames: object) -> list[int]:
    return [made.level(f.pixels) for f in frames]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "codec"), [("mp4", "libx264"), ("matroska", "libx264"), ("avi", "mpeg4"), ("webm", "vp8")]
)
def test_every_frame_once_at_its_time(kind: str, codec: str, tmp_path: Path) -> None:
    data = made.video(14, kind=kind, codec=codec)
    (tmp_path / "a").write_bytes(data)
    for source in (data, tmp_path / "a", str(tmp_path / "a")):
        frames = open_frames(source)
        assert (frames.size, frames.count, frames.rate, len(frames)) == ((48, 64), 14, 10, 14)
        found = list(frames)
        assert [f.index for f in found] == levels(found) == list(range(14))
        assert [f.time for f in found] == [Fraction(i, 10) for i in range(14)]
        assert all(f.pixels.shape == (48, 64, 3) and f.pixels.dtype == np.uint8 for f in found)
        assert {made.corner(f.pixels) for f in found} == {"upper left"}


def test_a_rate_that_varies_loses_and_repeats_nothing() -> None:
    times = [0, 100, 150, 400, 900, 910, 920, 1000, 2000, 2100]
    for kind in ("mp4", "matroska"):
        frames = open_frames(made.video(10, times=times, kind=kind))
        assert [f.time for f in frames] == [Fraction(t, 1000) for t in times]
        assert levels(frames) == list(range(10))
        assert frames[4].time == Fraction(9, 10)
        assert isinstance(frames.rate, Fraction)


def test_time_begins_with_the_first_frame() -> None:
    frames = open_frames(made.video(4, times=[5000, 5100, 5200, 5300], kind="matroska"))
    assert [f.time for f in frames] == [0, Fraction(1, 10), Fraction(2, 10), Fraction(3, 10)]


@pytest.mark.parametrize(
    ("turn", "size", "where"),
    [
        (0, (48, 64), "upper left"),
        (90, (64, 48), "lower left"),
        (180, (48, 64), "lower right"),
        (270, (64, 48), "upper right"),
    ],
)
def test_rotation_is_obeyed(turn: int, size: tuple[int, int], where: str) -> None:
    frames = open_frames(made.video(3, turn=turn))  # counter-clockwise, as FFmpeg counts it
    assert frames.size == size
    for frame in (*frames, frames[2]):
        assert frame.pixels.shape == (*size, 3)
        assert made.corner(frame.pixels) == where


def test_mirrored_video() -> None:
    one = 1 << 16
    frames = open_frames(made.video(2, matrix=[-one, 0, 0, 0, one, 0, 0, 0, 1 << 30]))
    assert {made.corner(f.pixels) for f in frames} == {"upper right"}


def test_all_eight_ways_of_holding_a_camera() -> None:
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    ways = [(p, 0, 0, q) for p in (1, -1) for q in (1, -1)] + [(0, p, q, 0) for p in (1, -1) for q in (1, -1)]
    for a, b, c, d in ways:
        found = upright(rgb, np.array([[a, b], [c, d]], np.int32) << 16)
        at = {(x, y): (a * x + c * y, b * x + d * y) for y in range(2) for x in range(3)}
        left, top = (min(p[k] for p in at.values()) for k in (0, 1))
        for (x, y), (p, q) in at.items():
            np.testing.assert_array_equal(found[q - top, p - left], rgb[y, x])
        assert found.flags.c_contiguous


@pytest.mark.parametrize(("kind", "group"), [("mp4", 12), ("mp4", 250), ("matroska", 5), ("h264", 12)])
def test_any_frame_from_anywhere(kind: str, group: int) -> None:
    frames = open_frames(made.video(40, kind=kind, group=group))
    every = [f.pixels for f in frames]
    assert len(frames) == len(every) == 40
    order = [0, 39, 20, 21, 12, 11, 24, 5, -1, 0, 30, 29, 13]
    for i in order:
        frame = frames[i]
        assert frame.index == i % 40
        np.testing.assert_array_equal(frame.pixels, every[i])
    back = list(frames.walk(step=-1))
    assert [f.index for f in back] == list(range(39, -1, -1))
    for frame in back:
        np.testing.assert_array_equal(frame.pixels, every[frame.index])
    assert [f.index for f in frames.walk(7, 30, 5)] == levels(frames.walk(7, 30, 5)) == [7, 12, 17, 22, 27]
    assert levels(frames.walk(-3)) == [37, 38, 39]
    assert levels(frames.walk(0, 3)) == [0, 1, 2]
    assert levels(frames.walk(0, None, 15)) == [0, 15, 30]
    assert levels(frames.walk(38)) == [38, 39]
    assert levels(frames.walk(10, 3, -3)) == [10, 7, 4]
    frames.close()
    assert made.level(frames[33].pixels) == 33


def test_groups_that_lean_on_the_one_before() -> None:
    """After a jump to such a key frame, what is shown before it cannot be decoded, and must not be
    taken for what it is not.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as out:
        lean = "open-gop=1:bframes=3:keyint=12:min-keyint=12:scenecut=0"
        stream = out.add_stream("libx264", rate=10, options={"x264-params": lean})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        for i in range(40):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(noise, i, 1), format="rgb24")))
        out.mux(stream.encode(None))
    frames = open_frames(buffer.getvalue())
    every = [f.pixels for f in frames]
    for i in (39, 0, 11, 10, 12, 13, 23, 24, 22, 9, 35, 36, 34):
        np.testing.assert_array_equal(frames[i].pixels, every[i])
    for frame in frames.walk(step=-1):
        np.testing.assert_array_equal(frame.pixels, every[frame.index])


def test_memory_for_going_backwards_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from gsam.inputs.video import seeking

    monkeypatch.setattr(seeking, "KEPT", 5 * 48 * 64 * 2)
    frames = open_frames(made.video(30, group=30))
    assert levels(frames.walk(step=-1)) == list(range(29, -1, -1))
    frames[29]
    assert 1 <= len(frames._seeker._kept) <= 8  # type: ignore[attr-defined]


def test_two_walks_do_not_disturb_each_other() -> None:
    frames = open_frames(made.video(20))
    one, two = iter(frames), iter(frames)
    seen = [
        (made.level(next(one).pixels), made.level(next(two).pixels), made.level(frames[15].pixels)) for _ in range(5)
    ]
    assert seen == [(i, i, 15) for i in range(5)]


def test_one_frame() -> None:
    frames = open_frames(made.video(1))
    assert (frames.count, levels(frames), made.level(frames[0].pixels)) == (1, [0], 0)
    with pytest.raises(VideoError, match="has no frame 1, it has 1") as caught:
        frames[1]
    assert caught.value.code == "frame_past_end"


@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi"])
def test_no_frames(kind: str) -> None:
    with pytest.raises(VideoError) as caught:
        open_frames(made.video(0, kind=kind, codec="mpeg4" if kind == "avi" else "libx264"))
    assert caught.value.code in ("video_empty", "video_unreadable")
    assert "\n" not in str(caught.value)


def cut(data: bytes, share: float) -> bytes:
    """What is left of a file whose index stands at its beginning."""
    start = data.find(b"mdat")
    return data[: start + round((len(data) - start) * share)]


def noisy(count: int) -> bytes:
    """A video of which half of the bytes are half of the frames."""
    return made.video(count, group=1, **BROWSER)


def test_a_video_that_was_cut_off_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(cut(noisy(40), 0.5))
    frames = open_frames(tmp_path / "a.mp4")
    found, error = made.until_error(frames)
    seen = levels(found)
    assert (type(error), error.code) == (VideoError, "video_truncated")
    assert f"a.mp4: is damaged or cut off: {len(seen)} of 40 frames could be read" in str(error)
    assert 10 < len(seen) < 30
    assert seen == list(range(len(seen)))
    assert len(frames) == len(seen)
    assert made.level(frames[-1].pixels) == len(seen) - 1
    lenient = open_frames(tmp_path / "a.mp4", damaged="warn")
    with pytest.warns(UserWarning, match=f"{len(seen)} of 40 frames could be read"):
        assert levels(lenient) == seen


def test_nothing_is_lost_before_the_cut() -> None:
    """With B frames, some are still in the decoder when it meets the packet that is cut."""
    data = cut(made.video(40, group=250, **BROWSER), 0.7)
    with av.open(io.BytesIO(data)) as container:
        whole = [p for p in container.demux(video=0) if p.size and not p.is_corrupt]
    with pytest.warns(UserWarning, match="could be read"):
        assert levels(open_frames(data, damaged="warn")) == list(range(len(whole)))


def test_a_disk_that_fails_gives_what_it_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the decoder still holds when reading fails comes out too."""
    data = made.video(40, group=250, **BROWSER)
    half = len(data) - 300

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() + max(size or 0, 0) > half and self.tell() >= half:
                raise OSError("the disk fails")
            return super().read(min(max(size or 0, 0), half - self.tell()))

    with av.open(io.BytesIO(data)) as container:
        places = sorted(p.pos + p.size for p in container.demux(video=0) if p.size)
    assert sum(end <= half for end in places) > 10
    monkeypatch.setattr(container_module, "_opened", lambda source, name: Failing(source))
    with pytest.warns(UserWarning, match="damaged or cut off: .* could be read"):
        seen = levels(open_frames(data, damaged="warn"))
    assert len(seen) >= sum(end <= half for end in places)


def test_a_file_that_ends_early_without_an_error_warns() -> None:
    data = made.video(40, kind="matroska", group=1)
    frames = open_frames(data[: len(data) * 6 // 10])
    with pytest.warns(UserWarning, match=r"is said to last 4\.0 s, but its \d+ frames end after"):
        seen = levels(frames)
    assert 10 < len(seen) < 35
    assert seen == list(range(len(seen)))


def test_a_hole_in_the_middle_is_passed_over() -> None:
    data = bytearray(noisy(40))
    middle = data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2
    data[middle : middle + 200] = bytes(200)
    with pytest.warns(UserWarning, match="damaged or cut off"):
        seen = levels(open_frames(bytes(data), damaged="warn"))
    assert seen[:10] == list(range(10))
    assert seen[-10:] == list(range(30, 40))
    frames = open_frames(bytes(data))
    assert frames.count == 40
    assert [made.level(frames[i].pixels) for i in (0, 5, 35, 39)] == [0, 5, 35, 39]


def test_what_is_no_video(tmp_path: Path) -> None:
    whole = made.video(5)
    for data, code, says in [
        (b"", "video_unreadable", "is empty"),
        (b"hello " * 500, "video_unreadable", "is not a video"),
        (made.sound_only(), "video_no_pictures", "has sound, but no pictures"),
        (whole[: whole.find(b"moov") - 4], "video_empty", "its index is missing"),
        (whole[: whole.find(b"moov") - 40], "video_empty", "its index is missing"),
    ]:
        (tmp_path / "x.mp4").write_bytes(data)
        for source in (data, tmp_path / "x.mp4"):
            with pytest.raises(VideoError, match=says) as caught:
                open_frames(source)
            assert caught.value.code == code
            assert str(caught.value).startswith("these bytes:" if isinstance(source, bytes) else str(tmp_path))
    with pytest.raises(VideoError, match="no such file"):
        open_frames(tmp_path / "nothing.mp4")
    with pytest.raises(VideoError) as caught:
        open_frames("a\0b.mp4")
    assert caught.value.code == "video_missing"


def test_sound_does_not_disturb() -> None:
    frames = open_frames(made.video(10, sound=True))
    assert levels(frames) == list(range(10))
    assert frames.count == 10


def test_playlists_open_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(made.video(2))
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\na.mp4\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile 'a.mp4'\n")
    for name in ("list.m3u8", "list.txt"):
        with pytest.raises(VideoError, match="a video is one file"):
            open_frames(tmp_path / name)


def test_frames_of_mixed_size() -> None:
    data = made.video(4, kind="h264") + made.video(4, kind="h264", size=(32, 64))
    seen, error = made.until_error(open_frames(data))
    assert "frame 4 is 64 x 32, the first is 64 x 48" in str(error)
    assert (type(error), error.code) == (VideoError, "frames_mixed_sizes")
    assert [f.index for f in seen] == [0, 1, 2, 3]


def test_a_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(made.picture(0)).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    for source in (buffer.getvalue(), tmp_path / "a.png"):
        frames = open_frames(source)
        assert frames.count == 1
        np.testing.assert_array_equal(frames[0].pixels, made.picture(0))


def test_without_pyav_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"gsam-jax\[video\]") as caught:
        open_frames(tmp_path / "a.mp4")
    assert caught.value.code == "extra_missing"


def test_no_jax() -> None:
    use = "from gsam.inputs.video import open_frames; list(open_frames(numpy.zeros((2, 4, 4, 3), 'uint8')))"
    code = f"import sys, numpy; {use}; print('jax' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def joined() -> bytes:
    return made.video(30, kind="mpegts") + made.video(12, kind="mpegts")


@pytest.mark.parametrize(
    "make",
    [
        lambda: made.video(24, kind="avi"),
        lambda: made.video(24, kind="avi", group=100),
        lambda: made.video(24, kind="avi", codec="mpeg4"),
        joined,
        lambda: made.video(
            12, times=(0, 100, 200, 300, 90_000, 90_100, 90_200, 90_300, 90_400, 90_500, 90_600, 90_700)
        ),
    ],
    ids=["avi", "avi-one-key", "avi-mpeg4", "joined", "hole"],
)
def test_a_frame_by_its_number_is_that_frame(make: Callable[[], bytes]) -> None:
    frames = open_frames(make())
    every = list(frames)
    times = [f.time for f in every]
    assert times == sorted(times)
    for i in [*range(len(every) - 1, -1, -3), *range(0, len(every), 5)]:
        np.testing.assert_array_equal(frames[i].pixels, every[i].pixels)
        assert frames[i].time == times[i]
    assert [f.index for f in frames.walk(3, 9, 2)] == [3, 5, 7]
    assert [f.time for f in frames.walk(3, 9, 2)] == times[3:9:2]


def test_pixel_shape_is_that_of_the_upright_frame() -> None:
    with pytest.warns(UserWarning, match="2:1"):
        assert open_frames(made.video(2, shape=Fraction(2))).pixel_shape == 2
    with pytest.warns(UserWarning, match="1:2"):
        assert open_frames(made.video(2, shape=Fraction(2), turn=90)).pixel_shape == Fraction(1, 2)


def test_deep_frames_of_a_folder_are_stretched(tmp_path: Path) -> None:
    values = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16)
    for i in range(2):
        Image.fromarray(values + i).save(tmp_path / f"{i}.png")
    assert [f.pixels.max() for f in open_frames(tmp_path, stretch=True)] == [255, 255]


@pytest.mark.parametrize("what", ["closed", "for writing"])
def test_an_open_file_that_cannot_be_read(tmp_path: Path, what: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(made.video(2))
    file = path.open("rb") if what == "closed" else path.open("ab")
    if what == "closed":
        file.close()
    with pytest.raises(VideoError, match=r"clip\.mp4: cannot be read") as caught:
        open_frames(file)
    file.close()
    assert caught.value.code == "video_unreadable"
