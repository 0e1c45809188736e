"""Where a worker runs, and on which models."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where a worker runs, and on which models."""

    folder: Path
    """The folder of the checkpoints."""
    small: bool = False
    """Reduced models, to try a script."""
    device: str = "cpu"
    """``"cpu"`` or ``"gpu"``."""
    half: bool = False
    """bfloat16 instead of float32."""
