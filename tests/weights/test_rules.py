"""Names, shapes and numbers that do not fit are refused in words that help; what fits is converted
exactly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from gsam.errors import CheckpointError
from gsam.weights import find, store
from gsam.weights.read import read
from gsam.weights.rules import Layout, convert, fit, permutation, plan, rename
from tests.weights.files import nano_sam, safetensors, state_dict

LAYOUT = Layout(
    "test",
    ((r"^net\.", ""), (r"up\.0\.", "up.conv.")),
    unused=((r"steps", "a counter"),),
    tied=(("other", "code"),),
    transposed=r"up/conv",
)
SHAPES = {
    "a/kernel": np.zeros((3, 2)),
    "a/bias": np.zeros(2),
    "conv/kernel": np.zeros((3, 5, 2, 4)),
    "up/conv/kernel": np.zeros((2, 3, 4, 5)),
    "norm/scale": np.zeros(3),
    "table/embedding": np.zeros((7, 3)),
    "code": np.zeros(4),
}


class Given:
    """An array as if in a file."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)
        self.shape, self.dtype = self.value.shape, self.value.dtype

    def load(self) -> np.ndarray:
        return self.value


def tensors(**changes: Any) -> dict[str, Given]:
    rng = np.random.default_rng(0)
    shapes = {
        "net.a.weight": (2, 3),
        "net.a.bias": (2,),
        "conv.weight": (4, 2, 3, 5),
        "up.0.weight": (4, 5, 2, 3),
        "norm.weight": (3,),
        "table.weight": (7, 3),
        "code": (4,),
        "steps": (),
    }
    found = {name: Given(rng.normal(size=shape).astype(np.float32)) for name, shape in shapes.items()}
    for name, value in changes.items():
        if value is None:
            del found[name]
        else:
            found[name] = Given(value)
    return found


def fails(given: dict[str, Given], code: str = "checkpoint_mismatch") -> str:
    with pytest.raises(CheckpointError) as error:
        convert(given, SHAPES, LAYOUT, "float32")
    assert error.value.code == code
    return str(error.value)


def test_what_fits_is_exact() -> None:
    given = tensors()
    found = convert(given, SHAPES, LAYOUT, "float32")
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in SHAPES.items()}
    assert np.array_equal(found["a/kernel"], given["net.a.weight"].value.T)
    assert found["conv/kernel"][1, 4, 1, 3] == given["conv.weight"].value[3, 1, 1, 4]  # [out, in, h, w]
    assert found["up/conv/kernel"][1, 2, 3, 4] == given["up.0.weight"].value[3, 4, 1, 2]  # [in, out, h, w]
    assert np.array_equal(found["norm/scale"], given["norm.weight"].value)
    assert np.array_equal(found["table/embedding"], given["table.weight"].value)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
@pytest.mark.parametrize("wanted", ["float32", "bfloat16", jnp.bfloat16, jnp.float32])
def test_other_precisions_are_cast(dtype: str, wanted: Any) -> None:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    given = {k: Given(v.value.astype(kind)) for k, v in tensors().items()}
    found = convert(given, SHAPES, LAYOUT, wanted)
    assert all(v.dtype == jnp.dtype(wanted) for v in found.values())
    expected = given["net.a.weight"].value.T.astype(jnp.dtype(wanted))
    assert np.asarray(found["a/kernel"]).tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool"])
