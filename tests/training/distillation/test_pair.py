from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.models import mobile_sam
from gsam.training.distillation.models import load_both
from gsam.training.distillation.pair import DECODER, STUDENT, TEACHER, pair, scratch
from tests.training.distillation import tiny

pytest.importorskip("optax")
NAMES = ("large", "small")


def test_sams_decoder_is_copied_and_stays_as_it_is() -> None:
    both = pair(tiny.stage("sam", 1), tiny.stage("mobile_sam"), NAMES)
    trained, fixed = both.split(both.start())
    assert both.copied
    assert not both.train_decoder
    assert both.embedding == (8, 8, 16)
    assert all(name.startswith("image_encoder/") for name in trained)
    assert not any(name.endswith(("running_mean", "running_var")) for name in trained)
    decoder = [name for name in fixed if name.startswith(DECODER)]
    assert decoder
    assert all(np.array_equal(fixed[k], both.teacher.params[k]) for k in decoder)
    assert trained.keys() | fixed.keys() == both.student.params.keys()


def test_a_decoder_of_another_kind_is_kept_and_learns_but_for_its_positions() -> None:
    both = pair(tiny.stage("sam", 1), tiny.stage("efficient_sam"), NAMES)
    trained, fixed = both.split(both.start())
    assert not both.copied
    assert both.train_decoder
    assert not both.same_geometry
    assert list(fixed) == ["prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"]
    assert all(np.array_equal(v, both.student.params[k]) for k, v in trained.items())


def test_constants_hold_what_the_loss_reads_and_no_encoder_of_the_teacher() -> None:
    both = pair(tiny.stage("sam", 1), tiny.stage("mobile_sam"), NAMES).without_teacher_encoder()
    constants = both.constants()
    assert not any(name.startswith(f"{TEACHER}image_encoder") for name in constants)
    assert any(name.startswith(f"{STUDENT}image_encoder") for name in constants)  # running statistics
    both.student.spec.check(both.whole_student(both.split(both.start())[0], constants))
    both.teacher.spec.check(both.teacher_decoder(constants))


def test_prompts_are_those_that_both_take() -> None:
    assert pair(tiny.stage("medsam"), tiny.stage("mobile_sam"), NAMES).prompts == {"box"}
    assert pair(tiny.stage("sam"), tiny.stage("efficient_sam"), NAMES).prompts == {"foreground", "box"}


def test_embeddings_of_different_shapes_are_refused() -> None:
    other = dataclasses.replace(tiny.MOBILE, encoder=dataclasses.replace(tiny.MOBILE.encoder, out_chans=8))
    student = mobile_sam.build(other, tiny.numbers(mobile_sam.spec(other), 0))
    with pytest.raises(UsageError, match="8 x 8 x 16 and that of small is 8 x 8 x 8") as caught:
        pair(tiny.stage("sam"), student, NAMES)
    assert caught.value.code == "distil_shapes"


def test_scratch_copies_what_fits_by_name_and_shape() -> None:
    teacher, spec = tiny.stage("sam", 1).params, mobile_sam.spec(tiny.MOBILE)
    drawn = scratch(spec, teacher, 3)
    spec.check(drawn)
    assert all(np.array_equal(drawn[k], teacher[k]) for k in drawn if k.startswith(DECODER))
    encoder = {k: v for k, v in drawn.items() if k.startswith("image_encoder/")}
    assert all(np.array_equal(v, scratch(spec, teacher, 3)[k]) for k, v in encoder.items())
    kernels = [k for k in encoder if k.endswith("kernel")]
    assert not any(np.array_equal(encoder[k], scratch(spec, teacher, 4)[k]) for k in kernels)


@pytest.mark.parametrize(
    ("teacher", "student", "init", "code"),
    [
        ("sam2.1_hiera_tiny", "mobile_sam", None, "distil_family"),
        ("sam_vit_b", "sam_hq_vit_tiny", None, "distil_family"),
        ("sam_vit_b", "mobile_sam", "fast_sam_s", "distil_family"),
        ("sam_vit_b", "sam_vit_b", None, "distil_same"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_fetched(
    teacher: str, student: str, init: str | None, code: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_both(teacher, student, init, 0)
    assert caught.value.code == code
