"""The parts of a data set's results: files that are there whole or not at all."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gsam.dataset.label.place import Place
from gsam.dataset.label.plan import Plan
from gsam.errors import OutputError, UsageError
from gsam.results.formats import parquet
from gsam.results.formats.label_parts import FOLDER
from gsam.types import Json

FORMS = ("parquet", "jsonl")
"""Forms of parts: Parquet needs the extra ``batch``."""
KEY = b"gsam.plan"
"""Under this name a Parquet part has the key of its plan."""
GROUP = 256
"""Rows of a Parquet part that are in memory at a time."""
ASKING = 16
"""Parts whose keys are read at a time."""
TAIL = 65536
"""Bytes from the end of a Parquet file that are read for its key."""


def form_of(name: str | None) -> str:
    """The form that parts have: by default Parquet where pyarrow is installed.

    Raises:
        UsageError: There is no such form, or pyarrow is missing.
    """
    if name is not None and name not in FORMS:
        raise UsageError(f"parts are {' or '.join(FORMS)}, not {name!r}", "parts_unknown")
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        if name == "parquet":
            raise UsageError("Parquet needs the extra batch: pip install 'gsam-jax[batch]'", "extra_missing") from None
        return name or "jsonl"
    return name or "parquet"


def part_name(plan: Plan, part: int) -> str:
    """The file of a part, in the place of its plan."""
    return f"{FOLDER}/{part:05d}.{plan.settings['parts']}"


def is_done(plan: Plan, part: int) -> bool:
    """Whether a part is there, and of this plan."""
    name = part_name(plan, part)
    if name.endswith(".jsonl"):
        return plan.place.exists(name)
    try:
        return _key_of(plan.place, name) == plan.key.encode()
    except (OSError, ValueError):
        return False


def _key_of(place: Place, name: str) -> Any:
    import pyarrow
    import pyarrow.parquet

    size = place.size(name)
    end = place.read_range(name, max(0, size - TAIL), size)
    length = int.from_bytes(end[-8:-4], "little") + 8
    if len(end) < length <= size:
        end = place.read_range(name, size - length, size)
    return (pyarrow.parquet.read_schema(pyarrow.BufferReader(end)).metadata or {}).get(KEY)


def done_parts(plan: Plan) -> set[int]:
    """The parts that are there, and of this plan, by one listing of their folder.

    A part that was written after the plan is of it, for `write_part` sees to that; only of an older
    one, as after a copy, is the key read.
    """
    form = f".{plan.settings['parts']}"
    done, asked = set(), []
    for name, written in plan.place.listing(FOLDER).items():
        stem = name.removesuffix(form)
        if not stem.isdecimal() or name != f"{int(stem):05d}{form}" or int(stem) >= plan.parts:
            continue
        if form == ".jsonl" or (plan.made is not None and written > plan.made):
            done.add(int(stem))
        else:
            asked.append(int(stem))
    with ThreadPoolExecutor(ASKING) as pool:
        answers = pool.map(lambda part: is_done(plan, part), asked)
        return done | {part for part, yes in zip(asked, answers, strict=True) if yes}


def write_part(plan: Plan, part: int, rows: Iterable[Json]) -> None:
    """Write a part; the same rows give the same bytes.

    Args:
        plan: The plan that it is of.
        part: Its number.
        rows: Taken as they come; `GROUP` of them are in memory at a time.

    Raises:
        OutputError: It cannot be written, or the plan is gone (``plan_gone``); nothing is left.
        Exception: Whatever ``rows`` raises.
    """
    name = part_name(plan, part)
    trouble: list[BaseException] = []

    def taken() -> Iterator[Json]:
        try:
            yield from rows
        except BaseException as error:
            trouble.append(error)
            raise

    if plan.place.exists(name) and not is_done(plan, part):  # damaged, or of another plan
        plan.place.remove(name)
    try:
        with plan.place.filling(name) as path:
            (_write_lines if path.suffix == ".jsonl" else _write_table)(path, taken(), plan.key)
            plan.check()
    except OSError as error:
        if error in trouble:
            raise
        raise OutputError(
            f"cannot write {plan.place.path(name)}: {os.strerror(error.errno) if error.errno else error}"
        ) from None


def _write_lines(path: Path, rows: Iterable[Json], key: str) -> None:
    with path.open("wb") as file:
        for row in rows:
            # a name that is no text has lone surrogates, for which JSON has this very escape
            line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
            file.write(line + b"\n")


def _write_table(path: Path, rows: Iterable[Json], key: str) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = schema_of(key)
    several = iter(rows)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(itertools.islice(several, GROUP)):
            flat = [_flat(row, schema.names) for row in group]
            try:
                table = pyarrow.Table.from_pylist(flat, schema=schema)
            except UnicodeEncodeError:  # names that are no text
                table = pyarrow.Table.from_pylist([_readable(row) for row in flat], schema=schema)
            writer.write_table(table)


def schema_of(key: str) -> Any:
    """Give the columns of a part, as pyarrow has them; ``key`` is that of its plan."""
    return parquet.schema(parts=True).with_metadata({KEY: key.encode()})


def _flat(row: Json, known: list[str]) -> Json:
    if unknown := row.keys() - set(known):
        raise ValueError(f"a part has no column {', '.join(sorted(unknown))}")  # pyarrow would drop it
    return {"query_labels": None, **row}


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if isinstance(value, list) else value
