"""Layers against torch's, on the same numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam import bind
from gsam.nn import layers

torch = pytest.importorskip("torch")


def run(make, params: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    spec = bind.spec(make)
    return np.asarray(spec.bind({k: jnp.asarray(v) for k, v in params.items()})(jnp.asarray(x)))


def numbers(module) -> dict[str, np.ndarray]:
    return {k: v.detach().numpy() for k, v in module.state_dict().items()}


def test_transposed_convolution() -> None:
    theirs = torch.nn.ConvTranspose2d(6, 4, 2, 2)
    w = numbers(theirs)
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 6)).astype(np.float32)
    ours = run(
        lambda: layers.ConvTranspose2x2(6, 4), {"kernel": w["weight"].transpose(2, 3, 0, 1), "bias": w["bias"]}, x
    )
    with torch.no_grad():
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution(kernel: int) -> None:
    theirs = torch.nn.Conv2d(6, 4, kernel, padding=kernel // 2)
    w = numbers(theirs)
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 6)).astype(np.float32)
    ours = run(lambda: layers.Conv(kernel, 6, 4), {"kernel": w["weight"].transpose(2, 3, 1, 0), "bias": w["bias"]}, x)
    with torch.no_grad():
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_patch_embedding() -> None:
    theirs = torch.nn.Conv2d(3, 7, 4, stride=4)
    w = numbers(theirs)
    x = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)
    ours = run(lambda: layers.PatchEmbed(4, 3, 7), {"kernel": w["weight"].transpose(2, 3, 1, 0), "bias": w["bias"]}, x)
    with torch.no_grad():
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_layer_norm_survives_a_large_mean(mean: float) -> None:
    x = (np.random.default_rng(0).normal(size=(4, 32)) + mean).astype(np.float32)
    theirs = torch.nn.LayerNorm(32)
    ours = run(lambda: layers.LayerNorm(32), {"scale": np.ones(32, np.float32), "bias": np.zeros(32, np.float32)}, x)
    with torch.no_grad():
        np.testing.assert_allclose(ours, theirs(torch.tensor(x)).numpy(), atol=1e-4 if mean else 1e-6)


def test_gelu_is_exact() -> None:
    x = np.linspace(-4, 4, 101, dtype=np.float32)
    np.testing.assert_allclose(layers.gelu(jnp.asarray(x)), torch.nn.functional.gelu(torch.tensor(x)), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 5, 7, 6), (2, 33, 6), (3, 4, 4, 6)])
def test_rows_may_be_taken_in_parts(shape: tuple[int, ...]) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    run = jax.jit(lambda x: layers.by_rows(lambda rows: jnp.sin(rows)[..., :4], x, rows=8))
    np.testing.assert_array_equal(run(x), jax.jit(lambda x: jnp.sin(x)[..., :4])(x))
