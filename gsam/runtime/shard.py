"""Data parallelism: pictures spread over the devices, weights on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def replicate(values: Any, devices: Sequence[jax.Device]) -> Any:
    """The same values on every device."""
    if len(devices) == 1:
        return jax.device_put(values, devices[0])
    return jax.device_put(values, NamedSharding(_mesh(devices), PartitionSpec()))


def shard_batch(values: Any, devices: Sequence[jax.Device]) -> Any:
    """Arrays [B, ...] cut along B, one part a device; whole on each if B does not divide, as scalars always."""
    if len(devices) == 1:
        return jax.device_put(values, devices[0])
    mesh = _mesh(devices)
    arrays = [x for x in jax.tree.leaves(values) if x.ndim]
    whole = any(x.shape[0] % len(devices) for x in arrays)

    def placed(x: Any) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec() if whole or not x.ndim else PartitionSpec("data"))

    return jax.device_put(values, jax.tree.map(placed, values))


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    import numpy as np

    return Mesh(np.asarray(devices), ("data",))
