"""Pages as one file each, which load nothing but images beside them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gsam.types import Json

SHARED = Path(__file__).parent


def lay_out(folder: Path, values: Mapping[str, str]) -> str:
    """Put a page together from a package's ``page.html``, ``page.css`` and ``page.js``.

    ``@policy@``, ``@style@`` and ``@script@`` in the HTML stand for the content security policy,
    for ``theme.css`` with the page's style, and for ``elements.js`` with the page's script.

    Args:
        folder: The package.
        values: What stands for further ``@name@``, as HTML that is escaped already.

    Returns:
        HTML of which one script and one style may run, by their hashes, and nothing else; images
        come from beside it.
    """
    style, script = (
        _read(SHARED / shared) + _read(folder / own)
        for shared, own in (("theme.css", "page.css"), ("elements.js", "page.js"))
    )
    policy = (
        f"default-src 'none'; img-src 'self' file:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    known = {"policy": policy, "style": style, "script": script, **values}
    # In one pass, so that nothing in a value is taken for a place.
    return re.sub(r"@(\w+)@", lambda place: known.get(place[1], place[0]), _read(folder / "page.html"))


def as_data(values: Json) -> str:
    """Write plain values as JSON that may stand in a ``<script type="application/json">``."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)  # in ASCII
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
