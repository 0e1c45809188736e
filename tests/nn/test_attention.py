"""Every form of plain attention against the formula, and how one is chosen."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.nn import attention, relative
from gsam.nn.attention import attend, portable, proved

SHAPES = [(1, 4, 2, 8)] * 3


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GSAM_ATTENTION", raising=False)
    monkeypatch.setattr(attention, "_verdicts", {})


def given(
    n: int = 10, t: int = 7, lead: tuple[int, ...] = (2,), heads: int = 3, d: int = 8, e: int = 8
) -> list[jax.Array]:
    rng = np.random.default_rng(n)
    return [
        jnp.asarray(rng.normal(size=(*lead, *s)), jnp.float32) for s in ((n, heads, d), (t, heads, d), (t, heads, e))
    ]


def formula(
    q: jax.Array, k: jax.Array, v: jax.Array, bias: object = 0.0, mask: object = True, scale: float = 0.0
) -> np.ndarray:
    scale = scale or q.shape[-1] ** -0.5
    logits = np.einsum("...qhd,...khd->...hqk", np.float64(q), np.float64(k)) * scale + np.asarray(bias)
    logits = np.where(np.asarray(mask), logits, -1e30)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("...hqk,...khd->...qhd", weights / weights.sum(-1, keepdims=True), np.float64(v))


@pytest.mark.parametrize(("heads_from", "tiles_from"), [(1 << 30, 1 << 30), (0, 1 << 30), (0, 0)])
@pytest.mark.parametrize("lead", [(), (2, 3)])
@pytest.mark.long
def test_matches_the_formula(
    heads_from: int, tiles_from: int, lead: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "HEADS_FROM", heads_from)
    monkeypatch.setattr(attention, "TILES_FROM", tiles_from)
    q, k, v = given(130, 5, lead, e=4)
    np.testing.assert_allclose(attend(q, k, v), formula(q, k, v), atol=1e-5)
    np.testing.assert_allclose(attend(q, k, v, scale=0.5), formula(q, k, v, scale=0.5), atol=1e-5)


@pytest.mark.parametrize("heads_from", [1 << 30, 0])
@pytest.mark.long
def test_bias_and_mask(heads_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "HEADS_FROM", heads_from)
    q, k, v = given()
    rng = np.random.default_rng(0)
    for shape in ((2, 1, 1, 7), (2, 1, 10, 7), (10, 7), (3, 10, 7)):
        mask, bias = rng.random(shape) > 0.4, rng.normal(size=shape).astype(np.float32)
        mask[..., 0, :] = False  # one that sees nothing gets the mean
        np.testing.assert_allclose(attend(q, k, v, mask=mask), formula(q, k, v, mask=mask), atol=1e-5)
        np.testing.assert_allclose(attend(q, k, v, bias=bias), formula(q, k, v, bias), atol=1e-5)
        both = attend(q, k, v, bias=jnp.asarray(bias), mask=mask)
        np.testing.assert_allclose(both, formula(q, k, v, bias, mask), atol=1e-5)


def test_half_precision_keeps_its_dtype_and_is_finite() -> None:
    q, k, v = (x.astype(jnp.float16) for x in given())
    y = attend(q, k, v, mask=np.zeros((10, 7), bool))
    assert y.dtype == jnp.float16
    np.testing.assert_allclose(y, jnp.broadcast_to(v.mean(1, keepdims=True), y.shape), atol=1e-2)


def test_large_maps_are_never_whole_in_memory() -> None:
    shape = jax.ShapeDtypeStruct((1, 2100, 2, 16), jnp.float32)
    memory = jax.jit(attend).lower(shape, shape, shape).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 2100 * 2100 * 4 / 2


def right(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return attention._at_once(q, k, v)


def test_a_right_form_is_proved_once_even_while_tracing() -> None:
    calls: list[int] = []

    def form(*xs: jax.Array) -> jax.Array:
        calls.append(1)
        return right(*xs)

    def found() -> float:
        return float(proved("form", form, right, SHAPES, jnp.dtype(jnp.bfloat16)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jax.jit(lambda x: x + found())(jnp.zeros(())) == 1
        assert jax.vmap(jax.grad(lambda x: x * found()))(jnp.ones(2)).tolist() == [1, 1]
    assert len(calls) == 1


def broken(*xs: jax.Array) -> jax.Array:
    raise RuntimeError("no such instruction")


def wrong(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return right(q, k, v) * 1.1


def lost(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return right(q, k, v) * jnp.nan


@pytest.mark.parametrize(("form", "says"), [(broken, "no such instruction"), (wrong, "differs"), (lost, "differs")])
def test_a_form_that_fails_is_warned_of_once_and_not_used(
    form: attention.Form, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "accelerator", lambda: "cuda")
    monkeypatch.setattr(attention, "_cudnn", form)
    monkeypatch.setattr(attention, "HEADS_FROM", 0)
    q, k, v = (x.astype(jnp.bfloat16) for x in given())
    with pytest.warns(UserWarning, match=says) as seen:
        y = jax.jit(lambda *xs: attend(*xs))(q, k, v)  # its own trace
    assert attention.flash_for(q, k, v) is None
    assert len([w for w in seen if "cuDNN" in str(w.message)]) == 1
    np.testing.assert_allclose(y.astype(jnp.float32), formula(q, k, v), atol=0.05)


def test_who_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_cudnn", right)
    half = [x.astype(jnp.bfloat16) for x in given()]
    assert attention.flash_for(*half) is None  # a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert attention.accelerator() == "tpu"
    with portable():
        assert attention.accelerator() is None
    monkeypatch.setenv("GSAM_ATTENTION", "xla")
    assert attention.accelerator() is None
    monkeypatch.setenv("GSAM_ATTENTION", "flash")
    with pytest.raises(ValueError, match="flash"):
        attention.accelerator()
    monkeypatch.setattr(attention, "accelerator", lambda: "cuda")
    assert attention.flash_for(*half) is right
    assert attention.flash_for(*given()) is None  # float32
    assert attention.flash_for(*(x[..., :7] for x in half)) is None


def test_relative_positions_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from gsam.nn.kernels import relative as kernels

    monkeypatch.setattr(relative, "accelerator", lambda: "cuda")
    monkeypatch.setattr(attention, "accelerator", lambda: "cuda")
    monkeypatch.setattr(relative, "FOLD_UP_TO", 100)
    q = jnp.zeros((1, 1, 256, 16), jnp.bfloat16)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(kernels, "attend", lambda *xs, target: kernels.plain(*xs))
    monkeypatch.setattr(attention, "_cudnn", right)
    kernel = relative._fast(q, 16, few=False)["cuda"]
    assert getattr(kernel, "keywords", None) == {"target": "cuda"}
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    assert getattr(relative._fast(q, 16, few=False)["cuda"], "args", None) == (right,)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(attention, "_verdicts", {})
    monkeypatch.setattr(kernels, "attend", broken)
    monkeypatch.setattr(attention, "_cudnn", broken)
    with pytest.warns(UserWarning, match="is not used") as seen:
        assert relative._fast(q, 16, few=False) == {}
    assert len(seen) == 2
    assert relative._fast(q.astype(jnp.float32), 16, few=False) == {}
