"""The fields of a request for words: its query, limits and form of answer, each checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gsam.errors import QueryError
from gsam.runtime.settings import LIMITS, unknown_setting
from gsam.serve.config import ServeConfig
from gsam.serve.problems import ServeError
from gsam.text.queries import Queries, parse_queries
from gsam.types import Json, JsonMapping

FORMATS = ("json", "overlay", "labels")


def check_fields(fields: JsonMapping, known: Sequence[str]) -> None:
    """Refuse a field that means nothing here.

    Raises:
        ServeError: 422 ``field_unknown``, which names the nearest of ``known``.
    """
    for name in fields:
        if name not in known:
            text = f"no field {name[:40]!r}"
            raise ServeError(422, "field_unknown", str(unknown_setting(name[:40], known, text)))


def queries_of(query: Any, config: ServeConfig) -> Queries:
    """Parse a query, within the limits of the server; of a long list it takes a while.

    Args:
        query: A text, a list of texts, ``{query: label}``, or the JSON of a list or an object as
            text, as forms send it.
        config: Its ``max_query`` is the most characters of a text, ``max_queries`` the most of
            them.

    Raises:
        gsam.errors.QueryError: It asks for nothing, or for too much, or cannot be read.
    """
    if query is None:
        raise QueryError("the request has no query", "query_empty")
    if isinstance(query, str) and query.lstrip()[:1] in ("[", "{"):
        _check_length(query, config.max_query * config.max_queries)
        try:
            query = json.loads(query)
        except (ValueError, RecursionError):
            raise QueryError("a query that begins with [ or { has to be JSON") from None
    texts = [query] if isinstance(query, str) else _texts(query)
    if len(texts) > config.max_queries * (2 if isinstance(query, Mapping) else 1):
        raise _too_many(len(query), config)
    for text in texts:
        if isinstance(text, str):
            _check_length(text, config.max_query)
    queries = parse_queries(query)
    if len(queries.prompts) > config.max_queries:
        raise _too_many(len(queries.prompts), config)
    return queries


def settings_of(fields: JsonMapping) -> Json:
    """Take the limits out of the fields of a request.

    Args:
        fields: Numbers, or their text as forms send it; others than those of `gsam.Limits` are
            left.

    Returns:
        Settings as `gsam.Limits.for_call` takes and checks them.
    """
    return {name: _number(name, value) for name, value in fields.items() if name in LIMITS}


def format_of(fields: JsonMapping) -> str:
    """The format that a request asks for, JSON where it asks for none in particular.

    Raises:
        ServeError: 422 ``format_unknown``, or ``masks_kind`` for a kind of masks in a picture.
    """
    chosen = fields.get("format", "json")
    if chosen not in FORMATS:
        raise ServeError(422, "format_unknown", f"format is one of {', '.join(FORMATS)}")
    if chosen != "json" and fields.get("masks") is not None:
        raise ServeError(422, "masks_kind", f"masks counts with format=json only, not with {chosen}")
    return str(chosen)


def _number(name: str, value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value  # the limits refuse it, and say what it may be
    whole = LIMITS[name].whole and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def _texts(query: Any) -> list[Any]:
    if isinstance(query, Mapping):
        return [*query, *query.values()]
    return list(query) if isinstance(query, list) else []


def _check_length(text: str, most: int) -> None:
    if len(text) > most:
        raise QueryError(f"a query of {len(text)} characters, at most {most}", "query_too_long")


def _too_many(count: int, config: ServeConfig) -> QueryError:
    return QueryError(f"{count} queries, at most {config.max_queries} go together: split the list", "query_too_many")
