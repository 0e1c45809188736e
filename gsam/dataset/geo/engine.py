"""Segment a raster tile by tile: `gsam.dataset.geo.engine.segment` is behind ``gsam geo``."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.dataset import signals
from gsam.dataset.geo.merge import merge
from gsam.dataset.geo.outline import pixel_areas
from gsam.dataset.geo.raster import Raster, Reading
from gsam.dataset.geo.tile_log import FOLDER, TileLog
from gsam.dataset.geo.write import FORMATS, Found, check_formats
from gsam.dataset.lock import hold
from gsam.dataset.settings import pipeline_settings, plain, query_settings
from gsam.dataset.stream import answers
from gsam.errors import OutputError, UsageError
from gsam.inputs.image import Picture
from gsam.ops.bounds import bounds
from gsam.pipeline.limits import Limits
from gsam.pipeline.tile import Rectangle, tiles
from gsam.results.masks.rle import encode
from gsam.results.result import Result
from gsam.runtime.settings import LIMITS, Number
from gsam.text.queries import Queries, Query, parse_queries
from gsam.types import Json, JsonMapping

TILE, OVERLAP = 1024, 0.2
SIDE = Number(16, 65536, whole=True)
"""Sides that a tile may have."""
AHEAD = 4
"""Tiles that are read before they are needed."""


@dataclasses.dataclass
class Summary:
    """The result of a raster."""

    path: Path
    """The raster."""
    objects: int = 0
    """Objects found."""
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Objects of each label."""
    tiles: int = 0
    """Tiles that cover it."""
    done_before: int = 0
    """Tiles that an earlier run did."""
    empty: int = 0
    """Tiles without a measured pixel."""
    full: int = 0
    """Tiles that hold as many objects as the pipeline gives at most."""
    errors: list[tuple[Rectangle, str]] = dataclasses.field(default_factory=list)
    """Rows and columns (top, left, bottom, right) of tiles that failed, and why."""
    files: list[Path] = dataclasses.field(default_factory=list)
    """Files that were written."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Read:
    """A tile that was read, or why it was not."""

    number: int
    tile: Rectangle
    pixels: NDArray[np.uint8] | None
    valid: NDArray[np.bool_] | None
    error: Exception | None = None

    def opened(self) -> Picture:
        if self.pixels is None:
            assert self.error is not None
            raise self.error
        return Picture(self.pixels)


def segment(
    source: str | os.PathLike[str],
    query: Query,
    out: str | os.PathLike[str],
    pipeline: Any = "grounded_sam",
    *,
    tile: int = TILE,
    overlap: float = OVERLAP,
    bands: Sequence[int] | None = None,
    stretch: bool = False,
    span: tuple[float, float] | None = None,
    nodata: float | None = None,
    formats: Sequence[str] | None = None,
    simplify: float | str = 0.0,
    batch_size: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
    load: Callable[..., Any] | None = None,
    **given: Any,
) -> Summary:
    """Find objects in an aerial or satellite image of any size, and write them with their places.

    The image is read in tiles that overlap; objects that several tiles show are put together.
    Memory does not grow with the image, only with the number of objects. A run that was killed goes
    on where it was; the files are the same, byte for byte.

    Args:
        source: A local raster, GeoTIFF for instance.
        query: What to find, as `gsam.Pipeline` takes it.
        out: The folder of the results, ``NAME.gpkg`` and so on.
        pipeline: A recipe, a ``.toml``, an exported folder, or a loaded `gsam.Pipeline`.
        tile: Side of a tile in pixels.
        overlap: Share of a tile that the next one sees too, below 1: as large as the objects.
        bands: Numbers of the bands for red, green and blue, or of one for grey, from 1; by default
            those that the file calls so, else the first three.
        stretch: Map the 2nd to 98th percentile of each band, measured once over the whole image, to
            black and white. 8 bits stay as they are; 16 bits keep their high byte without it.
        span: Values that become black and white in every band, in place of measured ones.
        nodata: The value of pixels that were not measured, in place of the file's own.
        formats: Of ``gpkg``, ``geojson``, ``tif`` (255 where an object is) and ``ids`` (a GeoTIFF
            of objects' ids); by default the first three, without ``geojson`` where there is no CRS.
        simplify: Pixels by which outlines may be off, or metres as ``"0.5m"``.
        batch_size: Tiles computed together, as for `gsam.Pipeline.stream`.
        overwrite: Whether results of another plan, and files that gsam did not write, are replaced.
        progress: Called with the number of tiles that are done, and of all.
        say: Called with lines about what goes on.
        load: Loads the pipeline when it is needed; by default `gsam.load`.
        **given: Arguments of `gsam.load`, ``threshold`` for instance.

    Returns:
        Counts, the files, and the tiles that failed: they are tried again by the next run.

    Raises:
        gsam.errors.ImageError: The image cannot be opened, its values have no known range
            (``image_float``, ``image_depth``), or its place is not a transform (``geo_gcps``).
        gsam.errors.UsageError: A setting is wrong, the folder has other results (``plan_differs``,
            ``output_of_another``), GeoJSON is asked for without a CRS (``geo_no_crs``), or the
            extra ``geo`` is missing.

    Example:
        >>> from gsam.dataset import geo
        >>> found = geo.segment("notebooks/scene.png", "dog. pizza", "out", "nano", tile=512)
        >>> sorted(found.counts.items()), [file.name for file in found.files]
        ([('dog', 1), ('pizza', 1)], ['scene.gpkg', 'scene_mask.tif'])
    """
    SIDE.check("tile", tile)
    LIMITS["overlap"].check("overlap", overlap)
    tell = say or (lambda _: None)
    queries = parse_queries(query)
    reading = Reading(None if bands is None else tuple(bands), stretch, span, nodata)
    named = isinstance(pipeline, str | os.PathLike)
    settings = _settings(pipeline, queries, given)
    limits = Limits(**{k: v for k, v in settings.get("limits", {}).items() if k in LIMITS})
    view: JsonMapping = {**dataclasses.asdict(reading), "tile": tile, "overlap": overlap}
    names = None if formats is None else check_formats(formats)
    with contextlib.ExitStack() as stack:
        raster = stack.enter_context(Raster(source, reading, tile, tell))
        if raster.crs is None:
            if "geojson" in (names or ()):
                raise UsageError(
                    f"{raster.path} has no coordinate reference system, which GeoJSON needs: assign one "
                    "(gdal_edit.py -a_srs EPSG:...), or leave geojson out of the formats",
                    "geo_no_crs",
                )
            if names is None:
                tell(f"{raster.path} has no coordinate reference system: no GeoJSON, and a GeoPackage without one")
        names = names or (("gpkg", "tif") if raster.crs is None else ("gpkg", "geojson", "tif"))
        pixels = _pixels_of(simplify, raster)
        folder, name = Path(out), raster.path.stem
        files = {kind: folder / f"{name}{FORMATS[kind][0]}" for kind in names}
        stack.enter_context(hold(folder / FOLDER / f"{name}.lock", folder))
        log_path = folder / FOLDER / f"{name}.jsonl"
        _check_free(raster.path, files.values(), overwrite or log_path.exists())
        log = stack.enter_context(TileLog(log_path, {**settings, **plain(view)}, raster.path, overwrite=overwrite))
        rectangles = tiles(raster.size, tile, overlap)
        found = Summary(raster.path, tiles=len(rectangles), done_before=len(log.done))
        if len(log.done) < len(rectangles):
            if named:
                tell(f"loading {pipeline}")
                whole = {"tile": 0} if limits.tile else {}
                pipe = (load or _load)(pipeline, **given, **whole)
            else:
                pipe = pipeline
            with _disk():
                _find(raster, rectangles, log, pipe, queries, batch_size, progress)
        failed: dict[int, str] = {}
        for row in log.rows():
            found.empty += bool(row.get("empty"))
            found.full += bool(row.get("full"))
            if "error" in row and row["tile"] not in log.done:
                failed[row["tile"]] = row["error"]["message"]
        found.errors = [(rectangles[i], failed[i]) for i in sorted(failed)]
        labels = list(dict.fromkeys(queries.labels))
        things = merge(log.pieces(rectangles, labels), raster.size, limits)
        with _disk():
            modified = raster.path.stat().st_mtime
            frame = (raster.size, raster.crs, raster.transform, modified, pixels, tell)
            for kind, file in files.items():
                FORMATS[kind][1](Found(things, labels, *frame), file)
                found.files.append(file)
    found.objects = len(things)
    found.counts.update(labels[thing.label] for thing in things)
    return found


def _load(pipeline: str, **given: Any) -> Any:
    from gsam.build import pipelines

    return pipelines.load(pipeline, **given)


def _settings(pipeline: Any, queries: Queries, given: JsonMapping) -> Json:
    if isinstance(pipeline, str | os.PathLike):
        return pipeline_settings(os.fspath(pipeline), queries, given)
    if given:
        raise UsageError(f"{', '.join(given)}: give them to gsam.load, for this pipeline is loaded")
    limits = getattr(pipeline, "limits", None) or Limits()
    return {"pipeline": pipeline.name, "limits": plain(dataclasses.asdict(limits)), "queries": query_settings(queries)}


def _find(
    raster: Raster,
    rectangles: Sequence[Rectangle],
    log: TileLog,
    pipe: Any,
    queries: Queries,
    batch_size: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Ask a pipeline about the tiles that are not done."""
    todo = [i for i in range(len(rectangles)) if i not in log.done]
    most = getattr(getattr(pipe, "limits", None), "boxes", None)
    ready = len(log.done)

    def step() -> None:
        nonlocal ready
        ready += 1
        if progress is not None:
            progress(ready, len(rectangles))

    def measured() -> Iterator[tuple[_Read, Queries]]:
        for read in reader:
            if read.valid is not None and not read.valid.any():
                log.put(read.number, {"found": [], "empty": True}, sync=False)
                step()
                signals.check()
            else:
                yield read, queries

    with signals.deferred(), contextlib.closing(_read_ahead(raster, todo, rectangles)) as reader:
        for read, answer in answers(pipe, measured(), _Read.opened, batch_size, fixed=True):
            if isinstance(answer, Exception):
                message = " ".join(str(answer).split()) or type(answer).__name__
                log.put(read.number, {"error": {"code": getattr(answer, "code", "internal"), "message": message}})
            else:
                full = most is not None and len(answer) >= most
                log.put(read.number, {"found": _found(answer, read), **({"full": True} if full else {})})
            step()
            signals.check()


def _read_ahead(raster: Raster, todo: Sequence[int], rectangles: Sequence[Rectangle]) -> Generator[_Read, None, None]:
    """Tiles in order, read in a thread of their own, a few ahead."""
    waiting: collections.deque[tuple[int, Future[Any]]] = collections.deque()
    numbers = iter(todo)
    with ThreadPoolExecutor(1, "gsam-tiles") as pool:
        try:
            while True:
                while len(waiting) < AHEAD and (number := next(numbers, None)) is not None:
                    waiting.append((number, pool.submit(raster.read, rectangles[number])))
                if not waiting:
                    return
                number, future = waiting.popleft()
                error = future.exception()
                if isinstance(error, Exception):
                    yield _Read(number, rectangles[number], None, None, error)
                else:
                    yield _Read(number, rectangles[number], *future.result())
        finally:
            for _, future in waiting:
                future.cancel()


def _found(result: Result, read: _Read) -> list[Json]:
    """The objects of a tile, without what was not measured."""
    assert read.valid is not None
    rows = []
    top, left = read.tile[:2]
    for i in range(len(result)):
        mask = result.mask(i) & read.valid
        x0, y0, x1, y1 = bounds(mask)
        if not x1:
            continue
        part = mask[y0:y1, x0:x1]
        rows.append(
            {
                "label": result.labels[i],
                "score": float(result.scores[i]),
                "mask_score": float(result.mask_scores[i]),
                "area": [top + y0, left + x0, top + y1, left + x1],
                "pixels": int(np.count_nonzero(part)),
                "counts": encode(part)["counts"],
            }
        )
    return rows


def _pixels_of(simplify: float | str, raster: Raster) -> float:
    """A distance in pixels, from pixels or metres in the middle of a raster."""
    text = str(simplify).strip()
    try:
        number = float(text.removesuffix("m"))
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UsageError(f"simplify is a number of pixels, or of metres as 0.5m, not {simplify!r}", "geo_simplify")
    if not text.endswith("m"):
        return number
    if raster.crs is None:
        raise UsageError(f"{raster.path} has no coordinate reference system: give simplify in pixels", "geo_no_crs")
    middle = np.asarray([[raster.size[1] / 2, raster.size[0] / 2]])
    return number / float(np.sqrt(pixel_areas(raster.crs, raster.transform, middle)[0]))


def _check_free(source: Path, files: Iterable[Path], ours: bool) -> None:
    for file in files:
        if file.exists() and file.samefile(source):
            raise UsageError(f"{file} is the image itself: choose another -o", "output_is_input")
        if file.exists() and not ours:
            raise UsageError(f"{file} is there already: choose another -o, or give --overwrite", "output_of_another")


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """Raise `OutputError` where the disk is full or gone; trouble of images is an `ImageError`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise OutputError(f"cannot write{where}: {error.strerror or error}") from None
