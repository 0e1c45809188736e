"""The second look: on a segmenter whose masks are known, and on nano's."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.build.schema import check_recipe
from gsam.errors import UsageError
from gsam.ops.windows import bounds_of, cut, onto, windows_around
from gsam.results.masks.low_res import LowResMasks
from gsam.results.masks.windowed import WindowedMasks
from gsam.types import Boxes, Images, Labels, Params, Scene, View
from gsam.weights.read import read
from tests.helpers.discs import SIZE, Discs, discs

SCENE = Path(__file__).parents[2] / "notebooks" / "scene.png"
HIGH, WIDE = 200, 400
TRUTH = np.array([[40, 30, 90, 72], [320, 100, 366, 152], [120, 20, 290, 180]], np.float32)
"""Two small boxes and a large one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Bright(Discs):
    """Gives what is bright within the box; a mask prompt changes nothing."""

    prompt_types: ClassVar[frozenset[str]] = frozenset({"box"})
    upsample: ClassVar[Any] = "view"

    @property
    def view(self) -> View:
        return View(SIZE, "longest")

    def decode(self, model: Any, features: Any, points: Any, labels: Any, multimask: bool, **mask: Any) -> Any:
        boxed, _ = super().decode(model, features, points, labels, multimask)
        grey = features["fine"][..., 0].reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
        return jnp.minimum(boxed, (grey - 128.0) / 16.0), jnp.full(boxed.shape[:2], 0.5)


class Given:
    """Finds three boxes, a little too large."""

    params: ClassVar[dict[str, Any]] = {}
    view = View(32)

    def detect(self, params: Params, images: Images, text: Any, valid: Any, n: int) -> tuple[Boxes, Labels]:
        b, c = valid.shape
        own = TRUTH + np.array([-4, -4, 4, 4], np.float32)
        xyxy = jnp.zeros((b, n, 4)).at[:, :3].set(own[: min(n, 3)])
        place = jnp.arange(n, dtype=jnp.float32)
        score = jnp.where(place < 3, 0.9 - 0.1 * place, 0.0)
        scores = jnp.broadcast_to(jnp.where(valid[:, None], score[None, :, None], 0.0), (b, n, c))
        labels = Labels(scores.argmax(-1).astype(jnp.int32), scores.max(-1), scores)
        return Boxes(xyxy, jnp.broadcast_to(score > 0, (b, n))), labels


def scene() -> np.ndarray:
    pixels = np.zeros((HIGH, WIDE, 3), np.uint8)
    for x0, y0, x1, y1 in TRUTH.astype(int):
        pixels[y0:y1, x0:x1] = 255
    return pixels


def truth() -> np.ndarray:
    return np.stack([scene()[..., 0] * 0 + np.pad(np.ones((y1 - y0, x1 - x0), bool), ((y0, HIGH - y1), (x0, WIDE - x1)))
                     for x0, y0, x1, y1 in TRUTH.astype(int)]) > 0  # fmt: skip


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@functools.cache
def pipe(*more: Any, boxes: int = 6, **settings: Any) -> gsam.Pipeline:
    model = discs(kind=Bright)
    look = [gsam.SecondLook(model, **settings)] if settings else []
    return gsam.Pipeline(Given(), model, *look, *more, boxes=boxes, inside=1.0)


