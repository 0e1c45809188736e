"""A picture and a table, as notebooks show them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

SIDE = 1024
"""Pictures are shown with at most so many pixels along a side."""
ROWS = 30
"""A table shows at most so many rows."""


def page(title: str, picture: Image.Image | None, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a title, a picture and a table.

    Args:
        title: A line above them.
        picture: RGB; None for none.
        head: [C] names of the columns.
        rows: [N] rows of C cells each; of many, the first are shown.

    Returns:
        HTML that needs nothing else: the picture is in it.
    """
    parts = [f"<div><b>{html.escape(title)}</b></div>"]
    if picture is not None:
        parts.append(f'<img style="max-width: 100%" alt="{html.escape(title)}" src="{_data(picture)}"/>')
    if rows:
        cells = [_row("th", head), *(_row("td", row) for row in rows[:ROWS])]
        parts.append(f"<table>{''.join(cells)}</table>")
    if len(rows) > ROWS:
        parts.append(f"<div>and {len(rows) - ROWS} more</div>")
    return "".join(parts)


def png(picture: Image.Image) -> bytes:
    """A picture as notebooks show it, as a PNG."""
    file = io.BytesIO()
    fitted(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def fitted(picture: Image.Image) -> Image.Image:
    """A picture of at most `SIDE` pixels along each side."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small


def _data(picture: Image.Image) -> str:
    file = io.BytesIO()
    fitted(picture).save(file, "JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _row(kind: str, cells: Sequence[object]) -> str:
    return f"<tr>{''.join(f'<{kind}>{html.escape(str(cell))}</{kind}>' for cell in cells)}</tr>"
