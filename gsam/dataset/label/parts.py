"""The parts of a data set's results: files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gsam.dataset.label.plan import Plan
from gsam.errors import UsageError
from gsam.files import atomic_file, atomic_path
from gsam.results.formats.label_parts import FOLDER
from gsam.types import Json

FORMS = ("parquet", "jsonl")
"""Forms of parts: Parquet needs the extra ``batch``."""
KEY = b"gsam.plan"
"""Under this name a Parquet part has the key of its plan."""


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


def part_path(plan: Plan, part: int) -> Path:
    """The file of a part."""
    return plan.folder / FOLDER / f"{part:05d}.{plan.settings['parts']}"


def is_done(plan: Plan, part: int) -> bool:
    """Whether a part is there, and of this plan."""
    path = part_path(plan, part)
    if not path.is_file():
        return False
    if path.suffix == ".jsonl":
        return True
    import pyarrow.parquet

    try:
        found = (pyarrow.parquet.read_schema(path).metadata or {}).get(KEY)
    except (OSError, ValueError):
        return False
    return bool(found == plan.key.encode())


def write_part(plan: Plan, part: int, rows: Sequence[Json]) -> None:
    """Write a part; the same rows give the same bytes."""
    path = part_path(plan, part)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        with atomic_file(path) as file:
            file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n" for row in rows)
        return
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([_flat(row) for row in rows], schema=_schema(plan.key))
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


def _schema(key: str) -> Any:
    import pyarrow as pa

    segment = pa.struct(
        {
            "label": pa.string(),
            "label_id": pa.int32(),
            "score": pa.float64(),
            "mask_score": pa.float64(),
            "box": pa.list_(pa.float64()),
            "area": pa.int64(),
            "mask": pa.struct({"size": pa.list_(pa.int32()), "counts": pa.string()}),
        }
    )
    fields = {
        "id": pa.string(),
        "image": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "error": pa.struct({"code": pa.string(), "message": pa.string()}),
        "pipeline": pa.string(),
        "queries": pa.list_(pa.string()),
        "query_labels": pa.list_(pa.string()),
        "segments": pa.list_(segment),
    }
    return pa.schema(list(fields.items()), metadata={KEY: key.encode()})


def _flat(row: Json) -> Json:
    return {"query_labels": None, **row}