@pytest.mark.parametrize("settings", [{"margin": 0.5}, {"together": 2}, {"most": 1}], ids=str)
def test_small_things_become_exact(settings: dict[str, Any]) -> None:
    first, second = pipe()(scene(), "thing"), pipe(**settings)(scene(), "thing")
    before, after = ([iou(r.mask(i), t) for i, t in enumerate(truth())] for r in (first, second))
    assert isinstance(second.low_res, WindowedMasks)
    looked = second.low_res.windows[:, 2] > 0
    assert looked.tolist() == [True, settings.get("most") != 1, False]  # the large one is left as it was
    for i in np.flatnonzero(looked):
        assert before[i] + 0.1 < after[i]
    assert settings.get("together") == 2 or after[0] > 0.95
    for i in np.flatnonzero(~looked):
        np.testing.assert_array_equal(first.mask(i), second.mask(i))
    assert second.low_res.whole.logits.shape == (3, SIZE // 2, SIZE // 2)  # as small as before


def test_padding_changes_nothing() -> None:
    many, few = pipe(boxes=9, margin=0.5), pipe(boxes=3, margin=0.5)
    for a, b in zip(many(scene(), "thing").mask_logits, few(scene(), "thing").mask_logits, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_an_answer_that_is_no_better_is_not_taken() -> None:
    plain = pipe()(scene(), "thing")
    for settings in ({"gain": 0.1}, {"below": 0.02}):
        same = pipe(**settings)(scene(), "thing")
        np.testing.assert_array_equal(same.masks, plain.masks)


def test_one_program_for_any_number() -> None:
    p = pipe(margin=0.5)
    p(scene(), "thing")
    programs = p.compilations
    p(np.zeros((90, 50, 3), np.uint8), "thing")
    p(scene(), "thing", threshold=0.85)
    assert len(p(scene(), "thing")) == 3
    assert p.compilations == programs


def test_a_stream_gives_what_a_call_gives() -> None:
    p = pipe(margin=0.5)
    alone = p(scene(), "thing")
    for found in p.stream([scene(), np.zeros_like(scene()), scene()], "thing", batch_size=3):
        if found.pixels.any():
            np.testing.assert_allclose(found.mask_logits, alone.mask_logits, atol=1e-4)


@pytest.mark.long
def test_later_steps_see_masks_in_windows() -> None:
    seen: dict[str, jax.Array] = {}

    def look(scene: Scene) -> Scene:
        from gsam.ops.regions import inside_mask, regions
        from gsam.pipeline.suppress import not_contained

        where = regions(scene, View(32), 0.0, masked=True)
        inside = jax.vmap(lambda m, b: inside_mask(m, b, 32))(where.logits, where.on_mask)
        kept = not_contained(dataclasses.replace(scene, thresholds=dataclasses.replace(scene.thresholds, inside=0.5)))
        seen["share"], seen["kept"] = inside[:, :3].mean((2, 3)), kept.valid[:, :3]
        return scene

    p = pipe(look, margin=0.5)
    images, text = p.prepare(scene(), "thing")

    @jax.jit  # op by op it takes a minute
    def told(params: Any) -> dict[str, jax.Array]:
        p.apply(params, images, text)
        return dict(seen)

    found = told(p.params)
    area = (TRUTH[:, 2] - TRUTH[:, 0]) * (TRUTH[:, 3] - TRUTH[:, 1])
    boxes = (TRUTH[:, 2] - TRUTH[:, 0] + 8) * (TRUTH[:, 3] - TRUTH[:, 1] + 8)
    np.testing.assert_allclose(found["share"][0], area / boxes, atol=0.08)
    assert found["kept"].tolist() == [[True, True, True]]  # far apart, whatever their logits lie over


def test_weights_are_held_once_and_travel_once(tmp_path: Path) -> None:
    from gsam.export.write import export

    p = pipe(margin=0.5)
    assert p.params["refine"]["gain"] is p.params["segment"]["gain"]
    folder = export(p, tmp_path / "out", platforms=["cpu"])
    assert list(read(folder / "weights.safetensors")) == ["segment/gain"]
    again = gsam.load(folder)
    found = again(scene(), "thing")
    assert isinstance(found.low_res, WindowedMasks)
    np.testing.assert_allclose(found.mask_logits, p(scene(), "thing").mask_logits, atol=1e-3)
    assert again.params["refine"]["gain"] is again.params["segment"]["gain"]
    with pytest.raises(UsageError, match="refine cannot be changed"):
        gsam.load(folder, refine=True)


@pytest.mark.long
def test_nano_looks_again() -> None:
    first, second = (gsam.load("nano", refine=refine)(SCENE, "umbrella. apple") for refine in (False, True))
    assert isinstance(second.low_res, WindowedMasks)
    assert second.low_res.windows.any()
    assert second.labels == first.labels
    assert (second.mask_scores >= first.mask_scores).all()
    assert all(iou(second.mask(i), first.mask(i)) > 0.7 for i in range(len(first)))


def test_recipes_and_calls_say_whether() -> None:
    def has(**given: Any) -> bool:
        return "refine" in gsam.load("nano", **given).steps

    assert (has(refine=True), has(refine=False)) == (True, False)
    assert list(gsam.load("nano", refine=True).steps)[-1] == "refine"  # at what the classifier has left
    assert gsam.load("everything_nano", refine={"together": 2}).steps["refine"].together == 2
    check_recipe(
        {"detect": {"name": "a"}, "segment": {"name": "b"}, "refine": {"most": 8, "canvas": "at_most 640"}}, "r"
    )


@pytest.mark.parametrize(
    ("refine", "says"),
    [
        ({"sharper": 1}, "unknown key refine.sharper"),
        ({"most": 0}, "refine.most is 0"),
        ({"below": 0}, "refine.below is 0"),
        ({"together": 3}, "does not divide"),
        ({"prompt": "points"}, "must be one of box, mask"),
        ({"canvas": "squash 640"}, "must be one of longest, at_most"),
        ("yes", "must be True, False or settings"),
    ],
)
def test_settings_are_checked(refine: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        gsam.load("nano", refine=refine)


def test_a_model_without_boxes_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be asked with boxes") as error:
        gsam.SecondLook(Given())  # type: ignore[arg-type]
    assert error.value.code == "model_takes_no_boxes"
    alone = gsam.Pipeline(Given(), gsam.SecondLook(discs(kind=Bright)))
    with pytest.raises(TypeError, match="needs a segmenter before it"):
        alone(scene(), "thing")


# Windows


def test_windows_stay_in_the_image() -> None:
    boxes = jnp.asarray([[40.0, 30, 60, 46], [0, 0, 10, 4], [380, 190, 400, 200], [0, 0, 400, 200]])
    found = np.asarray(windows_around(boxes, jnp.asarray([400.0, 200.0]), 0.5, jnp.float32(16)))
    np.testing.assert_allclose(found, [[30, 18, 70, 58], [0, 0, 20, 20], [360, 160, 400, 200], [0, 0, 800, 800]])


def test_a_cut_is_pillows() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for box in ((3.5, 10.25, 23.5, 30.25), (0.0, 0.0, 50.0, 50.0), (44.0, 44.0, 64.0, 64.0)):
        want = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR, box=box)
        found = np.asarray(cut(jnp.asarray(pixels), jnp.asarray(box), 32, 50))
        inner = np.abs(found - np.asarray(want, np.float32))[1:-1, 1:-1]
        assert inner.mean() < 1.0  # Pillow's filter ends at the box


def test_maps_come_back_to_where_they_were() -> None:
    rng = np.random.default_rng(1)
    maps = jnp.asarray(rng.normal(size=(2, 16, 16)).astype(np.float32))
    place = jnp.asarray([[10.0, 20, 42, 52], [0, 0, 16, 16]])
    np.testing.assert_allclose(onto(maps, place, place, 16, -5.0), maps, atol=1e-5)
    apart = onto(maps, place, place + 100.0, 16, -5.0)
    np.testing.assert_allclose(apart, -5.0)


def test_bounds_of_masks() -> None:
    masks = np.zeros((2, 8, 10), bool)
    masks[0, 2:5, 3:9] = True
    box, there = bounds_of(jnp.asarray(masks))
    assert box[0].tolist() == [3, 2, 9, 5]
    assert there.tolist() == [True, False]


@pytest.mark.parametrize("way", ["view", "bilinear", "probability"])
def test_windowed_masks(way: Any) -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (3, 8, 8)).astype(np.float32)
    whole = LowResMasks(logits, 32, (32, 16), (40, 20), 0.5, way)
    windows = np.array([[0, 0, 0, 0], [2, 4, 18, 20], [-3.2, 30.5, 4.3, 38]], np.float32)
    masks = WindowedMasks(whole, windows)
    np.testing.assert_array_equal(masks.mask_of(0), whole.mask_of(0))
    dense, full = masks.dense(), masks.logits_full()
    for i in range(3):
        np.testing.assert_array_equal(dense[i], full[i] > 0.5)
    assert not dense[1, :, :2].any()
    assert not dense[1, 20:].any()
    middle = np.repeat(np.repeat(logits[1], 2, 0), 2, 1)  # nearest: within a cell's reach of linear
    assert (dense[1, 4:20, 2:18] == (middle > 0.5)).mean() > 0.7
    assert len(masks[np.array([2, 1])]) == 2
    np.testing.assert_array_equal(masks[np.array([2])].mask_of(0), dense[2])
