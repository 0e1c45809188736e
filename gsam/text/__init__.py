"""What stages do with text on the host: queries -> token ids, and what is put together of their embeddings.

No model is imported here, so that an exported pipeline (`gsam.export`) reads with the same code as the one it was made of.
Each way of reading is a frozen dataclass of plain settings, which `describe` and `revive` take to JSON and back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from gsam.text.captions import Captions
from gsam.text.sentences import Marked, Sentences
from gsam.text.words import Words

Reading = Words | Sentences | Marked | Captions
KINDS: Mapping[str, type[Reading]] = {"words": Words, "sentences": Sentences, "marked": Marked, "captions": Captions}


def describe(reading: Reading) -> dict[str, Any]:
    """The settings of a way of reading, all but its tokenizer, as JSON has them."""
    kind = next(name for name, cls in KINDS.items() if type(reading) is cls)
    return {"kind": kind, **{f.name: getattr(reading, f.name) for f in _settings(type(reading))}}


def revive(settings: Mapping[str, Any], tokenizer: Any) -> Reading:
    """The reading that `describe` told of.  Raises `ValueError` for a kind or settings that do not exist here."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k != "kind"}
    cls: Any = KINDS.get(str(settings.get("kind")))
    if cls is None or set(values) != {f.name for f in _settings(cls)}:
        raise ValueError(f"no such way of reading: {dict(settings)!r}")
    return cast(Reading, cls(tokenizer, **values))


def _settings(cls: Any) -> list[Any]:
    return [f for f in dataclasses.fields(cls) if f.name != "tokenizer"]
