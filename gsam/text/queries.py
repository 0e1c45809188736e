"""From any way of asking to a list of queries.  Labels are always the user's own words."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence

from gsam.errors import QueryError

MAX_QUERIES = 512
MAX_LENGTH = 2000
MARKS = ".,。．｡，､、،۔।"
"""Full stops and commas, those of other scripts too; a semicolon and ``|`` separate nothing."""
SEPARATOR = re.compile(
    rf"""
    [\n\r]
    | (?<!\d)[{MARKS}] | [{MARKS}](?!\d)  # not the point of "2.5 inch disk"
    | (?<=\d)[,，､、،](?!\d{{3}}(?!\d))  # nor the comma of "1,000 coins"
    """,
    re.VERBOSE,
)
QUOTED = re.compile(rf'\s*["“]([^"“”\n\r]+)["”][^\S\n\r]*(?=[{MARKS}\n\r]|$)')
"""A name in quotes, which is one whatever it holds: ``"St. Bernard", cat``."""
NUMBERS = re.compile(r"\s*\d+(?:,\d+)+\s*")
"""Numbers and nothing else: every comma separates."""


@dataclasses.dataclass(frozen=True)
class Queries:
    """The user's queries; all three lists run in parallel.

    Of a list or a mapping, they have an entry for each of its entries, so that a number of a query
    is its place in what the user gave.
    """

    names: list[str]
    """Queries as the user wrote them."""
    prompts: list[str]
    """Queries as the models read them; ``""`` for entries that are never asked for: placeholders
    without a letter, and what was asked for before.
    """
    labels: list[str]
    """Labels of the queries in results."""

    @property
    def categories(self) -> list[str]:
        """The labels that results can have, each once, in the order of the queries."""
        return [label for label in dict.fromkeys(self.labels) if label]

    @property
    def groups(self) -> list[int]:
        """For each query, the first one with its label."""
        first: dict[str, int] = {}
        return [first.setdefault(label, i) for i, label in enumerate(self.labels)]


Query = str | Sequence[str] | Mapping[str, str] | Queries
"""Any way of asking; `Queries` are another one, parsed."""


def parse_queries(query: Query) -> Queries:
    """Parse a query.

    Spaces are collapsed, and of queries that differ only in case the first is asked for; nothing is
    ever cut silently.

    Args:
        query: A text, a list, or ``{query: label}``; `Queries` are returned as they are.  A text is
            separated at full stops, commas and newlines, except in numbers (``2.5``, ``1,000
            coins``) and in double quotes (``"St. Bernard", cat``); it has no placeholders and
            repeats.  The entries of a list keep their places, placeholders (``""``) and repeats
            included.

    Raises:
        QueryError: Nothing is asked for, there are control characters or more than `MAX_QUERIES`
            queries, or one is longer than `MAX_LENGTH` characters.

    Example:
        >>> parse_queries('dog, "St. Bernard". 2.5 inch disk').names
        ['dog', 'St. Bernard', '2.5 inch disk']
        >>> parse_queries(["", "dog", "Dog", "cat"]).prompts
        ['', 'dog', '', 'cat']
    """
    if isinstance(query, Queries):
        return query
    if isinstance(query, str):
        pairs = [(part, "") for part in split(query)]
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
        prompt = name.strip(f" {MARKS};")
        if not any(unicodedata.category(c)[0] in "LNS" for c in prompt):  # no letter, digit, sign or emoji
            prompt = ""
        rows.append((name, prompt, label or (name if prompt else "")))
    if not any(prompt for _, prompt, _ in rows):
        raise QueryError(f"nothing is asked for in {shorten(repr(query))}", "query_empty")
    rows = _once(rows)
    return _queries([row for row in rows if row[1]] if isinstance(query, str) else rows)


def split(text: str) -> list[str]:
    """Split a text at its separators, see `parse_queries`.

    Args:
        text: Names as a user writes them.

    Returns:
        The parts, without the quotes of those that had any; some may be blank.
    """
    parts, at = [], 0
    while at <= len(text):
        quoted = QUOTED.match(text, at)
        end = SEPARATOR.search(text, quoted.end() if quoted else at)
        stop = end.start() if end else len(text)
        parts.append(quoted[1] if quoted else text[at:stop])
        at = end.end() if end else len(text) + 1
    return [number for part in parts for number in (part.split(",") if NUMBERS.fullmatch(part) else [part])]


def join_queries(parts: Sequence[Queries]) -> Queries:
    """One list of several, each query once; the entries of the first keep their places.

    Raises:
        QueryError: More than `MAX_QUERIES` queries.
    """
    rows = _once([row for q in parts for row in zip(q.names, q.prompts, q.labels, strict=True)])
    kept = len(parts[0].names)
    return _queries([*rows[:kept], *(row for row in rows[kept:] if row[1])])


def _once(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Blank prompts that were there before, and give them the label that was given first."""
    first: dict[str, str] = {}
    found = []
    for name, prompt, label in rows:
        key = unicodedata.normalize("NFC", prompt).casefold()
        new = not key or key not in first
        found.append((name, prompt if new else "", label if new else first[key]))
        first.setdefault(key, label)
    return found


def _queries(rows: Sequence[tuple[str, str, str]]) -> Queries:
    if len(rows) > MAX_QUERIES:
        raise QueryError(f"{len(rows)} queries, at most {MAX_QUERIES} go together: split the list", "query_too_many")
    names, prompts, labels = zip(*rows, strict=True)
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
