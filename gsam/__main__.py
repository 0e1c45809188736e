"""``gsam`` and ``python -m gsam``."""

from __future__ import annotations

from gsam.cli import main as main

if __name__ == "__main__":
    main()
