"""Rows 20 to 25: what is asked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gsam.results.result import Result
from gsam.text.queries import Queries, Query, parse_queries
from tests.bad.sending import SEGMENT, Sendable, Sent, png_of
from tests.bad.table import Row, Run, error


def ask(query: Query, code: str | None = None) -> Callable[[Path], Run]:
    def make(_: Path) -> Run:
        return lambda: parse_queries(query)

    return make if isinstance(query, bytes) else Sendable(make, asked(query, code))


def asked(query: Any, code: str | None = None) -> Sent:
    """A query about an image in which nothing is."""

    def same(found: Any, answer: Any) -> None:
        names = found.names if isinstance(found, Queries) else found[:1]
        assert answer["queries"] == list(names)

    image = base64.b64encode(png_of(np.zeros((32, 48, 3), np.uint8))).decode()
    return Sent(SEGMENT, {"query": query, "image": image}, code=code, same=same)


def labels(*expected: str) -> Callable[[Queries], None]:
    def check(queries: Queries) -> None:
        assert queries.categories == list(expected)
        assert sum(map(bool, queries.prompts)) == len(expected)
        assert len(queries.names) == len(queries.prompts) == len(queries.labels)

    return check


def places(queries: Queries) -> None:
    assert queries.names == ["", "dog", "N/A", "Dog", "N/A"], "numbers of the given list"
    assert queries.prompts == ["", "dog", "N/A", "", ""]


def written(label: str) -> Callable[[Path], Run]:
    """A result with this label, in every format: the files made, under the folder and beside it."""

    def make(folder: Path) -> Run:
        inside = folder / "in"
        inside.mkdir()

        def run() -> tuple[str, list[str], dict[str, Any], dict[str, Any]]:
            name = parse_queries([label]).labels[0]
            one = np.ones(1, np.float32)
            box = np.array([[2, 3, 30, 20]], np.float32)
            result = Result(np.zeros((40, 60, 3), np.uint8), [name], box, [name], np.zeros(1, np.int64), one, one)
            for file in ("a.json", "a.coco.json", "a.png"):
                result.save(inside / file)
            found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
            scene, coco = (json.loads((inside / f).read_text("utf-8")) for f in ("a.json", "a.coco.json"))
            return name, found, scene, coco

        return run

    return Sendable(make, asked([label]))


def kept(found: tuple[str, Sequence[str], dict[str, Any], dict[str, Any]]) -> None:
    label, files, scene, coco = found
    assert files == ["in/a.coco.json", "in/a.json", "in/a.png"]
    assert scene["segments"][0]["label"] == label
    assert [c["name"] for c in coco["categories"]] == [label]


def unwritten(bad: str, id: str, what: str) -> Row:
    return error(id, what, ask(bad), "QueryError query_control_character", "control character", 2, 422)


MANY = [f"thing {i}" for i in range(300)]

ROWS: list[Row] = [
    error("20a", "an empty query", ask(""), "QueryError query_empty", "nothing is asked", 2, 422),
    error("20b", "spaces", ask(" \t\n "), "QueryError query_empty", "nothing is asked", 2, 422),
    error("20c", "a full stop", ask("."), "QueryError query_empty", "nothing is asked", 2, 422),
    error("20d", "an empty list", ask([]), "QueryError query_empty", "nothing is asked", 2, 422),
    error("20e", "a list of nothing", ask(["", " . "]), "QueryError query_empty", "nothing is asked", 2, 422),
    error("20f", "a number", ask(3), "QueryError query_invalid", "not int", 2, 422),  # type: ignore[arg-type]
    error("20g", "a list with None", ask(["a", None]), "QueryError query_invalid", "NoneType", 2, 422),  # type: ignore[list-item]
    error("20h", "bytes", ask(b"dog"), "QueryError query_invalid", "bytes", 2),  # type: ignore[arg-type]
    Row("20i", "a query among empty ones", ask(" . dog .,\n ,"), check=labels("dog")),
    error(
        "21a",
        "one query of 5 kB",
        ask("x" * 5000),
        "QueryError query_too_long",
        "5000 characters, at most 2000",
        2,
        422,
    ),
    Row("21b", "300 queries", ask(". ".join(MANY), code="query_too_long"), http=422, check=labels(*MANY)),
    Row("21c", "512 queries", ask([str(i) for i in range(512)]), check=labels(*map(str, range(512)))),
    error("21d", "513 queries", ask([str(i) for i in range(513)]), "QueryError query_too_many", "513 .* 512", 2, 422),
    Row(
        "21e",
        "5 kB of short queries",
        ask(", ".join(f"thing number {i:04}" for i in range(280)), code="query_too_long"),
        http=422,
        check=labels(*(f"thing number {i:04}" for i in range(280))),
    ),
    Row("22a", "the same in another case", ask("Cat, cat. CAT\n dog"), check=labels("Cat", "dog")),
    Row("22b", "the same, composed otherwise", ask(["caf\u00e9", "cafe\u0301"]), check=labels("caf\u00e9")),
    Row("22c", "the same with more spaces", ask(["red  car", "red car"]), check=labels("red car")),
    Row("22d", "numbers separated by commas", ask("0,1,2"), check=labels("0", "1", "2")),
    Row("22e", "full stops and commas of other scripts", ask("猫、犬。鳥"), check=labels("猫", "犬", "鳥")),
    Row("22f", "a name with a full stop, in quotes", ask('"St. Bernard", cat'), check=labels("St. Bernard", "cat")),
    Row("22g", "a class list with placeholders and repeats", ask(["", "dog", "N/A", "Dog", "N/A"]), check=places),
    Row("23a", "emoji", ask("🐶, 👩‍🚀"), check=labels("🐶", "👩‍🚀")),
    Row("23b", "Korean", ask("노란 버스. 개"), check=labels("노란 버스", "개")),
    Row("23c", "right to left", ask("كلب, חתול"), check=labels("كلب", "חתול")),
    Row("23d", "combining marks", ask(["n\u0303o", "é́"]), check=labels("n\u0303o", "é́")),
    unwritten("do\0g", "23e", "NUL"),
    unwritten("a\x1b[31mred", "23f", "an escape code for the terminal"),
    unwritten("a\x85b\x9f", "23g", "C1 control characters"),
    error("23h", "NUL in a label", ask({"dog": "a\0"}), "QueryError query_control_character", "control", 2, 422),
    Row("24a", "the label ../../x is never a path", written("../../x"), check=kept),
    Row("24b", "<script>alert(1)</script>", written("<script>alert(1)</script>"), check=kept),
    Row("24c", "=cmd()", written("=cmd()"), check=kept),
    Row("24d", 'a label with quotes and a comma: "a,b"', written('"a,b"'), check=kept),
    Row("24e", "a label of 300 characters", written("long " * 59 + "label"), check=kept),
    Row("24f", "an absolute path for a label", written("/etc/passwd"), check=kept),
    Row("24g", "a label in Korean and emoji, in every format", written("노란 버스 🚌"), check=kept),
    Row("25", "labels are the user's words", ask({"##van": "Van!", "cat dog": "both"}), check=labels("Van!", "both")),
]
