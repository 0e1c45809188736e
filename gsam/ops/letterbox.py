"""The size of a letterboxed image's rectangle, for host and device; needs neither JAX nor numpy."""

from __future__ import annotations

STEP = 32
"""Sides of the rectangle are multiples of this: the largest stride of a YOLO network."""
