"""The training of nano's tracker on hand-made clips: no font, no pool, a tiny model and a tiny
teacher.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.models import sam
from gsam.models.sam.config import Config
from gsam.models.sam2.model import Answer
from gsam.models.sam2.tracker import ObjectMasks
from gsam.nano import tracking
from gsam.nano.clip_batches import clip_batch
from gsam.nano.scenes import IGNORE
from gsam.nano.teacher import Teacher
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, FOREGROUND, PAD, TOP_LEFT
from gsam.ops.resize import antialiased
from tests.tracking import small

SAM = Config(
    16,
    1,
    2,
    (0,),
    image_size=64,
    patch=8,
    out_chans=16,
    decoder_heads=2,
    decoder_mlp=16,
    mask_chans=4,
    box_mask_prompt=6.0,
)


@pytest.fixture(autouse=True)
def _promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def pool() -> dict[str, np.ndarray]:
    """Four clips of six frames of 32 x 32: a bright block that moves (object 0), and one that
    leaves after three frames.
    """
    rgb, instances = np.full((4, 6, 32, 32, 3), 90, np.uint8), np.zeros((4, 6, 32, 32), np.uint8)
    leaf, present = np.full((4, 8), -1, np.int16), np.zeros((4, 6, 8), bool)
    leaf[:, :2] = 3, 5
    for i in range(4):
        for t in range(6):
            rgb[i, t, 4:14, 2 + t + i : 12 + t + i], instances[i, t, 4:14, 2 + t + i : 12 + t + i] = (250, 200, 20), 1
            if t < 3:
                rgb[i, t, 20:28, 8:18], instances[i, t, 20:28, 8:18] = (20, 40, 250), 2
            present[i, t, :2] = True, t < 3
    return {"rgb": rgb, "instances": instances, "leaf": leaf, "present": present}


def drawn(shapes: Any) -> dict[str, jax.Array]:
    rng = np.random.default_rng(1)
    return {k: jnp.asarray(rng.normal(0, 0.2, s.shape), jnp.float32) for k, s in shapes.items()}


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    spec = sam.spec(SAM)
    return Teacher(SAM, spec, drawn(spec.shapes))


def started(work: tracking.Tracking, teacher: Teacher | None = None) -> dict[str, jax.Array]:
    """As `tracking.Tracking.init_params`, from NumPy: JAX would compile a program for every
    shape.
    """
    params = tracking.initial(drawn(work.spec.shapes))
    return teacher.initialise(params) if teacher else params


def task(pool: dict[str, np.ndarray], frames: int, teacher: Teacher | None = None) -> tracking.Tracking:
    return tracking.Tracking(small.CONFIG, pool, pool, batch_size=2, objects_per_clip=3, frames=frames, teacher=teacher)


def test_a_batch_prompts_what_is_visible_in_its_first_frame(pool: dict[str, np.ndarray]) -> None:
    rows = np.arange(4)
    for seed in range(6):
        batch = clip_batch(np.random.default_rng(seed), pool, rows, 3, 3)
        assert batch.rgb.shape == (4, 3, 32, 32, 3)
        for b in range(4):
            first = batch.instances[b, 0]
            visible = set(np.unique(first)) - {0}
            assert {int(k) + 1 for k in batch.objects[b][batch.valid[b]]} == visible
            for q in np.flatnonzero(batch.valid[b]):
                mask = first == batch.objects[b, q] + 1
                labels = batch.labels[b, q].tolist()
                if labels[0] == TOP_LEFT:
                    assert labels == [TOP_LEFT, BOTTOM_RIGHT, ABSENT]
                    ys, xs = np.nonzero(mask)
                    want = np.array([[xs.min(), ys.min()], [xs.max() + 1, ys.max() + 1]])
                    assert np.abs(batch.points[b, q, :2] - want).max() <= 0.15 * 10 + 1e-5
                    assert not batch.mask_prompt[b, q]
                else:
                    assert labels == [ABSENT, ABSENT, FOREGROUND]
                    x, y = batch.points[b, q, 2].astype(int)
                    assert mask[y, x]
    still = clip_batch(np.random.default_rng(0), pool, rows, 6, 3, {"mask": 1.0}, still=True)
    np.testing.assert_array_equal(still.rgb, pool["rgb"])
    assert (still.mask_prompt == still.valid).all()
    assert (still.gain == 1).all()
    assert not still.shift.any()


def test_every_epoch_sees_every_clip_once(pool: dict[str, np.ndarray]) -> None:
    work = task(pool, 2)
    rng = np.random.default_rng(0)
    visible = [work.batch(rng, step).rgb[0].shape for step in range(2)]
    assert visible == [(2, 32, 32, 3)] * 2
    with pytest.MonkeyPatch.context() as patch:
        rows: list[int] = []
        patch.setattr(tracking, "clip_batch", lambda rng, pool, at, *rest: rows.extend(at.tolist()))
        for step in range(4):
            work.batch(rng, step)
    assert sorted(rows[:4]) == sorted(rows[4:]) == [0, 1, 2, 3]


def test_the_teacher_hands_over_what_both_have(pool: dict[str, np.ndarray], teacher: Teacher) -> None:
    own = drawn(task(pool, 1).spec.shapes)
    handed = teacher.initialise(own)
    assert handed.keys() == own.keys()
    name = "mask_decoder/transformer/norm_final_attn/scale"
    np.testing.assert_array_equal(handed[f"sam_{name}"], teacher.params[name])
    changed = {k for k in own if handed[k] is not own[k]}
    assert {k.split("/")[0] for k in changed} == {"sam_prompt_encoder", "sam_mask_decoder"}
    assert {k for k in own if k.startswith("sam_") and k not in changed} == {
        k for k in own if "conv_s" in k or "obj_score" in k
    }
    narrow = dataclasses.replace(SAM, out_chans=8)
    spec = sam.spec(narrow)
    with pytest.raises(ValueError, match="the teacher's decoder is not the tracker's"):
        Teacher(narrow, spec, drawn(spec.shapes)).initialise(own)


def test_the_teachers_embedding_is_averaged_to_the_grid(teacher: Teacher) -> None:
    frames = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)), jnp.float32)
    whole, half = (jax.jit(teacher.embedding, static_argnums=2)(teacher.params, frames, n) for n in (8, 4))
    assert whole.shape == (1, 8, 8, 16)
    assert half.shape == (1, 4, 4, 16)
    np.testing.assert_allclose(half[0, 1:3, 1:3].mean((0, 1)), whole[0, 2:6, 2:6].mean((0, 1)), atol=0.3)


def test_the_teacher_sees_frames_at_its_own_size(teacher: Teacher) -> None:
    rows, columns = np.mgrid[:64, :64] / 64
    frames = jnp.asarray(np.stack([200 * rows, 80 + 60 * columns, 250 * rows * columns], -1)[None], jnp.float32)
    larger = antialiased(frames.transpose(0, 3, 1, 2), 96, 96).transpose(0, 2, 3, 1)
    embed = jax.jit(teacher.embedding, static_argnums=2)
    own, other = (embed(teacher.params, x, 4) for x in (frames, larger))
    np.testing.assert_allclose(own, other, atol=0.05 * float(jnp.ptp(own)))


@pytest.mark.long
def test_likeness_to_the_teacher_counts_less_and_less(pool: dict[str, np.ndarray], teacher: Teacher) -> None:
    work = task(pool, 1, teacher)
    params = started(work, teacher)
    batch = work.batch(np.random.default_rng(0), 0)
    measure = jax.jit(work.loss)
    for progress in (0.0, 0.5, 1.0):
        loss, metrics = measure(params, work.constants, batch, jnp.float32(progress))
        taught = tracking.TEACHER_WEIGHT * (1 - progress) * float(metrics["taught"])
        assert float(metrics["taught"]) > 0.1
        assert float(loss) == pytest.approx(float(metrics["mask"] + metrics["there"]) + taught, rel=1e-5)


@pytest.mark.slow
def test_objects_are_followed_and_absence_is_learnt(pool: dict[str, np.ndarray]) -> None:
    work = task(pool, 4)
    params = started(work)
    batch = clip_batch(np.random.default_rng(0), pool, np.arange(2), 4, 3, {"click": 1.0}, still=True)
    batch.instances[0, 1, :2] = IGNORE
    work.track_all = jax.jit(
        lambda params, batch: work.track(params, batch, work.features_of(params, work.frames_of(batch))),
    )
    cost, iou, score, visible = work.track_all(params, batch)
    assert cost.shape == iou.shape == score.shape == visible.shape == (2, 3, 4)
    for b, q in np.argwhere(batch.valid):
        np.testing.assert_array_equal(visible[b, q], [1, 1, 1, float(batch.objects[b, q] == 0)])
    metrics = work.evaluate(params, clips=4)
    assert metrics.keys() == {"first", "every", "last", "there"}
    assert all(0 <= value <= 1 for value in metrics.values())


@pytest.mark.long
def test_training_follows_as_the_product_does(pool: dict[str, np.ndarray]) -> None:
    """Object scores of every frame, which rest on all that is remembered: ages, pointers, what is
    kept and what is not.
    """
    large = pool | {name: pool[name].repeat(2, 2).repeat(2, 3) for name in ("rgb", "instances")}
    work = task(large, 6)
    assert work.config.num_maskmem < 6 > work.config.max_obj_ptrs
    head = "sam_mask_decoder/pred_obj_score_head/layers/2/kernel"
    params = dict(small.made().params)
    params[head] = jnp.asarray(np.random.default_rng(2).normal(0, 1, params[head].shape), jnp.float32)
    batch = clip_batch(np.random.default_rng(0), large, np.arange(2), 6, 3, {"mask": 1.0}, still=True)
    track = jax.jit(
        lambda params, batch: work.track(params, batch, work.features_of(params, work.frames_of(batch)), unroll=False),
    )
    _, _, scores, _ = track(params, batch)
    predictor = gsam.VideoPredictor(small.tracker.build(work.config, params), fill_hole_area=0, progress=False)
    for b in range(2):
        state = predictor.init_state(batch.rgb[b])
        valid = np.flatnonzero(batch.valid[b])
        for q in valid:
            predictor.add_new_mask(state, 0, int(q), batch.instances[b, 0] == batch.objects[b, q] + 1)
        assert sum(1 for _ in predictor.propagate_in_video(state)) == 6
        for q in valid:
            product = [state.objects[int(q)].latest(t).score for t in range(1, 6)]
            np.testing.assert_allclose(scores[b, q, 1:], product, atol=2e-3)  # the product remembers in bfloat16


class Obedient:
    """Answers every click by turning over the cell that was clicked, in the mask it was shown."""

    def decode(self, given: Any, points: Any, labels: Any, previous: Any, has_mask: Any, **settings: Any) -> Answer:
        assert settings == {"multimask": False, "dynamic": False}
        last = jnp.where(labels[:, 4] == ABSENT, 3, 4)
        xy = jnp.take_along_axis(points, last[:, None, None], 1)[:, 0]
        x, y = ((xy + 0.5) / 4 - 0.5).round().astype(int).T
        new = jnp.where(jnp.take_along_axis(labels, last[:, None], 1)[:, 0] == FOREGROUND, 5.0, -5.0)
        logits = previous.at[jnp.arange(len(previous)), y, x].set(new)
        n = len(previous)
        return Answer(logits[:, None], jnp.ones((n, 1)), jnp.zeros((n, 1, small.CONFIG.width)), jnp.ones(n))

    def best_masks(self, answer: Answer) -> ObjectMasks:
        return ObjectMasks(answer.logits[:, 0], answer.iou[:, 0], answer.object_score, answer.tokens[:, 0])


@pytest.mark.long
def test_corrections_go_where_the_mask_is_wrong() -> None:
    truth = np.zeros((2, 16, 16), np.float32)
    truth[:, 4:9, 5:12] = 1.0
    previous = np.where(truth > 0, 5.0, -5.0).astype(np.float32)
    previous[0, 6, 7], previous[0, 14, 2] = -5.0, 5.0
    previous[1, 5, 6], previous[1, 8, 11], previous[1, 0, 0] = -5.0, -5.0, -900.0
    known = np.ones((2, 1, 16, 16), bool)
    points, labels = np.zeros((2, 6, 2), np.float32), np.full((2, 6), ABSENT, np.int32)
    labels[:, 2], labels[:, 5] = FOREGROUND, PAD
    model: Any = Obedient()
    nothing: Any = None
    clip = tracking.ClipLoss(
        small.CONFIG, model, nothing, jnp.asarray(truth[:, None]), jnp.asarray(known), jax.random.key(0)
    )
    every = (jnp.asarray(x) for x in (points, labels, previous, truth, known[:, 0]))
    logits, pointer, cost = clip.with_corrections(nothing, *every)
    np.testing.assert_array_equal(np.asarray(logits) > 0, truth > 0)
    assert np.abs(logits).max() == tracking.LOGIT_CLIP
    assert pointer.shape == (2, small.CONFIG.width)
    right, _, _, _ = clip.mask_loss(
        Answer(5.0 * (2 * truth[:, None] - 1), np.ones((2, 1)), pointer[:, None], np.ones(2)), truth, known[:, 0]
    )
    assert (np.asarray(right) < np.asarray(cost)).all()


@pytest.mark.slow
def test_gradients_reach_every_part_through_all_frames(pool: dict[str, np.ndarray], teacher: Teacher) -> None:
    work = task(pool, 4, teacher)
    batch = clip_batch(np.random.default_rng(0), pool, np.arange(2), 4, 3, {"click": 1.0}, still=True)
    grad = jax.jit(jax.grad(work.loss, has_aux=True))
    grads, _ = grad(started(work, teacher), work.constants, batch, jnp.float32(0))
    assert all(np.isfinite(v).all() for v in grads.values())
    for part in ("image_encoder/trunk", "memory_attention", "memory_encoder", "obj_ptr_proj", "maskmem_tpos_enc"):
        assert any(np.abs(v).max() > 0 for k, v in grads.items() if k.startswith(part)), part
