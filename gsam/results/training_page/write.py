"""Write ``index.html``, ``results.json`` and the images of the worst cases of a training run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gsam.files import atomic_file
from gsam.results.offline.page import lay_out
from gsam.results.training_page.curves import Curves, charts
from gsam.results.training_page.scores import (
    MISSING,
    Mean,
    Score,
    by_label,
    difference,
    means,
    measures,
    number,
    objects,
    plain,
)
from gsam.results.training_page.worst import Case, draw, worst_of

PAGE, NUMBERS, FOLDER = "index.html", "results.json", "worst"
NAMES = {"truth": "true mask", "before": "before", "after": "after"}
LONG = 300
"""Letters of a name that are shown."""


@dataclasses.dataclass(frozen=True)
class Run:
    """All that the page tells of a training run."""

    title: str
    settings: Mapping[str, Any]
    """Plain values by name."""
    scores: Sequence[Score]
    worst: Sequence[Case]
    """Those of the ten lowest scores are shown."""
    curves: Curves
    seconds: float
    """Duration of the run."""
    steps: int
    """Steps of training; 0 where they are unknown."""
    peak_memory: int | None
    """Bytes; None where they are unknown."""


def write_page(folder: Path, run: Run) -> Path:
    """Write the page and what belongs to it; the same run gives the same bytes.

    Args:
        folder: Gets ``index.html``, ``results.json`` and ``worst/*.jpg``; images that an earlier
            page left there are removed.
        run: The run.

    Returns:
        The path of ``index.html``.

    Raises:
        OSError: The folder cannot be written.
    """
    cases = worst_of(run.worst)
    written = set()
    for k, case in enumerate(cases):
        for name, jpeg in draw(case).items():
            _write(folder / FOLDER / _file(k, name), jpeg)
            written.add(_file(k, name))
    for path in (folder / FOLDER).glob("*.jpg"):
        if path.name not in written:
            path.unlink(missing_ok=True)
    _write(folder / NUMBERS, json.dumps(as_numbers(run), indent=1, ensure_ascii=True, allow_nan=False).encode())
    _write(folder / PAGE, _page(run, cases).encode("utf-8", "replace"))
    return folder / PAGE


def as_numbers(run: Run) -> dict[str, Any]:
    """Give the run as plain values for JSON; null where a score is unknown."""
    return {
        "title": run.title,
        "steps": run.steps,
        "seconds": round(run.seconds, 3),
        "peak_memory": run.peak_memory,
        "settings": dict(run.settings),
        "means": [
            {
                "prompt": mean.prompt,
                "count": mean.count,
                "classes": mean.classes,
                "before": plain(mean.before),
                "after": plain(mean.after),
                "class_before": plain(mean.class_before),
                "class_after": plain(mean.class_after),
            }
            for mean in means(run.scores)
        ],
        "scores": [
            {
                "label": score.label,
                "prompt": score.prompt,
                "count": score.count,
                "before": plain(score.before),
                "after": plain(score.after),
            }
            for score in run.scores
        ],
        "worst": [
            {
                "image": case.image,
                "label": case.label,
                "prompt": case.prompt,
                "before": plain(case.before_score),
                "after": plain(case.after_score),
            }
            for case in worst_of(run.worst)
        ],
    }


def _page(run: Run, cases: Sequence[Case]) -> str:
    first, rest = charts(run.curves)
    drawn = f'<div class="charts">{"".join(first)}</div>' if first else _note("No steps were logged.")
    if rest:
        drawn += f'<details class="more"><summary>{len(rest)} more</summary><div class="charts">{"".join(rest)}</div></details>'
    settings = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(_setting(value))}</td></tr>'
        for name, value in run.settings.items()
    )
    return lay_out(
        Path(__file__).parent,
        {
            "title": escape(run.title[:LONG]),
            "totals": _totals(run),
            "means": _cards(run.scores),
            "charts": drawn,
            "classes": _table(run.scores),
            "classesHidden": "" if run.scores else "hidden",
            "worst": _worst(cases),
            "settings": settings or '<tr><td class="sub">None were given.</td></tr>',
        },
    )


def _totals(run: Run) -> str:
    totals = {"steps": f"{run.steps:,}" if run.steps else None, "time": _duration(run.seconds)}
    if run.steps and run.seconds > 0:
        totals["a step"] = _duration(run.seconds / run.steps)
    if run.peak_memory is not None:
        totals["peak memory"] = f"{run.peak_memory / 2**30:.1f} GiB"
    if run.scores:
        totals["held-out objects"] = f"{objects(run.scores):,}"
        totals["classes"] = f"{len(by_label(run.scores)):,}"
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in totals.items() if value)


def _cards(scores: Sequence[Score]) -> str:
    if not scores:
        return _note("Nothing was held out, so nothing was scored.")
    return f'<div class="cards">{"".join(_card(mean) for mean in means(scores))}</div>'


def _card(mean: Mean) -> str:
    objects = "1 object" if mean.count == 1 else f"{mean.count:,} objects"
    classes = "1 class" if mean.classes == 1 else f"{mean.classes:,} classes"
    what = f"Mean over {classes}, {objects}" if mean.by_class else f"Mean over {objects}"
    if not mean.by_class and mean.classes > 1:
        what += f"; over {classes}, {number(mean.class_before)} → {number(mean.class_after)}"
    return (
        f'<div class="card"><h3>{escape(mean.prompt)}</h3>'
        f'<p class="big"><small>{number(mean.before)} →</small> {number(mean.after)}</p>'
        f'<p class="change {_direction(mean.change)}">{difference(mean.change)}</p>'
        f'{_scale(mean)}<p class="sub">{what}</p></div>'
    )


def _scale(mean: Mean) -> str:
    """The way from before to after on a line from 0 to 1."""
    parts = ['<path class="all" d="M0 8H100"/>']
    before, after = (100 * value for value in (mean.before, mean.after))
    if math.isfinite(before + after):
        parts.append(f'<path class="moved" d="M{before:.1f} 8H{after:.1f}"/>')
    parts += [
        f'<path class="{kind}" d="M{value:.1f} 8h0"/>'
        for kind, value in (("old", before), ("new", after))
        if math.isfinite(value)
    ]
    return (
        f'<svg class="scale" viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'
    )


def _table(scores: Sequence[Score]) -> str:
    prompts = measures(scores)
    groups = "".join(
        f'<th colspan="3" scope="colgroup" class="begins" data-measure="{k}">{escape(prompt)}</th>'
        for k, prompt in enumerate(prompts)
    )
    heads = [_head("Class", ""), _head("Objects", "", sort="descending")]
    for k in range(len(prompts)):
        measure = f' data-measure="{k}"'
        heads += [_head("before", f' class="begins"{measure}'), _head("after", measure), _head("change", measure)]
    rows = []
    for label, known in by_label(scores).items():
        count = max(score.count for score in known.values())
        cells = [
            _cells(k, score.before, score.after, score.change)
            for k, prompt in enumerate(prompts)
            for score in [known.get(prompt, Score(label, prompt, 0, math.nan, math.nan))]
        ]
        rows.append(
            f'<tr><th scope="row">{escape(label[:LONG]) or "(no name)"}</th>'
            f'<td data-value="{count}">{count:,}</td>{"".join(cells)}</tr>'
        )
    overall = means(scores)
    foot = ""
    if len(rows) > 1:
        cells = [_cells(k, mean.before, mean.after, mean.change) for k, mean in enumerate(overall)]
        foot = f'<tfoot><tr><th scope="row">All</th><td>{objects(scores):,}</td>{"".join(cells)}</tr></tfoot>'
    return (
        f'<table class="classes"><thead><tr><th></th><th></th>{groups}</tr><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody>{foot}</table>"
    )


def _head(name: str, attributes: str, sort: str = "") -> str:
    sorted_by = f' aria-sort="{sort}"' if sort else ""
    return f'<th scope="col"{attributes}{sorted_by}><button type="button">{name}</button></th>'


def _cells(k: int, before: float, after: float, change: float) -> str:
    cells = [
        ("begins", before, number(before)),
        ("", after, number(after)),
        (_direction(change), change, difference(change)),
    ]
    return "".join(
        f'<td{f" class={chr(34)}{kind}{chr(34)}" if kind else ""} data-measure="{k}" data-value="{_value(value)}">{text}</td>'
        for kind, value, text in cells
    )


def _worst(cases: Sequence[Case]) -> str:
    if not cases:
        return _note("No cases were kept.")
    inks = "".join(f'<li><span class="ink {name}"></span>{text}</li>' for name, text in NAMES.items())
    items = "".join(_case(k, case) for k, case in enumerate(cases))
    return f'<ul class="inks">{inks}</ul><ul id="worst">{items}</ul>'


def _case(k: int, case: Case) -> str:
    figures = []
    label, image = case.label[:LONG] or "(no name)", case.image[:LONG]
    scores = {"truth": None, "before": case.before_score, "after": case.after_score}
    for name, text in NAMES.items():
        score = scores[name]
        said = text if score is None else f"{text} <b>{number(score)}</b>"
        mask = getattr(case, name)
        if mask is not None and not mask.any():
            said += ", nothing found"
        if mask is None:
            shown = '<div class="kept">not kept</div>'
        else:
            alt = f"{label} in {image}: {text}"
            alt += "" if score is None or not math.isfinite(score) else f" training, score {number(score)}"
            file = f"{FOLDER}/{_file(k, name)}"
            shown = f'<a href="{file}"><img src="{file}" alt="{escape(alt)}" loading="lazy" decoding="async"></a>'
        figures.append(f"<figure>{shown}<figcaption>{said}</figcaption></figure>")
    return (
        f'<li class="card"><h3>{escape(label)}</h3><p class="sub">{escape(case.prompt)}, {escape(image)}</p>'
        f'<div class="three">{"".join(figures)}</div></li>'
    )


def _file(k: int, name: str) -> str:
    return f"{k:02d}_{name}.jpg"


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def _direction(change: float) -> str:
    return "" if not math.isfinite(change) or change == 0 else "up" if change > 0 else "down"


def _value(value: float) -> str:
    return f"{value:.6f}" if math.isfinite(value) else ""


def _setting(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds < 0:
        return MISSING
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)
