"""What is held of a video: frames that fit together, labels and scores of a track, masks there and
back.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from gsam.results.tracks import TrackedFrame, Tracks


def square(x: int, y: int, side: int = 3, size: tuple[int, int] = (10, 14)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def frame(index: int, ids: list[int], **more: object) -> TrackedFrame:
    masks = np.stack([square(i, index) for i in ids]) if ids else np.zeros((0, 10, 14), bool)
    return TrackedFrame.of(index, masks, ids, **more)  # type: ignore[arg-type]


def test_a_frame_holds_masks_boxes_and_areas() -> None:
    found = frame(2, [5, 1], labels=["dog", "cat"], scores=[0.25, 1], time=0.5)
    assert len(found) == 2
    assert found.size == (10, 14)
    assert found.ids.dtype == np.int64
    assert found.scores.dtype == np.float32
    np.testing.assert_array_equal(found.masks, [square(5, 2), square(1, 2)])
    assert found.xyxy.tolist() == [[5, 2, 8, 5], [1, 2, 4, 5]]
    assert found.areas.tolist() == [9, 9]
    empty = frame(0, [])
    assert (len(empty), empty.masks.shape, empty.xyxy.shape, empty.areas.shape) == (0, (0, 10, 14), (0, 4), (0,))


def test_frames_that_contradict_themselves() -> None:
    with pytest.raises(ValueError, match="frame 3: 2 ids do not go with"):
        frame(3, [1, 2], labels=["dog"])
    with pytest.raises(ValueError, match="stands for two objects"):
        frame(3, [2, 2])
    good = frame(3, [1])
    with pytest.raises(ValueError, match="the mask of object 1"):
        TrackedFrame(3, (10, 15), good.ids, good.labels, good.scores, good.rles)


def test_tracks_of_a_video() -> None:
    frames = [
        frame(4, [2], labels=["cat"], scores=[0.9]),
        frame(0, [1, 2], labels=["dog", "dog"], scores=[0.5, 0.3]),
        frame(1, [1], labels=["dog"], scores=[1.0]),
    ]
    tracks = Tracks.of(frames, rate=Fraction(25), name="a", queries=["dog", "cat"])
    assert [f.index for f in tracks] == [0, 1, 4]
    assert (tracks.count, len(tracks), tracks.size) == (5, 3, (10, 14))
    assert tracks.ids == [1, 2]
    assert tracks.labels == {1: "dog", 2: "cat"}
    assert tracks.scores == pytest.approx({1: 0.75, 2: 0.6})
    masks = tracks.masks_of(2)
    assert [m is None for m in masks] == [False, True, True, True, False]
    gone = TrackedFrame.of(5, np.zeros((1, 10, 14), bool), [2])
    assert Tracks.of([*frames, gone]).masks_of(2)[5] is None


def test_the_label_of_a_track_is_the_one_that_has_most_weight() -> None:
    said = [("cat", 0.4), ("dog", 0.7), ("cat", 0.5), ("cow", 0.6)]
    frames = [frame(t, [1], labels=[label], scores=[score]) for t, (label, score) in enumerate(said)]
    assert Tracks.of(frames).labels == {1: "cat"}  # 0.9 together
    assert Tracks.of(frames[1:]).labels == {1: "dog"}


def test_tracks_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no frame at all"):
        Tracks.of([])
    with pytest.raises(ValueError, match="not in order or not within"):
        Tracks.of([frame(1, []), frame(1, [])])
    with pytest.raises(ValueError, match="not in order or not within"):
        Tracks.of([frame(5, [])], count=5)
    with pytest.raises(ValueError, match="frame 1 is"):
        Tracks.of([frame(0, []), TrackedFrame.of(1, np.zeros((0, 9, 9), bool), [])])


def test_a_sheet_shows_every_id_in_its_colour() -> None:
    tracks = Tracks.of([frame(0, [1, 5]), frame(1, [5])], count=3)
    pixels = np.zeros((3, 10, 14, 3), np.uint8)
    sheet = np.asarray(tracks.plot(pixels, columns=3, zoom=4))
    bare = np.asarray(Tracks([], (10, 14), 3).plot(pixels, columns=3, zoom=4))
    shown = [
        (sheet[-44:-4, 4 + 60 * t : 60 + 60 * t] != bare[-44:-4, 4 + 60 * t : 60 + 60 * t]).any(-1) for t in range(3)
    ]
    assert shown[0].sum() > shown[1].sum() > 0
    assert not shown[2].any()
    far = Tracks.of([frame(0, [1]), frame(1, [255 + 1])], count=2)  # a colour that is not that of what is not judged
    assert np.asarray(far.plot(pixels[:2])).shape[2] == 3
    with pytest.raises(ValueError, match="do not fit"):
        tracks.plot(pixels[:2])
