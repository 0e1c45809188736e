"""Rasters of any size, read window by window as uint8 RGB with what was measured."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.dataset.geo.levels import levels_of
from gsam.errors import ImageError, UsageError
from gsam.files import Closing
from gsam.inputs.paths import expanded, missing, shown
from gsam.pipeline.tile import Rectangle

SIGNATURES = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP": "JP2OpenJPEG",
    b"EHFA_HE": "HFA",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
}
"""Beginnings of files that are opened, and their drivers: none of them can name other files, as VRT
can, whose sources may be anywhere.
"""
REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|/vsi", re.I)
CACHE = (64 << 20, 512 << 20)
"""Least and most bytes for decoded blocks."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """The way a raster is looked at.

    Args:
        bands: Numbers of the bands for red, green and blue, or of one for grey, from 1; by default
            those that the file calls so, else the first three, else the first.
        stretch: Whether the 2nd and 98th percentile of each band become 0 and 255.
        span: Values that become 0 and 255 in every band.
        nodata: The value of pixels that were not measured, in place of the file's.
    """

    bands: tuple[int, ...] | None = None
    stretch: bool = False
    span: tuple[float, float] | None = None
    nodata: float | None = None

    def __post_init__(self) -> None:
        if self.bands is not None and (len(self.bands) not in (1, 3) or min(self.bands) < 1):
            raise UsageError(f"bands are three numbers from 1, or one for grey, not {self.bands}", "geo_bands")
        if self.span is not None and not (
            len(self.span) == 2 and all(map(math.isfinite, self.span)) and self.span[0] < self.span[1]
        ):
            raise UsageError(f"a range is two numbers, the lower first, not {self.span}", "geo_range")


class Raster(Closing):
    """An opened raster; close it, or use it as a context.

    Reading is safe from any thread: one reads at a time, and all share the decoded blocks.

    Attributes:
        path: The file.
        size: Height and width in pixels.
        crs: Its coordinate reference system (rasterio), or None.
        transform: From columns and rows to coordinates (affine).
        bands: Numbers of the bands that are read.
    """

    def __init__(
        self, source: str | os.PathLike[str], reading: Reading, tile: int, say: Callable[[str], None] | None = None
    ) -> None:
        """Open a raster; no pixel is read but, for ``stretch``, a sample.

        Args:
            source: A local file: GeoTIFF (also COG, BigTIFF), JPEG 2000, ERDAS Imagine, PNG, JPEG.
            reading: Bands and levels.
            tile: Side of the windows that will be read, in pixels.
            say: Called with lines about what is worth knowing.

        Raises:
            UsageError: It is no local file (``geo_remote``), rasterio is missing, or it has no such
                bands (``geo_bands``).
            ImageError: It cannot be read, or its pixels have no plain place (``geo_gcps``).
        """
        self.path, driver = _local(source)
        self._name = shown(self.path)
        try:
            import rasterio
            from rasterio.errors import NotGeoreferencedWarning, RasterioError
        except ImportError:
            raise UsageError("GeoTIFF needs the extra geo: pip install 'gsam-jax[geo]'", "extra_missing") from None
        self._lock = threading.Lock()
        self._reading = reading
        with contextlib.ExitStack() as stack:
            try:
                with warnings.catch_warnings():  # what has no place is told of by who needs one
                    warnings.simplefilter("ignore", NotGeoreferencedWarning)
                    self._source = stack.enter_context(rasterio.open(self.path, driver=driver))
            except RasterioError as error:
                raise ImageError(f"{self._name}: {_why(error)}", "image_unreadable") from None
            self.size: tuple[int, int] = (self._source.height, self._source.width)
            self.crs: Any = self._source.crs
            self.transform: Any = self._source.transform
            self._check_place()
            self.bands, self._palette = self._chosen_bands()
            need, striped = self._decoded_at_once(tile)
            if "GDAL_CACHEMAX" not in os.environ:
                stack.enter_context(rasterio.Env(GDAL_CACHEMAX=min(max(need, CACHE[0]), CACHE[1])))
                if striped and need > CACHE[1] and say is not None:
                    say(
                        f"{self._name} has strips, each of which is decoded many times: GDAL_CACHEMAX="
                        f"{need // 1_000_000 + 1} would keep them, `gdal_translate -co TILED=YES` ends it"
                    )
            if self._palette is None:
                self._levels = levels_of(
                    self._source,
                    self.bands,
                    self._name,
                    self._values,
                    stretch=reading.stretch,
                    span=reading.span,
                )
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def read(self, tile: Rectangle) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read a window.

        Args:
            tile: Rows and columns: top, left, bottom, right.

        Returns:
            Pixels [H, W, 3], black where nothing was measured, and where something was [H, W].

        Raises:
            ImageError: A block is damaged (``image_unreadable``).
        """
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        top, left, bottom, right = tile
        window = Window(left, top, right - left, bottom - top)
        try:
            values, valid = self._values(window, (bottom - top, right - left))
        except RasterioError as error:
            place = f"rows {top} to {bottom}, columns {left} to {right}"
            raise ImageError(f"{self._name}: {place}: {_why(error)}", "image_unreadable") from None
        if not valid.any():
            return np.zeros((*valid.shape, 3), np.uint8), valid
        if self._palette is not None:
            coloured = self._palette[np.minimum(values[0], len(self._palette) - 1)]
            valid &= coloured[..., 3] > 0
            pixels = np.ascontiguousarray(coloured[..., :3])
        else:
            pixels = np.ascontiguousarray(np.moveaxis(self._levels.apply(values), 0, -1))
            pixels = np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels
        pixels[~valid] = 0
        return pixels, valid

    def _values(self, window: Any, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values [B, H, W] of a window, and where any band has one [H, W]."""
        from rasterio.enums import MaskFlags

        bands, form = list(self.bands), (len(self.bands), *shape)
        flags = {flag for band in bands for flag in self._source.mask_flag_enums[band - 1]}
        there = np.ones((1, 1, 1), bool)
        with self._lock:
            values = self._source.read(bands, window=window, out_shape=form)
            if self._reading.nodata is None and flags & {MaskFlags.alpha, MaskFlags.per_dataset}:
                there = self._source.read_masks(bands, window=window, out_shape=form) != 0
        nothing = [self._source.nodatavals[band - 1] for band in bands]
        if self._reading.nodata is not None:
            nothing = [self._reading.nodata] * len(bands)
        if there.size == 1 and any(value is not None for value in nothing):  # GDAL would keep masks as blocks
            kind = values.dtype.type if values.dtype.kind == "f" else float
            there = np.stack(
                [
                    band != kind(v) if v is not None else np.ones(shape, bool)
                    for band, v in zip(values, nothing, strict=True)
                ]
            )
        if values.dtype.kind == "f":
            there = there & np.isfinite(values)
        return values, np.ascontiguousarray(np.broadcast_to(there, values.shape).any(0))

    def _check_place(self) -> None:
        source = self._source
        if self.crs is None and self.transform.is_identity and (source.gcps[0] or source.rpcs is not None):
            kind = "ground control points" if source.gcps[0] else "rational polynomials (RPC)"
            remedy = "gdalwarp in.tif out.tif" if source.gcps[0] else "gdalwarp -rpc in.tif out.tif"
            raise ImageError(
                f"{self._name}: its place is told by {kind}, not by a transform: rectify it first: {remedy}", "geo_gcps"
            )
        if self.transform.is_degenerate:
            raise ImageError(f"{self._name}: its transform makes a line of the image", "geo_gcps")

    def _chosen_bands(self) -> tuple[tuple[int, ...], NDArray[np.uint8] | None]:
        """The bands to read, and the colours [N, 4] of a palette."""
        from rasterio.enums import ColorInterp

        count, meanings = self._source.count, list(self._source.colorinterp)
        if self._reading.bands is not None:
            if max(self._reading.bands) > count:
                told = [d for d in self._source.descriptions if d]
                names = f" ({', '.join(told)})" if told else ""
                raise UsageError(
                    f"{self._name} has {count} band{'s' * (count > 1)}{names}: no band {max(self._reading.bands)}",
                    "geo_bands",
                )
            return self._reading.bands, None
        if meanings[0] == ColorInterp.palette:
            return (1,), _colours(self._source.colormap(1))
        if ColorInterp.cyan in meanings:
            raise ImageError(f"{self._name}: CMYK is not read: convert it to RGB", "image_depth")
        colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        if all(colour in meanings for colour in colours):
            return tuple(meanings.index(colour) + 1 for colour in colours), None
        plain = [i + 1 for i, meaning in enumerate(meanings) if meaning != ColorInterp.alpha]
        return tuple(plain[:3]) if len(plain) >= 3 else tuple(plain[:1] or [1]), None

    def _decoded_at_once(self, tile: int) -> tuple[int, bool]:
        """Bytes of the blocks that a row of tiles touches, and whether a block is a strip."""
        rows, columns = self._source.block_shapes[self.bands[0] - 1]
        count = len(self.bands) if str(self._source.interleaving).endswith("band") else self._source.count
        wide = columns >= self.size[1] > 2 * tile
        across = self.size[1] * min(tile + 2 * rows, self.size[0])
        return int(1.2 * across * count * np.dtype(self._source.dtypes[0]).itemsize), wide  # blocks have heads


def _local(source: str | os.PathLike[str]) -> tuple[Path, str]:
    """The path of a raster and the driver that opens it."""
    if REMOTE.match(os.fspath(source)):
        raise UsageError(f"{source} is not a local file: fetch it first (gdal_translate, gsutil, aws s3)", "geo_remote")
    path = expanded(source)
    name = shown(path)
    try:
        if not path.exists():
            raise missing(path)
        if not path.is_file():
            raise ImageError(f"{name}: is not a file", "image_not_a_file")
        with path.open("rb") as file:
            head = file.read(8)
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name}: {getattr(error, 'strerror', None) or error}", "image_missing") from None
    for beginning, driver in SIGNATURES.items():
        if head.startswith(beginning):
            return path, driver
    text = f"{name}: is no GeoTIFF, JPEG 2000, ERDAS Imagine, PNG or JPEG"
    raise ImageError(f"{text}: convert it first: gdal_translate -of COG {path.name} {path.stem}.tif", "image_format")


def _colours(table: dict[int, Sequence[int]]) -> NDArray[np.uint8]:
    found = np.zeros((max(table) + 1, 4), np.uint8)
    for value, colour in table.items():
        found[value] = colour
    return found


def _why(error: BaseException) -> str:
    """The reason that GDAL gives, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())
