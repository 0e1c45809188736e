"""Motion of things in a clip: smooth paths through a few points, in and out of the frame.

A path is [T, 4] float64: the centre's x and y in pixels, the angle in radians, and the logarithm of
a factor of the size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STRIDE = 5
"""Frames between two points of a path, about."""
HABITS: dict[str, float] = {"stay": 0.5, "late": 0.2, "away": 0.2, "leave": 0.1}
"""Shares of the ways in which a thing moves: stays in the frame, enters late, leaves and enters
again, leaves for good.
"""


def smooth(points: Floats, frames: int) -> Floats:
    """The Catmull-Rom curve through ``points`` [K, D], even in time, at ``frames`` moments:
    [frames, D].
    """
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    at = np.linspace(0, len(points) - 1, frames)
    k = np.minimum(at.astype(int), len(points) - 2)
    u = (at - k)[:, None]
    a, b, c, d = (padded[k + i] for i in range(4))
    return 0.5 * (2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * b - a - 3 * c + d) * u**3)


def count(frames: int) -> int:
    """Number of points of a path of ``frames`` frames has: at least three, so that it can leave and
    come back.
    """
    return max(3, 1 + round((frames - 1) / STRIDE))


def habit(rng: np.random.Generator, points: int, kind: str) -> NDArray[np.bool_]:
    """[points] bool: at which points a thing of this habit (a key of `HABITS`) is in the frame."""
    inside = np.ones(points, bool)
    if kind == "late":
        inside[: int(rng.integers(1, points - 1))] = False
    elif kind == "leave":
        inside[int(rng.integers(1, points)) :] = False
    elif kind == "away":
        start = int(rng.integers(1, points - 1))
        inside[start : int(rng.integers(start + 1, points))] = False
    return inside


def places(rng: np.random.Generator, size: tuple[int, int], side: float, inside: NDArray[np.bool_]) -> Floats:
    """Where a thing ``side`` pixels large is at each point: [K, 2], x and y.

    Steps are up to a quarter of the short side; a thing that leaves does so by one edge, and stays
    near it.
    """
    h, w = size
    span = np.array([w, h], float)
    margin = np.minimum(0.3 * side, 0.45 * span)
    step = min(h, w) * rng.uniform(0.0, 0.25)
    edge = int(rng.integers(4))  # left, top, right, bottom
    at = rng.uniform(margin, span - margin)
    if not inside.all():
        near = rng.uniform(0.1, 0.4) * span[edge % 2]
        at[edge % 2] = near if edge < 2 else span[edge % 2] - near
    heading = rng.uniform(0, 2 * np.pi)
    found = np.empty((len(inside), 2))
    for k, within in enumerate(inside):
        found[k] = at
        if not within:
            beyond = side * rng.uniform(0.75, 1.0)
            found[k, edge % 2] = -beyond if edge < 2 else span[edge % 2] + beyond
        heading += rng.normal(0, 0.7)
        moved = at + step * rng.uniform(0.5, 1.0) * np.array([np.cos(heading), np.sin(heading)])
        if ((moved < margin) | (moved > span - margin)).any():
            heading += np.pi * rng.uniform(0.5, 1.0)
        at = np.clip(moved, margin, span - margin)
    return found


def turns(rng: np.random.Generator, points: int) -> Floats:
    """Angle and log size at each point: [K, 2].

    Angles drift by some ten degrees, sizes by a tenth or two.
    """
    start = np.deg2rad(rng.normal(0, 18) if rng.random() < 0.85 else rng.uniform(-180, 180))
    angle = start + np.cumsum(np.deg2rad(rng.normal(rng.normal(0, 4), 6, points)))
    grow = np.clip(np.cumsum(rng.normal(rng.normal(0, 0.04), 0.05, points)), -0.45, 0.45)
    return np.stack([angle, grow], 1)
