"""`gsam.dataset.geo` from a raster to files that other programs read."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from gsam.dataset.geo import engine
from gsam.errors import ImageError, UsageError
from tests.dataset.geo.scenes import CRS, TRANSFORM, pyogrio, rasterio, shapely, things, write
from tests.helpers.fake_geo import Bright

QUERY = {"roof": "building", "pond": "water"}
HOW: dict[str, Any] = {"tile": 128, "overlap": 0.25}
ALL = ("gpkg", "geojson", "tif", "ids")


def segment(path: Path, out: Path, pipe: Any = None, **more: Any) -> engine.Summary:
    return engine.segment(path, QUERY, out, pipe or Bright(), **{**HOW, **more})


def layer(path: Path) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """The metadata, attributes and shapes of a GeoPackage."""
    meta, _, shapes, fields = pyogrio.raw.read(path)
    return meta, dict(zip(meta["fields"], fields, strict=True)), shapely.from_wkb(shapes)


def features(path: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    found = json.loads(path.read_text(encoding="utf-8"))["features"]
    return found, np.array([shapely.geometry.shape(f["geometry"]) for f in found], object)


def burnt(shapes: Any, size: tuple[int, int], transform: Any) -> np.ndarray:
    """Shapes as rasterio fills them."""
    if not len(shapes):
        return np.zeros(size, bool)
    return rasterio.features.rasterize([(s, 1) for s in shapes], size, transform=transform).astype(bool)


def test_objects_over_seams_are_whole_and_in_place(tmp_path: Path) -> None:
    bands = things()
    source = write(tmp_path / "scene.tif", bands)
    found = segment(source, tmp_path / "out", formats=ALL)
    parts = [ndimage.label(bands[i] > 128) for i in (0, 2)]
    assert (found.counts["building"], found.counts["water"]) == (parts[0][1], parts[1][1]) == (4, 2)
    assert found.tiles > 12
    assert [f.name for f in found.files] == ["scene.gpkg", "scene.geojson", "scene_mask.tif", "scene_ids.tif"]

    meta, fields, shapes = layer(tmp_path / "out" / "scene.gpkg")
    assert rasterio.CRS.from_user_input(meta["crs"]) == rasterio.CRS.from_user_input(CRS)
    assert shapely.is_valid(shapes).all()
    assert fields["id"].tolist() == list(range(1, 7))
    assert (np.diff(fields["score"]) <= 0).all()
    with (
        rasterio.open(tmp_path / "out" / "scene_mask.tif") as mask,
        rasterio.open(tmp_path / "out" / "scene_ids.tif") as ids,
    ):
        assert (mask.crs, mask.transform, mask.shape) == (rasterio.CRS.from_user_input(CRS), TRANSFORM, bands.shape[1:])
        assert mask.profile["tiled"]
        assert mask.profile["compress"] == "deflate"
        filled, numbers = mask.read(1), ids.read(1)
    assert np.array_equal(filled == 255, (bands > 128).any(0))
    assert set(np.unique(filled)) == {0, 255}
    assert np.array_equal(burnt(shapes, filled.shape, TRANSFORM), filled > 0)
    rows, degrees = features(tmp_path / "out" / "scene.geojson")
    assert shapely.is_valid(degrees).all()
    for i, (shape, row, number) in enumerate(zip(shapes, rows, fields["id"], strict=True)):
        alone = burnt([shape], filled.shape, TRANSFORM)
        assert np.array_equal(alone, numbers == number)
        assert fields["area_px"][i] == alone.sum() == row["properties"]["area_px"]
        assert fields["area_m2"][i] == pytest.approx(alone.sum() * 0.25 / 0.9996**2, rel=1e-4)
        assert row["id"] == number
        assert row["properties"]["label"] == fields["label"][i]
        back = shapely.geometry.shape(rasterio.warp.transform_geom("EPSG:4326", CRS, row["geometry"]))
        assert np.array_equal(burnt([back], filled.shape, TRANSFORM), alone)
        for polygon in shapely.get_parts(degrees[i]):
            assert polygon.exterior.is_ccw
            assert not any(ring.is_ccw for ring in polygon.interiors)
    assert max(len(p.interiors) for s in shapes for p in shapely.get_parts(s)) == 1


@pytest.mark.parametrize(
    "transform",
    [TRANSFORM, rasterio.Affine(2 * np.cos(0.5), 3 * np.sin(0.5), 3e5, 2 * np.sin(0.5), -3 * np.cos(0.5), 2e6)],
)
def test_corners_are_where_rasterio_puts_them(transform: Any, tmp_path: Path) -> None:
    bands = np.zeros((3, 200, 200), np.uint8)
    bands[0, 30:41, 120:160] = 255
    source = write(tmp_path / "a.tif", bands, transform=transform)
    segment(source, tmp_path / "out")
    shape = layer(tmp_path / "out" / "a.gpkg")[2][0]
    with rasterio.open(source) as opened:
        for row, column in [(30, 120), (30, 159), (40, 120), (40, 159)]:
            x, y = opened.xy(row, column)  # of the pixel's centre
            assert shape.contains(shapely.Point(x, y))
            inner = shapely.Point(opened.xy(35, 140))
            beyond = shapely.Point(x + (x - inner.x) * 0.1, y + (y - inner.y) * 0.1)
            assert not shape.contains(beyond)


def test_a_bad_seam_does_not_cut(tmp_path: Path) -> None:
    """Masks that end a little before the edge of a tile, as those of real models do."""

    class Shy(Bright):
        def answers(self, *arguments: Any, **more: Any) -> Any:
            for item, answer in super().answers(*arguments, **more):
                for part, (y, x) in zip(answer.low_res.parts, answer.low_res.corners, strict=True):
                    height, width = answer.low_res.size
                    part[: max(2 - y, 0)] = part[max(height - 2 - y, 0) :] = False
                    part[:, : max(2 - x, 0)] = part[:, max(width - 2 - x, 0) :] = False
                yield item, answer

    bands = np.zeros((3, 300, 420), np.uint8)
    bands[0, 90:140, 60:360] = 255
    found = segment(write(tmp_path / "a.tif", bands), tmp_path / "out", Shy(), formats=["tif"])
    assert found.objects == 1
    with rasterio.open(found.files[0]) as mask:
        assert np.array_equal(mask.read(1) > 0, bands[0] > 0)


def test_nothing_found_is_valid_files(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", np.full((3, 150, 150), 9, np.uint8))
    found = segment(source, tmp_path / "out", formats=ALL)
    assert found.objects == 0
    meta, fields, shapes = layer(tmp_path / "out" / "a.gpkg")
    assert len(shapes) == 0
    assert list(fields) == ["id", "label", "score", "mask_score", "area_px", "area_m2"]
    assert meta["geometry_type"] == "MultiPolygon"
    assert features(tmp_path / "out" / "a.geojson")[0] == []
    for name in ("a_mask.tif", "a_ids.tif"):
        with rasterio.open(tmp_path / "out" / name) as written:
            assert not written.read(1).any()


def test_across_the_antimeridian(tmp_path: Path) -> None:
    bands = np.zeros((3, 100, 400), np.uint8)
    bands[0, 20:60, 100:300] = 255
    bands[0, 30:40, 150:250] = 0
    x, y = (v[0] for v in rasterio.warp.transform("EPSG:4326", "EPSG:32660", [180], [-17]))
    transform = rasterio.Affine(10, 0, x - 2000, 0, -10, y + 400)
    segment(write(tmp_path / "fiji.tif", bands, crs="EPSG:32660", transform=transform), tmp_path / "out", tile=1024)
    (row,), (shape,) = features(tmp_path / "out" / "fiji.geojson")
    assert shape.geom_type == "MultiPolygon"
    assert shape.is_valid
    west, east = sorted(shapely.get_parts(shape), key=lambda p: p.centroid.x)
    assert west.bounds[0] == -180
    assert east.bounds[2] == 180
    assert all(p.exterior.is_ccw and p.area > 0 for p in (west, east))
    assert row["properties"]["area_m2"] == pytest.approx(100 * 7000, rel=2e-3)
    metres = 111_320 * np.cos(np.radians(17))
    assert (west.bounds[2] + 180 + 180 - east.bounds[0]) * metres == pytest.approx(2000, rel=1e-2)


def test_longitudes_to_360(tmp_path: Path) -> None:
    bands = np.zeros((3, 60, 60), np.uint8)
    bands[0, 20:30, 5:55] = 255
    transform = rasterio.Affine(0.01, 0, 179.8, 0, -0.01, 10)
    segment(write(tmp_path / "a.tif", bands, crs="EPSG:4326", transform=transform), tmp_path / "out")
    row, (shape,) = features(tmp_path / "out" / "a.geojson")
    assert shape.bounds[0] == -180
    assert shape.bounds[2] == 180
    assert len(shape.geoms) == 2
    pixel = (111_320 * 0.01) * (110_600 * 0.01) * np.cos(np.radians(9.75))
    assert row[0]["properties"]["area_m2"] == pytest.approx(500 * pixel, rel=2e-3)


def test_without_a_crs(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", things(), crs=None, transform=rasterio.Affine.identity())
    told: list[str] = []
    found = segment(source, tmp_path / "out", say=told.append)
    assert [f.suffix for f in found.files] == [".gpkg", ".tif"]
    assert any("no coordinate reference system" in text for text in told)
    meta, fields, shapes = layer(tmp_path / "out" / "a.gpkg")
    assert meta["crs"] is None
    assert "area_m2" not in fields
    assert np.array_equal(burnt(shapes, (300, 420), rasterio.Affine.identity()), (things() > 128).any(0))
    with pytest.raises(UsageError, match="GeoJSON needs") as error:
        segment(source, tmp_path / "out", formats=["geojson"])
    assert error.value.code == "geo_no_crs"
    with pytest.raises(UsageError, match="in pixels"):
        segment(source, tmp_path / "out", simplify="1m")


def test_simplified_outlines_have_fewer_points_and_stay_near(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", things())
    segment(source, tmp_path / "exact")
    segment(source, tmp_path / "near", simplify="1m")
    exact, near = (layer(tmp_path / name / "a.gpkg")[2] for name in ("exact", "near"))
    assert shapely.get_num_coordinates(near).sum() < 0.5 * shapely.get_num_coordinates(exact).sum()
    assert shapely.is_valid(near).all()
    assert shapely.hausdorff_distance(exact, near).max() < 2
    segment(source, tmp_path / "exact", simplify=2)  # of the same tiles
    again = layer(tmp_path / "exact" / "a.gpkg")[2]
    assert shapely.equals_exact(again, near, 1e-6).mean() > 0.5


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", things())
    whole = segment(source, tmp_path / "whole", formats=ALL)

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        segment(source, tmp_path / "out", formats=ALL, progress=stop)
    assert not list((tmp_path / "out").glob("*.gpkg"))
    log = tmp_path / "out" / ".gsam-geo" / "a.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6
    log.write_bytes(b"".join(lines[:-1]) + lines[-1][:-7])  # killed while it wrote
    time.sleep(1.1)  # GeoPackages have dates
    pipe = Bright()
    found = segment(source, tmp_path / "out", pipe, formats=ALL)
    assert found.done_before == 4
    assert len(pipe.seen) == whole.tiles - 4
    for file in whole.files:
        assert file.read_bytes() == (tmp_path / "out" / file.name).read_bytes(), file.name
    pipe = Bright()
    segment(source, tmp_path / "out", pipe, formats=["ids"])
    assert pipe.seen == []


def test_another_plan_is_refused(tmp_path: Path) -> None:
    source, out = write(tmp_path / "a.tif", things()), tmp_path / "out"
    segment(source, out)
    with pytest.raises(UsageError, match="tile was 128, is 64") as error:
        segment(source, out, tile=64)
    assert error.value.code == "plan_differs"
    time.sleep(0.01)
    write(source, things() // 2 * 2 + 1)
    with pytest.raises(UsageError, match="the raster was changed"):
        segment(source, out)
    assert segment(source, out, overwrite=True).done_before == 0
    assert segment(source, out).done_before > 0


def test_files_of_others_and_inputs_are_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.gpkg").write_text("mine")
    source = write(tmp_path / "a.tif", things())
    with pytest.raises(UsageError) as error:
        segment(source, out)
    assert error.value.code == "output_of_another"
    assert (out / "a.gpkg").read_text() == "mine"
    segment(source, out, overwrite=True)
    os.link(source, out / "b_mask.tif")
    os.link(source, tmp_path / "b.tif")
    with pytest.raises(UsageError) as error:
        segment(tmp_path / "b.tif", out, overwrite=True)
    assert error.value.code == "output_is_input"


def test_a_damaged_block_costs_its_tiles_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bands = things() + rng.integers(0, 20, (3, 300, 420)).astype(np.uint8)
    source = write(
        tmp_path / "a.tif", bands, tiled=True, blockxsize=64, blockysize=64, compress="deflate", interleave="pixel"
    )
    with rasterio.open(source) as opened:
        place = int(opened.get_tag_item("BLOCK_OFFSET_6_0", "TIFF", 1))
    with source.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 64)
    found = segment(source, tmp_path / "out", stretch=True)
    assert found.errors
    assert all(right > 384 and top < 64 for (top, _, _, right), _ in found.errors)
    assert "rows 0 to 128" in found.errors[0][1]
    assert found.counts["building"] == 4
    pipe = Bright()
    segment(source, tmp_path / "out", pipe, stretch=True)
    assert pipe.seen == []  # tried again, and read in vain


@pytest.mark.parametrize("source", ["https://x.org/a.tif", "s3://b/a.tif", "/vsicurl/https://x.org/a.tif"])
def test_only_local_files(source: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a local file") as error:
        engine.segment(source, "roof", tmp_path, Bright())
    assert error.value.code == "geo_remote"


@pytest.mark.parametrize("content", [b"<VRTDataset/>", b"", b"hello"])
def test_other_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match="gdal_translate"):
        segment(tmp_path / "a.tif", tmp_path / "out")


def test_rasters_placed_by_control_points(tmp_path: Path) -> None:
    points = [rasterio.control.GroundControlPoint(r, c, x=c, y=-r) for r, c in [(0, 0), (0, 9), (9, 0)]]
    source = tmp_path / "a.tif"
    form = {"driver": "GTiff", "width": 10, "height": 10, "count": 1, "dtype": "uint8"}
    with rasterio.open(source, "w", gcps=points, crs=CRS, **form) as out:
        out.write(np.zeros((1, 10, 10), np.uint8))
    with pytest.raises(ImageError, match="gdalwarp") as error:
        segment(source, tmp_path / "out")
    assert error.value.code == "geo_gcps"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tile": 8}, "tile"),
        ({"overlap": 1.0}, "overlap"),
        ({"bands": (1, 2)}, "three numbers"),
        ({"bands": (1, 2, 7)}, "no band 7"),
        ({"span": (5, 5)}, "range"),
        ({"formats": ["shp"]}, "no format 'shp'"),
        ({"formats": []}, "no format"),
        ({"simplify": "wide"}, "simplify"),
        ({"simplify": float("nan")}, "simplify"),
        ({"threshold": 0.5}, "give them to gsam.load"),
    ],
)
def test_wrong_settings(more: dict[str, Any], words: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", things())
    with pytest.raises(UsageError, match=words):
        segment(source, tmp_path / "out", **more)
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.long
def test_nano_over_a_mosaic(tmp_path: Path) -> None:
    """Real masks, over seams: as many as in the image that the mosaic repeats."""
    from PIL import Image

    scene = np.asarray(Image.open(Path(__file__).parents[3] / "notebooks" / "scene.png").convert("RGB"))
    mosaic = np.tile(scene, (2, 2, 1))
    source = write(tmp_path / "m.tif", np.moveaxis(mosaic, -1, 0), tiled=True)
    found = engine.segment(source, "dog. pizza", tmp_path / "out", "nano", tile=640, overlap=0.2)
    assert found.counts == {"dog": 4, "pizza": 4}
    _, fields, shapes = layer(tmp_path / "out" / "m.gpkg")
    for label in ("dog", "pizza"):
        areas = fields["area_px"][fields["label"] == label]
        assert areas.max() < 1.5 * areas.min()  # none is cut
    with rasterio.open(tmp_path / "out" / "m_mask.tif") as mask:
        assert np.array_equal(burnt(shapes, (1024, 1024), TRANSFORM), mask.read(1) > 0)
