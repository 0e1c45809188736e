"""A clip on one sheet: its frames side by side, each with the masks of what is in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.results.draw.colours import Colour, numbered
from gsam.results.draw.outline import TINT, paint
from gsam.results.draw.text_rendering import text_picture
from gsam.results.masks.rle import encode

GAP, PATCH = 4, 12
GROUND, INK = (250, 250, 250), (40, 40, 44)


def draw(
    frames: NDArray[np.uint8],
    instances: NDArray[np.integer] | None = None,
    *,
    names: Sequence[str] = (),
    columns: int = 8,
    title: str = "",
    zoom: int = 1,
    numbers: Sequence[int] | None = None,
    fill: float = TINT,
) -> Image.Image:
    """Draw frames with their masks in rows, each under its number.

    Args:
        frames: [T, H, W, 3] uint8 RGB.
        instances: [T, H, W], the masks: 0 is nothing, k object k, 255 (not judged) grey; None for
            no masks.
        names: [N] of objects 1 to N, listed under the title beside the colours of their masks; an
            empty one is not.
        columns: Frames per row.
        title: A line above the sheet.
        zoom: By how much frames are enlarged.
        numbers: [T] numbers of the frames; None for none.
        fill: Opacity of the colour inside masks.

    Returns:
        An RGB image.

    Raises:
        ValueError: Frames and masks do not fit.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ValueError(f"a sheet shows frames [T, H, W, 3], T at least 1, not {frames.shape}")
    if instances is not None and instances.shape != frames.shape[:3]:
        raise ValueError(f"masks {instances.shape} do not fit frames {frames.shape}")
    count, height, width = len(frames), frames.shape[1] * zoom, frames.shape[2] * zoom
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    words = [text_picture(title, 14, INK)] if title else []
    words += [_entry(f"{k} {name}", numbered(k)) for k, name in enumerate(names, 1) if name]
    captions = [text_picture(str(number), 11, INK) for number in numbers or ()]
    above = captions[0].height if captions else 0
    high = above + height + GAP
    room = columns * (width + GAP) - GAP
    head = _laid(words, room)
    top = max((y + word.height + GAP for (_, y), word in zip(head, words, strict=True)), default=0)
    sheet = Image.new("RGB", (room + 2 * GAP, top + rows * high + GAP), GROUND)
    for place, word in zip(head, words, strict=True):
        sheet.paste(word, (place[0] + GAP, place[1] + GAP), word)
    for t in range(count):
        picture = Image.fromarray(frames[t]).resize((width, height), Image.Resampling.NEAREST)
        if instances is not None:
            shown = instances[t].repeat(zoom, 0).repeat(zoom, 1)
            found = np.unique(shown[shown > 0]).tolist()
            inks = [(128, 128, 128) if k == 255 else numbered(k) for k in found]
            paint(picture, [encode(shown == k) for k in found], inks, max(1, width // 160), fill)
        y, x = divmod(t, columns)
        left, upper = GAP + x * (width + GAP), top + GAP + y * high
        sheet.paste(picture, (left, upper + above))
        if captions:
            sheet.paste(captions[t], (left, upper), captions[t])
    return sheet


def _entry(text: str, ink: Colour) -> Image.Image:
    """Draw a line of the legend: a patch of the colour, and words that can be read beside it."""
    words = text_picture(text, 14, INK)
    drawn = Image.new("RGBA", (words.width + PATCH + GAP, words.height))
    drawn.paste((*INK, 255), (0, 3, PATCH, 3 + PATCH))
    drawn.paste((*ink, 255), (1, 4, PATCH - 1, 2 + PATCH))
    drawn.paste(words, (PATCH + GAP, 0))
    return drawn


def _laid(words: Sequence[Image.Image], room: int) -> list[tuple[int, int]]:
    """Where words go, in lines of at most ``room`` pixels."""
    places, x, y = [], 0, 0
    for word in words:
        if x and x + word.width > room:
            x, y = 0, y + word.height
        places.append((x, y))
        x += word.width + 12
    return places
