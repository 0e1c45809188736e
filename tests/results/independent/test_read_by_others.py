"""Every format is read back by others' packages, and by readers that know nothing of gsam."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.harness import format_judging, format_packages, format_pixels, format_readers, format_runs
from benchmarks.harness.format_cases import CASES, HUGE_BOX, HUGE_MASK
from benchmarks.harness.format_packages import Reader, readers_of
from benchmarks.harness.format_runs import Written
from gsam.results.formats.known import FORMATS
from gsam.results.masks import rle

LOST = {
    ("yolo", "empty mask"): "lost (told)",
    ("yolo", "score"): "score lost (told)",
    ("voc", "empty mask"): "lost (told)",
    ("voc", "overlap"): "IoU 0.514 (told)",
    ("voc", "score"): "score lost (told)",
    ("voc", HUGE_BOX): "box off 0.5 px (told)",
    ("png_ids", "overlap"): "IoU 0.514 (told)",
    ("png_palette", "empty mask"): "lost (told)",
    ("png_palette", "overlap"): "IoU 0.514 (told)",
    ("png_palette", "score"): "score lost (told)",
    ("png_palette", "300 classes"): "46 of 300 lost (told)",
}
"""All that formats lose, as writers say; everything else is exact."""
IMPORTS = {"cvat-sdk": "cvat_sdk.masks", "label-studio-sdk": "label_studio_sdk.converter.brush", "Pillow": "PIL"}
INEXACT = {("yolo", "supervision"), ("voc", "datumaro"), ("sa1b", "datumaro"), ("cvat_video", "datumaro")}
"""Readers that fill outlines in their own way, or do not read all that a format holds."""
UNREAD = {("voc", "supervision", HUGE_BOX)}
"""Cases whose images a package opens, which are too large for it."""
PAIRS = [(name, reader) for name in FORMATS for reader in readers_of(name)]
All = dict[tuple[str, str], Written]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> All:
    cases = [case for case in CASES if case != HUGE_MASK]
    return format_runs.write(tmp_path_factory.mktemp("formats"), cases, list(FORMATS))


@pytest.mark.parametrize(("name", "reader"), PAIRS, ids=[f"{name}-{reader.name}" for name, reader in PAIRS])
def test_what_others_read_is_what_was_written(written: All, name: str, reader: Reader) -> None:
    if reader.packages:
        pytest.importorskip(IMPORTS.get(reader.name, reader.name))
    if (name, reader.name) in INEXACT:
        pytest.skip("the package does not read all that the format holds; see benchmarks/pages/formats.md")
    cells = {}
    for (format_name, case), one in written.items():
        if format_name != name or (name, reader.name, case) in UNREAD:
            continue
        if one.refused:
            pytest.skip(one.error)
        assert not one.error
        found = reader.read(one.folder)
        cells[case] = format_judging.cell(format_judging.compare(one.truth, found, reader.gives), one.told)
    expected = dict.fromkeys(cells, "exact") | {c: text for (n, c), text in LOST.items() if n == name and c in cells}
    for field, case in (("score", "score"), ("mask", "overlap")):
        if field not in reader.gives:
            expected[case] = "exact"  # of the fields that it reads
    assert cells == expected
    assert len(cells) >= 10


@pytest.mark.parametrize("name", sorted(format_runs.KEEP_RUNS & FORMATS.keys()))
def test_the_mask_of_an_image_of_60000_by_40000_pixels_is_kept(tmp_path: Path, name: str) -> None:
    one = format_runs.write_case(name, CASES[HUGE_MASK](), tmp_path / name)
    if one.refused:
        pytest.skip(one.error)
    (found,) = read_runs(name, tmp_path / name)
    (true,) = one.truth[0]["segments"]
    assert sum(true["runs"]) == 2_400_000_000
    assert found["runs"] == true["runs"]
    assert found["box"] == true["box"] == [59_980.0, 39_939.0, 59_992.0, 39_980.0]
    assert found["label"] == "ship"


def read_runs(name: str, folder: Path) -> list[format_readers.Found]:
    """Segments of the one image, without a pixel in memory."""
    if name == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        (row,) = parquet.read_table(folder / "scenes.parquet").to_pylist()
        return [s | {"runs": format_pixels.coco_runs(s["mask"]["counts"])} for s in row["segments"]]
    if name == "coco_results":
        (row,) = json.loads((folder / "results.json").read_bytes())
        runs = format_pixels.coco_runs(row["segmentation"]["counts"])
        return [format_readers.segment("ship", runs, format_readers.xyxy(row["bbox"]))]
    (image,) = format_readers.READERS[name](folder)
    return list(image["segments"])


def test_readers_import_nothing_of_gsam() -> None:
    for module in (
        format_readers,
        format_pixels,
        format_packages,
        importlib.import_module("benchmarks.harness.format_worker"),
    ):
        assert module.__file__
        tree = ast.parse(Path(module.__file__).read_text("utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not [name for name in names if name.split(".")[0] == "gsam"]


def _blobs() -> NDArray[np.bool_]:
    noise = np.random.default_rng(3).random((37, 53))
    return np.asarray(noise > 0.6)


def test_runs_are_those_of_pycocotools() -> None:
    mask = _blobs()
    runs = format_pixels.runs_of(mask)
    assert runs == rle.decompress(rle.encode(mask))["counts"]
    assert runs == format_pixels.coco_runs(rle.encode(mask)["counts"])
    assert (format_pixels.mask_of(runs, (37, 53)) == mask).all()
    assert format_pixels.runs_of(~np.zeros((2, 3), bool)) == [0, 6]


def test_runs_across_blocks_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = format_pixels.runs_of(_blobs())
    monkeypatch.setattr(format_pixels, "BLOCK", 7)
    assert format_pixels.runs_of(_blobs()) == whole


def test_overlaps_are_ious() -> None:
    one, other = _blobs(), _blobs().T.reshape(37, 53)
    found = format_pixels.overlap(format_pixels.runs_of(one), format_pixels.runs_of(other))
    assert found == pytest.approx((one & other).sum() / (one | other).sum())
    assert format_pixels.overlap([6], [6]) == 1
    assert format_pixels.overlap([6], [0, 6]) == 0


def test_outlines_are_filled_at_the_centres_of_pixels() -> None:
    ring = np.array([[1, 1], [5, 1], [5, 4], [1, 4]], float)
    assert format_pixels.fill(ring, (6, 8)).sum() == 12
    assert format_pixels.fill(ring + 0.4, (6, 8))[1:4, 1:5].all()
    slit = np.array([[0, 0], [6, 0], [6, 6], [0, 6], [0, 0], [2, 2], [2, 4], [4, 4], [4, 2], [2, 2]], float)
    filled = format_pixels.fill(slit, (6, 6))
    assert filled.sum() == 32
    assert not filled[2:4, 2:4].any()


def test_brushes_are_unpacked_as_the_description_says() -> None:
    bits = f"{8:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    bits += "1" + "00" + "011" + "00000000"  # four channels of nothing
    bits += "0" + "00" + "011" + "11111111" * 4  # and four pieces of a pixel inside
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert format_pixels.brush(packed, (1, 2)).tolist() == [[False, True]]
