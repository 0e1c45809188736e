from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from gsam.training.distillation.images import TeacherEmbeddings, listed
from gsam.training.distillation.pair import pair
from gsam.training.distillation.task import Distillation
from tests.training.distillation import tiny

pytest.importorskip("optax")


def task(folder: Path, teacher: str, student: str, seed: int = 0, share: float = 0.5) -> Distillation:
    """A task of two images to learn from and one held out, with the student's numbers of a seed."""
    both = pair(tiny.stage(teacher), tiny.stage(student, seed), ("large", "small"))
    embeddings = TeacherEmbeddings(both.teacher, "0" * 64, folder / "features", "float32")
    images = list(embeddings.compute(listed(tiny.images(folder / "photos", 3)), print, lambda: None))
    both = both.without_teacher_encoder()
    return Distillation(both, embeddings, images[:2], images[2:], 0, 2, 2, 1, share, "float32")


@pytest.mark.long
def test_a_student_that_is_its_teacher_agrees_with_it(tmp_path: Path) -> None:
    alike = task(tmp_path, "sam", "sam")
    student = alike.pair.whole_student(alike.init_params(0), alike.constants)
    scores = list(alike.measure(student, alike.held_out))
    assert {s.prompt for s in scores} == {"one box", "one click", "three clicks"}
    assert min(s.iou for s in scores) > 0.9  # embeddings are kept as bfloat16
    other = task(tmp_path, "sam", "sam", seed=1)
    assert np.mean([s.iou for s in other.measure(dict(other.pair.student.params), other.held_out)]) < 0.8
    batch = alike.batch(np.random.default_rng(0), 0)
    talk = alike.conversation(student, alike.constants, batch)
    assert float(talk.embedding_error()) < 1e-4


@pytest.mark.slow
def test_embeddings_come_first_then_answers(tmp_path: Path) -> None:
    both = task(tmp_path, "sam", "efficient_sam")
    params, batch = both.init_params(0), both.batch(np.random.default_rng(0), 0)
    step = jax.jit(jax.value_and_grad(both.loss, has_aux=True))
    (early, first), grads = step(params, both.constants, batch, np.float32(0.2))
    assert float(first["masks"]) == 0.0
    assert float(early) == float(first["embedding"]) > 0.1
    assert not any(np.asarray(grad).any() for name, grad in grads.items() if name.startswith("mask_decoder/"))
    (late, second), grads = step(params, both.constants, batch, np.float32(0.5))
    assert float(late) == pytest.approx(float(second["embedding"] + second["masks"]), rel=1e-6)
    assert all(np.isfinite(grad).all() for grad in grads.values())
    learning = [name for name, grad in grads.items() if np.asarray(grad).any()]
    assert any(name.startswith("mask_decoder/") for name in learning)
    assert any(name.startswith("image_encoder/blocks/0") for name in learning)


@pytest.mark.long
def test_a_teacher_that_takes_boxes_alone_is_asked_boxes_alone(tmp_path: Path) -> None:
    both = task(tmp_path, "medsam", "mobile_sam")
    figures = both.evaluate(both.init_params(0))
    assert figures.keys() == {"iou", "iou_box"}
    assert 0.0 <= figures["iou"] <= 1.0


def test_batches_are_those_of_seed_and_step(tmp_path: Path) -> None:
    both = task(tmp_path, "sam", "mobile_sam")
    one, two = (both.batch(np.random.default_rng([0, 3]), 3) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))
    assert one.pixels.shape == (2, 64, 64, 3)
    assert one.target.shape == (2, 8, 8, 16)
    assert sorted(both.names(3)) == ["0.png", "1.png"]
    assert one.content.tolist() == [[43, 64] if name == "0.png" else [44, 64] for name in both.names(3)]
