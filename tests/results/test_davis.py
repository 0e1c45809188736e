"""DAVIS' palette pictures: colours, who wins an overlap, there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.results.formats import davis
from gsam.results.tracks import TrackedFrame, Tracks


def masks(*corners: tuple[int, int]) -> np.ndarray:
    out = np.zeros((len(corners), 8, 9), bool)
    for mask, (y, x) in zip(out, corners, strict=True):
        mask[y : y + 4, x : x + 4] = True
    return out


def test_the_palette_is_the_known_one() -> None:
    colours = np.frombuffer(davis.palette(), np.uint8).reshape(256, 3)
    assert colours[:9].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128], [128, 128, 128],
        [64, 0, 0],
    ]  # fmt: skip
    assert colours[[22, 64, 254, 255]].tolist() == [[0, 192, 128], [32, 0, 0], [96, 224, 192], [224, 224, 192]]
    assert len({tuple(c) for c in colours.tolist()}) == 256


def test_the_lower_id_wins(tmp_path: Path) -> None:
    frame = TrackedFrame.of(0, masks((0, 0), (2, 2), (1, 1)), [7, 3, 5])
    found = davis.index_map(frame)
    assert found[3, 3] == 3
    assert found[1, 1] == 5
    assert found[0, 0] == 7
    davis.write_frame(frame, tmp_path / "00000.png")
    with Image.open(tmp_path / "00000.png") as image:
        assert image.mode == "P"
        assert np.array(image.convert("RGB"))[3, 3].tolist() == [128, 128, 0]
    np.testing.assert_array_equal(davis.read_frame(tmp_path / "00000.png"), found)


def test_there_and_back(tmp_path: Path) -> None:
    frames = [TrackedFrame.of(0, masks((0, 0)), [2]), TrackedFrame.of(2, masks((0, 0), (4, 5)), [2, 254])]
    davis.write(Tracks.of(frames, count=4), tmp_path / "clip")
    assert sorted(p.name for p in (tmp_path / "clip").iterdir()) == [f"0000{k}.png" for k in range(4)]
    found = davis.read(tmp_path / "clip")
    assert (found.name, found.count, found.size) == ("clip", 4, (8, 9))
    assert [f.ids.tolist() for f in found] == [[2], [], [2, 254], []]
    np.testing.assert_array_equal(found.frames[2].masks, masks((0, 0), (4, 5)))


def test_what_is_not_judged_is_no_object(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4), np.uint8)
    pixels[0], pixels[1] = 255, 1
    davis.write_frame(pixels, tmp_path / "3.png")
    (frame,) = davis.read(tmp_path)
    assert (frame.index, frame.ids.tolist()) == (3, [1])


@pytest.mark.parametrize("number", [0, 255, -1, 1000])
def test_ids_that_do_not_fit(number: int) -> None:
    with pytest.raises(UsageError, match=f"frame 6: object id {number} is not one of 1 to 254"):
        davis.index_map(TrackedFrame.of(6, masks((0, 0)), [number]))


def test_ids_above_254_are_numbered_anew(tmp_path: Path) -> None:
    frames = [TrackedFrame.of(0, masks((0, 0)), [3]), TrackedFrame.of(1, masks((0, 0), (4, 5)), [900, 255])]
    assert davis.write(Tracks.of(frames), tmp_path / "clip") == {3: 1, 255: 2, 900: 3}
    found = davis.read(tmp_path / "clip")
    assert [f.ids.tolist() for f in found] == [[1], [2, 3]]
    np.testing.assert_array_equal(found.frames[1].masks, masks((4, 5), (0, 0)))  # 255, then 900
    many = Tracks.of([TrackedFrame.of(i, masks((0, 0)), [i + 1]) for i in range(255)])
    with pytest.raises(UsageError, match="has 255 objects, DAVIS has room for 254") as caught:
        davis.write(many, tmp_path / "many")
    assert caught.value.code == "davis_too_many"
    assert not (tmp_path / "many").exists()


def test_pictures_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no numbered PNG"):
        davis.read(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(UsageError, match="has colours"):
        davis.read(tmp_path)
    davis.write_frame(np.zeros((4, 4), np.uint8), tmp_path / "0.png")
    davis.write_frame(np.zeros((4, 5), np.uint8), tmp_path / "1.png")
    with pytest.raises(UsageError, match="pictures before it"):
        davis.read(tmp_path)
