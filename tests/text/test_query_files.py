"""Files of queries: names, one per line, and ontologies."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsam.cli.options import queries_of
from gsam.errors import GsamError, UsageError
from gsam.text.query_files import read_queries


def test_a_name_per_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\ufeffcat\n\nSt. Bernard, large\n", encoding="utf-8")
    assert read_queries(path).labels == ["cat", "", "St. Bernard, large"]


def test_an_ontology_says_what_to_call_things(tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text('"shipping container" = "container"\n"cargo box" = "container"\n"컵" = "cup"\n')
    found = read_queries(path)
    assert found.prompts == ["shipping container", "cargo box", "컵"]
    assert found.labels == ["container", "container", "cup"]
    assert found.groups == [0, 0, 2]
    path.write_text('[classes]\n"shipping container" = "container"\n')
    assert read_queries(path).labels == ["container"]


WRONG = {
    "a query twice": ('cat = "a"\ncat = "b"', "no TOML: a query is there twice"),
    "a query twice but for case": ('cat = "a"\n"Cat " = "b"', "is there twice"),
    "a number": ("cat = 3", "cat = 3 has no label"),
    "no label": ('cat = " "', "has no label"),
    "a list": ('cat = ["a", "b"]', "has no label"),
    "no TOML": ("cat: animal", "is no TOML"),
    "nothing": ("", "nothing is asked for"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_ontology_that_is_wrong(kind: str, tmp_path: Path) -> None:
    text, why = WRONG[kind]
    path = tmp_path / "classes.toml"
    path.write_text(text)
    with pytest.raises(GsamError, match=why):
        read_queries(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("bytes.txt", "gone.txt", "."):
        with pytest.raises(UsageError) as error:
            read_queries(tmp_path / name)
        assert error.value.code == "classes_unreadable"


def test_a_query_may_be_the_path_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text('dog = "animal"')
    assert queries_of([str(path), "cat"]).labels == ["animal", "cat"]
    assert queries_of(None, path).labels == ["animal"]
    assert queries_of([str(tmp_path / "gone.txt")]).names != ["animal"]  # a query like any other
