"""``gsam`` and ``python -m gsam``."""

from __future__ import annotations

from typing import NoReturn

from gsam import cli
from gsam.dataset.lock import hold_until_exit


def main() -> NoReturn:
    """Run the command line in a process of its own."""
    hold_until_exit()
    cli.main()


if __name__ == "__main__":
    main()
