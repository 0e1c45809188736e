"""A contact sheet of a labelled data set: good examples of each class, side by side."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from PIL import Image

from gsam.results.draw.colours import Colour
from gsam.results.draw.text_rendering import text_picture
from gsam.results.overview.survey import Chosen
from gsam.results.overview.thumbnails import CELL, Cell

COLUMNS, ROWS = 8, 6
GAP, LINE, PATCH, LETTERS = 10, 26, 11, 14
GROUND, FRAME, INK, FAINT = (250, 250, 250), (236, 236, 239), (32, 32, 36), (112, 112, 120)


def choose(sample: Sequence[Chosen], order: Sequence[str]) -> list[Cell]:
    """Choose cells: the best of each class, then the next best of each in turn.

    Args:
        sample: Images.
        order: Classes; earlier ones come first, and have more cells where not all can.

    Returns:
        Cells ordered by class and score; without any object, whole images.
    """
    found: dict[str, list[tuple[float, int, int]]] = {label: [] for label in order}
    for chosen in sample:
        seen = set()
        for number, segment in enumerate(chosen.row["segments"]):  # by falling score
            if segment["label"] not in seen and segment["label"] in found:
                found[segment["label"]].append((-float(segment["score"]), chosen.index, number))
            seen.add(segment["label"])
    turns = [[(label, example) for example in sorted(some)] for label, some in found.items()]
    all_turns = itertools.chain.from_iterable(itertools.zip_longest(*turns))
    picked = list(itertools.islice((one for one in all_turns if one is not None), COLUMNS * ROWS))
    if not picked:
        return [Cell(rank, chosen.index, None) for rank, chosen in enumerate(sample[: COLUMNS * ROWS])]
    at = {label: number for number, label in enumerate(order)}
    picked.sort(key=lambda one: (at[one[0]], one[1]))
    return [Cell(rank, index, number) for rank, (_, (_, index, number)) in enumerate(picked)]


def draw(
    cells: Sequence[tuple[Cell, Image.Image]], rows: Mapping[int, Chosen], inks: Mapping[str, Colour]
) -> Image.Image:
    """Lay cells out, each over its class and score.

    Args:
        cells: At least one, with the images they show.
        rows: The rows of these images.
        inks: Colour of each class.

    Returns:
        An RGB image.
    """
    count = len(cells)
    columns = min(COLUMNS, count)
    wide, high = CELL[0] + GAP, CELL[1] + LINE + GAP
    sheet = Image.new("RGB", (columns * wide + GAP, -(-count // columns) * high + GAP), GROUND)
    for place, (cell, shown) in enumerate(sorted(cells, key=lambda pair: pair[0])):
        y, x = divmod(place, columns)
        left, top = GAP + x * wide, GAP + y * high
        sheet.paste(FRAME, (left, top, left + CELL[0], top + CELL[1]))
        sheet.paste(shown, (left + (CELL[0] - shown.width) // 2, top + (CELL[1] - shown.height) // 2))
        row = rows[cell.index].row
        name, number, ink = str(row["id"]), "", FRAME
        if cell.segment is not None:
            segment = row["segments"][cell.segment]
            name, number, ink = segment["label"] or "(no name)", f"{segment['score']:.2f}", inks[segment["label"]]
        _caption(sheet, (left, top + CELL[1] + 5), name, number, ink)
    return sheet


def _caption(sheet: Image.Image, at: tuple[int, int], name: str, number: str, ink: Colour) -> None:
    left, top = at
    score = text_picture(number, LETTERS - 1, FAINT)
    room = CELL[0] - PATCH - 6 - (score.width + 8 if number else 0)
    words = text_picture(name[:80], LETTERS, INK)
    if words.width > room:
        words = words.crop((0, 0, room, words.height))
    sheet.paste(ink, (left, top + 4, left + PATCH, top + 4 + PATCH))
    sheet.paste(words, (left + PATCH + 6, top), words)
    if number:
        sheet.paste(score, (left + CELL[0] - score.width, top + 1), score)
