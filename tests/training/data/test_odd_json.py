"""Whatever stands in a file, a check ends with a report, and reading with a data set or a word."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gsam.errors import UsageError
from gsam.training.data import check, read
from gsam.training.data.faults import KINDS
from tests.training.data.sets import SIZE, good, write

ODD: list[Any] = [
    None, True, -1, 1e300, 2**70, "", "x", "\ud800", "a\0b", [], {}, [[1]], [[None] * 6], float("nan"),
    {"size": list(SIZE), "counts": [1e3, 200]}, {"size": ["30", 40], "counts": "abc"},
    {"size": list(SIZE), "counts": [-1, 1201]}, [[0, 0, 9, 9, 9, "a"]], ["abcdef"], "../../etc/passwd", "/dev/zero",
]  # fmt: skip


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value in a value."""
    if above:
        yield above
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield from places(part, (*above, key))


def spoiled(content: Any, seed: int) -> Any:
    draw = random.Random(seed)
    content = copy.deepcopy(content)
    for _ in range(draw.randint(1, 3)):
        *way, last = draw.choice(list(places(content)))
        holder = content
        for key in way:
            holder = holder[key]
        holder[last] = copy.deepcopy(draw.choice(ODD))
    return content


@pytest.mark.parametrize("start", range(0, 90, 30))
def test_odd_values(tmp_path: Path, start: int) -> None:
    runs = {"size": list(SIZE), "counts": [5, 100, 1095]}
    path = write(tmp_path, 3, [good(1, 1), good(2, 2, segmentation=runs), good(3, 3, segmentation=None)])
    content = json.loads(path.read_text())
    read_whole = 0
    for seed in range(start, start + 30):
        path.write_text(json.dumps(spoiled(content, seed)))
        try:
            report = check(path, pixels=False)
            assert report.counts.keys() <= KINDS.keys()
            json.dumps([f.to_dict() for f in report.faults], ensure_ascii=False).encode()
            data = read(path)
        except UsageError as error:
            if error.code not in ("format_unreadable", "format_unknown"):
                raise
            continue
        read_whole += 1
        assert len(data) == report.images
        assert sum(data.class_counts().values()) == sum(report.classes.values())
        assert all(entry.masks().any((1, 2)).all() for entry in data.images)
    assert read_whole > 10
