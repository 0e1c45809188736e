"""What survives in each format: ``python -m benchmarks.formats``.

Writes ``benchmarks/pages/formats.md``: every format of `gsam.results.formats.known` by scenes that
are hard to write, read back in other processes by packages of other people where they are
installed, and by readers that are written from the formats' descriptions; then by gsam itself.
Packages that cannot be installed together may be in several environments, whose Pythons are named
by ``--python``.  Exits with an error where something was lost and no writer told.  The mask of the
image of 60,000 x 40,000 pixels needs 8 GB of free memory.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import importlib.metadata
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.harness import format_judging, format_runs, machine
from benchmarks.harness.format_cases import CASES
from benchmarks.harness.format_packages import OWN, readers_of
from benchmarks.harness.format_runs import Read, Written
from benchmarks.harness.report import bullets
from gsam.results.formats.known import FORMATS

PAGES = Path(__file__).parent / "pages"
DESCRIBED = "reader from the description"
NOT_TRIED, NOT_READ, NO_READER = "not tried", "not read", "no independent reader installed"
NOTES = (
    "`exact`: the label is the same, the mask's IoU is 1, the box is within 0.01 px, and so is each object's number; the "
    "score in the case that has one. `(told)`: the writer counted the loss, and `gsam convert` prints it. `FAIL`: lost, "
    "and nobody told.",
    "A cell of the first table is the best of the format's independent readers, since what one of them reads is in the "
    "file; `by 2` names the reader where the first one does not read all of it. Each reader alone is in the second "
    "table, where an IoU below 1 is the reader's own way to fill outlines, or a field that it does not read.",
    "Independent readers run in processes of their own, in which gsam is not imported. The readers from descriptions "
    "are in `benchmarks/harness/format_readers.py`; they need the standard library, NumPy and Pillow.",
    "`not tried`: a mask of 60,000 x 40,000 pixels is given only to formats that keep run lengths of the whole image, "
    "and its box not to those that have masks only; the others would need gigabytes for one mask.",
    "datumaro is given the COCO file under the name it looks for; COCO results are read with "
    "the images and categories of a truth that is not gsam's.",
)


def title(reader: str, readers: Mapping[str, tuple[str, str]]) -> str:
    """Name a reader with its version."""
    return DESCRIBED if reader == OWN else f"{reader} {readers[reader][1]}"


def row(head: Sequence[str], cells: Sequence[str]) -> str:
    """A row of a table."""
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in (*head, *cells)) + " |"


def head(*first: str) -> list[str]:
    """The first lines of a table of cases."""
    titles = [*first, *CASES]
    return [row(titles, []), "|" + "---|" * len(titles)]


def summary(case: str, one: Written | None, reads: Mapping[str, Mapping[str, Read]]) -> str:
    """Write what survived of a case by the best of all readers."""
    if one is None:
        return NOT_TRIED
    if one.error:
        return f"not written: {one.error}" if one.refused else f"FAIL: not written: {one.error}"
    fates = [(i, got.fates) for i, by_case in enumerate(reads.values(), 1) if (got := by_case.get(case)) and got.fates]
    if not fates:
        return NOT_READ if reads else NO_READER
    best = format_judging.best([read for _, read in fates])
    needed = {field: fate for field, fate in best.items() if field != "box" or "mask" not in best or fate.text}
    full = [i for i, read in fates if all(read.get(field) == fate for field, fate in needed.items())]
    shown = full[:1] or sorted({next(i for i, read in fates if read.get(f) == fate) for f, fate in needed.items()})
    text = format_judging.cell(best, one.told)
    return text if shown == [1] else f"{text} (by {' and '.join(map(str, shown))})"


def alone(case: str, one: Written | None, reads: Mapping[str, Read]) -> str:
    """Write what a single reader got of a case."""
    if one is None or (case not in reads and not one.error):
        return NOT_TRIED
    if one.error:
        return "not written"
    fates = reads[case].fates
    return NOT_READ if fates is None else format_judging.cell(fates, one.told, judged=False)


def itself(case: str, one: Written | None, reads: Mapping[str, Read], told: Mapping[str, Sequence[str]]) -> str:
    """Write what gsam's own reader got of a case."""
    if one is None or one.error:
        return NOT_TRIED if one is None else "not written"
    got = reads[case]
    if got.fates is None:
        return got.error if got.error.startswith("FAIL") else "refused (told)"
    return format_judging.cell(got.fates, one.told, all_told=bool(told[case]))


