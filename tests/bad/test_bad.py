"""Each row of the table: the call does what the table says, and the table in docs/errors.md is this
one.
"""

from __future__ import annotations

import collections
import warnings
from pathlib import Path

import pytest

from gsam.errors import GsamError
from tests.bad.table import PAGE, Row, page, rows

LONG = {"26a", "49a", "49c", "49d", "49e", "49k"}
"""Rows that compile a whole pipeline."""


@pytest.mark.parametrize("row", [pytest.param(r, id=r.id, marks=[pytest.mark.long] * (r.id in LONG)) for r in rows()])
def test_row(row: Row, tmp_path: Path) -> None:
    call = row.make(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if row.expect == "ok":
            found = call()
        else:
            kind, _, code = row.expect.partition(" ")
            with pytest.raises(Exception, match=row.says) as caught:
                call()
            assert type(caught.value).__name__ == kind, repr(caught.value)
            assert "\n" not in str(caught.value)
            if code:
                assert isinstance(caught.value, GsamError)
                assert caught.value.code == code
            found = caught.value
    texts = [str(w.message) for w in told if issubclass(w.category, UserWarning)]
    if row.warns:
        assert len(texts) == 1
        assert row.says is None or row.says in texts[0]
    else:
        assert not texts
    if row.check is not None:
        row.check(found)


def test_ids_are_unique() -> None:
    assert [i for i, n in collections.Counter(r.id for r in rows()).items() if n > 1] == []


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.bad.table"
