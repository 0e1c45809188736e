"""Settings that users give: what each may be, and the error that names the one that may not."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from gsam.errors import UsageError

ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(
        ("box_threshold", "box_thresh", "conf", "conf_thres", "confidence", "score_threshold"), "threshold"
    ),
    **dict.fromkeys(("iou", "iou_threshold", "iou_thres", "nms_threshold", "nms_thresh", "box_nms_thresh"), "nms"),
    **dict.fromkeys(("max_det", "max_detections", "max_boxes", "num_boxes", "top_k"), "boxes"),
    **dict.fromkeys(("text_thresh", "phrase_threshold"), "text_threshold"),
    **dict.fromkeys(("slice", "slice_size", "tile_size", "crop_size"), "tile"),
    **dict.fromkeys(("overlap_ratio", "tile_overlap"), "overlap"),
}
"""Names that settings of a pipeline have in other programs."""


@dataclasses.dataclass(frozen=True)
class Number:
    """The numbers that a setting may be."""

    low: float = -math.inf
    """The least."""
    high: float = math.inf
    """The greatest."""
    whole: bool = False
    """Whether it is a whole number."""
    or_zero: bool = False
    """Whether 0, which switches something off, is allowed below ``low``."""
    above: bool = False
    """Whether ``low`` itself is refused."""
    below: bool = False
    """Whether ``high`` itself is refused."""

    def check(self, name: str, value: object) -> None:
        """Refuse what is no such number.

        Raises:
            gsam.errors.UsageError: It names the setting and says what it may be.
        """
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise UsageError(f"{name} is {value!r}, it must be {self}")
        number = float(value)
        if self.or_zero and number == 0:
            return
        fits = math.isfinite(number) and self.low <= number <= self.high and not (self.whole and number % 1)
        if not fits or (self.above and number == self.low) or (self.below and number == self.high):
            raise UsageError(f"{name} is {value}, it must be {self}")

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        high = f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        if math.isinf(self.low) and math.isinf(self.high):
            return f"{kind} that is finite"
        if math.isinf(self.high):
            return f"{kind} {low}"
        text = f"{kind} {high}" if math.isinf(self.low) else f"{kind} between {self.low:g} and {self.high:g}"
        if self.above or self.below:
            text = f"{kind} {low} and {high}"
        return f"0 or {text}" if self.or_zero else text


SHARE = Number(0, 1)
COUNT = Number(1, whole=True)
MOST_BOXES = 5000
"""More would want gigabytes for comparing each with each."""
LIMITS: Mapping[str, Number] = {
    "boxes": Number(1, MOST_BOXES, whole=True),
    **dict.fromkeys(("threshold", "nms", "duplicate", "group", "inside", "reject", "text_threshold"), SHARE),
    "mask_threshold": Number(),
    "tile": Number(16, 65536, whole=True, or_zero=True),
    "overlap": Number(0, 1, below=True),
}
"""Ranges of `gsam.Limits`."""
GRID: Mapping[str, Number] = {
    "points_per_side": Number(1, 1024, whole=True),
    "pred_iou_thresh": Number(),
    "stability_score_thresh": Number(high=1),
    "stability_score_offset": Number(0),
    "box_nms_thresh": SHARE,
}
"""Ranges of the settings of a `gsam.GridProposer`."""
REFINE: Mapping[str, Number] = {
    "most": Number(1, 1000, whole=True),
    "below": Number(0, 1, above=True),
    "margin": Number(0, 2),
    "zoom": Number(1, 64),
    "together": Number(1, 4, whole=True),
    "agree": SHARE,
    "gain": Number(-1, 1),
}
"""Ranges of the settings of a `gsam.SecondLook`."""


def check_numbers(values: Mapping[str, Any], allowed: Mapping[str, Number], where: str = "") -> None:
    """Check each of some settings.

    Args:
        values: Names and values.
        allowed: What those that are numbers may be; others are not looked at.
        where: Put before the name of a setting in an error, ``"limits."`` for instance.

    Raises:
        gsam.errors.UsageError: One may not be what it is.
    """
    for name, value in values.items():
        if name in allowed:
            allowed[name].check(where + name, value)


def unknown_setting(name: str, known: Iterable[str], text: str | None = None) -> UsageError:
    """Make the error for a setting that does not exist, with what may have been meant.

    Args:
        name: The name that was given.
        known: The names that there are.
        text: What the message begins with; by default that there is no such setting.

    Returns:
        The error, to be raised.
    """
    names, text = sorted(known), text or f"no setting {name!r}"
    if (ours := ELSEWHERE.get(name)) in names:
        return UsageError(f"{text}: it is called {ours!r} here")
    near = difflib.get_close_matches(name, names, 1)
    hint = f"; did you mean {near[0]!r}? There" if near else "; there"
    return UsageError(f"{text}{hint} are {', '.join(names)}")
