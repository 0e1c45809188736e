"""Settings: what they may be, by every way of giving them."""

from __future__ import annotations

import numpy as np
import pytest

import gsam
from gsam.build.schema import NUMBERS
from gsam.errors import UsageError
from gsam.runtime.settings import ELSEWHERE
from tests.pipeline.test_pipeline import BoxSegmenter, BrightDetector, picture

BAD = {
    "boxes": (0, -1, 2.5, 10**9, float("inf"), None, "3"),
    "threshold": (-0.1, 1.1, float("nan"), float("inf"), True, "0.3", [0.3]),
    "nms": (-1, 2),
    "mask_threshold": (float("nan"), float("-inf"), "0"),
    "tile": (-1, 1, 100.5, 10**7),
    "overlap": (-0.1, 1, 1.5),
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_a_value_out_of_range_is_named_by_every_way(name: str, value: object) -> None:
    p = gsam.Pipeline(BrightDetector(), BoxSegmenter(), boxes=6)
    image = np.zeros((8, 8, 3), np.uint8)
    given: dict = {name: value}
    ways = (
        lambda: gsam.Limits(**given),
        lambda: gsam.Pipeline(BrightDetector(), **given),
        lambda: gsam.load("nano", **given),
        lambda: p(image, "ball", **given),
        lambda: p.stream([image], "ball", **given),
    )
    for way in ways:
        with pytest.raises(UsageError, match=rf"^{name} is .*, it must be "):
            way()


@pytest.mark.parametrize("name", ["treshold", "thresholds", "box_threshold", "conf", "iou", "max_det", "something"])
def test_a_name_that_does_not_exist(name: str) -> None:
    p = gsam.Pipeline(BrightDetector(), boxes=6)
    image = np.zeros((8, 8, 3), np.uint8)
    for way in (lambda: gsam.load("nano", **{name: 0.5}), lambda: p(image, "ball", **{name: 0.5})):
        with pytest.raises(UsageError, match=f"no setting '{name}'") as caught:
            way()
        expected = ELSEWHERE.get(name) or ("threshold" if name.startswith(("tres", "thres")) else "there are boxes")
        assert expected in str(caught.value)


def test_numbers_of_numpy_are_numbers() -> None:
    limits = gsam.Limits(boxes=np.int64(5), threshold=np.float32(0.5), tile=np.int32(64))
    assert limits.tiled((65, 3, 3))
    assert not limits.tiled((64, 64, 3))
    assert all(number.check(name, 1) is None for name, number in NUMBERS.items() if name not in ("overlap", "tile"))


def test_a_call_may_ask_for_fewer_boxes_and_not_for_more() -> None:
    p = gsam.Pipeline(BrightDetector(), BoxSegmenter(), boxes=6, nms=1.0)
    seen = picture(64, 64, (10, 10, 40, 40))
    all_of_them, one = p(seen, "ball", inside=1.0), p(seen, "ball", inside=1.0, boxes=1)
    assert (len(all_of_them), len(one)) == (2, 1)
    assert one.scores[0] == all_of_them.scores[0]
    assert [len(r) for r in p.stream([seen], "ball", batch_size=1, inside=1.0, boxes=1)] == [1]
    with pytest.raises(UsageError, match="boxes is at most 6"):
        p(seen, "ball", boxes=7)


def test_what_would_be_ignored_is_refused() -> None:
    p = gsam.Pipeline(BrightDetector(), boxes=6)
    with pytest.raises(UsageError, match="phrases"):
        p(np.zeros((8, 8, 3), np.uint8), "ball", text_threshold=0.3)
    with pytest.raises(UsageError, match="phrases"):
        gsam.load("nano", text_threshold=0.3)


@pytest.mark.parametrize("images", ["a.jpg", b"abc", np.zeros((8, 8, 3), np.uint8)])
def test_a_stream_is_of_many_images(images: object) -> None:
    with pytest.raises(UsageError, match="a list of them"):
        gsam.Pipeline(BrightDetector(), boxes=6).stream(images, "ball")  # type: ignore[arg-type]


def test_settings_of_tracking_have_near_names() -> None:
    p = gsam.load("nano")
    with pytest.raises(UsageError, match="did you mean 'every'"):
        p.track("no.mp4", "dog", evry=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="every is 0"):
        p.track("no.mp4", "dog", every=0)