def test_integers_are_refused(dtype: str) -> None:
    text = fails(tensors(**{"net.a.weight": np.ones((2, 3), dtype)}), "checkpoint_format")
    assert "net.a.weight" in text
    assert dtype in text


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "bfloat16"])
def test_numbers_that_are_none(bad: float, dtype: str) -> None:
    value = np.ones((2, 3), ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    value[1, 2] = bad
    assert "net.a.weight" in fails(tensors(**{"net.a.weight": value}), "checkpoint_not_finite")


def test_numbers_too_large_for_float32() -> None:
    fails(tensors(**{"net.a.weight": np.full((2, 3), 1e300)}), "checkpoint_not_finite")


def test_missing_and_left_over_name_the_nearest() -> None:
    text = fails(tensors(**{"conv.weight": None, "conv.kernels": np.ones(3)}))
    assert "missing: conv/kernel" in text
    assert "left over: conv.kernels (nearest: conv/kernel)" in text


def test_transposed_and_misshapen() -> None:
    text = fails(tensors(**{"net.a.weight": np.ones((3, 2)), "code": np.ones((4, 1))}))
    assert "shape: net.a.weight is (3, 2), the model needs (2, 3)" in text
    assert "shape: code is (4, 1), the model needs (4,)" in text
    assert "conv.weight is (3, 5, 2, 4), the model needs (4, 2, 3, 5)" in fails(
        tensors(**{"conv.weight": np.ones((3, 5, 2, 4))})
    )
    assert "the model needs (4, 5, 2, 3)" in fails(tensors(**{"up.0.weight": np.ones((5, 4, 2, 3))}))
    assert "missing" not in text


def test_a_kernel_of_another_rank() -> None:
    for shape in ((6,), (), (2, 3, 1), (1, 2, 3, 1), (1, 1, 1, 2, 3)):
        assert "net.a.weight is" in fails(tensors(**{"net.a.weight": np.ones(shape)}))
    assert "conv.weight is (8, 15)" in fails(tensors(**{"conv.weight": np.ones((8, 15))}))


def test_two_names_for_one_path() -> None:
    text = fails(tensors(**{"a.weight": np.ones((2, 3))}))
    assert "net.a.weight" in text
    assert "are both a/kernel" in text


def test_ten_differences_and_how_many_more() -> None:
    extra = {f"extra{i}.bias": np.ones(1) for i in range(12)}
    lines = fails(tensors(**extra, code=None)).splitlines()
    assert len(lines) == 12
    assert lines[-1].strip() == "and 3 more"
    assert sum("left over" in line for line in lines) == 10


def test_tied_tensors() -> None:
    code = tensors()["code"].value
    assert np.array_equal(convert(tensors(other=code), SHAPES, LAYOUT, "float32")["code"], code)
    assert "other and code" in fails(tensors(other=code + 1))
    assert "other and code" in fails(tensors(other=code[:1]))
    wide = np.lib.stride_tricks.as_strided(code, (1 << 40,), (0,))  # would be 4 TB if it were read
    given = tensors()
    given["other"] = type("Bomb", (), {"shape": wide.shape, "load": lambda self: pytest.fail("read")})()
    assert "other and code" in fails(given)


def test_unused_tensors_are_named_in_full() -> None:
    assert "left over: steps2" in fails(tensors(steps2=np.ones(())))


def test_files_with_our_own_names() -> None:
    """What gsam writes: our paths, our axes."""
    converted = convert(tensors(), SHAPES, LAYOUT, "float32")
    again = convert({k: Given(v) for k, v in converted.items()}, SHAPES, LAYOUT, "float32")
    assert all(np.array_equal(again[k], v) for k, v in converted.items())


def test_fit_takes_the_layout_that_explains_most() -> None:
    plain = Layout("plain", ())
    assert fit(tensors(), (plain, LAYOUT), SHAPES) is LAYOUT
    assert fit({"a.weight": Given(np.ones((2, 3)))}, (plain, LAYOUT), SHAPES) is plain  # the first of equals


def test_rename_and_permutation() -> None:
    assert rename("net.a.weight", SHAPES, LAYOUT) == "a/kernel"
    assert rename("table.weight", SHAPES, LAYOUT) == "table/embedding"
    assert rename("nothing.weight", SHAPES, LAYOUT) == "nothing/weight"
    assert rename("a/kernel", SHAPES, LAYOUT) == "a/kernel"
    assert permutation("a.bias", "a/bias", 1, LAYOUT) is None
    assert permutation("a.weight", "a/kernel", 2, LAYOUT) == (1, 0)
    assert permutation("a/kernel", "a/kernel", 2, LAYOUT) is None
    assert permutation("conv.weight", "conv/kernel", 4, LAYOUT) == (2, 3, 1, 0)
    assert permutation("up.0.weight", "up/conv/kernel", 4, LAYOUT) == (2, 3, 0, 1)


def test_plan_reads_nothing(tmp_path: Path) -> None:
    path = state_dict(tmp_path / "a.pth", {k: v.value for k, v in tensors().items()})
    given = read(path)
    path.unlink()
    assert plan(given, SHAPES, LAYOUT).keys() == SHAPES.keys()


# the whole way, through `gsam.weights.store`


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    return nano_sam()[1]


def load_error(path: Path, given: dict[str, np.ndarray]) -> CheckpointError:
    from safetensors.numpy import save_file

    save_file(given, path / "x.safetensors")
    with pytest.raises(CheckpointError) as error:
        store.load(path / "x.safetensors", role="segment")
    return error.value


def test_the_likely_model_is_named(tmp_path: Path, original: dict[str, np.ndarray], monkeypatch: Any) -> None:
    """A file of the nano model under the official model's name."""
    path = state_dict(tmp_path / "sam.pth", original)
    monkeypatch.setattr(store, "find", lambda name: find.CheckpointSource("sam_vit_b", path, "sam_vit_b"))
    with pytest.raises(CheckpointError, match=r"It looks like nano_sam\.") as error:
        store.load("sam_vit_b")
    assert error.value.code == "checkpoint_mismatch"
    lines = str(error.value).splitlines()
    assert lines[0] == "sam_vit_b: the checkpoint does not fit:"
    assert len(lines) == 1 + 10 + 1 + 1
    assert lines[-2].strip().startswith("and ")


def test_a_damaged_bare_file_is_compared_with_the_nearest_model(
    tmp_path: Path, original: dict[str, np.ndarray]
) -> None:
    name = "mask_decoder.iou_token.weight"
    fewer = {k: v for k, v in original.items() if k != name}
    error = load_error(tmp_path, fewer)
    assert error.code == "checkpoint_mismatch"
    assert "missing: mask_decoder/iou_token/embedding" in str(error)
    error = load_error(tmp_path, original | {"mask_decoder.iou_tokens.weight": np.ones((1, 64), np.float32)})
    assert "left over: mask_decoder.iou_tokens.weight (nearest: mask_decoder/iou_token/embedding)" in str(error)
    name = "image_encoder.blocks.0.mlp.lin1.weight"
    error = load_error(tmp_path, original | {name: np.ascontiguousarray(original[name].T)})
    assert error.code == "checkpoint_mismatch"
    assert name in str(error)
    broken = original[name].copy()
    broken[3, 3] = np.nan
    assert load_error(tmp_path, original | {name: broken}).code == "checkpoint_not_finite"
    assert load_error(tmp_path, original | {name: original[name].astype(np.int8)}).code == "checkpoint_format"


def test_a_stranger(tmp_path: Path) -> None:
    error = load_error(tmp_path, {f"layers.{i}.weight": np.ones((3, 3), np.float32) for i in range(5)})
    assert error.code == "checkpoint_unknown"
    assert "layers.0.weight, layers.1.weight, layers.2.weight, ..." in str(error)


def test_no_tensors(tmp_path: Path) -> None:
    safetensors(tmp_path / "x.safetensors", b"{}", b"")
    with pytest.raises(CheckpointError) as error:
        store.load(tmp_path / "x.safetensors")
    assert error.value.code == "checkpoint_unknown"
