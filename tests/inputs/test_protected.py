"""What was read is not written over, from Python either."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.inputs.image import open_image
from gsam.inputs.protected import ReadFiles
from gsam.inputs.video import open_frames
from gsam.results.formats import davis, overlay_video
from gsam.results.result import Result
from gsam.results.tracks import TrackedFrame, Tracks
from tests.inputs.video import made


def result(pixels: np.ndarray) -> Result:
    one, box = np.ones(1, np.float32), np.array([[1, 1, 5, 5]], np.float32)
    return Result(pixels, ["a"], box, ["a"], np.zeros(1, np.int64), one, one)


def overlay_of_a_picture(folder: Path) -> Path:
    Image.new("RGB", (9, 8)).save(folder / "a.png")
    found = result(open_image(folder / "a.png").pixels)
    (folder / "link").symlink_to(folder)
    with pytest.raises(UsageError, match="was read as an input") as caught:
        found.save(folder / "link" / "a.png")
    assert caught.value.code == "output_is_input"
    found.save(folder / "b.png")
    return folder / "a.png"


def overlay_of_a_video(folder: Path) -> Path:
    pytest.importorskip("av", reason="the extra video is not installed")
    (folder / "a.mp4").write_bytes(made.video(2))
    with open_frames(folder / "a.mp4") as frames:
        pixels = frames[0].pixels
        with pytest.raises(UsageError, match="was read as an input"):
            write_video(folder / "a.mp4", pixels)
    return folder / "a.mp4"


def write_video(path: Path, pixels: np.ndarray) -> None:
    with overlay_video.OverlayVideo(path) as out:
        out.add(pixels)


def images_over_frames(folder: Path) -> Path:
    Image.new("RGB", (9, 8)).save(folder / "00000.png")
    list(open_frames(folder))
    tracks = Tracks.of([TrackedFrame.of(0, np.ones((1, 8, 9), bool), [1])])
    with pytest.raises(UsageError, match="was read as an input"):
        davis.write(tracks, folder)
    return folder / "00000.png"


@pytest.mark.parametrize("save", [overlay_of_a_picture, overlay_of_a_video, images_over_frames])
def test_no_saver_replaces_what_was_read(save: Callable[[Path], Path], tmp_path: Path) -> None:
    path = save(tmp_path)
    assert not list(tmp_path.glob(".gsam*"))
    if path.suffix == ".png":
        assert np.asarray(Image.open(path)).max() == 0
    else:
        assert path.read_bytes() == made.video(2)


def test_what_was_saved_may_be_read_and_saved_again(tmp_path: Path) -> None:
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    found = result(open_image(tmp_path / "a.png").pixels)
    for _ in range(2):
        found.save(tmp_path / "out.png")
        open_image(tmp_path / "out.png")


def test_it_forgets_the_first_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gsam.inputs.protected.MOST", 2)
    read = ReadFiles()
    for name in "abc":
        read.add(tmp_path / name)
    read.check(tmp_path / "a")
    with pytest.raises(UsageError):
        read.check(tmp_path / "b")
    with atomic_file(tmp_path / "a") as file:
        file.write(b"1")
