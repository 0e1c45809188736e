"""Objects as polygons: in pixels, in the raster's coordinates, and in longitude and latitude."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.dataset.geo.merge import Piece, Thing, painted
from gsam.errors import UsageError
from gsam.results.masks.polygons import outlines

AT_ONCE = 1 << 22
"""Pixels that are traced at a time."""
WGS84 = "OGC:CRS84"
EQUATOR, ECCENTRICITY = 6378137.0, 0.0066943799901413165
"""The ellipsoid WGS 84: half of the longer axis in metres, and the square of the eccentricity."""
NEAR = 10.0
"""Metres on each side of a place by which its scale is measured, at least half a pixel."""
DIGITS = 9
"""Decimals of a degree that GeoJSON gets: a tenth of a millimetre."""


def traced(thing: Thing, at_once: int = AT_ONCE) -> Any:
    """Trace an object; parts and holes are kept.

    Args:
        thing: The object.
        at_once: Pixels that are traced at a time.

    Returns:
        A shapely MultiPolygon in pixels, x first; the centre of the first pixel is (0.5, 0.5).
    """
    import shapely

    top, left, bottom, right = thing.area
    if (bottom - top) * (right - left) <= at_once:
        corner = np.array([left, top], float)
        found = outlines(painted(thing.pieces, thing.area))
        return shapely.MultiPolygon([(outer + corner, [h + corner for h in holes]) for outer, *holes in found])
    step = max(at_once // (right - left + 2), 2)
    parts = [part for row in range(top - 1, bottom, step) for part in _strip(thing, row, min(row + step, bottom))]
    rings = [[r.coords for r in (p.exterior, *p.interiors)] for p in shapely.get_parts(shapely.union_all(parts))]
    return shapely.MultiPolygon([(_bends(outer), [_bends(hole) for hole in holes]) for outer, *holes in rings])


def _strip(thing: Thing, first: int, last: int) -> list[Any]:
    """Polygons between the centres of two rows: those of the next strip meet them exactly."""
    import contourpy
    import shapely

    frame = (first, thing.area[1] - 1, last + 1, thing.area[3] + 1)
    seen = painted(thing.pieces, frame).astype(np.float32)
    tracer = contourpy.contour_generator(z=seen, fill_type=contourpy.FillType.OuterOffset)
    found: Any = tracer.filled(0.5, 2.0)
    corner = np.array([frame[1], frame[0]]) + 0.5
    polygons = []
    for points, at in zip(*found, strict=True):
        outer, *holes = [_bends(points[a:b] + corner) for a, b in itertools.pairwise(at)]
        polygons.append(shapely.Polygon(outer, holes))
    return polygons


def _bends(ring: Any) -> NDArray[np.float64]:
    """A closed ring without the points between others on one line."""
    points = np.asarray(ring, float)[:-1]
    before, after = np.roll(points, 1, 0) - points, np.roll(points, -1, 0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def simplified(shape: Any, pixels: float) -> Any:
    """Leave out points of a MultiPolygon that lie nearer than so many pixels to what is left."""
    import shapely

    found = shapely.simplify(shape, pixels, preserve_topology=True)
    return _polygons(found if found.is_valid else shapely.make_valid(found))


def placed(shape: Any, transform: Any) -> Any:
    """A shape in pixels, in the coordinates that a transform (affine) leads to; outlines run
    counter-clockwise.
    """
    import shapely

    a, b, c, d, e, f = tuple(transform)[:6]
    moved = shapely.transform(
        shape, lambda xy: np.stack([a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f], 1)
    )
    return _oriented(moved.geoms)


def on_earth(shape: Any, crs: Any) -> Any | None:
    """A shape in longitude and latitude as RFC 7946 wants it.

    Outlines run counter-clockwise, longitudes are -180 to 180, and what crosses the antimeridian is
    cut there.

    Args:
        shape: A MultiPolygon in coordinates of ``crs``.
        crs: A coordinate reference system (rasterio).

    Returns:
        A Polygon or MultiPolygon; None where a corner has no longitude and latitude.
    """
    import shapely

    xy = shapely.get_coordinates(shape)
    degrees = to_degrees(crs, xy)
    if not np.isfinite(degrees).all():
        return None
    turned = shapely.set_coordinates(shape, degrees)  # shapely.transform made it anew: nobody else has it
    parts = [part for polygon in turned.geoms for part in _within_world(polygon)]
    found = _oriented(parts)
    return found.geoms[0] if len(found.geoms) == 1 else found


def to_degrees(crs: Any, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitude and latitude [N, 2] of places [N, 2]; not finite where there is none.

    Raises:
        UsageError: The system has no relation to the Earth's (``geo_crs``).
    """
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    try:
        lon, lat = transform(crs, WGS84, xy[:, 0], xy[:, 1])[:2]
    except (RasterioError, ValueError) as error:
        raise UsageError(
            f"the raster's coordinates cannot be turned into longitude and latitude: {error}", "geo_crs"
        ) from None
    return np.stack([np.asarray(lon, float), np.asarray(lat, float)], 1)


