"""A clip on one sheet: its frames side by side, each with the masks of what is in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.results.draw.overlay import numbered, paint
from gsam.results.draw.text_rendering import text_picture
from gsam.results.masks.rle import encode

GAP = 4
GROUND, INK = (250, 250, 250), (40, 40, 44)


def draw(
    frames: NDArray[np.uint8],
    instances: NDArray[np.integer] | None = None,
    *,
    names: Sequence[str] = (),
    columns: int = 8,
    title: str = "",
    zoom: int = 1,
) -> Image.Image:
    """Draw frames [T, H, W, 3] with their masks in rows of ``columns``, enlarged ``zoom`` times.

    ``instances`` [T, H, W] holds the masks: 0 is nothing, k object k, 255 (not judged) grey.

    ``names`` [N], of objects 1 to N, are listed under the title in the colours of their masks; an
    empty one is not. Raises `ValueError` where frames and masks do not fit.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ValueError(f"a sheet shows frames [T, H, W, 3], T at least 1, not {frames.shape}")
    if instances is not None and instances.shape != frames.shape[:3]:
        raise ValueError(f"masks {instances.shape} do not fit frames {frames.shape}")
    count, height, width = len(frames), frames.shape[1] * zoom, frames.shape[2] * zoom
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    words = [text_picture(title, 14, INK)] if title else []
    words += [text_picture(f"{k} {name}", 14, numbered(k)) for k, name in enumerate(names, 1) if name]
    room = columns * (width + GAP) - GAP
    head = _laid(words, room)
    top = max((y + word.height + GAP for (_, y), word in zip(head, words, strict=True)), default=0)
    sheet = Image.new("RGB", (room + 2 * GAP, top + rows * (height + GAP) + GAP), GROUND)
    for place, word in zip(head, words, strict=True):
        sheet.paste(word, (place[0] + GAP, place[1] + GAP), word)
    for t in range(count):
        picture = Image.fromarray(frames[t]).resize((width, height), Image.Resampling.NEAREST)
        if instances is not None:
            shown = instances[t].repeat(zoom, 0).repeat(zoom, 1)
            for k in np.unique(shown[shown > 0]).tolist():
                paint(picture, encode(shown == k), (128, 128, 128) if k == 255 else numbered(k), max(1, width // 160))
        y, x = divmod(t, columns)
        sheet.paste(picture, (GAP + x * (width + GAP), top + GAP + y * (height + GAP)))
    return sheet


def _laid(words: Sequence[Image.Image], room: int) -> list[tuple[int, int]]:
    """Where words go, in lines of at most ``room`` pixels."""
    places, x, y = [], 0, 0
    for word in words:
        if x and x + word.width > room:
            x, y = 0, y + word.height
        places.append((x, y))
        x += word.width + 12
    return places
