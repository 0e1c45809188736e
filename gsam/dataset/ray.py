"""Label images in Ray Data: `Segment` is an actor class for ``Dataset.map_batches``.

It needs the extra ``ray``.  Nothing here imports Ray, so the class works without it too.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gsam.build.pipelines import load
from gsam.dataset.label import parts
from gsam.dataset.label.listing import Entry
from gsam.dataset.label.loading import Loaded, opener
from gsam.dataset.label.manifests import ID, IMAGE
from gsam.dataset.label.parquet_rows import BYTES
from gsam.dataset.label.part_writer import row_of
from gsam.dataset.stream import answers
from gsam.errors import GsamError, ImageError, UsageError
from gsam.inputs.image import Picture, open_image
from gsam.inputs.remote import is_url
from gsam.results.result import Result
from gsam.text.queries import Queries, Query, parse_queries
from gsam.types import Json

CONTENT = tuple(dict.fromkeys((*BYTES, *IMAGE)))
"""Names that a column of images may have, in any case; the first that is there counts."""
FIELDS = ("id", "image", "width", "height", "error", "pipeline", "queries", "query_labels", "segments")
"""Columns of the results."""


class _Columns(NamedTuple):
    """Where a batch has what."""

    image: str
    path: str | None
    id: str | None


class _Row(NamedTuple):
    """An image of a batch."""

    id: str | None
    path: str | None
    image: Any


class Segment:
    """A pipeline in an actor: batches of images in, the rows of ``gsam label`` out.

    ``ds.map_batches(gsam.ray.Segment, fn_constructor_args=("grounded_sam", "cat. dog"),
    compute=ray.data.ActorPoolStrategy(size=4), batch_size=32, num_gpus=1)``

    An image that cannot be used is a row with ``error``, and the others of its batch have their
    results: no image stops a data set.  Errors of the run itself are raised: those of the recipe,
    the checkpoints and the query when the actor starts, those of the columns at its first batch.

    Args:
        pipeline: A recipe, a ``.toml`` or an exported folder, as `gsam.load` takes it; it is loaded
            by every actor, on its own devices.
        query: What to find, as `gsam.Pipeline` takes it.
        image: The column of images: bytes of a file, uint8 pixels [H, W, 3] (or grey, or RGBA), a
            path, or ``{bytes, path}`` as data sets of the hub have it; by default ``image``,
            ``bytes``, ``jpg``, ``path`` or another usual name, the first that is there.
        id: The column of ids; by default ``id``, ``image_id`` or ``key``, or else the images'
            paths.
        batch_size: Images computed together, at most those of a batch of Ray; by default as
            `gsam.Pipeline.stream` chooses.
        stretch: As for `gsam.open_image`.
        max_pixels: As for `gsam.open_image`.
        allow_urls: Whether a path may be an http or https address; never one of a private network.
        **given: More arguments of `gsam.load`.

    Raises:
        gsam.errors.QueryError: The query asks for nothing.
        gsam.errors.UsageError: A name or a setting does not exist.
        gsam.errors.CheckpointError: A model cannot be found, trusted or understood.

    Example:
        >>> segment = gsam.ray.Segment("nano", "dog. pizza")
        >>> rows = segment({"path": np.array(["notebooks/scene.png", "missing.png"])})
        >>> list(rows)[:5]
        ['path', 'id', 'image', 'width', 'height']
        >>> [error and error["code"] for error in np.asarray(rows["error"])]
        [None, 'image_missing']
    """

    def __init__(
        self,
        pipeline: str,
        query: Query,
        *,
        image: str | None = None,
        id: str | None = None,
        batch_size: int | None = None,
        stretch: bool = False,
        max_pixels: int | None = None,
        allow_urls: bool = False,
        **given: Any,
    ) -> None:
        self._queries: Queries = parse_queries(query)
        self._image, self._id, self._batch_size, self._allow_urls = image, id, batch_size, allow_urls
        self._file = opener(stretch, max_pixels)
        self._pixels = functools.partial(open_image, stretch=stretch, max_pixels=max_pixels)
        self._named = False
        self._pipe = load(pipeline, **given)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Label a batch.

        Args:
            batch: Columns as arrays, which is Ray's default ``batch_format="numpy"``.

        Returns:
            The other columns of the batch, then those of ``gsam label``'s rows: ``id``, ``image``
            (the path, or the id), ``width``, ``height``, ``error``, ``pipeline``, ``queries``,
            ``query_labels`` and ``segments``; arrays of pyarrow, so that all blocks have the same
            types, or lists where it is not installed. The column of images is left out, unless it
            has the ids too.

        Raises:
            gsam.errors.UsageError: There is no column of images (``column_missing``) or of ids
                (``id_missing``), or these are no arrays (``batch_invalid``).
        """
        if not isinstance(batch, Mapping):
            told = f"a batch is columns as arrays, not {type(batch).__name__}: leave out batch_format"
            raise UsageError(told, "batch_invalid")
        if not batch or not len(next(iter(batch.values()))):
            return _columns([])
        where = self._where(batch)
        rows = _rows(batch, where)
        if not self._named and all(row.id is None for row in rows):
            told = f"there are no ids in columns {', '.join(batch)}, and rows come in any order: name one with id=, or "
            raise UsageError(told + "read with include_paths=True", "id_missing")
        self._named = True
        pairs = [(row, self._queries) for row in rows]
        found = [_labelled(*pair) for pair in answers(self._pipe, pairs, self._opened, self._batch_size)]
        columns = _columns(found)
        ids = where.id or where.path
        return {n: v for n, v in batch.items() if n not in columns and (n != where.image or n == ids)} | columns

    def _where(self, batch: Mapping[str, Any]) -> _Columns:
        for name in (self._image, self._id):
            if name is not None and name not in batch:
                raise UsageError(f"there is no column {name!r} among {', '.join(batch)}", "column_missing")
        image = self._image or _first(batch, CONTENT)
        if image is None:
            told = f"there is no column of images ({', '.join(CONTENT)}) among {', '.join(batch)}: name it with image="
            raise UsageError(told, "column_missing")
        return _Columns(image, _first(batch, IMAGE[1:]), self._id or _first(batch, ID))

    def _opened(self, row: _Row) -> Picture:
        image = row.image
        if isinstance(image, Mapping):
            content = image.get("bytes")
            image = image.get("path") if content is None else content
        if _missing(image):
            raise ImageError("the row has no image", "image_missing")
        if is_url(image) and not self._allow_urls:
            raise ImageError(f"{image}: addresses are only fetched with allow_urls=True", "urls_not_allowed")
        try:
            if not isinstance(image, str | bytes):
                return self._pixels(image)
            name = row.id or row.path or "an image"
            return self._file(Loaded(Entry(name, image)) if isinstance(image, str) else Loaded(Entry(name, ""), image))
        except GsamError as error:
            raise error if isinstance(error, ImageError) else ImageError(str(error), error.code) from None
        except (TypeError, ValueError, OSError) as error:
            raise ImageError(str(error) or type(error).__name__) from None


