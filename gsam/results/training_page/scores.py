"""Scores before and after training, by class and measure, and their means."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from gsam.results.terminal_table import aligned, in_one_line

MOST = 20
"""Classes that have a line in a terminal, by default."""
WIDEST = 28
"""Columns that a class may have there."""
MISSING = "–"


@dataclasses.dataclass(frozen=True)
class Score:
    """A class's score before and after training, by one measure.

    Example:
        >>> Score("dog", "one box", 12, before=0.61, after=0.83).change
        0.22
    """

    label: str
    """The class, in the user's words."""
    prompt: str
    """The prompt of a mean IoU ("one box", "three clicks"), or the measure ("AP50", "accuracy")."""
    count: int
    """Held-out objects of the class."""
    before: float
    """0 to 1; NaN where it was not measured."""
    after: float
    """0 to 1; NaN where it was not measured."""

    @property
    def change(self) -> float:
        """Difference of after and before, rounded to what is shown; NaN where one is unknown."""
        return round(round(self.after, 3) - round(self.before, 3), 3)


@dataclasses.dataclass(frozen=True)
class Mean:
    """A measure's mean over everything that was held out."""

    prompt: str
    count: int
    """Objects."""
    classes: int
    """Classes that have scores."""
    before: float
    """Mean over objects; over classes where that is how the measure is defined (``by_class``)."""
    after: float
    class_before: float
    """Mean over classes, each with the same weight."""
    class_after: float
    by_class: bool
    """The measure is an average precision, which belongs to classes and not to objects."""

    @property
    def change(self) -> float:
        """Difference of after and before, as `Score.change`."""
        return Score("", self.prompt, self.count, self.before, self.after).change


def means(scores: Sequence[Score]) -> list[Mean]:
    """Average the scores of each measure.

    Args:
        scores: Of any classes and measures. Classes that are NaN after training are left out, and
            those that are NaN before it unless all are: both means are over the same objects.

    Returns:
        A mean for each measure, in the order in which they first appear.
    """
    found = []
    for prompt in measures(scores):
        some = [score for score in scores if score.prompt == prompt]
        known = [score for score in some if math.isfinite(score.after)]
        both = [score for score in known if math.isfinite(score.before)] or known
        by_class = prompt.upper().startswith(("AP", "MAP"))
        whole, each = (
            (_mean((s.before, w) for s, w in weighted), _mean((s.after, w) for s, w in weighted))
            for weighted in ([(s, 1 if by_class else s.count) for s in both], [(s, 1) for s in both])
        )
        found.append(Mean(prompt, sum(s.count for s in both), len(both), *whole, *each, by_class))
    return found


def measures(scores: Iterable[Score]) -> list[str]:
    """List the measures in the order in which they first appear."""
    return list(dict.fromkeys(score.prompt for score in scores))


def by_label(scores: Iterable[Score]) -> dict[str, dict[str, Score]]:
    """Group scores by class and then by measure, the classes with most objects first."""
    found: dict[str, dict[str, Score]] = {}
    for score in scores:
        found.setdefault(score.label, {})[score.prompt] = score
    most = {label: max(score.count for score in row.values()) for label, row in found.items()}
    return dict(sorted(found.items(), key=lambda item: (-most[item[0]], item[0])))


def objects(scores: Iterable[Score]) -> int:
    """Count the held-out objects of all classes, each once however many measures it has."""
    return sum(max(score.count for score in row.values()) for row in by_label(scores).values())


def lines(scores: Sequence[Score], most: int = MOST) -> list[str]:
    """Lay scores out as a table for a terminal.

    Args:
        scores: Of any classes and measures.
        most: Classes that have a line, those with most objects.

    Returns:
        Lines: the measures, a head, one line for each class, how many classes there are besides,
        and the mean over all; none without scores.
    """
    if not scores:
        return []
    prompts, classes = measures(scores), by_label(scores)
    rows = [["class", "objects", *("before", "after") * len(prompts)]]
    for label, row in list(classes.items())[:most]:
        cells = [number(v) for p in prompts for v in ((row[p].before, row[p].after) if p in row else (math.nan,) * 2)]
        rows.append([in_one_line(label, WIDEST), f"{max(s.count for s in row.values()):,}", *cells])
    if len(classes) > 1:
        overall = means(scores)
        cells = [number(v) for mean in overall for v in (mean.before, mean.after)]
        rows.append(["all", f"{objects(scores):,}", *cells])
    # A measure stands over its two columns, which are as wide as it needs.
    wide = [max(6, (len(prompt) - 1) // 2) for prompt in prompts]
    found = aligned([[*cells[:2], *(cell.rjust(wide[k // 2]) for k, cell in enumerate(cells[2:]))] for cells in rows])
    if len(classes) > most:
        found.insert(most + 1, f"and {len(classes) - most:,} more classes")
    ends = [len(found[0]) - sum(2 * w + 4 for w in wide[k + 1 :]) for k in range(len(wide))]
    head = ""
    for prompt, end in zip(prompts, ends, strict=True):
        head = head.ljust(end - len(prompt)) + prompt
    return [head, *found]


def number(value: float) -> str:
    """Write a score with three digits; a dash where it is unknown."""
    return f"{value:.3f}" if math.isfinite(value) else MISSING


def difference(value: float) -> str:
    """Write a change with its sign; a dash where it is unknown."""
    if not math.isfinite(value):
        return MISSING
    return "±0.000" if round(value, 3) == 0 else f"{value:+.3f}".replace("-", "−")


def plain(value: float) -> float | None:
    """Give a score as JSON has it: null where it is unknown."""
    return round(float(value), 6) if math.isfinite(value) else None


def _mean(weighted: Iterable[tuple[float, int]]) -> float:
    known = [(value, weight) for value, weight in weighted if math.isfinite(value) and weight > 0]
    whole = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / whole if whole else math.nan
