"""Objects of a raster as GeoPackage, GeoJSON and GeoTIFF, each file whole or not at all."""

from __future__ import annotations

import contextlib
import datetime
import functools
import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gsam.dataset.geo.merge import Thing
from gsam.dataset.geo.outline import DIGITS, ground_areas, on_earth, placed, simplified, traced
from gsam.errors import UsageError
from gsam.files import atomic_file, atomic_path

LAYER = "objects"
"""Name of the GeoPackage's layer."""
TOGETHER = 2000
"""Objects that are written at a time."""
TILE = 512
"""Side of the GeoTIFF's own tiles."""
WINDOW = 4096
"""Side of the windows in which a GeoTIFF is written."""


class Found(NamedTuple):
    """The objects of a raster and its frame."""

    things: Sequence[Thing]
    """Best first."""
    labels: Sequence[str]
    """Names of the labels."""
    size: tuple[int, int]
    """Height and width of the raster."""
    crs: Any
    """Its coordinate reference system (rasterio), or None."""
    transform: Any
    """Its transform (affine)."""
    modified: float
    """When the raster changed last, in seconds since 1970: the date that a GeoPackage must have."""
    simplify: float
    """Pixels by which outlines may be off."""
    say: Callable[[str], None]


def write_gpkg(found: Found, path: Path) -> None:
    """Write a GeoPackage: one layer, in the raster's coordinates; the same objects, the same bytes.

    Without a CRS the layer has none either.
    """
    import pyogrio
    import shapely

    date = datetime.datetime.fromtimestamp(found.modified, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    crs = None if found.crs is None else found.crs.to_wkt()
    numbers = {"id": np.int64, "label": object, "score": np.float64, "mask_score": np.float64, "area_px": np.int64}
    kinds: dict[str, Any] = numbers | ({} if crs is None else {"area_m2": np.float64})
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        temporary.unlink()
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": date})
        try:
            begun = False
            for some in _batches(_features(found)):
                shapes = [placed(shape, found.transform) for shape, _ in some]
                columns = [np.array([row[name] for _, row in some], kind) for name, kind in kinds.items()]
                pyogrio.raw.write(
                    temporary,
                    np.asarray(shapely.to_wkb(shapes), object),
                    columns,
                    list(kinds),
                    geometry_type="MultiPolygon",
                    crs=crs,
                    layer=LAYER,
                    driver="GPKG",
                    append=begun,
                )
                begun = True
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
        _sync(temporary)


def write_geojson(found: Found, path: Path) -> None:
    """Write GeoJSON as RFC 7946 has it: longitude and latitude on WGS 84."""
    import shapely

    nowhere = 0
    with atomic_file(path) as file:
        file.write(b'{"type": "FeatureCollection", "features": [')
        for i, (shape, row) in enumerate(_features(found)):
            there = on_earth(placed(shape, found.transform), found.crs)
            nowhere += there is None
            rounded = None if there is None else shapely.transform(there, lambda xy: np.round(xy, DIGITS))
            geometry = None if rounded is None else shapely.geometry.mapping(rounded)
            values = {name: value if value == value else None for name, value in row.items()}
            feature = {"type": "Feature", "id": values.pop("id"), "properties": values, "geometry": geometry}
            text = json.dumps(feature, ensure_ascii=False, allow_nan=False)
            file.write((",\n" if i else "\n").encode() + text.encode())
        file.write(b"\n]}\n")
    if nowhere:
        found.say(f"{nowhere} objects have no longitude and latitude, and no geometry in {path}")


def write_tif(found: Found, path: Path, *, ids: bool = False) -> None:
    """Write a GeoTIFF of the raster's size and place, window by window.

    Args:
        found: The objects.
        path: The file.
        ids: Whether pixels are the objects' ids, of several the best one's, and not 255.
    """
    import rasterio
    import shapely
    from rasterio.windows import Window

    height, width = found.size
    dtype = "uint8" if not ids else "uint16" if len(found.things) < 1 << 16 else "uint32"
    areas = np.asarray([thing.area for thing in found.things], float).reshape(-1, 4)
    tree = shapely.STRtree(shapely.box(areas[:, 1], areas[:, 0], areas[:, 3], areas[:, 2]))
    form = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": dtype}
    form |= {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate", "bigtiff": "IF_SAFER"}
    with atomic_path(path) as temporary:
        temporary.unlink()
        with _quiet(), rasterio.open(temporary, "w", crs=found.crs, transform=found.transform, **form) as out:
            for top, left in itertools.product(range(0, height, WINDOW), range(0, width, WINDOW)):
                frame = (top, left, min(top + WINDOW, height), min(left + WINDOW, width))
                inside = np.sort(tree.query(shapely.box(frame[1], frame[0], frame[3], frame[2])))
                if not len(inside):
                    continue
                pixels = np.zeros((frame[2] - top, frame[3] - left), dtype)
                for i in inside[::-1]:
                    for piece in found.things[i].pieces:
                        piece.paint(frame, pixels, int(i) + 1 if ids else 255)
                out.write(pixels, 1, window=Window(left, top, frame[3] - left, frame[2] - top))
        _sync(temporary)


FORMATS: Mapping[str, tuple[str, Callable[[Found, Path], None]]] = {
    "gpkg": (".gpkg", write_gpkg),
    "geojson": (".geojson", write_geojson),
    "tif": ("_mask.tif", write_tif),
    "ids": ("_ids.tif", functools.partial(write_tif, ids=True)),
}
"""Names of formats, how their files' names end, and their writers."""


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Refuse formats that there are not.

    Raises:
        UsageError: There is no such format (``format_unknown``).
    """
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"no format {name!r}: there are {', '.join(FORMATS)}", "format_unknown")
    if not names:
        raise UsageError(f"no format is asked for: there are {', '.join(FORMATS)}", "format_unknown")
    return tuple(dict.fromkeys(names))


def _features(found: Found) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Every object as a MultiPolygon in pixels, with its attributes."""
    for start in range(0, len(found.things), TOGETHER):
        some = found.things[start : start + TOGETHER]
        ground = [None] * len(some) if found.crs is None else ground_areas(found.crs, found.transform, some).tolist()
        for i, (thing, area) in enumerate(zip(some, ground, strict=True)):
            shape = traced(thing)
            row = {
                "id": start + i + 1,
                "label": found.labels[thing.label],
                "score": thing.score,
                "mask_score": thing.quality,
                "area_px": thing.pixels,
            }
            yield (
                simplified(shape, found.simplify) if found.simplify else shape,
                (row if area is None else {**row, "area_m2": round(area, 4)}),
            )


def _batches(features: Iterator[tuple[Any, dict[str, Any]]]) -> Iterator[list[tuple[Any, dict[str, Any]]]]:
    """Some at a time; an empty list first of all where there are none."""
    some = list(itertools.islice(features, TOGETHER))
    yield some
    while some := list(itertools.islice(features, TOGETHER)):
        yield some


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let an image without a place be written without a warning."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
