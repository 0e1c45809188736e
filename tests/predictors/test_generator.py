"""`MaskGenerator`: programs, memory and models; what it finds is compared in
tests/parity/test_mask_generator.py.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from gsam import bind
from gsam.errors import ImageError, UsageError
from gsam.models import sam

CONFIG = sam.Config(32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)
LOOSE: dict[str, Any] = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


class Pairs(sam.SamSegmenter):
    """Two masks a point."""

    def decode(self, *given: Any, **more: Any) -> tuple[jax.Array, jax.Array]:
        logits, iou = super().decode(*given, **more)
        return logits[:, :2], iou[:, :2]


class Boxed(sam.SamSegmenter):
    prompt_types = frozenset({"box"})


@pytest.fixture(scope="module")
def stage() -> sam.SamSegmenter:
    return sam.build(CONFIG, bind.random_params(sam.spec(CONFIG), 1))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.long
def test_few_programs_whatever_the_picture(stage: sam.SamSegmenter) -> None:
    generator = gsam.MaskGenerator(stage, points_per_side=3, points_per_batch=4, crop_n_layers=1, **LOOSE)
    for size in ((40, 64), (64, 40), (200, 90), (1, 7)):
        assert isinstance(generator.generate(noise(*size)), list)
    assert generator.compilations == 2  # encode and decode


def test_a_picture_is_encoded_once_a_crop(stage: sam.SamSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = gsam.MaskGenerator(stage, points_per_side=5, points_per_batch=4, crop_n_layers=1, **LOOSE)
    embed, count = generator._embed, []
    monkeypatch.setattr(generator, "_embed", lambda *given: (count.append(1), embed(*given))[1])
    generator.generate(noise(60, 60))
    assert len(count) == 5


@pytest.mark.long
def test_memory_does_not_grow_with_the_points(stage: sam.SamSegmenter) -> None:
    """Of masks of 1.2 MB, thirty-two times as many need hardly more: only what is kept, which is
    nothing here.
    """

    def peak(side: int) -> int:
        found = gsam.MaskGenerator(stage, side, 16, pred_iou_thresh=-9.0, stability_score_thresh=1.0, progress=False)
        found.generate(picture)
        tracemalloc.start()
        found.generate(picture)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    picture = noise(1000, 1200)
    few, many = peak(4), peak(16)
    assert many < few + 5_000_000
    assert few < 25_000_000  # where all 48 masks would be 58 MB


def test_any_number_of_masks_a_point(stage: sam.SamSegmenter) -> None:
    pairs = Pairs(stage.config, stage.spec, stage.params)
    found = gsam.MaskGenerator(pairs, 3, 4, box_nms_thresh=1.0, **LOOSE).generate(noise(30, 50))
    assert len(found) == 18


def test_records_are_the_original_s(stage: sam.SamSegmenter) -> None:
    found = gsam.MaskGenerator(stage, 2, output_mode="uncompressed_rle", **LOOSE).generate(noise(30, 50))
    keys = ["segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"]
    assert found
    for record in found:
        assert list(record) == keys
        assert all(type(v) is int for v in (record["area"], *record["bbox"], *record["crop_box"]))
        assert all(type(v) is float for v in (record["predicted_iou"], *record["point_coords"][0]))
        assert record["segmentation"]["size"] == [30, 50]
        assert sum(record["segmentation"]["counts"]) == 1500
    assert found[0]["crop_box"] == [0, 0, 50, 30]


def test_a_model_by_name_takes_settings() -> None:
    generator = gsam.MaskGenerator("nano_sam", points_per_side=2, chunk=3)
    assert generator.model.chunk == 3


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_only_on_a_terminal(
    stage: sam.SamSegmenter, progress: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[dict[str, Any]] = []

    class Bar:
        def __init__(self, **given: Any) -> None:
            told.append(given)

        def update(self, points: int) -> None:
            told[0]["done"] = told[0].get("done", 0) + points

        def close(self) -> None: ...

    monkeypatch.setattr("tqdm.tqdm", Bar)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    gsam.MaskGenerator(stage, 3, 4, progress=progress).generate(noise(8, 8))
    assert (told[0]["total"], told[0]["done"], told[0]["disable"]) == (9, 9, not progress)
    assert capsys.readouterr().out == ""


def test_models_that_cannot_be_asked(stage: sam.SamSegmenter) -> None:
    with pytest.raises(UsageError, match="cannot be asked with points"):
        gsam.MaskGenerator(Boxed(stage.config, stage.spec, stage.params))
    with pytest.raises(UsageError, match="a model to classify"):
        gsam.MaskGenerator("nano_clip")
    with pytest.raises(UsageError, match=r"no setting .colour.; there are"):
        gsam.MaskGenerator("nano_sam", colour=3)


def test_pictures_that_are_none(stage: sam.SamSegmenter) -> None:
    generator = gsam.MaskGenerator(stage, 2)
    with pytest.raises(ImageError, match="no such file"):
        generator.generate("nowhere.png")
    with pytest.raises(TypeError, match="uint8"):
        generator.generate(np.zeros((4, 4, 3)))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with np.errstate(all="raise"):
        yield
