from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.training.distillation.align import aligned, boxes_of, inside
from gsam.training.distillation.prompts import choose, draw, lone_boxes, lone_clicks

pytest.importorskip("optax")
WHOLE, HALF = jnp.asarray([[64, 64]], jnp.int32), jnp.asarray([[32, 64]], jnp.int32)


def test_maps_stay_where_the_views_are_alike() -> None:
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32))
    np.testing.assert_allclose(aligned(maps, HALF, 64, HALF, 64, channels_last=True), maps, atol=1e-6)


def test_a_padded_map_fills_a_squashed_view_and_comes_back() -> None:
    ramp = jnp.asarray(np.linspace(0, 1, 8, dtype=np.float32))[:, None] * jnp.ones((8, 8), jnp.float32)
    squashed = aligned(ramp[None, None], HALF, 64, WHOLE, 64, channels_last=False)[0, 0]
    np.testing.assert_allclose(
        squashed[1:7, 0], np.interp((np.arange(1, 7) + 0.5) / 2 - 0.5, range(8), ramp[:, 0]), atol=1e-6
    )
    back = aligned(squashed[None, None], WHOLE, 64, HALF, 64, channels_last=False)[0, 0]
    np.testing.assert_allclose(back[1:3], ramp[1:3], atol=0.02)


def test_cells_of_the_padding_are_not_inside() -> None:
    found = np.asarray(inside(jnp.asarray([[32, 64], [64, 20]], jnp.int32), 64, 8))
    assert found[0, :4].all()
    assert not found[0, 4:].any()
    assert found[1, :, :2].all()
    assert not found[1, :, 3:].any()


def test_boxes_hold_their_masks() -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:5, 1:7] = True
    boxes = boxes_of(jnp.asarray(masks))
    assert boxes[0].tolist() == [1, 2, 7, 5]
    assert boxes[1].tolist() == [0, 0, 8, 8]


def test_draws_are_those_of_the_seed_and_lie_in_the_image() -> None:
    one, two = (draw(np.random.default_rng([0, 5]), 3, 4) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))
    assert (one.boxes[..., 2:] > one.boxes[..., :2]).all()
    assert one.boxes.min() >= 0
    assert one.boxes.max() <= 1


def test_prompts_are_chosen_one_by_one() -> None:
    draws = draw(np.random.default_rng(0), 2, 4)
    click, box = lone_clicks(jnp.asarray(draws.clicks), 1), lone_boxes(jnp.asarray(draws.boxes), 1)
    mixed = choose(jnp.asarray([True, False, True, False]), click, box)
    assert mixed.has_box.tolist() == [[False, True, False, True]] * 2
    assert mixed.labels[0, 0].tolist() == [-1, -2, 1, -2]
    assert mixed.labels[0, 1].tolist() == [2, 3, -2, -2]
    np.testing.assert_array_equal(mixed.at[:, 0], click.at[:, 0])
