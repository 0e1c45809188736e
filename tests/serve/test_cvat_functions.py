"""The functions for cvat-cli: with cvat-sdk where it is installed, and with a stand-in."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gsam
from gsam.errors import QueryError, UsageError
from gsam.inputs.video import open_frames
from gsam.pipeline import Pipeline
from gsam.results.masks import polygons
from gsam.serve.cvat import detection, interaction, shapes, tracking

from . import fake_cvat_sdk

ROOT = Path(__file__).parents[2]
NAMES = ["cvat_sdk", "cvat_sdk.auto_annotation", "cvat_sdk.models"]


@pytest.fixture(params=["stand-in", "installed"])
def sdk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if request.param == "installed":
        yield pytest.importorskip("cvat_sdk.auto_annotation")
        return
    for name, module in fake_cvat_sdk.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    yield sys.modules["cvat_sdk.auto_annotation"]


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return gsam.load("nano")


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.open(ROOT / "notebooks" / "scene.png").convert("RGB")


def context(least: float | None = None, polygons: bool = False) -> Any:
    return types.SimpleNamespace(frame_name="scene.png", conf_threshold=least, conv_mask_to_poly=polygons)


def size_of(image: Image.Image) -> tuple[int, int]:
    return image.height, image.width


# words


def function(pipe: Pipeline, query: str = "dog. pizza. umbrella", shape: str = "mask") -> detection.Detection:
    return detection.Detection(pipe, detection.words(query), shape)


def test_labels_are_those_of_the_query(sdk: Any, pipe: Pipeline) -> None:
    found = function(pipe, '{"dog": "animal", "umbrella": "thing", "cat": "animal"}', "polygon").spec.labels
    assert [(label.id, label.name, str(label.type)) for label in found] == [
        (0, "animal", "polygon"),
        (1, "thing", "polygon"),
    ]


def test_masks_are_the_library_s(sdk: Any, pipe: Pipeline, image: Image.Image) -> None:
    words = function(pipe)
    names = {label.id: label.name for label in words.spec.labels}
    result = pipe(image, "dog. pizza. umbrella")
    found = words.detect(context(), image)
    assert [names[one.label_id] for one in found] == result.labels != []
    for i, one in enumerate(found):
        assert str(one.type) == "mask"
        np.testing.assert_array_equal(shapes.from_run_lengths(one.points, result.size), result.mask(i))


def test_polygons_cover_the_same_pixels(sdk: Any, pipe: Pipeline, image: Image.Image) -> None:
    result = pipe(image, "dog. pizza. umbrella")
    asked = function(pipe).detect(context(polygons=True), image)
    always = function(pipe, shape="polygon").detect(context(), image)
    assert [one.points for one in asked] == [one.points for one in always]
    assert {str(one.type) for one in asked} == {"polygon"}
    for number in range(3):
        drawn = np.zeros(result.size, bool)
        for one in asked:
            if one.label_id == number:
                drawn |= polygons.filled([[np.reshape(one.points, (-1, 2))]], result.size)
        true = [result.mask(i) for i in range(len(result)) if result.label_ids[i] == number]
        np.testing.assert_array_equal(drawn, np.any(true, 0) if true else np.zeros(result.size, bool))


def test_parts_of_one_thing_are_a_group(
    sdk: Any, pipe: Pipeline, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = np.zeros((512, 512), bool)
    two[10:20, 10:20] = two[40:80, 10:20] = True
    monkeypatch.setattr(gsam.Result, "mask", lambda result, i: two)
    found = function(pipe, shape="polygon").detect(context(), image)
    assert len(found) >= 4
    groups = [one.group for one in found]
    assert groups[::2] == groups[1::2]  # two parts each
    assert len(set(groups)) == len(found) // 2
    assert min(groups) > 0
    assert len(found[0].points) > 0
    larger = polygons.filled([[np.reshape(found[0].points, (-1, 2))]], (512, 512))
    assert larger.sum() == 400


def test_rectangles_are_the_library_s_boxes(sdk: Any, pipe: Pipeline, image: Image.Image) -> None:
    found = function(pipe, shape="rectangle").detect(context(polygons=True), image)
    assert {str(one.type) for one in found} == {"rectangle"}
    np.testing.assert_allclose([one.points for one in found], pipe(image, "dog. pizza. umbrella").xyxy)


def test_no_score_is_below_the_threshold(
    sdk: Any, pipe: Pipeline, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = pipe(image, "dog. pizza. umbrella").scores
    least = float(np.sort(scores)[-2:].mean())
    assert len(function(pipe).detect(context(least), image)) == (scores >= least).sum() == 1
    assert function(pipe).detect(context(1.0), image) == []
    monkeypatch.setattr(pipe, "limits", dataclasses.replace(pipe.limits, threshold=0.99))
    assert function(pipe).detect(context(), image) == []
    assert len(function(pipe).detect(context(0.25), image)) == len(scores)  # CVAT's is the lower one


def test_parameters_make_the_function(pipe: Pipeline) -> None:
    made = detection.create(query="dog", pipeline="nano", shape="rectangle", threshold=0.4)
    assert (made.pipe.name, made.pipe.limits.threshold, made.shape) == ("nano", 0.4, "rectangle")
    for wrong in ({"query": "."}, {"query": '{"dog"'}, {"query": "[1]"}):
        with pytest.raises(QueryError):
            detection.create(**wrong, pipeline="nano")  # type: ignore[arg-type]
    for odd in ({"shape": "circle"}, {"pipeline": "no_such"}, {"no_such": 1}):
        with pytest.raises(UsageError):
            detection.create(**{"query": "dog", "pipeline": "nano", **odd})  # type: ignore[arg-type]


# clicks


def prompts(inside: Any = (), outside: Any = (), box: Any = None) -> Any:
    return types.SimpleNamespace(pos_points=inside, neg_points=outside, bounding_box=box)


@pytest.fixture(scope="module")
def clicks() -> interaction.Interaction:
    return interaction.create("nano_sam")


def test_clicks_may_be_points_and_a_box(sdk: Any, clicks: interaction.Interaction) -> None:
    spec = clicks.spec
    assert (spec.min_pos_points, spec.min_neg_points, spec.min_bounding_boxes) == (0, 0, 0)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (prompts([(215.0, 200.0)]), {"point_coords": [[215, 200]], "point_labels": [1], "multimask_output": True}),
        (
            prompts([(215.0, 200.0)], [(10.0, 10.0)]),
            {"point_coords": [[215, 200], [10, 10]], "point_labels": [1, 0], "multimask_output": False},
        ),
        (prompts(box=((170.0, 190.0), (330.0, 360.0))), {"box": [170, 190, 330, 360], "multimask_output": False}),
    ],
)
def test_clicks_are_the_library_s_masks(
    sdk: Any, clicks: interaction.Interaction, image: Image.Image, asked: Any, given: dict[str, Any]
) -> None:
    seen = clicks.preprocess_image(None, image)
    (found,) = clicks.detect(None, seen, asked)
    predictor = gsam.Predictor("nano_sam")
    predictor.set_image(image)
    masks, iou, _ = predictor.predict(**given)
    assert found.type == "mask"
    np.testing.assert_array_equal(shapes.from_run_lengths(found.points, size_of(image)), masks[iou.argmax()])
    (confidence,) = found.attributes
    assert confidence.spec_id == 0
    assert float(confidence.value) == pytest.approx(min(float(iou.max()), 1.0), abs=1e-3)


def test_clicks_beside_everything_are_nothing(sdk: Any, clicks: interaction.Interaction, image: Image.Image) -> None:
    seen = clicks.preprocess_image(None, image)
    assert clicks.detect(None, seen, prompts(outside=[(5.0, 5.0)])) == []
    with pytest.raises(ValueError, match="outside"):
        clicks.detect(None, seen, prompts([(5000.0, 5.0)]))


# a video


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    clip = open_frames(str(ROOT / "notebooks" / "clip.mp4"))
    return [frame.pixels for frame, _ in zip(clip.walk(), range(5), strict=False)]


@pytest.fixture(scope="module", params=[None, "nano_sam"])
def follow(request: pytest.FixtureRequest) -> tracking.Tracking:
    return tracking.create("nano_sam2", redraw=request.param)


BOX = [88.0, 38.0, 116.0, 72.0]


@pytest.mark.long
@pytest.mark.parametrize("kind", sorted(tracking.KINDS))
def test_shapes_are_followed_as_the_library_does(
    sdk: Any, follow: tracking.Tracking, frames: list[np.ndarray], kind: str
) -> None:
    redraw = "nano_sam" if follow.follower._compiled.redraws else None
    predictor = gsam.VideoPredictor(follow.follower._compiled.tracker, redraw=redraw, progress=False)
    state = predictor.init_state(iter(frames))  # as many as there will be
    if kind == "rectangle":
        predictor.add_new_points_or_box(state, 0, "it", box=BOX)
        points = BOX
    else:
        mask = np.zeros(frames[0].shape[:2], bool)
        mask[40:70, 90:114] = True
        mask[40:50, 90:100] = False
        predictor.add_new_mask(state, 0, "it", mask)
        points = [float(v) for v in (shapes.run_lengths(mask) if kind == "mask" else shapes.rings(mask)[0])]
    expected = {i: masks[0, 0] > 0 for i, _, masks in predictor.propagate_in_video(state)}

    about = types.SimpleNamespace(original_shape_type=kind)
    first = follow.preprocess_image(None, Image.fromarray(frames[0]))
    held = follow.init_tracking_state(about, first, sdk.TrackableShape(type=kind, points=points))
    other = follow.init_tracking_state(about, first, sdk.TrackableShape(type=kind, points=points))
    for i, frame in enumerate(frames[1:], 1):
        seen = follow.preprocess_image(None, Image.fromarray(frame))
        found = follow.track(about, seen, held)
        assert found.type == kind
        assert found.points == pytest.approx(tracking.points_of(kind, expected[i]))
    # a second object of the same first frame knows nothing of what the other went through
    seen = follow.preprocess_image(None, Image.fromarray(frames[1]))
    assert follow.track(about, seen, other).points == pytest.approx(tracking.points_of(kind, expected[1]))
    assert set(follow.spec.supported_shape_types) == {"mask", "polygon", "rectangle"}


@pytest.mark.long
def test_a_frame_of_another_size_is_refused(sdk: Any, follow: tracking.Tracking, frames: list[np.ndarray]) -> None:
    about = types.SimpleNamespace(original_shape_type="rectangle")
    first = follow.preprocess_image(None, Image.fromarray(frames[0]))
    held = follow.init_tracking_state(about, first, sdk.TrackableShape(type="rectangle", points=BOX))
    with pytest.raises(ValueError, match="image of"):
        follow.track(about, follow.preprocess_image(None, Image.fromarray(frames[1][:99])), held)


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("rectangle", [1, 2, 3]),
        ("rectangle", [1, 2, float("nan"), 4]),
        ("polygon", [1, 2, 3, 4]),
        ("polygon", [1, 2, 3, 4, 5]),
        ("polygon", [1, 2, 3, 4, 5, float("inf")]),
        ("mask", [1, 2, 3]),
        ("mask", [4, 0.5, 0, 0, 1, 1]),
        ("mask", [4, 0, 0, 2, 1]),
        ("mask", [4, 0, 0, 1, 99]),
        ("mask", [5, -1, 0, 0, 1, 1]),
        ("mask", [float("nan"), 4, 0, 0, 1, 1]),
        ("ellipse", [1, 2, 3, 4]),
    ],
)
def test_shapes_that_are_none(kind: str, points: list[float]) -> None:
    with pytest.raises(ValueError, match=r"mask|polygon|rectangle|shapes|bounds|run lengths"):
        tracking.prompt_of(kind, points, (20, 30))


def test_huge_polygons_are_bounded() -> None:
    mask = tracking.prompt_of("polygon", [-1e300, -1e300, 1e300, -1e300, 1e300, 1e300, -1e300, 1e300], (20, 30))
    assert isinstance(mask, np.ndarray)
    assert mask.all()


# masks


@pytest.mark.parametrize("seed", range(8))
def test_run_lengths_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((int(rng.integers(1, 9)), int(rng.integers(1, 9)))) < (0.2, 0.8)[seed % 2]
    mask[rng.integers(mask.shape[0]), rng.integers(mask.shape[1])] = True
    points = shapes.run_lengths(mask)
    np.testing.assert_array_equal(shapes.from_run_lengths(points, mask.shape), mask)
    np.testing.assert_array_equal(polygons.filled([[np.reshape(shapes.ring(mask), (-1, 2))]], mask.shape), mask)


def test_an_empty_mask_is_no_shape() -> None:
    nothing = np.zeros((4, 4), bool)
    assert (shapes.bounds(nothing), shapes.box_of(nothing), shapes.ring(nothing), shapes.outline(nothing)) == (
        None,
        None,
        [],
        [],
    )
    with pytest.raises(ValueError, match="empty"):
        shapes.run_lengths(nothing)


def test_run_lengths_are_cvat_s_own() -> None:
    masks = pytest.importorskip("cvat_sdk.masks")
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random((7, 9)) < 0.4
        mask[3, 3] = True
        assert shapes.run_lengths(mask) == masks.encode_mask(mask)


@pytest.mark.parametrize(
    ("module", "given", "spec"),
    [
        ("detection", ["pipeline=str:nano", "query=str:dog. pizza", "shape=str:polygon"], "DetectionFunctionSpec"),
        ("interaction", ["model=str:nano_sam"], "InteractionFunctionSpec"),
        ("tracking", ["model=str:nano_sam2"], "TrackingFunctionSpec"),
    ],
)
def test_the_command_line_loads_them(module: str, given: list[str], spec: str) -> None:
    common = pytest.importorskip("cvat_cli._internal.common")
    made: list[Any] = []
    parser = argparse.ArgumentParser()
    parser.set_defaults(_executor=lambda client, *, function_loader: made.append(function_loader.load()))
    common.configure_function_implementation_arguments(parser)
    parameters = [part for one in given for part in ("-p", one)]
    read = vars(parser.parse_args(["--function-module", f"gsam.serve.cvat.{module}", *parameters]))
    read.pop("_executor")(None, **read)
    assert type(made[0].spec).__name__ == spec


def test_functions_load_without_cvat_s_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvat_sdk", None)
    for module in (detection, interaction, tracking):
        assert callable(importlib.reload(module).create)
