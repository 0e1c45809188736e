"""SAM 2 on video: what is seen, scored and remembered on every frame, beside transformers on the
same weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gsam
from benchmarks.harness.oracles import sam2_video as oracle

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
COUNT = 9


@pytest.fixture(scope="module", params=[True, False], ids=["2.1", "2.0"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, gsam.VideoPredictor]:
    reference = oracle.model(oracle.tiny(request.param))
    return reference, oracle.predictor(reference, tmp_path_factory.mktemp("sam2"))


def agree(ours: gsam.VideoPredictor, state: Any, theirs: oracle.Theirs, frames: range) -> None:
    assert sorted(theirs.masks) == sorted(frames)
    for frame in frames:
        want = theirs.masks[frame]
        outputs = state.outputs(frame)
        found = np.stack([o.logits for o in outputs])
        spread = want.std() + 1e-6
        assert np.abs(found - want).max() < 1e-3 * spread, frame
        both, either = ((found > 0) & (want > 0)).sum(), ((found > 0) | (want > 0)).sum()
        assert both >= 0.999 * either
        np.testing.assert_allclose([o.score for o in outputs], theirs.scores[frame], atol=1e-4)
        pointers = np.stack([o.pointer for o in outputs])
        assert np.abs(pointers - theirs.pointers[frame]).max() < 1e-4 * theirs.pointers[frame].std()


@pytest.mark.long
def test_clicks_and_a_box_are_followed_forwards_and_backwards(
    pair: tuple[Any, gsam.VideoPredictor], tmp_path: Path
) -> None:
    rows = oracle.compare(pair[0], tmp_path, COUNT)
    assert len(rows) == 9
    assert not [row for row in rows if row.difference > row.limit]


@pytest.mark.long
def test_several_clicks_and_prompts_on_two_frames(pair: tuple[Any, gsam.VideoPredictor]) -> None:
    reference, ours = pair
    frames = oracle.moving(COUNT, number=1)
    theirs = oracle.Reference(reference, frames)
    state = ours.init_state(list(frames))
    for frame in (0, 4):
        points, labels = [[30 + 4 * frame, 36 + 3 * frame], [100, 20]], [1, 0]
        theirs.click(frame, 7, np.array(points, np.float32), labels)
        theirs.begin(frame)
        ours.add_new_points_or_box(state, frame, 7, points, labels)
    list(ours.propagate_in_video(state, 0))
    agree(ours, state, theirs.propagate(0), range(COUNT))


@pytest.mark.long
def test_a_drawn_mask(pair: tuple[Any, gsam.VideoPredictor]) -> None:
    """Theirs remembers the mask at full size, the original (and ours) the one of low resolution,
    made large again.
    """
    reference, ours = pair
    frames = oracle.moving(COUNT, number=2)
    drawn = np.zeros((128, 128), bool)
    drawn[20:52, 16:48] = True  # whole cells of low resolution, so that little is lost
    theirs = oracle.Reference(reference, frames)
    theirs.draw(0, 1, drawn)
    first = theirs.begin(0)
    state = ours.init_state(list(frames))
    ours.add_new_mask(state, 0, 1, drawn)
    (output,) = state.outputs(0)
    assert output is not None
    np.testing.assert_allclose(output.logits, first[0], atol=1e-4)
    assert output.score == 10.0
    pointer = theirs.session.output_dict_per_obj[0]["cond_frame_outputs"][0]["object_pointer"].numpy().reshape(-1)
    assert np.abs(output.pointer - pointer).max() < 1e-4 * pointer.std()
    list(ours.propagate_in_video(state))
    want = theirs.propagate(0)
    for frame in range(1, COUNT):
        (seen,) = state.outputs(frame)
        assert seen is not None
        assert ((seen.logits > 0) == (want.masks[frame][0] > 0)).mean() > 0.99


@pytest.mark.long
def test_an_object_that_is_not_there(tmp_path: Path) -> None:
    reference = oracle.model(oracle.tiny(True), 3)
    with oracle.torch.no_grad():
        reference.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(-3.0)
    ours = oracle.predictor(reference, tmp_path)
    frames = oracle.moving(4)
    theirs = oracle.Reference(reference, frames)
    state = ours.init_state(list(frames))
    theirs.click(0, 1, np.array([[30.0, 30.0]]), [1])
    theirs.begin(0)
    ours.add_new_points_or_box(state, 0, 1, [[30, 30]], [1])
    for _, _, masks in ours.propagate_in_video(state):
        assert (masks == -1024.0).all()
    want = theirs.propagate(0)
    for frame in range(4):
        (output,) = state.outputs(frame)
        assert output is not None
        np.testing.assert_allclose(output.pointer, want.pointers[frame][0], atol=1e-5)
        np.testing.assert_allclose(output.score, want.scores[frame][0], atol=1e-4)
