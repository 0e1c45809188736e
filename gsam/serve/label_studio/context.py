"""The context of an interactive request: keypoints, rectangles and words of Label Studio's user."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from gsam.errors import UsageError
from gsam.results.formats.shapes import corners, turned
from gsam.types import JsonMapping

LABELS = ("keypointlabels", "rectanglelabels", "labels", "brushlabels", "polygonlabels")


@dataclasses.dataclass
class Prompt:
    """The user's wish; coordinates are shares of the image, in 0..1."""

    points: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    positive: list[int] = dataclasses.field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = dataclasses.field(default_factory=list)
    words: list[str] = dataclasses.field(default_factory=list)
    label: str | None = None
    """The label that the user has chosen for it."""
    image: str | None = None
    """Name of the Image tag."""


def is_interactive(context: Any) -> bool:
    """Tell whether a request asks for something in particular, and not for all labels."""
    return isinstance(context, dict) and isinstance(context.get("result"), list) and bool(context["result"])


def read_context(context: JsonMapping, most: int) -> Prompt:
    """Read what the user clicked, drew and wrote.

    Args:
        context: Has ``result``, a list of Label Studio's results.
        most: Prompts, at most.

    Returns:
        The prompts, without those of kinds that gsam does not know.

    Raises:
        UsageError: There is none among them, there are too many, or the image was turned by hand
            (``context``).
    """
    results = [one for one in context["result"] if isinstance(one, dict)]
    if len(results) > most:
        raise UsageError(f"{len(results)} prompts on one image, at most {most} are taken", "context")
    prompt, seen = Prompt(), set()
    for one in results:
        value, identity = one.get("value"), one.get("id")
        if isinstance(value, dict):
            _read_label(one, value, prompt)
            if not isinstance(identity, str) or identity not in seen:  # a Labels tag repeats a region
                _read(one, value, prompt)
        if isinstance(identity, str):
            seen.add(identity)
    if not (prompt.points or prompt.boxes or prompt.words):
        kinds = ", ".join(sorted({str(one.get("type"))[:30] for one in results})) or "nothing"
        raise UsageError(
            f"gsam is asked with keypoints, rectangles and the text of a TextArea, and got: {kinds}", "context"
        )
    return prompt


def _read_label(result: JsonMapping, value: JsonMapping, prompt: Prompt) -> None:
    if isinstance(result.get("to_name"), str):
        prompt.image = result["to_name"]
    for name in LABELS:
        if isinstance(value.get(name), list) and value[name]:
            prompt.label = str(value[name][0])


def _read(result: JsonMapping, value: JsonMapping, prompt: Prompt) -> None:
    if "text" in value:
        texts = value["text"] if isinstance(value["text"], list) else [value["text"]]
        prompt.words += [text for text in texts if isinstance(text, str) and text.strip()]
        return
    if not {"x", "y"} <= value.keys() or "radiusX" in value:
        return
    if result.get("image_rotation"):
        raise UsageError("the image is turned in Label Studio: turn it back to click on it", "context")
    if {"width", "height"} <= value.keys() and not str(result.get("type")).startswith("keypoint"):
        if (box := _box(result, value)) is not None:
            prompt.boxes.append(box)
        return
    if (point := _numbers(value["x"], value["y"])) is not None:
        prompt.points.append((_share(point[0]), _share(point[1])))
        positive = result.get("is_positive", value.get("is_positive", 1))
        prompt.positive.append(int(positive not in (0, False, None, "0", "false")))


def _box(result: JsonMapping, value: JsonMapping) -> tuple[float, float, float, float] | None:
    """The rectangle, of one that is turned the bounds; None where it has no area in the image."""
    numbers = _numbers(value["x"], value["y"], value["width"], value["height"], value.get("rotation") or 0)
    sides = _numbers(result.get("original_width", 1), result.get("original_height", 1)) or [1.0, 1.0]
    if numbers is None or min(sides) <= 0:
        return None
    x, y, w, h, turn = numbers
    scale = np.array(sides) / 100
    ends = turned(corners([x, y, x + w, y + h]) * scale, [x * scale[0], y * scale[1]], turn) / scale
    x0, y0, x1, y1 = (_share(float(v)) for v in (*ends.min(0), *ends.max(0)))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _numbers(*values: Any) -> list[float] | None:
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    found = [float(value) if abs(value) < 1e9 else math.inf for value in values]
    return found if all(map(math.isfinite, found)) else None


def _share(percent: float) -> float:
    return min(max(percent / 100, 0.0), 1.0)
