"""Rasters that do not fit in memory, and ``gsam geo`` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.geo.scenes import CRS, TRANSFORM, rasterio, things, write

ROOT = Path(__file__).parents[3]
FAKE = [sys.executable, str(ROOT / "tests" / "helpers" / "fake_geo.py")]
MEASURED = """
import resource, sys
sys.path.insert(0, {root!r})
from tests.helpers.fake_geo import Bright
from gsam.dataset.geo import engine
import pyogrio, rasterio.warp, shapely, scipy.ndimage
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
engine.segment({small!r}, "roof", {out!r}, Bright(), tile=2048, formats=["gpkg", "geojson", "tif", "ids"])
before = peak()
found = engine.segment({large!r}, "roof", {out!r}, Bright(), tile=2048, formats=["gpkg", "geojson", "tif", "ids"])
print(before, peak() - before, found.objects, found.tiles, found.empty)
"""


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([*FAKE, *map(str, arguments)], capture_output=True, text=True, env=ours, check=False)


@pytest.mark.long
@pytest.mark.parametrize("tiled", [True, False])
def test_memory_does_not_grow_with_the_raster(tiled: bool, tmp_path: Path) -> None:
    """Read 30,000 x 30,000 pixels, 2.7 GB, nearly all not measured, and an object of 6,000 rows."""
    bands = np.zeros((3, 2100, 2100), np.uint8)
    bands[0, 100:1900, 100:1900] = 255
    small = write(tmp_path / "small.tif", bands)
    large = tmp_path / "large.tif"
    form = {"driver": "GTiff", "width": 30_000, "height": 30_000, "count": 3, "dtype": "uint8", "nodata": 0}
    form |= {"SPARSE_OK": True, "tiled": tiled, "interleave": "pixel", "crs": CRS, "transform": TRANSFORM}
    form |= {"compress": "deflate", "zlevel": 1}
    with rasterio.open(large, "w", **form) as out:
        part = np.zeros((3, 6000, 4000), np.uint8)
        part[0, :, :3000] = 255
        out.write(part, window=rasterio.windows.Window(25_000, 20_000, 4000, 6000))
    code = MEASURED.format(root=str(ROOT), small=str(small), large=str(large), out=str(tmp_path / "out"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, more, objects, tiles, empty = map(float, done.stdout.split())
    assert objects == 1
    assert tiles > 300
    assert empty > 0.9 * tiles
    assert more < 500, (before, more)
    with rasterio.open(tmp_path / "out" / "large_mask.tif") as mask:
        assert mask.shape == (30_000, 30_000)
        assert mask.read(1, window=rasterio.windows.Window(24_999, 19_999, 3, 3)).tolist() == [
            [0, 0, 0],
            [0, 255, 255],
            [0, 255, 255],
        ]


@pytest.mark.long
def test_the_command(tmp_path: Path) -> None:
    source, out = write(tmp_path / "a.tif", things()), tmp_path / "out"
    how = ["-q", "roof. pond", "-p", "nano", "-o", out, "--tile", 128, "--overlap", 0.25]
    done = run(source, *how, "--format", "gpkg,ids")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{source}: 4 roof, 2 pond -> {out}/a.gpkg, {out}/a_ids.tif\n"
    (tmp_path / "b.tif").write_bytes(b"no")
    done = run(tmp_path / "b.tif", source, *how, "--format", "geojson")
    assert done.returncode == 3
    assert "[image_format]" in done.stderr
    assert "tiles were done before" in done.stderr
    assert len(json.loads((out / "a.geojson").read_text())["features"]) == 6


@pytest.mark.long
def test_killed_and_started_again(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", things())
    how = ["-q", "roof. pond", "-p", "nano", "--tile", "64", "--format", "gpkg,geojson,tif,ids"]
    assert run(source, *how, "-o", tmp_path / "whole").returncode == 0
    out = tmp_path / "out"
    log = out / ".gsam-geo" / "a.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_SECONDS": "0.05"}
    for kind in (signal.SIGKILL, signal.SIGTERM):
        before = log.stat().st_size if log.exists() else 0
        process = subprocess.Popen([*FAKE, str(source), *how, "-o", str(out)], env=environment, stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while process.poll() is None and not (log.exists() and log.stat().st_size > before + 2000):
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(kind)
        process.communicate()
        assert process.returncode == (-9 if kind == signal.SIGKILL else 143)
    done = run(source, *how, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "tiles were done before" in done.stderr
    for name in ("a.gpkg", "a.geojson", "a_mask.tif", "a_ids.tif"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
