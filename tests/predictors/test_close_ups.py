"""A predictor's second look: better masks of small things, in their places, and nothing else
changed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from gsam.errors import UsageError
from gsam.models.promptable import PromptableSegmenter
from gsam.nano import heldout
from gsam.predictors.close_ups import CloseUpSettings, Window
from tests.helpers.discs import discs
from tests.models import small_segmenters as small

FOLDER = Path("tests/data/heldout")
Masks = np.ndarray


@pytest.fixture(scope="module")
def scenes() -> list[heldout.Example]:
    return list(heldout.read(FOLDER))[:6]


@pytest.fixture(scope="module")
def plain() -> gsam.Predictor:
    return gsam.Predictor("nano_sam")


@pytest.fixture(scope="module")
def closer() -> gsam.Predictor:
    return gsam.Predictor("nano_sam", refine=True)


def middle(mask: Masks) -> list[int]:
    """A pixel of a mask, as near to its middle as there is one."""
    ys, xs = np.nonzero(mask)
    at = ((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2).argmin()
    return [int(xs[at]), int(ys[at])]


def side_of(mask: Masks) -> float:
    """The longer side of a mask's box, as a share of the image's."""
    ys, xs = np.nonzero(mask)
    return max(np.ptp(xs) + 1, np.ptp(ys) + 1) / max(mask.shape)


def iou(a: Masks, b: Masks) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def things(scenes: list[heldout.Example], low: float, high: float) -> list[tuple[heldout.Example, Masks]]:
    found = [(s, mask) for s in scenes for mask in s.masks if mask.any() and low <= side_of(mask) < high]
    assert len(found) >= 5
    return found


def clicked(predictor: gsam.Predictor, scene: heldout.Example, mask: Masks, **more: Any) -> Any:
    predictor.set_image(scene.rgb)
    return predictor.predict([middle(mask)], [1], multimask_output=False, **more)


def test_masks_of_small_things_are_better(
    plain: gsam.Predictor, closer: gsam.Predictor, scenes: list[heldout.Example]
) -> None:
    some = things(scenes, 0.0, 0.3)
    for ask in ("click", "box"):
        before, after = [], []
        for scene, mask in some:
            for predictor, found in ((plain, before), (closer, after)):
                predictor.set_image(scene.rgb)
                ys, xs = np.nonzero(mask)
                box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                prompt = {"box": box} if ask == "box" else {"point_coords": [middle(mask)], "point_labels": [1]}
                found.append(iou(predictor.predict(**prompt, multimask_output=False).masks[0], mask))
        assert np.mean(after) > np.mean(before) + 0.03, ask


def test_what_is_large_stays_to_the_bit(
    plain: gsam.Predictor, closer: gsam.Predictor, scenes: list[heldout.Example]
) -> None:
    changed = 0
    for scene, mask in things(scenes, 0.0, 1.0):
        first, second = clicked(plain, scene, mask), clicked(closer, scene, mask)
        same = all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        if side_of(first.masks[0]) > 0.65:
            assert same
        changed += not same
    assert changed


def enlarged(low_res: np.ndarray, shape: tuple[int, ...]) -> Masks:
    """Cells of the view [h, h] as pixels of an image."""
    cell = max(shape) / len(low_res)
    ys, xs = ((np.arange(n) / cell).astype(int) for n in shape)
    return low_res[np.ix_(ys, xs)] > 0


def test_logits_and_low_logits_are_of_the_mask(
    plain: gsam.Predictor, closer: gsam.Predictor, scenes: list[heldout.Example]
) -> None:
    own, earlier = [], []
    for scene, mask in things(scenes, 0.0, 0.3):
        found, logits = clicked(closer, scene, mask), clicked(closer, scene, mask, return_logits=True)
        np.testing.assert_array_equal(logits.masks > 0, found.masks)
        np.testing.assert_array_equal(logits.low_res, found.low_res)
        first = clicked(plain, scene, mask)
        if not np.array_equal(first.masks, found.masks):
            own.append(iou(enlarged(found.low_res[0], mask.shape), found.masks[0]))
            earlier.append(iou(enlarged(first.low_res[0], mask.shape), found.masks[0]))
    assert np.mean(own) > np.mean(earlier) + 0.02


def watch(monkeypatch: pytest.MonkeyPatch, predictor: gsam.Predictor) -> list[tuple[tuple[int, int], Any]]:
    """The sizes of the images that are asked about from here on, with the prompts."""
    assert predictor.close_ups is not None
    decoder = predictor.close_ups._decode
    asked: list[tuple[tuple[int, int], Any]] = []
    answer = decoder.decode_all

    def watched(embedding: Any, prompts: Any, shape: Any, **more: Any) -> Any:
        asked.append((embedding.size, prompts))
        return answer(embedding, prompts, shape, **more)

    monkeypatch.setattr(decoder, "decode_all", watched)
    return asked


def test_a_background_click_far_away_changes_no_window(
    monkeypatch: pytest.MonkeyPatch, scenes: list[heldout.Example]
) -> None:
    predictor = gsam.Predictor("nano_sam", refine=True)
    scene, mask = next((s, m) for s, m in things(scenes, 0.0, 0.25) if np.ptp(np.nonzero(m)[1]) + 3 < m.shape[1] - 200)
    x, y = middle(mask)
    far = [0 if x > mask.shape[1] / 2 else mask.shape[1] - 1, y]
    predictor.set_image(scene.rgb)
    asked = watch(monkeypatch, predictor)
    predictor.predict([[x, y], far], [1, 0], multimask_output=False)
    _, (_, (prompt,)) = asked
    assert len(prompt.kinds) == 3  # the near click and the box
    assert (prompt.xy >= 0).all()
    assert (prompt.xy <= 160).all()


def test_the_first_mask_is_a_prompt_in_its_place(
    monkeypatch: pytest.MonkeyPatch, plain: gsam.Predictor, scenes: list[heldout.Example]
) -> None:
    predictor = gsam.Predictor("nano_sam", refine=True)
    asked = watch(monkeypatch, predictor)
    looked = 0
    for scene, mask in things(scenes, 0.05, 0.3)[:6]:
        asked.clear()
        clicked(predictor, scene, mask)
        if len(asked) == 1:  # the first mask was a large one
            continue
        looked += 1
        _, (size, (prompt,)) = asked
        hint = enlarged(prompt.mask, size)
        ys, xs = np.nonzero(hint)
        found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) * 160 / max(size)  # the window's view
        first = clicked(plain, scene, mask).masks[0]
        assert abs(hint.sum() / max(size) ** 2 - first.sum() / max(size) ** 2) < 0.1
        assert np.abs(found - prompt.xy[1:].reshape(-1)).max() < 20  # the box is around the cells of the mask
    assert looked >= 3


def test_low_logits_lead_on(closer: gsam.Predictor, scenes: list[heldout.Example]) -> None:
    first, second = [], []
    for scene, mask in things(scenes, 0.0, 0.3):
        found = clicked(closer, scene, mask)
        first.append(iou(found.masks[0], mask))
        wrong = found.masks[0] ^ mask
        if not wrong.any():
            continue
        at = middle(wrong)
        points = [middle(mask), at]
        labels = [1, int(mask[at[1], at[0]])]
        more = closer.predict(points, labels, mask_input=found.low_res, multimask_output=False)
        second.append(iou(more.masks[0], mask))
    assert np.mean(second) > np.mean(first) - 0.01


def test_a_mask_unlike_the_first_is_not_taken(plain: gsam.Predictor, scenes: list[heldout.Example]) -> None:
    strict = gsam.Predictor("nano_sam", refine={"agree": 1.0})
    for scene, mask in things(scenes, 0.0, 0.3)[:5]:
        for a, b in zip(clicked(plain, scene, mask), clicked(strict, scene, mask), strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_way_of_asking_answers_alike(closer: gsam.Predictor, scenes: list[heldout.Example]) -> None:
    scene = scenes[0]
    at = [middle(mask) for mask in scene.masks if mask.any()]
    closer.set_image(scene.rgb)
    points, labels = [[one] for one in at], [[1]] * len(at)
    each = list(closer.predict_each(points, labels, multimask_output=True))
    many = closer.predict_many(points, labels, multimask_output=True)
    alone = [closer.predict(p, one, multimask_output=True) for p, one in zip(points, labels, strict=True)]
    closer.set_image_batch([scene.rgb])
    batch = closer.predict_batch([np.array(points)], [np.array(labels)], multimask_output=True)
    for i in range(len(at)):
        for found in (each[i], [x[i] for x in many], [x[0][i] for x in batch]):
            assert np.mean(found[0] != alone[i][0]) < 1e-3
            np.testing.assert_allclose(found[1], alone[i][1], atol=1e-3)


def test_a_window_is_encoded_once(scenes: list[heldout.Example]) -> None:
    predictor = gsam.Predictor("nano_sam", refine=True)
    scene, mask = things(scenes, 0.0, 0.3)[0]
    clicked(predictor, scene, mask)
    assert predictor.counts == {"pictures": 1, "windows": 1}
    predictor.predict([middle(mask)], [1], multimask_output=False)
    assert predictor.counts == {"pictures": 1, "windows": 1}
    clicked(predictor, scene, mask)  # set anew: its features are computed anew too
    assert predictor.counts == {"pictures": 2, "windows": 2}


def test_an_embedding_alone_has_no_pixels(tmp_path: Path, scenes: list[heldout.Example]) -> None:
    predictor = gsam.Predictor("nano_sam", refine=True)
    predictor.set_image(scenes[0].rgb)
    predictor.load_embedding(predictor.save_embedding(tmp_path / "a.safetensors"))
    with pytest.raises(RuntimeError, match="use set_image"):
        predictor.predict([[5, 5]], [1])


def test_nothing_of_a_window_is_kept_in_the_cache(tmp_path: Path, scenes: list[heldout.Example]) -> None:
    predictor = gsam.Predictor("nano_sam", refine=True, cache=tmp_path)
    clicked(predictor, *things(scenes, 0.0, 0.3)[0])
    assert predictor.counts == {"pictures": 1, "windows": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_it_is_copied_with_its_settings() -> None:
    again = pickle.loads(pickle.dumps(gsam.Predictor("nano_sam", refine={"margin": 0.25})))  # noqa: S301
    assert again.close_ups.settings == CloseUpSettings(margin=0.25)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"margins": 0.5}, "did you mean 'margin'"),
        ({"most": 4}, "no setting 'most'"),
        ({"below": 0}, "refine.below is 0"),
        ({"agree": 2}, "refine.agree is 2"),
        ({"zoom": "big"}, "refine.zoom is 'big'"),
        ("yes", "refine is 'yes'"),
        (None, "refine is None"),
    ],
)
def test_settings_that_may_not_be(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gsam.Predictor("nano_sam", refine=given)


def test_no_second_look_by_default(plain: gsam.Predictor) -> None:
    assert plain.close_ups is None
    assert CloseUpSettings.of(True) == CloseUpSettings()


def sam_2() -> PromptableSegmenter:
    with jax.numpy_dtype_promotion("standard"):
        return small.sam_2()


def efficient() -> PromptableSegmenter:
    with jax.numpy_dtype_promotion("standard"):
        return small.efficient()


def medsam() -> PromptableSegmenter:
    with jax.numpy_dtype_promotion("standard"):
        return small.medsam()


@pytest.mark.parametrize("make", [sam_2, efficient, medsam])
def test_every_family(make: Callable[[], PromptableSegmenter]) -> None:
    """Whatever a model takes: squashed views, few points, no masks; weights are random here."""
    pixels = np.random.default_rng(1).integers(0, 256, (90, 140, 3), np.uint8)
    model = make()
    # Random weights answer with large masks: all are looked at, and all new ones taken.
    plain, predictor = gsam.Predictor(model), gsam.Predictor(model, refine={"below": 1.0, "agree": 0.0})
    changed = 0
    for one in (plain, predictor):
        one.set_image(pixels)
    kinds = model.prompt_types
    asked: list[dict[str, Any]] = [{"box": [30, 20, 70, 60]}] if "box" in kinds else []
    if "foreground" in kinds:
        asked.append({"point_coords": [[50, 40], [60, 50]], "point_labels": [1, 1]})
    for prompt in asked:
        first, found = (one.predict(**prompt, multimask_output=False) for one in (plain, predictor))
        assert [x.shape for x in found] == [x.shape for x in first]
        assert [x.dtype for x in found] == [x.dtype for x in first]
        assert np.isfinite(found.iou).all()
        assert np.isfinite(found.low_res).all()
        changed += not np.array_equal(first.low_res, found.low_res)
    assert predictor.counts["windows"] == 0 or changed


def test_a_box_lies_where_it_was_drawn() -> None:
    """The small rectangle that a known model answers a box with, in an image that is squashed."""
    pixels = np.random.default_rng(0).integers(0, 256, (150, 300, 3), np.uint8)
    predictor = gsam.Predictor(discs(), refine=True)
    predictor.set_image(pixels)
    found = predictor.predict(box=[201, 61, 241, 83], multimask_output=False)
    assert predictor.counts == {"pictures": 1, "windows": 1}
    ys, xs = np.nonzero(found.masks[0])
    assert np.abs(np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) - [201, 61, 241, 83]).max() <= 1
    cells = np.argwhere(found.low_res[0] > 0) / 32 * [150, 300]  # the view's 32 x 32 cells
    assert np.abs(cells.min(0) - [61, 201]).max() <= 10
    assert np.abs(cells.max(0) - [83, 241]).max() <= 20


def windows_of(size: tuple[int, int], boxes: np.ndarray) -> list[Window]:
    predictor = gsam.Predictor("nano_sam", refine=True)
    assert predictor.close_ups is not None
    return [predictor.close_ups._window(size, box[:2], box[2:]) for box in boxes]


def test_windows_hold_their_boxes_inside_the_image() -> None:
    rng = np.random.default_rng(0)
    for size in ((90, 640), (640, 90), (333, 512), (40, 30)):
        limit = np.array([size[1], size[0]] * 2, float)
        low = rng.uniform(0, 0.9, (40, 2)) * limit[:2]
        boxes = np.concatenate([low, np.minimum(low + rng.uniform(1, 60, (40, 2)), limit[:2])], 1)
        for box, (x0, y0, x1, y1) in zip(boxes, windows_of(size, boxes), strict=True):
            assert 0 <= x0 < x1 <= size[1]
            assert 0 <= y0 < y1 <= size[0]
            assert x0 <= box[0]
            assert y0 <= box[1]
            assert x1 >= box[2]
            assert y1 >= box[3]
            assert max(x1 - x0, y1 - y0) <= max(2.0 ** (1 / 3) * (box[2:] - box[:2]).max() * 1.8, 160 / 8 * 1.3) + 2


def test_windows_of_nearly_the_same_box_are_often_the_same() -> None:
    rng = np.random.default_rng(0)
    boxes = np.tile([[100.0, 100, 140, 150]], (40, 1)) + rng.normal(0, 1, (40, 4))
    assert len(set(windows_of((400, 400), boxes))) <= 6
