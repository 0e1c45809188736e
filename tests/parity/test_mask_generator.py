"""`gsam.MaskGenerator` beside a plain reading of the algorithm, on the same logits: the same
records in the same order.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import pytest
from PIL import Image

import gsam
from benchmarks.harness.oracles.reference import mask_generator as reference
from gsam import bind
from gsam.inputs.image import Picture, content
from gsam.models import sam
from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import FOREGROUND, PAD
from gsam.predictors.automatic.device import OnDevice
from gsam.predictors.automatic.generator import MaskGenerator
from gsam.predictors.automatic.settings import Settings
from gsam.runtime.batch import gather

CONFIG = sam.Config(32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)
HELDOUT = Path(__file__).parents[1] / "data" / "heldout"


class Squashed(sam.SamSegmenter):
    """SAM on a view without padding whose masks are enlarged otherwise."""

    upsample: ClassVar[Any] = "bilinear"

    @property
    def view(self) -> gsam.View:
        return gsam.View(self.config.image_size, "squash")


@functools.cache
def tiny() -> sam.SamSegmenter:
    return sam.build(CONFIG, bind.random_params(sam.spec(CONFIG), 1))


@functools.cache
def nano() -> Any:
    return gsam.segmenter("nano_sam")


@functools.cache
def programs(stage: Any) -> tuple[Any, Any]:
    embed = jax.jit(lambda p, i: jax.tree.map(lambda x: x[0], stage.features(p, i)))
    return embed, jax.jit(stage.prompt, static_argnames="multimask")


def asker(stage: PromptableSegmenter, together: int) -> reference.Ask:
    """The model as the oracle wants it, with batches padded as in the generator, so that rounding
    is the same too.
    """
    embed, prompt = programs(stage)

    def ask(pixels: np.ndarray, points: np.ndarray, masks: np.ndarray | None, multimask: bool) -> Any:
        pixels = np.ascontiguousarray(pixels)
        features = embed(stage.params, gather([Picture(pixels)], [stage.view]))
        rows, columns = content(stage.view, pixels.shape[:2])
        scale = np.array([columns / pixels.shape[1], rows / pixels.shape[0]])
        count = len(points)
        xy = np.zeros((together, 2, 2), np.float32)
        xy[:count, 0] = points * scale
        kinds = np.tile(np.array([FOREGROUND, PAD], np.int32), (together, 1))
        more = {}
        if masks is not None:
            more = {"mask": np.zeros((together, *masks.shape[1:]), np.float32), "has_mask": np.ones(together, bool)}
            more["mask"][:count] = masks
        logits, iou = prompt(
            stage.params, features, xy, kinds, **more, valid=np.arange(together) < count, multimask=multimask
        )
        return np.asarray(logits)[:count], np.asarray(iou)[:count]

    return ask


@functools.cache
def generator(stage: PromptableSegmenter) -> MaskGenerator:
    return MaskGenerator(stage)


def ours(stage: PromptableSegmenter, picture: np.ndarray, **options: Any) -> list[dict[str, Any]]:
    """Of one generator for all options, so that little is compiled."""
    found = generator(stage)
    found.settings = Settings(**options)
    return found.generate(picture)


def drawn(name: str, size: tuple[int, int]) -> np.ndarray:
    with Image.open(HELDOUT / name) as file:
        return np.asarray(file.convert("RGB").resize((size[1], size[0])))


def same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert list(a) == list(b)
        for key in ("area", "bbox", "crop_box"):
            assert a[key] == b[key], key
        for key in ("predicted_iou", "stability_score", "point_coords"):
            np.testing.assert_allclose(a[key], b[key], atol=1e-5, err_msg=key)
        if isinstance(a["segmentation"], dict):
            assert a["segmentation"] == b["segmentation"]
        else:
            assert a["segmentation"].dtype == bool
            np.testing.assert_array_equal(a["segmentation"], b["segmentation"])


LOOSE = {"pred_iou_thresh": 0.55, "stability_score_thresh": 0.5}
ANY = {"pred_iou_thresh": 0.2, "stability_score_thresh": 0.05}
ALL = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
GRIDS = [np.array([[0.2, 0.3], [0.5, 0.5], [0.91, 0.13]]), np.array([[0.5, 0.5], [0.1, 0.9]])]
"""Of the picture and of its crops."""
NANO: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "the whole picture": ((96, 128), {"points_per_side": 8, **LOOSE}),
    "upright": ((110, 61), {"points_per_side": 6, "output_mode": "uncompressed_rle", **LOOSE}),
    "one layer of crops": ((90, 120), {"points_per_side": 6, "crop_n_layers": 1, "output_mode": "coco_rle", **LOOSE}),
    "two layers of crops": (
        (140, 100),
        {
            "points_per_side": 6,
            "crop_n_layers": 2,
            "crop_n_points_downscale_factor": 2,
            "crop_nms_thresh": 0.5,
            **LOOSE,
        },
    ),
    "other crops": ((140, 170), {"points_per_side": 5, "crop_n_layers": 1, "crop_overlap_ratio": 0.1, **LOOSE}),
    "grids of its own": ((80, 80), {"points_per_side": None, "point_grids": GRIDS, "crop_n_layers": 1, **ANY}),
    "small regions": ((96, 96), {"points_per_side": 6, "min_mask_region_area": 40, **ANY}),
    "small regions and crops": (
        (90, 130),
        {"points_per_side": 4, "min_mask_region_area": 25, "crop_n_layers": 1, **LOOSE, "stability_score_thresh": 0.1},
    ),
    "one mask a point": ((96, 128), {"points_per_side": 7, "multimask_output": False, **LOOSE}),
    "asked again with the mask": ((96, 128), {"points_per_side": 5, "use_m2m": True, **LOOSE}),
    "another threshold": ((96, 128), {"points_per_side": 6, "mask_threshold": -1.5, **LOOSE}),
    "another offset": ((96, 128), {"points_per_side": 6, "stability_score_offset": 2.5, **LOOSE}),
    "nothing is good enough": ((64, 96), {"points_per_side": 4, "pred_iou_thresh": 2.0}),
    "nothing is stable": ((64, 96), {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 1.0}),
    "everything is kept": ((64, 96), {"points_per_side": 4, **ALL}),
    "enlarged": ((300, 420), {"points_per_side": 4, **LOOSE}),
}
COUNTS = {"nothing is good enough": (0, 0), "nothing is stable": (0, 0), "everything is kept": (48, 48)}


@pytest.mark.parametrize("case", NANO)
@pytest.mark.long
def test_a_trained_model(case: str) -> None:
    size, options = NANO[case]
    stage, picture = nano(), drawn("05.jpg", size)
    theirs = reference.generate(picture, asker(stage, 16), 160, points_per_batch=16, **options)
    least, most = COUNTS.get(case, (1, 999))
    assert least <= len(theirs) <= most
    same(ours(stage, picture, points_per_batch=16, **options), theirs)


TINY: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "everything is kept": ((40, 64), ALL),
    "one pixel": ((1, 1), {**ALL, "box_nms_thresh": 0.7}),
    "one pixel in crops": ((1, 1), {**ALL, "crop_n_layers": 2, "min_mask_region_area": 3}),
    "a line": ((1, 50), {**ALL, "crop_n_layers": 1}),
    "noise with small regions": ((33, 47), {**ALL, "min_mask_region_area": 12}),
    "noise with large regions": ((33, 47), {**ALL, "min_mask_region_area": 10**6}),
    "noise in crops": ((50, 44), {**ALL, "crop_n_layers": 1, "box_nms_thresh": 0.8, "output_mode": "coco_rle"}),
}


@pytest.mark.parametrize("case", TINY)
@pytest.mark.long
def test_a_random_model(case: str) -> None:
    size, options = TINY[case]
    picture = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    options = {"points_per_side": 3, "points_per_batch": 4, "stability_score_offset": 0.02, **options}
    theirs = reference.generate(picture, asker(tiny(), 4), 64, **options)
    assert len(theirs) >= 1
    same(ours(tiny(), picture, **options), theirs)


@pytest.mark.parametrize("way", ["bilinear", "bicubic"])
@pytest.mark.long
def test_other_ways_to_enlarge(way: str) -> None:
    stage = Squashed(CONFIG, tiny().spec, tiny().params)
    object.__setattr__(stage, "upsample", way)
    picture = np.random.default_rng(4).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    options = {"points_per_side": 4, "points_per_batch": 8, "stability_score_offset": 0.02, **ALL}
    theirs = reference.generate(picture, asker(stage, 8), 64, way, **options)
    same(ours(stage, picture, **options), theirs)


@pytest.mark.long
def test_the_accelerator_s_way_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles smaller than the picture and few masks at a time, on every border."""
    monkeypatch.setattr("gsam.predictors.automatic.device.TILE", 32)
    monkeypatch.setattr("gsam.predictors.automatic.device.TOGETHER", 5)
    picture = drawn("05.jpg", (90, 131))
    options = {"points_per_side": 6, "points_per_batch": 16, "crop_n_layers": 1, **LOOSE}
    plain = ours(nano(), picture, **options)
    assert len(plain) > 3
    look = OnDevice("cpu")
    monkeypatch.setattr(generator(nano()), "_on_device", look)
    same(ours(nano(), picture, **options), plain)
    ours(nano(), drawn("00.jpg", (61, 200)), **options)
    assert look.look.compilations == 1
