"""Scenes as Parquet, ``scenes.parquet``: a row an image, in the columns of ``gsam label``'s parts.

Rows are written and read in groups, so memory does not grow with their number.  It needs the extra
``batch``.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.formats.dataset import DataSet, DataSetWriter
from gsam.results.formats.jsonl import EXTRA, parsed
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

FILE = "scenes.parquet"
LABELS = b"gsam.labels"
"""Under this key the file has the names of its classes, as JSON."""
ROWS, BYTES = 256, 16 << 20
"""Most images of a row group, and about how many bytes of run lengths."""
READ = 16
"""Images that are read at a time."""


def pyarrow() -> Any:
    """Load pyarrow.  Raises `UsageError` where it is missing (``extra_missing``)."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("Parquet needs the extra batch: pip install 'gsam-jax[batch]'", "extra_missing") from None
    return pyarrow


def schema(*, parts: bool = False) -> Any:
    """Give the columns of an image, as pyarrow has them.

    Args:
        parts: Those of ``gsam label``'s parts, without what only other data sets know of segments.
    """
    pa = pyarrow()
    more = {} if parts else {"crowd": pa.bool_(), "track": pa.int64()}
    segment = pa.struct(
        {
            "label": pa.string(),
            "label_id": pa.int32(),
            "score": pa.float64(),
            "mask_score": pa.float64(),
            "box": pa.list_(pa.float64()),
            "area": pa.int64(),
            "mask": pa.struct({"size": pa.list_(pa.int32()), "counts": pa.string()}),
            **more,
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
    return pa.schema(list(fields.items()))


class Writer(DataSetWriter):
    """Writes ``scenes.parquet``; nothing is lost, and the same images give the same bytes."""

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._pa, self._schema = pyarrow(), schema()
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._parquet = self._pa.parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        self._rows: list[Json] = []
        self._bytes = self._count = 0

    def add(self, scene: JsonMapping) -> None:
        self._count += 1
        name = scene["image"] or f"{self._count}.png"
        for label in scene.get("query_labels") or scene.get("queries", ()):
            if label:
                self.number_of(label)
        known = {key: scene.get(key) for key in self._schema.names}
        segments = [self._segment(found) for found in scene["segments"]]
        self._rows.append({**known, "id": name, "image": scene["image"], "error": None, "segments": segments})
        self._bytes += sum(len(s["mask"]["counts"]) for s in segments if s["mask"])
        if len(self._rows) >= ROWS or self._bytes >= BYTES:
            self._flush()

    def _segment(self, found: JsonMapping) -> Json:
        self.number_of(found["label"])
        values = {"crowd": None, "track": None, "mask_score": None, "label_id": None, **found}
        for key in ("score", "mask_score"):
            if values.get(key) is not None and not math.isfinite(values[key]):
                self.losses["scores that are no numbers"] += 1
                values[key] = None
        if found["mask"] is not None and not isinstance(found["mask"]["counts"], str):
            values["mask"] = rle.compress(found["mask"])
        return values

    def _flush(self) -> None:
        if self._rows:
            self._parquet.write_table(self._pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        if self._file.closed:
            return
        self._flush()
        self._parquet.add_key_value_metadata({LABELS: json.dumps(list(self.labels), ensure_ascii=False)})
        self._parquet.close()
        self._file.seek(0)
        with atomic_file(self.folder / FILE) as file:
            shutil.copyfileobj(self._file, file)
        self._file.close()


def read(path: Path) -> DataSet:
    """Read scenes, or parts of ``gsam label``, whose rows with an error are told as problems.

    Args:
        path: A ``.parquet``, or a folder of them.

    Raises:
        UsageError: There is none, it has other columns (``format_unreadable``), or pyarrow is
            missing (``extra_missing``).
    """
    pa = pyarrow()
    files = sorted(p for p in path.glob("*.parquet") if not p.name.startswith(".")) if path.is_dir() else [path]
    labels: dict[str, None] = {}
    for file in files:
        try:
            with pa.parquet.ParquetFile(file) as opened:
                columns = opened.schema_arrow.names
                names = json.loads((opened.metadata.metadata or {}).get(LABELS, b"[]"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} is no Parquet: {_line(error)}", "format_unreadable") from None
        missing = [name for name in ("width", "height", "segments") if name not in columns]
        if missing or not {"id", "image"} & set(columns):
            text = f"{file} has no column {(missing or ['id'])[0]}: it is no data set of gsam"
            raise UsageError(text, "format_unreadable")
        labels.update(dict.fromkeys(str(name) for name in names))
    if not files:
        raise UsageError(f"{path} has no Parquet", "format_unreadable")
    return DataSet(list(labels), lambda data: _scenes(files, data))


def _scenes(files: Sequence[Path], data: DataSet) -> Iterator[Json]:
    for path in files:
        row = 0
        try:
            table = pyarrow().parquet.ParquetFile(path)
            columns = [name for name in schema().names if name in table.schema_arrow.names]
            for batch in table.iter_batches(READ, columns=columns):
                for value in batch.to_pylist():
                    row += 1
                    try:
                        if value.get("error"):
                            raise ValueError(value["error"]["message"])
                        yield _parsed(value)
                    except (ValueError, LookupError, TypeError, AttributeError) as error:
                        name = value.get("id") or value.get("image")
                        data.problems.append(f"{path}, row {row} ({name}): {_line(error)}")
        except (OSError, ValueError) as error:
            data.problems.append(f"{path}: broken after row {row}, nothing more is read: {_line(error)}")


def _parsed(row: Json) -> Json:
    segments = [
        {key: value for key, value in one.items() if key not in EXTRA or value is not None} for one in row["segments"]
    ]
    return parsed({**row, "image": row.get("id") or row["image"], "queries": row.get("queries") or [],
                   "query_labels": row.get("query_labels"), "segments": segments})  # fmt: skip


def _line(error: Exception) -> str:
    return str(error).split("\n")[0] if not isinstance(error, LookupError) else f"{error} is missing"
