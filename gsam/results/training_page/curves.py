"""Curves of a run as SVG, which the page stretches to its width."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDE, HIGH = 1000, 300
"""The drawing's own units; the page stretches it."""
MOST_POINTS = 400
"""A line has no more points: those of more steps are averaged."""
MOST_LINES = 6
"""Lines that share axes; each has a colour of its own in the page's style."""
SMOOTH = 20
"""The strong line of a loss averages so many-th of a run around each point."""

Points = Sequence[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class Curves:
    """Numbers of a run by name, each as pairs of step and value; values may be NaN or infinite."""

    steps: Mapping[str, Points]
    """Those of training: ``loss`` and whatever else was logged."""
    evaluations: Mapping[str, Points]
    """Those of data not trained on."""


def charts(curves: Curves) -> tuple[list[str], list[str]]:
    """Draw a run's curves.

    Args:
        curves: The numbers.

    Returns:
        The charts to look at first, loss and evaluations; and those of all other numbers.  Each
        is an HTML ``figure``.
    """
    first = [_chart("Training loss", {"loss": curves.steps["loss"]}, smooth=True)] if "loss" in curves.steps else []
    shares = {name: points for name, points in curves.evaluations.items() if _within_one(points)}
    names = list(shares)
    for start in range(0, len(names), MOST_LINES):
        title = "Evaluation" if start == 0 else "Evaluation, continued"
        first.append(_chart(title, {name: shares[name] for name in names[start : start + MOST_LINES]}, dots=True))
    rest = [_chart(name, {name: points}, smooth=True) for name, points in curves.steps.items() if name != "loss"]
    rest += [
        _chart(f"{name}, evaluation", {name: points}, dots=True)
        for name, points in curves.evaluations.items()
        if name not in shares
    ]
    return [chart for chart in first if chart], [chart for chart in rest if chart]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Choose evenly spaced round numbers that enclose a range.

    Args:
        low: The smallest value.
        high: The largest, not below it.
        most: Numbers that are wanted at most, 3 or more.

    Returns:
        Two or more ascending numbers, the first at most ``low``, the last at least ``high``.
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = 0.5 * abs(high) or 0.5
        low, high = low - pad, high + pad
    size = 10.0 ** math.floor(math.log10(high - low) - 1)
    for step in (size * m for m in (1, 2, 5, 10, 20, 50, 100)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    return [round(k * step, 12) for k in range(first, last + 1)]


def _chart(title: str, lines: Mapping[str, Points], *, smooth: bool = False, dots: bool = False) -> str:
    """Lay out a figure of lines on the same axes; "" where no value is finite."""
    known = {name: found for name, points in lines.items() if len(found := _finite(points))}
    if not known:
        return ""
    end = max(float(found[-1, 0]) for found in known.values())
    start = 0.0 if end > 0 else -1.0
    drawn = {name: _averaged(found, MOST_POINTS) for name, found in known.items()}
    strong = {name: _smoothed(points) if smooth else points for name, points in drawn.items()}
    low = min(float(points[:, 1].min()) for points in drawn.values())
    high = max(float(points[:, 1].max()) for points in drawn.values())
    if smooth:
        high = min(high, _usual_high(drawn, strong))
    marks = ticks(low, high)

    def path(points: NDArray[np.float64]) -> str:
        x = (points[:, 0] - start) / (end - start) * WIDE
        y = (marks[-1] - points[:, 1]) / (marks[-1] - marks[0]) * HIGH
        y = y.clip(-HIGH, 2 * HIGH)
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))

    grid = "".join(f'<path class="grid" d="M0 {k * HIGH / (len(marks) - 1):.1f}H{WIDE}"/>' for k in range(len(marks)))
    parts = []
    for k, name in enumerate(drawn):
        if smooth:
            parts.append(f'<polyline class="faint c{k}" points="{path(drawn[name])}"/>')
        parts.append(f'<polyline class="c{k}" points="{path(strong[name])}"/>')
        if dots or len(known[name]) == 1:  # a line of no length with round ends is a dot
            parts += [f'<path class="dot c{k}" d="M{at.replace(",", " ")}h0"/>' for at in path(drawn[name]).split(" ")]
    words = [_told(name, lines[name], known[name]) for name in known]
    legend = "".join(f'<li><span class="key c{k}"></span>{escape(text)}</li>' for k, text in enumerate(words))
    labels = "".join(f"<span>{escape(short(mark))}</span>" for mark in reversed(marks))
    middle = short(round((start + end) / 2)) if end - start >= 2 else ""
    names = escape(json.dumps(list(drawn)))
    return (
        f'<figure class="chart"><figcaption><h3>{escape(title)}</h3><ul class="legend">{legend}</ul></figcaption>'
        f'<div class="plot"><div class="ys" aria-hidden="true">{labels}</div>'
        f'<svg class="{"" if smooth else "open"}" viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" '
        f'role="img" data-names="{names}" data-range="{start:g} {end:g} {marks[0]:g} {marks[-1]:g}" '
        f'aria-label="{escape(title)}: {escape("; ".join(words))}">{grid}{"".join(parts)}</svg>'
        f'<div class="xs" aria-hidden="true"><span>{short(max(start, 0.0))}</span><span>{middle}</span>'
        f"<span>{short(end)} steps</span></div></div></figure>"
    )


def short(value: float) -> str:
    """Write a number in few letters: 12,000, 0.25, 1e-05."""
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _told(name: str, points: Points, known: NDArray[np.float64]) -> str:
    """A line in words."""
    last = f"{short(known[-1, 1])} at step {int(known[-1, 0]):,}"
    text = f"{name}: {last}" if len(known) == 1 else f"{name}: from {short(known[0, 1])} to {last}"
    lost = len(points) - len(known)
    return f"{text}; {lost:,} not finite" if lost else text


def _finite(points: Points) -> NDArray[np.float64]:
    found = np.array(points, np.float64).reshape(-1, 2)
    return found[np.isfinite(found).all(1)]


def _within_one(points: Points) -> bool:
    found = _finite(points)
    return len(found) > 0 and bool((found[:, 1] >= 0).all() and (found[:, 1] <= 1).all())


def _averaged(points: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Points, or the means of as many even groups of them as there may be."""
    if len(points) <= most:
        return points
    return np.stack([group.mean(0) for group in np.array_split(points, most)])


def _smoothed(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value averaged with those around it, with as many before as after."""
    half = len(points) // (2 * SMOOTH)
    total = np.concatenate([[0.0], np.cumsum(points[:, 1])])
    at = np.arange(len(points))
    reach = np.minimum(half, np.minimum(at, len(points) - 1 - at))
    means = (total[at + reach + 1] - total[at - reach]) / (2 * reach + 1)
    return np.stack([points[:, 0], means], 1)


def _usual_high(drawn: Mapping[str, NDArray[np.float64]], strong: Mapping[str, NDArray[np.float64]]) -> float:
    """A height that cuts off the first steps and lone peaks where they would flatten the rest."""
    highs = []
    for name, points in drawn.items():
        values = points[:, 1]
        later = strong[name][len(values) // 20 :, 1]
        usual = float(np.quantile(values, 0.98))
        highs.append(max(usual + 0.1 * (usual - float(values.min())), float(later.max())))
    return max(highs)