def pixel_areas(crs: Any, transform: Any, places: NDArray[np.float64], step: float = 0.5) -> NDArray[np.float64]:
    """Square metres on the ellipsoid of pixels at some places.

    Args:
        crs: The raster's coordinate reference system.
        transform: The raster's.
        places: [N, 2] columns and rows.
        step: Pixels on each side of a place by which its scale is measured.

    Returns:
        [N]; not finite where a place has no longitude and latitude.
    """
    a, b, c, d, e, f = tuple(transform)[:6]
    steps = np.array([[-step, 0], [step, 0], [0, -step], [0, step]])
    around = (places[:, None] + steps).reshape(-1, 2)
    x, y = a * around[:, 0] + b * around[:, 1] + c, d * around[:, 0] + e * around[:, 1] + f
    radians = np.radians(to_degrees(crs, np.stack([x, y], 1)).reshape(-1, 4, 2))
    across, down = radians[:, 1] - radians[:, 0], radians[:, 3] - radians[:, 2]
    for turn in (across, down):
        turn[:, 0] = (turn[:, 0] + math.pi) % (2 * math.pi) - math.pi  # over the antimeridian
    middle = radians[..., 1].mean(1)
    bend = 1 - ECCENTRICITY * np.sin(middle) ** 2
    along, beside = EQUATOR * (1 - ECCENTRICITY) / bend**1.5, EQUATOR / np.sqrt(bend) * np.cos(middle)
    turned = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    return np.asarray(np.abs(turned) * along * beside / (2 * step) ** 2)


def ground_areas(crs: Any, transform: Any, things: Sequence[Thing]) -> NDArray[np.float64]:
    """Square metres of objects on the ellipsoid [N]: their pixels, each as large as the pixels in
    the middle of its piece.
    """
    pieces: list[Piece] = [piece for thing in things for piece in thing.pieces]
    middles = np.asarray([[(p.area[1] + p.area[3]) / 2, (p.area[0] + p.area[2]) / 2] for p in pieces])
    if not len(middles):
        return np.zeros(0)
    side = math.sqrt(float(pixel_areas(crs, transform, middles[:1])[0]))
    step = max(0.5, NEAR / side) if side > 0 and math.isfinite(side) else 0.5
    scales = pixel_areas(crs, transform, middles, step)
    weights = np.asarray([p.pixels for p in pieces], float)
    first = np.cumsum([0, *(len(thing.pieces) for thing in things)])
    means = [np.average(scales[i:j], weights=weights[i:j]) for i, j in itertools.pairwise(first)]
    return np.asarray([thing.pixels for thing in things], float) * np.asarray(means, float)


def _within_world(polygon: Any) -> list[Any]:
    """A polygon whose longitudes may jump or be anything, as polygons between -180 and 180."""
    import shapely

    rings = [np.asarray(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]
    for ring in rings:
        ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    middle = rings[0][:, 0].mean()
    for hole in rings[1:]:
        hole[:, 0] += 360 * round((middle - hole[:, 0].mean()) / 360)
    west, east = rings[0][:, 0].min(), rings[0][:, 0].max()
    whole = shapely.Polygon(rings[0], rings[1:])
    first, last = math.floor((west + 180) / 360), math.ceil((east + 180) / 360) - 1
    if first == last == 0 or (west >= -180 and east <= 180):
        return [whole]
    if not whole.is_valid:
        whole = shapely.make_valid(whole)
    found = []
    for turn in range(first, last + 1):
        world = shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90)
        part = shapely.intersection(whole, world)
        found += [shapely.transform(p, lambda xy, t=turn: xy - [360 * t, 0]) for p in _polygons(part).geoms]
    return found


def _polygons(shape: Any) -> Any:
    """The polygons of any shape, as a MultiPolygon."""
    import shapely

    return shapely.MultiPolygon([p for p in shapely.get_parts(shapely.get_parts(shape)) if p.geom_type == "Polygon"])


def _oriented(polygons: Any) -> Any:
    import shapely
    from shapely.geometry.polygon import orient

    return shapely.MultiPolygon([orient(polygon, 1.0) for polygon in polygons])
