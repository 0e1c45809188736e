"""The page of `benchmarks.serve`."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

OVERHEAD = 0.010
"""Goal: seconds that a click may take over the decoder's own, in the median."""
SHARE = 0.85
"""Goal: images a second of many clients, to ``pipe.stream``."""
TITLES = {"nano": "Clicks with nano", "sam": "Clicks with SAM ViT-B", "words": "Words"}


def page(report: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        report: What was measured; a section that was not is absent.
    """
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items() if version != "absent")
    out = [
        "# The server",
        "",
        f"Made by `{report['command']}` on {report['date']}: {report['machine']}; {versions}. It took "
        f"{report['took']:.0f} s; load before it: {report['load']}.",
        "",
        *textwrap.wrap(
            "Real HTTP on loopback. The clients are one other process on the same machine, with a thread and an open "
            "connection each, that ask again as soon as they are answered; what they take of the processor, the server "
            "does not have.",
            100,
        ),
        "",
    ]
    for name, title in TITLES.items():
        if name not in report:
            continue
        about = report.get("made", {}).get(name, report)
        out += [f"## {title}", ""]
        if about["command"] != report["command"] or about["date"] != report["date"]:
            out += [
                f"Made by `{about['command']}` on {about['date']}: {about['machine']}; load before it: {about['load']}.",
                "",
            ]
        out += [*(_words(report[name]) if name == "words" else _clicks(name, report[name])), ""]
    return "\n".join(out).rstrip() + "\n"


def wrong(report: Mapping[str, Any]) -> list[str]:
    """List what is not as it should be; a slow machine is not among it."""
    found = []
    for name, section in report.items():
        if bad := {status for statuses in _statuses(name, section) for status in statuses} - {"200"}:
            found.append(f"{name} was answered {', '.join(sorted(bad))}")
    return found


def _statuses(name: str, section: Mapping[str, Any]) -> Iterator[Mapping[str, int]]:
    if name == "words":
        yield from (run["statuses"] for run in section["runs"]["server"])
    else:
        yield from (row["statuses"] for run in section["runs"] for row in run.values() if "statuses" in row)


def _clicks(name: str, found: Mapping[str, Any]) -> list[str]:
    runs, many = found["runs"], str(found["clients"])
    own, one, all_of_them = (_medians(runs, name) for name in ("alone", "1", many))
    over = statistics.median(run["1"]["p50"] - run["alone"]["p50"] for run in runs)
    busy = statistics.median(run[many]["each"] - run["alone"]["p50"] for run in runs)
    spread = _between([run["1"]["p50"] - run["alone"]["p50"] for run in runs])
    met = "met" if over <= OVERHEAD else "**missed**"
    height, width = found["size"]
    model = (
        "a tiny seeded SAM" if found["small"] and "sam" in found["about"]["predictor"] else found["about"]["predictor"]
    )
    return [
        "| | p50 | p99 | a click, of all together |",
        "|---|---|---|---|",
        f"| the predictor, without a server | {_ms(own['p50'])} | {_ms(own['p99'])} | |",
        f"| one client | {_ms(one['p50'])} | {_ms(one['p99'])} | {_ms(one['each'])} |",
        f"| {many} clients at once | {_ms(all_of_them['p50'])} | {_ms(all_of_them['p99'])} | {_ms(all_of_them['each'])} |",
        *_noted(
            f"Over the predictor's own time, one client, p50: **{_ms(over)}** ({spread} between rounds); goal "
            f"{_ms(OVERHEAD)} or less: {met}.",
            f"{many} clients wait for one decoder, so each sees about {many} times its own time; of all together, a click "
            f"takes {_ms(busy)} more than the predictor alone.",
            f"Model: {model}. A lone point in a session of an image of {width} x {height} pixels: three masks, answered as "
            f"run lengths. {found['repeats']} rounds, in each {found['clicks']} clicks of the predictor, of one client, and "
            "of all clients together; medians over rounds.",
            f"{found['about']['compilations']} programs were compiled in all; most memory {found['about']['peak'] / 1e9:.2f} GB.",
        ),
    ]


def _words(found: Mapping[str, Any]) -> list[str]:
    runs = found["runs"]
    server = runs["server"]
    ratios = [row["rate"] / alone["rate"] for row, alone in zip(server, runs["stream"], strict=True)]
    written = [row["rate"] / alone["rate"] for row, alone in zip(server, runs["stream, written"], strict=True)]
    share = statistics.median(ratios)
    met = "met" if share >= SHARE else "**missed**"
    rate = {name: statistics.median(row["rate"] for row in rows) for name, rows in runs.items()}
    p50, p99 = (_ms(statistics.median(row[key] for row in server)) for key in ("p50", "p99"))
    return [
        "| | images/s | p50 | p99 |",
        "|---|---|---|---|",
        f"| `pipe.stream` | {rate['stream']:.1f} | | |",
        f"| `pipe.stream`, and each result written as JSON | {rate['stream, written']:.1f} | | |",
        f"| {found['clients']} clients at once | {rate['server']:.1f} | {p50} | {p99} |",
        *_noted(
            f"Clients to `pipe.stream`: **{share:.2f}** ({_between(ratios, '{:.2f}')} between rounds); goal {SHARE:g} or "
            f"more: {met}. To the second row: {statistics.median(written):.2f}.",
            f"{found['about']['pipeline']}, {found['images']} JPEG files of the shipped scene, shifted; `pipe.stream` opens "
            f"the same files, in batches of {found['about']['together']}, as the server's. {found['repeats']} rounds in "
            "turns in one process; medians over rounds.",
            f"{found['about']['compilations']} programs were compiled in all; most memory {found['about']['peak'] / 1e9:.2f} GB.",
        ),
    ]


def _medians(runs: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    keys = [key for key in ("p50", "p99", "each") if key in runs[0][name]]
    return {key: statistics.median(run[name][key] for run in runs) for key in keys}


def _between(values: Sequence[float], form: str | None = None) -> str:
    low, high = min(values), max(values)
    return f"{form.format(low)} to {form.format(high)}" if form else f"{_ms(low)} to {_ms(high)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _noted(*notes: str) -> list[str]:
    return ["", *(textwrap.fill(f"- {note}", 100, subsequent_indent="  ") for note in notes)]
