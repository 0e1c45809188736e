"""The parts that ``gsam label`` writes, as JSON lines or Parquet: a row an image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from gsam.errors import UsageError
from gsam.results.formats.dataset import DataSet
from gsam.results.formats.jsonl import parsed
from gsam.types import Json

PLAN, FOLDER = "plan.json", "parts"


def read_parts(folder: Path) -> Iterator[Json]:
    """Give the rows of all parts that are there, in order, one part in memory at a time.

    Args:
        folder: The folder of the results.
    """
    for path in sorted((folder / FOLDER).glob("[!.]*")):
        if path.suffix == ".jsonl":
            with path.open("rb") as file:
                yield from map(json.loads, file)
        elif path.suffix == ".parquet":
            import pyarrow.parquet

            for batch in pyarrow.parquet.ParquetFile(path).iter_batches(256):
                yield from map(_nested, batch.to_pylist())


def read(path: Path) -> DataSet:
    """Read the images that have a result; the others are told as problems.

    Args:
        path: The folder of the results.

    Raises:
        UsageError: It is none (``format_unreadable``).
    """
    if not (path / PLAN).is_file():
        raise UsageError(f"{path} has no {PLAN}: it is not what gsam label wrote", "format_unreadable")
    settings = json.loads((path / PLAN).read_text(encoding="utf-8"))["settings"]
    labels = [label for label in settings["queries"]["labels"] if label]
    return DataSet(list(dict.fromkeys(labels)), lambda data: _scenes(path, data))


def _scenes(path: Path, data: DataSet) -> Iterator[Json]:
    for row in read_parts(path):
        if row["error"] is not None:
            data.problems.append(f"{row['id']}: {row['error']['message']}")
            continue
        try:
            yield parsed({**row, "image": row["id"]})
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            data.problems.append(f"{row['id']}: no scene ({error!r})")


def _nested(row: Json) -> Json:
    return {key: value for key, value in row.items() if key != "query_labels" or value is not None}
