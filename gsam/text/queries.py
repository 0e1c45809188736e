"""From any way of asking to a list of queries.  Labels are always the user's own words."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence

from gsam.errors import QueryError

MAX_QUERIES = 512
MAX_LENGTH = 2000
SEPARATORS = re.compile(r"(?<!\d)[.,]|[.,](?!\d)|[\n\r]")
"""Not the point of ``2.5 inch disk``."""


@dataclasses.dataclass(frozen=True)
class Queries:
    """The user's queries; all three lists run in parallel."""

    names: list[str]
    """Queries as the user wrote them."""
    prompts: list[str]
    """Queries as the models read them."""
    labels: list[str]
    """Labels of the queries in results."""


Query = str | Sequence[str] | Mapping[str, str] | Queries
"""Any way of asking; `Queries` are another one, parsed."""


def parse_queries(query: Query) -> Queries:
    """Parse a query.

    Spaces are collapsed, and of queries that differ only in case the first is kept; nothing is ever
    cut silently.

    Args:
        query: ``"dog. yellow bus"`` (also ``,`` and newlines), a list, or ``{query: label}``;
            `Queries` are returned as they are.

    Raises:
        QueryError: Nothing is asked for, there are control characters or more than `MAX_QUERIES`
            queries, or one is longer than `MAX_LENGTH` characters.
    """
    if isinstance(query, Queries):
        return query
    if isinstance(query, str):
        pairs = [(part, "") for part in SEPARATORS.split(query)]
    elif isinstance(query, Mapping):
        pairs = [(_string(asked), _string(label)) for asked, label in query.items()]
    elif isinstance(query, Sequence) and not isinstance(query, bytes | bytearray):
        pairs = [(_string(asked), "") for asked in query]
    else:
        raise QueryError(f"a query is a text, a list of texts or {{query: label}}, not {type(query).__name__}")
    rows = []
    for asked, label in pairs:
        _check(asked)
        _check(label)
        name = " ".join(asked.split())
        prompt = name.strip(" .,;")
        if any(unicodedata.category(c)[0] in "LNS" for c in prompt):  # a letter, a digit, a sign or an emoji
            rows.append((name, prompt, label or name))
    if not rows:
        raise QueryError(f"nothing is asked for in {shorten(repr(query))}", "query_empty")
    return _distinct(rows)


def join_queries(parts: Sequence[Queries]) -> Queries:
    """One list of several, each query once.

    Raises:
        QueryError: More than `MAX_QUERIES` queries.
    """
    return _distinct([row for q in parts for row in zip(q.names, q.prompts, q.labels, strict=True)])


def _distinct(rows: Sequence[tuple[str, str, str]]) -> Queries:
    """Keep the first name, prompt and label for each prompt."""
    first: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        first.setdefault(unicodedata.normalize("NFC", row[1]).casefold(), row)
    if len(first) > MAX_QUERIES:
        raise QueryError(f"{len(first)} queries, at most {MAX_QUERIES} go together: split the list", "query_too_many")
    names, prompts, labels = zip(*first.values(), strict=True)
    return Queries(list(names), list(prompts), list(labels))


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise QueryError(f"a query is a text, not {type(value).__name__}")
    return value


def _check(text: str) -> None:
    for character in text:
        kind = unicodedata.category(character)
        if (kind == "Cc" and character not in "\t\n\r") or kind == "Cs":
            what = "control character" if kind == "Cc" else "half a character"
            raise QueryError(f"{what} {character!r} in {shorten(ascii(text))}", "query_control_character")
    if len(text) > MAX_LENGTH:
        raise QueryError(f"a query of {len(text)} characters, at most {MAX_LENGTH}", "query_too_long")


def shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
