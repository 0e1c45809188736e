"""Frames of clips as scenes: what is visible, numbered anew."""

from __future__ import annotations

import numpy as np

from gsam.nano.moving import Clip
from gsam.nano.scenes import IGNORE
from gsam.nano.stills import frame_of


def clip() -> Clip:
    """Three things, of which the second is hidden in the second frame."""
    instances = np.zeros((2, 20, 30), np.uint8)
    instances[:, 2:6, 3:9] = 1
    instances[0, 8:12, 10:14] = 2
    instances[:, 15:18, 20:29] = 3
    instances[1, 0, 0] = IGNORE
    return Clip(
        np.arange(2 * 20 * 30 * 3, dtype=np.uint32).reshape(2, 20, 30, 3).astype(np.uint8),
        instances,
        ["dog", "cat", "bee"],
    )


def test_all_that_is_visible() -> None:
    drawn = frame_of(clip(), 0)
    assert drawn.names == ["dog", "cat", "bee"]
    np.testing.assert_array_equal(drawn.rgb, clip().rgb[0])
    np.testing.assert_array_equal(drawn.instances, clip().instances[0])
    assert drawn.boxes.tolist() == [[3, 2, 9, 6], [10, 8, 14, 12], [20, 15, 29, 18]]


def test_what_is_hidden_is_left_out_and_the_rest_numbered_anew() -> None:
    drawn = frame_of(clip(), 1)
    assert drawn.names == ["dog", "bee"]
    assert drawn.boxes.tolist() == [[3, 2, 9, 6], [20, 15, 29, 18]]
    assert (drawn.instances[15:18, 20:29] == 2).all()
    assert drawn.instances[0, 0] == IGNORE
    assert np.unique(drawn.instances).tolist() == [0, 1, 2, IGNORE]