def _first(batch: Mapping[str, Any], names: Sequence[str]) -> str | None:
    known = {name.casefold(): name for name in reversed(list(batch))}
    return next((known[name] for name in names if name in known), None)


def _rows(batch: Mapping[str, Any], where: _Columns) -> list[_Row]:
    images = batch[where.image]
    beside = batch[where.path] if where.path else [None] * len(images)
    paths = [_path_of(image) or _text(path) for image, path in zip(images, beside, strict=True)]
    ids = [_text(value) for value in batch[where.id]] if where.id else paths
    return [_Row(path if i is None else i, path, image) for i, path, image in zip(ids, paths, images, strict=True)]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _text(value: Any) -> str | None:
    if _missing(value):
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _path_of(image: Any) -> str | None:
    path = image.get("path") if isinstance(image, Mapping) else image
    return path if isinstance(path, str) else None


def _labelled(row: _Row, answer: Result | Exception) -> Json:
    found = row_of(Entry("", ""), answer)
    return {"query_labels": None, **found, "id": row.id, "image": row.id if row.path is None else row.path}


def _columns(rows: Sequence[Json]) -> dict[str, Any]:
    try:
        import pyarrow
    except ImportError:
        return {name: [row[name] for row in rows] for name in FIELDS}
    types = parts.schema_of("")
    return {name: pyarrow.array([row[name] for row in rows], types.field(name).type) for name in FIELDS}
