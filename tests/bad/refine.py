"""Rows 128: a second look at small things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gsam
from tests.bad.everything import stage
from tests.bad.table import Row, Run, error


def asked(**refine: Any) -> Callable[[Path], Run]:
    return lambda _: lambda: gsam.load("nano", refine=refine)


def boxless(_: Path) -> Run:
    class Points(type(stage())):  # type: ignore[misc]
        prompt_types = frozenset({"foreground"})

    return lambda: gsam.SecondLook(stage(Points))


ROWS: list[Row] = [
    error("128a", "a second look with a setting that does not exist", asked(size=3), "UsageError usage",
          "unknown key refine.size", 2),
    error("128b", "a second look at no things", asked(most=0), "UsageError usage", "refine.most is 0", 2),
    error("128c", "windows that do not divide the view", asked(together=3), "UsageError usage",
          "does not divide the view", 2),
    error("128d", "a second look by a model that takes no boxes", boxless, "UsageError model_takes_no_boxes",
          "cannot be asked with boxes", 2),
]  # fmt: skip
