"""A segmenter's way of enlarging, and its view, on their way through a pipeline and an exported
one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from gsam.export import export, load_exported
from gsam.models import owl_vit
from gsam.models.promptable import PromptableSegmenter
from gsam.pipeline import Pipeline
from tests.export.test_export import letters
from tests.models import small_segmenters as small


@pytest.fixture(autouse=True)
def _as_users_run_it() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def pipeline(name: str) -> Pipeline:
    segmenter: PromptableSegmenter = small.efficient() if name == "efficient_sam" else small.medsam()
    detector = owl_vit.build(small.OWL, small.params(owl_vit.spec(small.OWL)), letters())
    keep = dict.fromkeys(("nms", "duplicate", "group", "inside"), 1.0)
    return Pipeline(detector, segmenter, boxes=4, threshold=0.0, devices=jax.devices()[:1], **keep)


@pytest.mark.parametrize(
    ("name", "way", "exported"), [("efficient_sam", "bicubic", False), ("medsam", "probability", True)]
)
@pytest.mark.long
def test_from_the_stage_to_the_masks(name: str, way: str, exported: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pipe = pipeline(name)
    if exported:
        view = pipe.steps["segment"].view
        pipe = load_exported(export(pipe, tmp_path / "out", platforms=["cpu"]), devices=jax.devices()[:1])
        assert pipe.steps["segment"].view == view
    picture = np.random.default_rng(0).integers(0, 256, (45, 90, 3), dtype=np.uint8)
    result = pipe(picture, "ab. c")
    assert len(result) > 1
    low = result.low_res
    assert low is not None
    assert (low.upsample, low.content, low.size) == (way, (64, 64), (45, 90))
    given = torch.tensor(low.logits)[None]
    given, threshold = (torch.sigmoid(given), 0.5) if way == "probability" else (given, 0.0)
    mode = "bicubic" if way == "bicubic" else "bilinear"
    large = torch.nn.functional.interpolate(given, (45, 90), mode=mode, align_corners=False)[0].numpy()
    sure = np.abs(large - threshold) > 1e-5
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(result.masks[sure], (large > threshold)[sure])
    assert 0.01 < result.masks.mean() < 0.99
