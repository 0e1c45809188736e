"""The order in which examples are seen: a function of seed and step alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rows_of(step: int, batch: int, count: int, seed: int) -> NDArray[np.int64]:
    """List the examples of a step; each is seen once before any is seen again.

    Args:
        step: Number of the batch, from 0.
        batch: Examples of a batch; more than ``count`` repeat some.
        count: Number of all examples.
        seed: Seed of the shuffling, which is another in every epoch.

    Returns:
        [batch] indices of examples.
    """
    places = np.arange(step * batch, (step + 1) * batch)
    out = np.empty(batch, np.int64)
    for epoch in np.unique(places // count):
        here = places // count == epoch
        out[here] = np.random.default_rng([seed, int(epoch), 1]).permutation(count)[places[here] % count]
    return out
