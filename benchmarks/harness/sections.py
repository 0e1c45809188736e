"""The sections of a report: chosen on the command line, and kept from earlier runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from typing import Any

MADE = ("command", "date", "machine", "load", "took", "versions")
"""Facts about a run that are noted for each of its sections, as far as it has them."""


def chooser(known: Collection[str]) -> Callable[[str], list[str]]:
    """Make the type of an option that names sections by commas."""

    def sections(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",")]
        if unknown := set(found) - set(known):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}: {', '.join(known)}")
        return found

    return sections


def joined(report: dict[str, Any], before: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Add the sections of an earlier report that are not in this one, and note who made them."""
    made = {name: _about(report) for name in known if name in report}
    kept = {name: before[name] for name in known if name in before and name not in report}
    made |= {name: before.get("made", {}).get(name) or _about(before) for name in kept}
    return {**report, **kept, "made": made}


def _about(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in MADE if key in report}
