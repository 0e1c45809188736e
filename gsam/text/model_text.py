"""The text processors of models, and their settings as an exported pipeline notes them.

No model is imported here, so that an exported pipeline (`gsam.export`) reads with the same code as
the one it was made of.  Each processor of a model is a frozen dataclass of plain settings, which
`to_config` and `from_config` take to JSON and back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from gsam.text.captions import CaptionPacker
from gsam.text.processor import TextProcessor
from gsam.text.sentences import Sentences, SigLipText
from gsam.text.single_queries import SingleQueries
from gsam.text.tokenizer import Tokenizer

ModelText = SingleQueries | Sentences | SigLipText | CaptionPacker
"""The processors of models, which can be exported."""
KINDS: Mapping[str, type[ModelText]] = {
    "single_queries": SingleQueries,
    "sentences": Sentences,
    "siglip": SigLipText,
    "captions": CaptionPacker,
}
"""Their names in the note of an exported pipeline."""


def is_model_text(processor: TextProcessor) -> bool:
    """Return True if a processor is one of `KINDS`, which `to_config` can describe."""
    return type(processor) in KINDS.values()


def to_config(processor: ModelText) -> dict[str, Any]:
    """The settings of a processor, all but its tokenizer, as JSON has them."""
    kind = next(name for name, cls in KINDS.items() if type(processor) is cls)
    return {"kind": kind, **{f.name: getattr(processor, f.name) for f in _settings(type(processor))}}


def from_config(settings: Mapping[str, Any], tokenizer: Tokenizer | None) -> ModelText:
    """The processor that `to_config` described.

    Raises:
        ValueError: For a kind or settings that do not exist here.
    """
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k != "kind"}
    cls: Any = KINDS.get(str(settings.get("kind")))
    if cls is None or set(values) != {f.name for f in _settings(cls)}:
        raise ValueError(f"no such way of reading: {dict(settings)!r}")
    return cast(ModelText, cls(tokenizer, **values))


def _settings(cls: Any) -> list[Any]:
    return [f for f in dataclasses.fields(cls) if f.name != "tokenizer"]
