"""Files of queries: a name per line, or an ontology that says what to call what is found."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from pathlib import Path

from gsam.errors import QueryError, UsageError
from gsam.text.queries import Queries, parse_queries

SUFFIXES = (".toml", ".txt")
"""Suffixes by which a query is taken for a file, if one is there."""


def read_queries(path: str | os.PathLike[str]) -> Queries:
    """Read the queries of a file.

    A ``.toml`` is an ontology, ``"shipping container" = "container"`` a line: what is asked for,
    and its label in the results; several queries may have one label. Any other file has a name per
    line, commas and full stops included.

    Args:
        path: The file.

    Raises:
        UsageError: It cannot be read, or is no such file (``classes_unreadable``).
        gsam.errors.QueryError: Nothing, or too much, is asked for.

    Example:
        >>> read_queries("classes.toml").categories  # doctest: +SKIP
        ['bus']
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "classes_unreadable") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8, a name per line", "classes_unreadable") from None
    if path.suffix.lower() != ".toml":
        return parse_queries(text.splitlines())
    try:
        ontology = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why = ": a query is there twice" if "overwrite" in str(error) else ""
        raise UsageError(f"{path} is no TOML{why}: {error}", "classes_unreadable") from None
    if len(ontology) == 1 and isinstance(inner := next(iter(ontology.values())), dict):
        ontology = inner  # [classes]
    for query, label in ontology.items():
        if not isinstance(label, str) or not label.strip():
            told = 'an ontology is "query" = "label"'
            raise UsageError(f"{path}: {query} = {label!r} has no label, {told}", "classes_unreadable")
    folded = Counter(" ".join(query.split()).casefold() for query in ontology)
    if twice := [query for query, count in folded.items() if count > 1]:
        raise UsageError(f"{path}: the query {twice[0]!r} is there twice", "classes_unreadable")
    if not ontology:
        raise QueryError(f"nothing is asked for in {path}", "query_empty")
    return parse_queries(ontology)


def is_query_file(text: str) -> bool:
    """Tell whether a query is rather the path of a file of them."""
    return text.lower().endswith(SUFFIXES) and "\n" not in text and Path(text).expanduser().is_file()
