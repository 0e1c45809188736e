"""Data parallelism: a batch spread over the devices, weights on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gsam.runtime.process import check_process
from gsam.types import PyTree

AXIS = "batch"
"""The one axis of the mesh."""


def replicate(values: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """Put a pytree on every device as a whole; an array that it holds twice is put there once."""
    check_process()
    target = devices[0] if len(devices) == 1 else NamedSharding(_mesh(devices), PartitionSpec())
    leaves, tree = jax.tree.flatten(values)
    known = {id(x): x for x in leaves}
    placed = dict(zip(known, jax.device_put(list(known.values()), target), strict=True))
    return jax.tree.unflatten(tree, [placed[id(x)] for x in leaves])


def shard_batch(values: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """Put a pytree of arrays [B, ...] on the devices, cut along B into one part per device.

    An array whose B the number of devices does not divide is whole on each, and so is a scalar.
    """
    check_process()
    if len(devices) == 1:
        return jax.device_put(values, devices[0])
    mesh = _mesh(devices)

    def sharding(x: Any) -> NamedSharding:
        divides = np.ndim(x) > 0 and np.shape(x)[0] % len(devices) == 0
        return NamedSharding(mesh, PartitionSpec(AXIS) if divides else PartitionSpec())

    return jax.device_put(values, jax.tree.map(sharding, values))


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.asarray(devices), (AXIS,))
