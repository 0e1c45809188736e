"""SAM 2 in small configurations against transformers, through the real loader, from a picture to
its masks.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from benchmarks.harness.oracles import sam2, seeded
from benchmarks.harness.oracles.compare import Row, last
from benchmarks.harness.oracles.reference import sam2_hq
from gsam.inputs.image import open_image
from gsam.models import sam2 as ours
from gsam.models.sam2 import hiera
from gsam.runtime.batch import gather, prepared
from gsam.weights import store
from tests.weights.files import LISTS

PICTURE = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)


def check(rows: list[Row], count: int) -> None:
    wrong = [row for row in rows if not row.difference <= row.limit]
    assert len(rows) == count
    assert not wrong, wrong


@pytest.mark.parametrize("size", sam2.SIZES)
@pytest.mark.long
def test_sam2(tmp_path: Path, size: str) -> None:
    check(sam2.compare(sam2.model(size), tmp_path, PICTURE), 12)


def test_a_steady_mask_is_kept_and_an_unsteady_one_is_not(tmp_path: Path) -> None:
    """Both ways of the dynamic choice, against the oracle: the answers of a single mask are token
    0's, and are not.
    """
    unsure = sam2.model("even")
    kept = []
    for model, folder in ((unsure, "a"), (sam2.steady(sam2.model("even")), "b")):
        stage = sam2.load(model, tmp_path / folder)
        _, features = sam2.compare_encoder(model, stage, PICTURE)
        check(sam2.compare_decoder(model, stage, features, (90, 140)), 6)
        own = ours.Features(*(jnp.asarray(last(x)[0]) for x in features))
        xy, labels, mask = np.full((2, 4, 2), 40, np.float32), np.full((2, 4), 1, np.int32), np.zeros((2, 32, 32))
        _, one, off, _ = sam2.programs(stage.config).answers(stage.params, own, xy, labels, mask.astype(np.float32))
        kept.append(bool(np.abs(one.logits - off.logits).max() < 1e-4 * np.std(off.logits)))
    assert kept == [False, True]


def test_windows_of_the_official_sizes() -> None:
    """Which blocks attend where, on maps of which side, and what pools: from the sizes alone."""
    base = hiera.Hiera(ours.VARIANTS["sam2_hiera_base_plus"])
    assert [i for i, b in enumerate(base.blocks) if b.pool] == [2, 5, 21]
    assert [i for i, b in enumerate(base.blocks) if not b.window] == [12, 16, 20]
    assert [base.blocks[i].window for i in (0, 1, 2, 3, 5, 6, 21, 22)] == [8, 8, 8, 4, 4, 14, 14, 7]
    assert [base.blocks[i].whole for i in (0, 2, 3, 5, 6, 21, 22)] == [256, 256, 128, 128, 64, 64, 32]
    assert base.ends == (1, 4, 20, 23)
    assert [base.blocks[i].attn.heads for i in (0, 2, 5, 21)] == [2, 4, 8, 16]
    with torch.device("meta"):
        theirs = sam2.transformers.Sam2Model(sam2.transformers.Sam2Config()).vision_encoder.backbone
    tiny = hiera.Hiera(ours.VARIANTS["sam2.1_hiera_tiny"])
    assert [b.window for b in tiny.blocks] == [b.window_size for b in theirs.blocks]
    assert tiny.ends == tuple(theirs.stage_ends)


def test_a_video_s_file_is_a_picture_s(tmp_path: Path) -> None:
    """The hub's files have the memory too, which pictures leave out; their configuration is known
    all the same.
    """
    whole = sam2.model("even", video=True)
    loaded = store.load(str(seeded.save(whole, tmp_path)), role="segment")
    assert loaded.config.v21
    config = dataclasses.replace(loaded.config, v21=False)
    plain = sam2.model("even")
    plain.load_state_dict(whole.state_dict(), strict=False)
    picture = store.load(str(seeded.save(plain, tmp_path / "picture")), role="segment")
    assert dataclasses.replace(picture.config, v21=False) == config
    assert loaded.params.keys() == picture.params.keys()
    for name, value in loaded.params.items():
        np.testing.assert_array_equal(value, picture.params[name])


@pytest.mark.long
def test_hq_sam2(tmp_path: Path) -> None:
    model, finer = sam2.model("even"), seeded.seed(sam2_hq.Finer(32))
    stage = sam2.load(model, tmp_path)
    _, features = sam2.compare_encoder(model, stage, PICTURE)
    check(sam2.compare_hq(model, finer, sam2.with_finer(stage, finer), features), 6)
    with pytest.raises(ValueError, match="for HQ-SAM 2"):
        ours.build(stage.config, stage.params, hq_token_only=True)


def test_the_finer_mask_has_the_tensors_of_the_official_file() -> None:
    more = {
        k: v for k, v in LISTS["sam2.1_hq_hiera_large"]["keys"].items() if k not in LISTS["sam2.1_hiera_large"]["keys"]
    }
    assert {f"sam_mask_decoder.{k}": list(v.shape) for k, v in sam2_hq.Finer(256).state_dict().items()} == more


@pytest.mark.long
def test_half_precision(tmp_path: Path) -> None:
    """bfloat16 weights run in bfloat16, and give about what float32 does; logits and IoU stay
    float32.
    """
    stage = sam2.load(sam2.model("even"), tmp_path)
    half = {k: v if k.endswith("gaussian_matrix") else v.astype(jnp.bfloat16) for k, v in stage.params.items()}
    images, run = gather([prepared(open_image(PICTURE), [stage.view])], [stage.view]), sam2.programs(stage.config)
    asked = (np.full((2, 4, 2), 40, np.float32), np.array([[1, -1, -2, -2], [0, -1, -2, -2]], np.int32))
    answers = []
    exact, rough = (run.features(p, images)[1] for p in (stage.params, half))
    for a, b in zip(rough, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        assert 1e-6 < float((a.astype(jnp.float32) - b).std() / b.std()) < 0.1
    for params, features in ((stage.params, exact), (half, rough)):
        own = jax.tree.map(lambda x: x[0], features)
        answers.append(run.answers(params, own, *asked, np.zeros((2, 32, 32), np.float32))[0])
    assert (answers[1].logits.dtype, answers[1].iou.dtype, answers[1].object_score.dtype) == (jnp.float32,) * 3
    assert 1e-6 < float((answers[0].logits - answers[1].logits).std() / answers[0].logits.std()) < 0.1
