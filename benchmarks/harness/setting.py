"""Where and on what a worker runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where and on what a side runs."""

    folder: Path
    """Of the checkpoints."""
    small: bool = False
    device: str = "cpu"
    """``cpu`` or ``gpu``."""
    half: bool = False
    """bfloat16 instead of float32."""
