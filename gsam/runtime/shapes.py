"""The few shapes that programs are compiled for.

Images reach the device as views of fixed size, so neither their size nor their aspect ratio
compiles anything.  What remains is how many images go together, and how many queries, boxes or
points.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import jax

from gsam.text.queries import MAX_QUERIES
from gsam.types import View

QUERY_BUCKETS = (16, 128, MAX_QUERIES)
"""Queries are padded to the next of these."""
FILLS_A_CPU = 512
"""Side in pixels from which one view keeps all cores of a CPU busy."""


def query_bucket(count: int) -> int:
    """The number that ``count`` queries are padded to.  Raises `ValueError` for too many."""
    if count > MAX_QUERIES:
        raise ValueError(f"{count} queries, at most {MAX_QUERIES} go together: split the list")
    return QUERY_BUCKETS[bisect.bisect_left(QUERY_BUCKETS, count)]


def power_of_two(count: int) -> int:
    """The next power of two, at least 1."""
    return 1 << max(count - 1, 0).bit_length()


def images_per_call(wanted: int, views: Sequence[View], devices: Sequence[jax.Device]) -> int:
    """Choose how many of ``wanted`` images one call takes.

    On a CPU, images with a large view go one per device: together they would take more memory and
    no less time.
    """
    large = max(view.size for view in views) >= FILLS_A_CPU
    return min(len(devices), wanted) if large and devices[0].platform == "cpu" else wanted


def default_batch_size(devices: Sequence[jax.Device]) -> int:
    """Choose how many images to compute together: 8 per accelerator, 1 per device of a CPU.

    Batches pay on accelerators; on a CPU they only cost memory.
    """
    return max(len(devices), 1) * (1 if all(d.platform == "cpu" for d in devices) else 8)


def filled(count: int, devices: Sequence[jax.Device]) -> int:
    """The number that the last ``count`` images are filled up to.

    A power of two per device, so that programs are few and all devices have as many.
    """
    each = -(-count // max(len(devices), 1))
    return power_of_two(each) * max(len(devices), 1)
