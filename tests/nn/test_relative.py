"""Both forms of relative-position attention against the formula, written plainly."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.nn import relative


def plain(q: np.ndarray, k: np.ndarray, v: np.ndarray, rel_h: np.ndarray, rel_w: np.ndarray) -> np.ndarray:
    n, d = q.shape[2:]
    side = round(n**0.5)
    out = np.zeros_like(q)
    for i in range(n):
        for_keys = np.arange(n)
        h = rel_h[i // side - for_keys // side + side - 1]
        w = rel_w[i % side - for_keys % side + side - 1]
        logits = (q[:, :, i, None] * d**-0.5 * k).sum(-1) + (q[:, :, i, None] * (h + w)).sum(-1)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        out[:, :, i] = (weights[..., None] * v).sum(2) / weights.sum(-1)[..., None]
    return out


@pytest.mark.parametrize(("side", "form"), [(6, "_folded"), (16, "_tiled")])
@pytest.mark.long
def test_matches_the_formula(side: int, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 2, 3, side * side, 8))
    rel_h, rel_w = rng.normal(size=(2, 2 * side - 1, 8))
    monkeypatch.setattr(relative, "FOLD_UP_TO", 100)
    chosen: list[str] = []
    inner = getattr(relative, form)
    monkeypatch.setattr(relative, form, lambda *a: chosen.append(form) or inner(*a))
    got = relative.attention(*(jnp.asarray(x, jnp.float32) for x in (q, k, v, rel_h, rel_w)))
    assert set(chosen) == {form}
    np.testing.assert_allclose(got, plain(q, k, v, rel_h, rel_w), atol=1e-5)


@pytest.mark.long
def test_both_forms_can_be_differentiated() -> None:
    args = [jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(1, 1, 256, 4)] * 3 + [(31, 4)] * 2)]
    folded = jax.grad(lambda *a: relative.attention(*a).sum(), argnums=(0, 3))(*args)
    old, relative.FOLD_UP_TO = relative.FOLD_UP_TO, 0
    try:
        tiled = jax.grad(lambda *a: relative.attention(*a).sum(), argnums=(0, 3))(*args)
    finally:
        relative.FOLD_UP_TO = old
    for a, b in zip(folded, tiled, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
