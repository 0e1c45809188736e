"""Simulated users: where the next click goes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.nn.prompt import BACKGROUND, FOREGROUND
from gsam.training.segmenter import clicks


@pytest.mark.long
def test_the_next_click_goes_where_the_mask_is_most_wrong() -> None:
    want = np.zeros((1, 20, 20), bool)
    want[0, 2:12, 2:13] = True
    mask = want.copy()
    mask[0, 4:9, 5:10] = False  # lacks 25 cells, its middle is (7, 6)
    mask[0, 15:18, 15:18] = True  # spills over 9
    known = np.ones_like(want)
    depth = np.asarray(clicks.depth(jnp.asarray(want & ~mask)))[0]
    assert depth.max() == depth[6, 7] == 3.0
    assert (depth[4, 5:10] == 1.0).all()
    assert np.asarray(clicks.depth(jnp.ones((1, 40, 40), bool))).max() == clicks.DEEPEST
    seen = set()
    for seed in range(40):
        (xy,), (label,) = clicks.correction(jax.random.key(seed), *map(jnp.asarray, (mask, want, known)))
        seen.add((int(xy[0]), int(xy[1]), int(label)))
        assert (mask != want)[0, xy[1], xy[0]]
        assert label == (FOREGROUND if want[0, xy[1], xy[0]] else BACKGROUND)
    assert (7, 6, FOREGROUND) in seen
    assert len(seen) > 3
    assert BACKGROUND in {label for *_, label in seen}
    known[0, 4:9, 5:10] = False
    (_,), (label,) = clicks.correction(jax.random.key(0), *map(jnp.asarray, (mask, want, known)))
    assert label == BACKGROUND
    (xy,), (label,) = clicks.correction(jax.random.key(0), *map(jnp.asarray, (want, want, known)))
    assert want[0, xy[1], xy[0]]
    assert label == FOREGROUND
    (xy,), (label,) = clicks.correction(jax.random.key(1), *map(jnp.asarray, (mask, want, known)), background=False)
    assert want[0, xy[1], xy[0]]
    assert label == FOREGROUND
