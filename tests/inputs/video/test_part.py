"""Some frames of a video, as a video of their own."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from gsam.errors import UsageError, VideoError
from gsam.inputs.video import Frame, open_frames
from gsam.inputs.video.part import Part
from tests.serve import clips


def grey(count: int) -> bytes:
    return clips.plain(count)


@pytest.mark.parametrize("steps", [(None, None, 1), (1, 3, 1), (None, None, -1), (2, None, -1), (0, None, 2)])
@pytest.mark.parametrize(("first", "stop"), [(0, 9), (0, 4), (3, 9), (2, 6)])
def test_part_is_a_slice(first: int, stop: int, steps: tuple[int | None, int | None, int]) -> None:
    whole = open_frames(grey(9))
    part = Part(whole, first, stop)
    assert (len(part), part.size, part.rate) == (stop - first, (48, 64), Fraction(10))
    wanted = list(range(first, stop))[slice(*steps)]
    found = list(part.walk(*steps))
    assert [frame.index + first for frame in found] == wanted
    assert [frame.time for frame in found] == [Fraction(n, 10) for n in wanted]
    for frame, number in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(frame.pixels, whole[number].pixels)
    np.testing.assert_array_equal(part[1].pixels, whole[first + 1].pixels)
    assert part[-1].index == stop - first - 1
    with pytest.raises(VideoError):
        part[stop - first]


@pytest.mark.parametrize(("first", "stop"), [(-1, 2), (0, 10), (3, 3), (4, 2)])
def test_no_such_part(first: int, stop: int) -> None:
    with pytest.raises(UsageError, match="9 frames"):
        Part(open_frames(grey(9)), first, stop)


def test_a_cut_file_tells_after_its_last_whole_frame(tmp_path: Path) -> None:
    """Also where no more frames are asked for than there are, as trackers do."""
    noise = [np.random.default_rng(i).integers(0, 255, (96, 128, 3), np.uint8) for i in range(9)]
    data = clips.encoded(noise)
    frames = open_frames(data[: len(data) * 6 // 10])
    count = len(frames)
    assert 2 < count < 9
    got: list[Frame] = []
    with pytest.raises(VideoError) as raised:
        got.extend(frames.walk(0, count))
    assert raised.value.code == "video_truncated"
    assert len(got) == count
    assert len(list(frames.walk(0, count - 1))) == count - 1  # before that there is no damage
