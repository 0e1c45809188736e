"""Folders, lists and iterators of pictures: their order, what is missing, and that frames are of
one size.
"""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsam.errors import ImageError, UsageError, VideoError
from gsam.inputs.video import open_frames
from gsam.inputs.video.folder import ordered, ranges
from tests.inputs.video import made


def fill(folder: Path, *names: str) -> Path:
    """Pictures of these names, frame i of `made` the i-th."""
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(made.picture(i)).save(folder / name)
    return folder


def levels(source: object) -> list[int]:
    return [made.level(f.pixels) for f in open_frames(source)]


@pytest.mark.parametrize(
    "names",
    [
        ["0.png", "2.png", "10.png"],
        ["00000.png", "00001.png", "00002.png"],
        ["frame_8.png", "frame_9.png", "frame_10.png"],
        ["cam2_take7_08.png", "cam2_take7_09.png", "cam2_take7_010.png"],
        ["a.png", "B.png", "c2.png", "c10.png"],
        ["1-2.png", "1-10.png", "2-1.png"],
    ],
)
def test_order(names: list[str], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = open_frames(fill(tmp_path / "v", *names))
    assert [f.name for f in frames] == names
    assert [made.level(f.pixels) for f in frames] == list(range(len(names)))
    assert frames.name == "v"


def test_which_number_counts() -> None:
    def numbers(*names: str) -> list[int] | None:
        return ordered([Path(n) for n in names])[1]

    assert numbers("shot3_0007.jpg", "shot3_0009.jpg") == [7, 9]
    assert numbers("7.jpg") == [7]
    assert numbers("a.jpg", "b.jpg") is None
    assert numbers("1-1.jpg", "2-2.jpg") is None
    assert numbers("cover.jpg", "1.jpg", "2.jpg") is None


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    folder = fill(tmp_path / "v", "0.png", "1.png")
    (folder / "notes.txt").write_text("x")
    (folder / ".2.png").write_bytes(b"")
    (folder / "3.png").mkdir()
    assert levels(folder) == [0, 1]


def test_missing_numbers_are_told_and_leave_a_hole_in_time(tmp_path: Path) -> None:
    folder = fill(tmp_path / "v", "1.png", "2.png", "4.png", "9.png")
    with pytest.warns(UserWarning, match=r"v: 5 frames between 1 and 9 are missing: 3, 5-8$"):
        frames = open_frames(folder, rate=10)
    assert [f.index for f in frames] == [0, 1, 2, 3]
    assert [f.time for f in frames] == [0, Fraction(1, 10), Fraction(3, 10), Fraction(8, 10)]
    with pytest.raises(VideoError, match="are missing: 3, 5-8") as caught:
        open_frames(folder, missing="raise")
    assert caught.value.code == "frames_missing"


def test_equal_steps_and_time_stamps_miss_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = open_frames(fill(tmp_path / "a", "00000.png", "00005.png", "00010.png"), rate=6)
        assert [f.time for f in frames] == [0, Fraction(1, 6), Fraction(2, 6)]
        stamps = ["1403636579763555584.png", "1403636579813555456.png", "1403636579863555584.png"]
        assert [f.name for f in open_frames(fill(tmp_path / "b", *stamps))] == stamps
        assert levels(fill(tmp_path / "c", "5.png")) == [0]
    with pytest.warns(UserWarning, match="1 frames between 0 and 15 are missing: 10"):
        open_frames(fill(tmp_path / "d", "0.png", "5.png", "15.png"))


def test_how_missing_numbers_are_written() -> None:
    assert ranges([3]) == "3"
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    assert ranges([5, 10, 20], 5) == "5-10, 20"
    assert ranges(list(range(0, 40, 2))) == "0, 2, 4, 6, 8, 10, 12, 14 and 12 more"


def test_folders_that_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no pictures in this folder"):
        open_frames(tmp_path)
    folder = fill(tmp_path / "v", "1.png", "001.png")
    with pytest.raises(VideoError, match=r"001\.png and 1\.png are both frame 1") as caught:
        open_frames(folder)
    assert caught.value.code == "frames_ambiguous"


def test_frames_of_mixed_size(tmp_path: Path) -> None:
    folder = fill(tmp_path / "v", "0.png", "1.png", "2.png")
    Image.fromarray(made.picture(2, (40, 64))).save(folder / "2.png")
    seen, error = made.until_error(open_frames(folder))
    assert "v: frame 2 (2.png) is 64 x 40, the first is 64 x 48" in str(error)
    assert (type(error), error.code) == (VideoError, "frames_mixed_sizes")
    assert [f.index for f in seen] == [0, 1]


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "v", "0.png", "1.png")
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:100])
    frames = open_frames(folder)
    walk = iter(frames)
    assert next(walk).index == 0
    with pytest.raises(ImageError, match=r"v: frame 1: .*1\.png"):
        next(walk)


