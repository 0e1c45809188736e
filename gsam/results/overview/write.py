"""Write ``index.html``, which shows a labelled data set without a server or a network."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.files import atomic_file, atomic_path
from gsam.inputs.image import Picture
from gsam.results.draw.colours import Colour, colours
from gsam.results.offline.page import as_data, lay_out
from gsam.results.overview import sheet
from gsam.results.overview.survey import LONG, Chosen, ClassCount, Survey
from gsam.results.overview.thumbnails import Cell, Illustrated, illustrate
from gsam.results.terminal_table import aligned, in_one_line

if TYPE_CHECKING:
    from gsam.types import Json

PAGE, FOLDER, SHEET = "index.html", "overview", "contact_sheet.jpg"
MOST = 500
"""Images that are shown, by default."""
LISTED = 1000
"""Classes that have a row on the page, besides those of the images that are shown."""
THREADS = min(4, os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class Overview:
    """A data set's counts, and where its page is."""

    page: Path
    images: int
    """All rows."""
    failed: int
    """Rows with an error."""
    empty: int
    """Images without objects."""
    objects: int
    shown: int
    """Images on the page."""
    classes: list[ClassCount]
    """The most frequent first."""

    @property
    def counts(self) -> collections.Counter[str]:
        """Objects of each class."""
        return collections.Counter({known.label: known.objects for known in self.classes})

    def lines(self, most: int = 20) -> list[str]:
        """Lay the counts out as a table for a terminal.

        Args:
            most: Classes that have a line.

        Returns:
            Lines: a head, one for each class, and how many classes there are besides.
        """
        if not self.classes:
            return []
        shown = self.classes[:most]
        rows = [["label", "objects", "images", "mean score"]]
        rows += [[in_one_line(c.label), f"{c.objects:,}", f"{c.images:,}", f"{c.mean:.2f}"] for c in shown]
        if len(self.classes) > 1:
            rows.append(
                ["all", f"{self.objects:,}", f"{self.images - self.failed - self.empty:,}", f"{self._mean:.2f}"]
            )
        lines = aligned(rows)
        if len(self.classes) > most:
            lines.insert(most + 1, f"and {len(self.classes) - most:,} more classes")
        return lines

    @property
    def _mean(self) -> float:
        return sum(known.total for known in self.classes) / max(self.objects, 1)


def write_overview(
    folder: Path, rows: Iterable[Json], opened: Callable[[Json], Picture | None], *, most: int = MOST
) -> Overview:
    """Write ``index.html`` and what it shows; the same rows and images give the same bytes.

    Rows are counted as they go by, and only those of the sample are kept (`Survey`). Files that an
    earlier overview left and this one does not need are removed.

    Args:
        folder: The folder of the results; ``index.html`` and ``overview/`` appear in it.
        rows: The rows of all parts, in order.
        opened: Opens the image of a row, from several threads at once; where it gives None or
            raises an error of gsam or of the system, a grey tile stands for the image. The row has
            all but those segments that are not shown.
        most: Images that are shown at most.

    Returns:
        The counts.

    Raises:
        OSError: The folder cannot be written.
    """
    survey = Survey(most)
    for row in rows:
        survey.add(row)
    sample = survey.sample()
    order = survey.by_count()
    kept = {segment["label"] for chosen in sample for segment in chosen.row["segments"]}
    listed = [known for k, known in enumerate(order) if k < LISTED or known.label in kept]
    labels = [known.label for known in listed]
    inks = colours(labels[:LISTED])
    inks |= colours(labels[LISTED:])
    numbers = {label: k for k, label in enumerate(labels)}
    cells: dict[int, list[Cell]] = collections.defaultdict(list)
    for cell in sheet.choose(sample, labels):
        cells[cell.index].append(cell)

    (folder / FOLDER).mkdir(parents=True, exist_ok=True)

    def illustrated(chosen: Chosen, name: str) -> Illustrated:
        made = illustrate(chosen, opened, cells[chosen.index], numbers, inks)
        with atomic_path(folder / FOLDER / name) as path:  # not synced: it can be made again
            path.write_bytes(made.jpeg)
        return made

    files = [f"{k:04d}.jpg" for k in range(len(sample))]
    images: list[Json] = []
    drawn = []
    names = set(files)
    with contextlib.closing(_in_order(illustrated, zip(sample, files, strict=True))) as pictures:
        for name, picture in zip(files, pictures, strict=True):
            images.append({"file": f"{FOLDER}/{name}", **picture.described})
            drawn += picture.cells
    if drawn:
        names.add(SHEET)
        made = sheet.draw(drawn, {chosen.index: chosen for chosen in sample}, inks)
        with atomic_file(folder / FOLDER / SHEET) as file:
            made.save(file, "JPEG", quality=88, optimize=True)
    data = {
        "images": survey.images,
        "failed": survey.failed,
        "empty": survey.empty,
        "objects": survey.objects,
        "pipeline": survey.pipeline,
        "classes": [_described(known, inks[known.label]) for known in listed],
        "moreClasses": len(order) - len(listed),
        "sheet": f"{FOLDER}/{SHEET}" if drawn else None,
        "sample": images,
        "errors": survey.errors,
    }
    _write(folder / PAGE, page(data).encode())
    for path in (folder / FOLDER).glob("*.jpg"):
        if path.name not in names and (path.stem.isdigit() or path.name == SHEET):
            path.unlink(missing_ok=True)
    counts = (survey.images, survey.failed, survey.empty, survey.objects, len(sample))
    return Overview(folder / PAGE, *counts, order)


def page(data: Json) -> str:
    """Lay out the page.

    Args:
        data: Plain values, of any text.

    Returns:
        HTML of which one script and one style may run, by their hashes, and nothing else.
    """
    return lay_out(Path(__file__).parent, {"data": as_data(data)})


def _described(known: ClassCount, ink: Colour) -> Json:
    return {
        "label": known.label[:LONG],
        "colour": "#{:02x}{:02x}{:02x}".format(*ink),
        "objects": known.objects,
        "images": known.images,
        "mean": round(known.mean, 4),
        "histogram": known.histogram,
    }


def _in_order(
    call: Callable[[Chosen, str], Illustrated], given: Iterable[tuple[Chosen, str]]
) -> Generator[Illustrated, None, None]:
    """Results of calls in some threads, in order, few of them at a time."""
    pending: collections.deque[concurrent.futures.Future[Illustrated]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(THREADS, "overview") as threads:
        try:
            for arguments in given:
                pending.append(threads.submit(call, *arguments))
                if len(pending) > THREADS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)
