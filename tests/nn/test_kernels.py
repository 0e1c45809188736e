"""The Pallas kernels, interpreted on a CPU, against XLA; and that they can be lowered for where
they run.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.nn.kernels import relative


def given(side: int, d: int, dtype: jnp.dtype | type = jnp.float32, b: int = 2, heads: int = 2) -> list[jax.Array]:
    rng = np.random.default_rng(side)
    q, k, v, h, w = (rng.normal(size=(b, heads, side * side, x)) for x in (d, d, d, side, side))
    return [jnp.asarray(x, dtype) for x in (q * d**-0.5, k, v, h, w)]


@pytest.mark.parametrize("target", ["cuda", "tpu"])
@pytest.mark.parametrize(("side", "d"), [(8, 80), (16, 16)])
@pytest.mark.long
def test_matches_xla(side: int, d: int, target: str) -> None:
    xs = given(side, d)
    want = relative.plain(*xs)
    got = relative.attend(*xs, target=target, interpret=True)
    np.testing.assert_allclose(got, want, atol=1e-5)
    half = [x.astype(jnp.bfloat16) for x in xs]
    got = relative.attend(*half, target=target, interpret=True)
    assert got.dtype == jnp.bfloat16
    want = relative.plain(*(x.astype(jnp.float32) for x in half))
    assert jnp.abs(got.astype(jnp.float32) - want).max() < 0.01 * jnp.abs(want).max()  # 0.0021 measured


def test_large_logits_do_not_overflow() -> None:
    xs = given(8, 16)
    xs[0] = xs[0] * 300
    for target in ("cuda", "tpu"):
        np.testing.assert_allclose(relative.attend(*xs, target=target, interpret=True), relative.plain(*xs), atol=2e-4)


@pytest.mark.long
def test_gradient() -> None:
    xs = given(8, 16, b=1)
    got = jax.grad(lambda *a: (relative.attend(*a, interpret=True) ** 2).sum(), argnums=(0, 2, 3))(*xs)
    want = jax.grad(lambda *a: (relative.plain(*a) ** 2).sum(), argnums=(0, 2, 3))(*xs)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("target", ["cuda", "tpu"])
@pytest.mark.parametrize("d", [64, 80])
def test_lowers_for_sam(target: str, d: int) -> None:
    export = pytest.importorskip("jax.export")
    assert relative.fits(64, d, target)
    xs = [jax.ShapeDtypeStruct((1, 2, 4096, x), jnp.bfloat16) for x in (d, d, d, 64, 64)]
    f = jax.jit(functools.partial(relative.attend, target=target))
    kinds = {"cuda": "__gpu$xla.gpu.triton", "tpu": "tpu_custom_call"}
    checks = [export.DisabledSafetyCheck.custom_call(kinds[target])]
    try:
        text = export.export(f, platforms=[target], disabled_checks=checks)(*xs).mlir_module()
    except RuntimeError as error:
        if "No supported GPU devices" not in str(error):
            raise
        pytest.skip("JAX 0.11 lowers Triton only where it knows the card")
    assert kinds[target] in text
    assert "4096x4096" not in text


def test_what_fits() -> None:
    assert not relative.fits(14, 64, "cuda")
    assert not relative.fits(48, 64, "cuda")
    assert relative.fits(48, 64, "tpu")
    assert not relative.fits(64, 72, "cuda")
    assert [(p.start, p.size) for p in relative._parts(80)] == [(0, 64), (64, 16)]
