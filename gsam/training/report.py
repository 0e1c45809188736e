"""Report a training run: scores in the terminal, and a page with curves and the worst cases."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gsam.errors import OutputError
from gsam.results.training_page.curves import Curves
from gsam.results.training_page.scores import Score as Score
from gsam.results.training_page.scores import lines
from gsam.results.training_page.worst import Case as Case
from gsam.results.training_page.write import Run, write_page

LOG = "log.jsonl"
NOT_CURVES = frozenset({"event", "step", "progress", "seconds", "skipped", "row"})
"""Numbers of the log that are no measures of the model."""


def write_report(
    run: Path,
    *,
    title: str,
    settings: Mapping[str, Any],
    scores: Sequence[Score],
    worst: Sequence[Case] = (),
    seconds: float,
    peak_memory: int | None = None,
) -> Path:
    """Write a run's results as a page and as JSON.

    Args:
        run: The run's folder. Gets ``index.html``, which works without a server or a network,
            ``results.json`` and ``worst/*.jpg``; curves are read from its ``log.jsonl``.
        title: The page's heading, such as "sam_vit_b, decoder".
        settings: Plain values by name, shown as they are.
        scores: Of each class and prompt, on images not trained on; none if nothing was held out.
        worst: Held-out objects; the ten with the lowest scores after training are shown.
        seconds: Duration of the run, all its parts together.
        peak_memory: The most memory the run used, in bytes; None where it is not known.

    Returns:
        The path of ``index.html``.

    Raises:
        OutputError: The folder cannot be written.

    Example:
        >>> scores = [Score("dog", "one box", 12, before=0.61, after=0.83)]
        >>> page = write_report(run, title="sam_vit_b", settings={}, scores=scores, seconds=60.0)
    """
    try:
        curves, steps = read_curves(run / LOG)
        return write_page(run, Run(title, settings, scores, worst, curves, seconds, steps, peak_memory))
    except OSError as error:
        raise OutputError(f"{run}: the results page cannot be written: {error.strerror or error}") from error


def print_scores(scores: Sequence[Score]) -> None:
    """Print scores as a table to stdout: one line a class, the most frequent first, and all.

    Args:
        scores: Of any classes and prompts; nothing is printed for none.
    """
    for line in lines(scores):
        print(line)


def read_curves(log: Path) -> tuple[Curves, int]:
    """Read the curves of a run's log.

    Args:
        log: The file of JSON lines. Lines that a kill cut short are skipped; of steps that were
            computed again after one, the later line counts.

    Returns:
        The curves, and the last step; no curves and 0 where there is no log.
    """
    kinds: dict[str, dict[int, dict[str, float]]] = {"step": {}, "evaluate": {}}
    last = 0
    with contextlib.suppress(FileNotFoundError), log.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            row = _row(line)
            if row is None:
                continue
            step = int(row["step"])
            last = max(last, step)
            values = {k: v for k, given in row.items() if k not in NOT_CURVES and (v := _number(given)) is not None}
            kind = kinds["step" if row["event"] == "step" else "evaluate"]
            if row["event"] == "end" and step in kind:
                continue  # the figures of the best parameters, which may be those of an earlier step
            kind.setdefault(step, {}).update(values)
    return Curves(_by_name(kinds["step"]), _by_name(kinds["evaluate"])), last


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        usable = row["event"] in ("step", "evaluate", "end") and math.isfinite(float(row["step"]))
    except (ValueError, LookupError, TypeError):
        return None
    return row if usable else None


def _number(value: Any) -> float | None:
    """A number, also one that is not finite, which the log holds as text."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (ValueError, TypeError):
        return None


def _by_name(rows: Mapping[int, Mapping[str, float]]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for step, values in sorted(rows.items()):
        for name, value in values.items():
            found.setdefault(name, []).append((step, value))
    return found
