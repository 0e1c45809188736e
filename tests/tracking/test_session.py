"""Sessions: copies that go their own way, and files from which a video goes on as it would have."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gsam
from gsam.errors import UsageError
from gsam.tracking.session import Session
from tests.tracking import small

FRAMES = small.frames(6)


@pytest.fixture(scope="module")
def predictor() -> gsam.VideoPredictor:
    return gsam.VideoPredictor(small.made(), progress=False)


@pytest.fixture
def begun(predictor: gsam.VideoPredictor) -> Session:
    """Two objects, followed half way, and a prompt that is not committed yet."""
    state = predictor.init_state(FRAMES)
    predictor.add_new_points_or_box(state, 0, "left", [[12, 15]], [1])
    predictor.add_new_points_or_box(state, 1, 7, box=[5, 8, 25, 26])
    for _ in predictor.propagate_in_video(state, max_frame_num_to_track=2):
        pass
    mask = np.zeros(small.SIZE, bool)
    mask[10:24, 9:24] = True
    predictor.add_new_mask(state, 2, 7, mask)
    return state


def rest(predictor: gsam.VideoPredictor, state: Session) -> list[tuple[int, list[Any], np.ndarray]]:
    return [(frame, ids, masks.copy()) for frame, ids, masks in predictor.propagate_in_video(state, 2)]


def same(found: list[Any], expected: list[Any]) -> None:
    assert [f[:2] for f in found] == [e[:2] for e in expected]
    for (_, _, ours), (_, _, other) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, other)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, Session.copy])
@pytest.mark.long
def test_a_copy_goes_its_own_way(
    predictor: gsam.VideoPredictor, begun: Session, how: Callable[[Session], Session]
) -> None:
    second = how(begun)
    third = how(second)
    before = [output.logits.copy() for output in begun.outputs(1) if output is not None]
    predictor.add_new_points_or_box(second, 3, "new", [[30, 30]], [1])
    predictor.remove_object(second, "left")
    assert begun.ids == ["left", 7]
    for ours, other in zip([o.logits for o in begun.outputs(1) if o is not None], before, strict=True):
        np.testing.assert_array_equal(ours, other)
    expected = rest(predictor, begun)
    del begun, second
    same(rest(predictor, third), expected)


def test_a_file_goes_on_where_the_session_was(predictor: gsam.VideoPredictor, begun: Session, tmp_path: Path) -> None:
    path = predictor.save_state(begun, tmp_path / "a.safetensors")
    again = gsam.VideoPredictor(small.made(), progress=False).load_state(path, FRAMES)
    assert (again.ids, again.memory) == (["left", 7], "all")
    assert again.objects[7].pending.keys() == begun.objects[7].pending.keys()
    same(rest(predictor, again), rest(predictor, begun))
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_session_without_objects(predictor: gsam.VideoPredictor, tmp_path: Path) -> None:
    state = predictor.init_state(FRAMES, memory="near")
    again = predictor.load_state(predictor.save_state(state, tmp_path / "a.safetensors"), FRAMES)
    assert (again.ids, again.memory) == ([], "near")


def test_files_that_do_not_fit(predictor: gsam.VideoPredictor, begun: Session, tmp_path: Path) -> None:
    path = predictor.save_state(begun, tmp_path / "a.safetensors")

    def fails(code: str, call: Callable[[], Any]) -> None:
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == code
        assert "\n" not in str(caught.value)

    fails("session_other_video", lambda: predictor.load_state(path, FRAMES[:5]))
    fails("session_other_video", lambda: predictor.load_state(path, [f[:-2] for f in FRAMES]))
    fails("session_other_model", lambda: gsam.VideoPredictor(small.made(-4.0)).load_state(path, FRAMES))
    fails("session_missing", lambda: predictor.load_state(tmp_path / "no.safetensors", FRAMES))
    fails("session_name", lambda: predictor.save_state(begun, tmp_path / "a.pkl"))
    fails("video_live", lambda: predictor.load_state(path, iter(FRAMES)))
    fails("not_picklable", lambda: pickle.dumps(begun))
    predictor.add_new_points_or_box(begun, 0, ("a", 1), [[3, 3]], [1])
    fails("session_id", lambda: predictor.save_state(begun, tmp_path / "b.safetensors"))
    live = predictor.init_state(iter(FRAMES))
    fails("video_live", lambda: copy.deepcopy(live))
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("harm", ["cut", "objects", "frame", "points", "place", "kind", "count"])
def test_damaged_files(predictor: gsam.VideoPredictor, begun: Session, tmp_path: Path, harm: str) -> None:
    path = predictor.save_state(begun, tmp_path / "a.safetensors")
    data = path.read_bytes()
    swap = {
        "objects": (b'"objects"', b'"objectz"'),
        "frame": (b'\\"points\\": [0]', b'\\"points\\": [9]'),
        "points": (b"0/points/0/xy", b"0/points/0/xz"),
        "place": (b"propagated\\", b"propagate_\\"),
        "kind": (b"gsam.session", b"gsam.sessiom"),
        "count": (b'"count": "6"', b'"count": "x"'),
    }
    if harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        old, new = swap[harm]
        assert old in data
        path.write_bytes(data.replace(old, new))
    with pytest.raises(UsageError) as caught:
        predictor.load_state(path, FRAMES)
    assert caught.value.code == "session_unreadable"
