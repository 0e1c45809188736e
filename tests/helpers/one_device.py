"""The machine of most users, in tests that do what users do: one device."""

from __future__ import annotations

from typing import Any

import jax
import pytest


def one_device(patch: pytest.MonkeyPatch) -> None:
    """Hide all local devices but the first."""
    every = jax.local_devices

    def first(*given: Any, **more: Any) -> list[jax.Device]:
        return every(*given, **more)[:1]

    patch.setattr(jax, "local_devices", first)
