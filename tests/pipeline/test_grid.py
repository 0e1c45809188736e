"""A grid of points as the first step of a pipeline: what it proposes, what follows, recipes and
export.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import jax
import numpy as np
import pytest
from PIL import Image

import gsam
from gsam import bind
from gsam.build.recipes import read_recipe
from gsam.build.stages import stage
from gsam.errors import UsageError
from gsam.evaluation.matching import overlaps
from gsam.models import sam
from gsam.nano.heldout import read
from gsam.ops import boxes
from gsam.results.masks.low_res import LowResMasks
from gsam.runtime import settings
from gsam.types import Boxes, Labels, Masks, Scene

CONFIG = sam.Config(32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)
HELDOUT = Path(__file__).parents[1] / "data" / "heldout"
LOOSE: dict[str, Any] = {"pred_iou_thresh": 0.55, "stability_score_thresh": 0.5}


@pytest.fixture(scope="module")
def nano() -> Any:
    return gsam.segmenter("nano_sam")


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    with Image.open(HELDOUT / "05.jpg") as file:
        return np.asarray(file.convert("RGB"))


def names_nothing(scene: Scene) -> Scene:
    return scene


@pytest.mark.long
def test_it_finds_what_the_generator_finds(nano: Any, scene: np.ndarray) -> None:
    """At low resolution: most of the same masks, boxes within a cell or two, in the same order of
    predicted IoU.
    """
    pipe = gsam.Pipeline(gsam.GridProposer(nano, 8, **LOOSE), boxes=32, threshold=0.0)
    found = pipe(scene, "thing")
    records = gsam.MaskGenerator(nano, 8, **LOOSE).generate(scene)
    cell = max(scene.shape[:2]) / 80
    theirs = np.array([r["bbox"] for r in records], float)
    theirs[:, 2:] += theirs[:, :2] + 1
    near = np.abs(found.xyxy[:, None] - theirs[None]).max(-1) <= 2 * cell
    assert len(found) >= 4
    assert near.any(1).mean() >= 0.7
    assert near.any(0).mean() >= 0.7
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.labels) == {"thing"}
    low = found.low_res
    assert isinstance(low, LowResMasks)
    same = []
    for i in range(len(found)):  # boxes are those of the masks: exactly at low resolution, where a cell is some pixels
        ys, xs = np.nonzero(low.logits[i][: -(-low.content[0] // 2), : -(-low.content[1] // 2)] > 0)
        cells = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        size = scene.shape[1::-1] * 2
        want = np.minimum(cells / (np.array(low.content[::-1] * 2) / 2) * size, size)
        np.testing.assert_allclose(found.xyxy[i], want, atol=1e-2)
        ys, xs = np.nonzero(found.mask(i))
        own = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
        same.append(boxes.iou(found.xyxy[i : i + 1], own).item() >= 0.75)
    assert np.mean(same) >= 0.8  # an end thinner than a cell may be lost at the image's resolution


@pytest.mark.long
def test_counts_are_fixed_and_thresholds_are_not(nano: Any, scene: np.ndarray) -> None:
    pipe = gsam.Pipeline(gsam.GridProposer(nano, 4, **LOOSE), boxes=3, threshold=0.0)
    most = pipe(scene, "a. b. c")
    assert len(most) <= 3
    programs = pipe.compilations
    assert len(pipe(scene, "a", threshold=1.0)) == 0
    cut = float(most.scores[1])
    assert [float(s) for s in pipe(scene, "a", threshold=cut).scores] == [float(most.scores[0])]
    assert len(pipe(np.zeros((9, 50, 3), np.uint8), "a")) <= 3
    assert pipe.compilations == programs
    assert pipe.counts["pictures"] == 2


@pytest.mark.long
def test_more_boxes_than_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = sam.build(CONFIG, bind.random_params(sam.spec(CONFIG), 1))
    every = gsam.GridProposer(stage, 2, -9.0, 0.0, box_nms_thresh=1.0, stability_score_offset=0.0)
    monkeypatch.setitem(settings.LIMITS, "threshold", settings.Number())  # random masks may score 0
    pipe = gsam.Pipeline(every, boxes=20, threshold=-1.0)
    found = pipe(np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8), "a")
    assert len(found) == 12
    assert found.low_res is not None
    alone = gsam.Predictor(stage)
    alone.set_image(np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8))
    answers = alone.predict([[16, 10]], [1])[2]
    distance = np.abs(found.low_res.logits[:, None] - answers[None]).max((-2, -1))
    assert (distance.min(0) < 1e-3).all()  # decoded once more, the masks are those of their points


@pytest.mark.long
def test_a_batch_is_its_pictures(nano: Any, scene: np.ndarray) -> None:
    pipe = gsam.Pipeline(gsam.GridProposer(nano, 4, **LOOSE), names_nothing, boxes=8, threshold=0.0)
    other = np.ascontiguousarray(scene[:200, ::-1])
    together = list(pipe.stream([scene, other], "a", batch_size=2))
    for picture, found in zip((scene, other), together, strict=True):
        alone = pipe(picture, "a")
        np.testing.assert_allclose(found.xyxy, alone.xyxy, atol=1e-3)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)


class Proposes:
    """A segmenter that finds everything by itself, and segments elsewhere."""

    params: ClassVar[dict[str, jax.Array]] = {}
    view = gsam.View(32)

    def features(self, params: Any, images: gsam.Images) -> Any:
        return images.view(self.view).mean((1, 2, 3))

    def ground(self, params: Any, images: Any, text: Any, valid: Any, n: int, features: Any = None) -> Any:
        b = features.shape[0]
        score = jax.numpy.linspace(0.9, 0.1, n)[None].repeat(b, 0)
        boxes = jax.numpy.tile(jax.numpy.asarray([0.0, 0.0, 5.0, 5.0]), (b, n, 1))
        labels = Labels(jax.numpy.zeros((b, n), "int32"), score, score[..., None] * valid[:, None].astype(score.dtype))
        logits = jax.numpy.ones((b, n, 8, 8))
        return Boxes(boxes, score > 0), labels, Masks(logits, score)

    def segment(self, params: Any, features: Any, images: Any, boxes: Boxes) -> Masks:
        return Masks(-jax.numpy.ones((*boxes.valid.shape, 8, 8)), boxes.valid.astype("float32"))


def test_a_proposer_only_proposes_first() -> None:
    pipe = gsam.Pipeline(Proposes(), boxes=5)
    assert pipe.roles == {"ground": "ground"}
    found = pipe(np.zeros((20, 20, 3), np.uint8), "a")
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])  # above 0.3; equal boxes are its own business
    assert found.masks.all()
    then = gsam.Pipeline(Proposes(), Proposes(), boxes=5)
    assert then.roles == {"ground": "ground", "segment": "segment"}
    assert not then(np.zeros((20, 20, 3), np.uint8), "a").masks.any()
    with pytest.raises(TypeError, match="detector"):
        gsam.Pipeline(gsam.segmenter("nano_sam"))


@pytest.mark.long
def test_the_recipe_finds_and_names() -> None:
    """Of the things in six scenes, more than a third (of all 24 scenes it was 63 of 90)."""
    pipe = gsam.load("everything_nano", device="cpu:0")
    assert list(pipe.roles.values()) == ["ground", "classify"]
    right = total = 0
    for example in read(HELDOUT)[:6]:
        found = pipe(example.rgb, list(dict.fromkeys(example.names)))
        good = overlaps(found.masks, example.masks) >= 0.5
        for k, name in enumerate(example.names):
            total += 1
            right += any(good[i, k] and label == name for i, label in enumerate(found.labels))
    assert right > total / 3


def test_recipes_and_what_replaces_what(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr("gsam.build.pipelines.stage", lambda *given: asked.append(given) or Proposes())
    gsam.load("everything_clip", segmenter="sam_vit_l")
    assert [(role, name) for role, name, *_ in asked] == [
        ("ground", "sam_vit_l"), ("classify", "clip_vit_base_patch32")
    ]  # fmt: skip
    with pytest.raises(UsageError, match="without words"):
        gsam.load("everything_clip", detector="nano_owl")
    with pytest.raises(UsageError, match="without words"):
        gsam.load("everything_clip", labels="phrases")
    for text in ('[ground]\nname = "a"\n[detect]\nname = "b"\n', '[segment]\nname = "a"\n'):
        (tmp_path / "a.toml").write_text(text)
        with pytest.raises(UsageError, match=r"begins with \[detect\] or with \[ground\]"):
            read_recipe(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text('[ground]\nname = "a"\npoints = 3\n')
    with pytest.raises(UsageError, match=r"unknown key ground\.points"):
        read_recipe(tmp_path / "a.toml")


def test_a_segmenter_that_proposes_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Proposes()
    monkeypatch.setattr("gsam.weights.store.load", lambda *_, **__: SimpleNamespace(family="fast_sam"))
    monkeypatch.setattr("gsam.build.stages._build", lambda *_: plain)
    assert stage("ground", "fast", {}) is plain
    with pytest.raises(UsageError, match="by itself and does not take points_per_side"):
        stage("ground", "fast", {"points_per_side": 3})


def test_points_must_be_whole_and_the_model_must_take_them(nano: Any) -> None:
    with pytest.raises(UsageError, match="whole number"):
        gsam.GridProposer(nano, points_per_side=0)
    with pytest.raises(UsageError, match="cannot be asked with points"):
        gsam.GridProposer(Proposes())  # type: ignore[arg-type]


@pytest.mark.slow
def test_it_is_exported(tmp_path: Path, nano: Any, scene: np.ndarray) -> None:
    from gsam.export import export

    base = gsam.load("everything_nano")
    pipe = gsam.Pipeline(gsam.GridProposer(nano, 3, **LOOSE), base.steps["classify"], boxes=6, limits=base.limits)
    export(pipe, tmp_path / "out", platforms=["cpu"])
    again = gsam.load(tmp_path / "out")
    assert again.roles == {"ground": "ground", "classify": "classify"}
    words = "penguin. pizza. clock. dog"
    one, two = pipe(scene, words, reject=0.0), again(scene, words, reject=0.0)
    assert len(one) > 0
    assert one.labels == two.labels
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-4)
    np.testing.assert_allclose(one.xyxy, two.xyxy, atol=1e-3)
    np.testing.assert_array_equal(one.masks, two.masks)
    assert dataclasses.asdict(again.limits) == dataclasses.asdict(pipe.limits)