def gathered(items: Sequence[tuple[str, str, str]]) -> list[str]:
    """List texts with the cases that they are of, from triples of a name, a text and a case."""
    found: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for name, text, case in items:
        found[name, text].append(case)
    every = max(len(CASES) - 1, 3)
    shown = {key: "every case" if len(cases) >= every else ", ".join(cases) for key, cases in found.items()}
    return bullets([f"{name}: {text} ({shown[name, text]})" for name, text in found])


def page(formats: Sequence[str], pythons: Sequence[str], root: Path) -> str:
    """Write all, read all, and return the page."""
    readers = format_runs.installed(formats, pythons)
    written = format_runs.write(root, CASES, formats)
    reads, owns, told = {}, {}, {}
    for name in formats:
        print(f"{name} ...", file=sys.stderr, flush=True)
        reads[name] = format_runs.independent(name, readers, written)
        owns[name], told[name] = format_runs.own(name, written)
    absent = sorted({r.name for name in formats for r in readers_of(name)} - readers.keys())
    packages = ", ".join(
        f"{p} {importlib.metadata.version(p)}" for p in ("numpy", "pillow", "pycocotools", "contourpy")
    )
    out = ["# What survives in each format", ""]
    out += [f"Made by `python -m benchmarks.formats` on {datetime.date.today()}: {machine.processor()}."]
    out += [f"Written with {packages}.", *([f"Not installed: {', '.join(absent)}."] if absent else []), ""]
    out += ["## By independent readers", "", *head("format", "read by")]
    for name in formats:
        by = "; ".join(f"{i} {title(reader, readers)}" for i, reader in enumerate(reads[name], 1))
        out.append(row([name, by], [summary(case, written.get((name, case)), reads[name]) for case in CASES]))
    out += ["", *bullets(NOTES), "", "## Each reader alone", "", *head("format", "reader", "reads")]
    for name in formats:
        gives = {reader.name: reader.gives for reader in readers_of(name)}
        for reader, by_case in reads[name].items():
            cells = [alone(case, written.get((name, case)), by_case) for case in CASES]
            out.append(row([name, title(reader, readers), ", ".join(gives[reader])], cells))
    out += ["", "## By gsam's own reader", "", *head("format")]
    for name in formats:
        out.append(row([name], [itself(c, written.get((name, c)), owns[name], told[name]) for c in CASES]))
    losses = [(name, text, case) for (name, case), one in written.items() for text in one.told]
    errors = [
        (f"{name}, {title(reader, readers)}", got.error, case)
        for name in formats
        for reader, by_case in reads[name].items()
        for case, got in by_case.items()
        if got.error
    ]
    problems = [
        (f"{name}, gsam", text.replace(str(root), "").strip("/"), case)
        for name in formats
        for case, texts in told[name].items()
        for text in dict.fromkeys(texts)
    ]
    out += ["", "## Told by the writers", "", *gathered(sorted(losses, key=lambda item: formats.index(item[0])))]
    out += ["", "## Not read, and why", "", *gathered([*errors, *problems])]
    return "\n".join([*out, ""]).replace(str(root), "")


def main() -> None:
    """Measure, print and write; exit with an error where a loss was not told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], help="a Python that has readers; may be repeated")
    parser.add_argument("--only", action="append", choices=list(FORMATS), help="a format; nothing is written then")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = page(args.only or list(FORMATS), [sys.executable, *args.python], Path(folder))
    print(text)
    if not args.only:
        (PAGES / "formats.md").write_text(text, encoding="utf-8")
    if "FAIL" in text.replace("`FAIL`", ""):
        sys.exit("something was lost and nobody told: look for FAIL")


if __name__ == "__main__":
    main()