def test_lists_and_arrays(tmp_path: Path) -> None:
    folder = fill(tmp_path / "v", "0.png")
    mixed = [folder / "0.png", made.picture(1), Image.fromarray(made.picture(2)), (folder / "0.png").read_bytes()]
    frames = open_frames(mixed, rate=Fraction(30000, 1001))
    assert (frames.count, frames.size, frames.rate) == (4, (48, 64), Fraction(30000, 1001))
    assert [made.level(f.pixels) for f in frames] == [0, 1, 2, 0]
    assert frames[2].time == Fraction(2002, 30000)
    assert [f.name for f in frames] == ["0.png", None, None, None]
    block = open_frames(np.stack([made.picture(i) for i in range(5)]))
    assert [made.level(f.pixels) for f in block.walk(step=-2)] == [4, 2, 0]
    assert [f.time for f in block] == [None] * 5
    assert made.level(block[-1].pixels) == 4
    assert open_frames(block) is block


def test_a_live_source_is_read_once_and_in_order() -> None:
    frames = open_frames((made.picture(i) for i in range(6)), rate=5)
    assert (frames.count, frames.size, frames.seekable) == (None, (48, 64), False)
    assert "? frames" in repr(frames)
    for seek in (lambda: frames[0], lambda: frames.walk(step=-1), lambda: frames.walk(2)):
        with pytest.raises(UsageError, match="is live"):
            seek()
    with pytest.raises(TypeError, match="nobody knows"):
        len(frames)
    found = list(frames)
    assert [made.level(f.pixels) for f in found] == list(range(6))
    assert [f.time for f in found] == [Fraction(i, 5) for i in range(6)]
    with pytest.raises(UsageError, match="has been read already"):
        next(iter(frames))


def test_live_sources_that_are_no_good() -> None:
    with pytest.raises(VideoError, match="ended before its first frame"):
        open_frames(iter([]))
    with pytest.raises(VideoError, match="frame 1 is 60 x 48, the first is 64 x 48"):
        list(open_frames(iter([made.picture(0), made.picture(1, (48, 60))])))

    def failing() -> object:
        yield made.picture(0)
        yield made.picture(1)
        raise RuntimeError("the camera was unplugged")

    seen, error = made.until_error(open_frames(failing()))
    assert [f.index for f in seen] == [0, 1]
    assert (type(error), str(error)) == (RuntimeError, "the camera was unplugged")


@pytest.mark.parametrize("source", [3, None, made.picture(0), Image.new("RGB", (4, 4))])
def test_what_has_no_frames(source: object) -> None:
    with pytest.raises(TypeError):
        open_frames(source)


def test_no_pictures_and_no_rate() -> None:
    with pytest.raises(VideoError, match="no pictures, so no frames"):
        open_frames([])
    with pytest.raises(VideoError, match="no rate"):
        open_frames([made.picture(0)], rate=0)
    with pytest.raises(UsageError, match="steps of 0"):
        open_frames([made.picture(0)]).walk(step=0)
