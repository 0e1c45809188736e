"""The mask decoder's short cuts change nothing: fewer masks, rows at a time, one image for all
prompts.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam import bind
from gsam.nn import layers
from gsam.nn.two_way import Attention, MaskDecoder

WIDTH, HEADS, SIDE = 16, 4, 6


@pytest.fixture(scope="module")
def decoder():
    spec = bind.spec(lambda: MaskDecoder(WIDTH, HEADS, 32))
    return spec, bind.random_params(spec, 0)


def inputs(prompts: int) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(1)
    features, code = (jnp.asarray(rng.normal(size=(SIDE, SIDE, WIDTH)), jnp.float32) for _ in range(2))
    tokens = jnp.asarray(rng.normal(size=(prompts, 3, WIDTH)), jnp.float32)
    return features, code, tokens, jnp.asarray([[True, True, False]] * prompts), jnp.zeros((1, 1, 1, WIDTH))


@pytest.mark.parametrize("masks", [range(1), range(1, 4), (2, 0)])
@pytest.mark.long
def test_some_masks_are_those_of_all(decoder, masks) -> None:
    spec, params = decoder
    run = jax.jit(lambda p, masks, *a: spec.bind(p)(*a, masks), static_argnums=1)
    four, iou = run(params, range(4), *inputs(3))
    some, theirs = run(params, masks, *inputs(3))
    assert four.shape == (3, 4, 4 * SIDE, 4 * SIDE)
    np.testing.assert_allclose(some, four[:, list(masks)], atol=1e-5)
    np.testing.assert_allclose(theirs, iou[:, list(masks)], atol=1e-6)


def test_a_dense_prompt_for_each_is_one_for_all(decoder) -> None:
    spec, params = decoder
    features, code, tokens, keep, dense = inputs(3)
    run = jax.jit(lambda p, *a: spec.bind(p)(*a))
    shared, _ = run(params, features, code, tokens, keep, dense)
    own, _ = run(params, features, code, tokens, keep, jnp.broadcast_to(dense, (3, SIDE, SIDE, WIDTH)))
    np.testing.assert_allclose(shared, own, atol=1e-5)


@pytest.mark.parametrize("prompts", [1, 3])
def test_an_image_projected_once_is_one_projected_each_time(decoder, prompts: int) -> None:
    spec, params = decoder
    features, code, tokens, keep, _ = inputs(prompts)
    dense = jnp.asarray(np.random.default_rng(2).normal(size=(1, 1, 1, WIDTH)), jnp.float32)
    params = {k: v + 0.05 for k, v in params.items()}  # biases are not zero

    @jax.jit
    def run(params, features, code, tokens, keep, dense):
        m = spec.bind(params)
        projected = m.project(features, code, dense)
        return m(features, code, tokens, keep, dense), m(features, code, tokens, keep, dense, projected=projected)

    plain, short = run(params, features, code, tokens, keep, dense)
    np.testing.assert_allclose(short[0], plain[0], atol=1e-5)
    np.testing.assert_allclose(short[1], plain[1], atol=1e-5)


def test_absorbed_attention_is_attention() -> None:
    """Both ways between tokens and image, beside the plain form of the same parameters."""
    spec = bind.spec(lambda: Attention(WIDTH, HEADS, 2))
    params = {k: v + 0.1 for k, v in bind.random_params(spec, 2).items()}
    rng = np.random.default_rng(3)
    tokens, more = (jnp.asarray(rng.normal(size=(2, 5, WIDTH)), jnp.float32) for _ in range(2))
    placed, image = (jnp.asarray(rng.normal(size=(2, WIDTH, 9)), jnp.float32) for _ in range(2))
    keep = jnp.asarray([[True] * 5, [True, True, True, False, False]])

    @jax.jit
    def run(params, tokens, more, placed, image):
        m = spec.bind(params)
        plain = m(tokens, placed.swapaxes(1, 2), image.swapaxes(1, 2))
        back = m(placed.swapaxes(1, 2), tokens, more, keep)
        return plain, m.to_image(tokens, placed, image), back.swapaxes(1, 2), m.from_image(placed, tokens, more, keep)

    plain, absorbed, back, absorbed_back = run(params, tokens, more, placed, image)
    np.testing.assert_allclose(absorbed, plain, atol=1e-5)
    np.testing.assert_allclose(absorbed_back, back, atol=1e-5)


def test_rows_at_a_time() -> None:
    x = jnp.asarray(np.random.default_rng(4).normal(size=(2, 3, 7, 5)), jnp.float32)
    kernel = jnp.asarray(np.random.default_rng(5).normal(size=(5, 4)), jnp.float32)
    by_rows = jax.jit(lambda x: layers.by_rows(lambda rows: jnp.tanh(rows @ kernel), x, rows=8))(x)
    np.testing.assert_allclose(by_rows, jnp.tanh(x @ kernel), atol=1e-6)
