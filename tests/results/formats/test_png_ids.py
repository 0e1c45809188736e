"""Maps of object ids: who keeps a pixel, maps of any depth, masks taken apart in one pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.results.formats import id_map, known, png_ids
from gsam.results.formats.dataset import mask_of, scene, segment
from gsam.results.masks import rle
from tests.results.formats.scenes import KOREAN, ODD, SIZE, hard, masks, read_back


def written(folder: Path, *scenes: Any) -> png_ids.Writer:
    folder.mkdir(exist_ok=True)
    with png_ids.Writer(folder) as writer:
        for one in scenes:
            writer.add(one)
    return writer


def alone(name: str = "sub/b.png", kinds: tuple[str, ...] = ("parts", "pixel", "empty")) -> dict[str, Any]:
    """Masks that do not overlap, and a box."""
    found = [
        segment(label, rle.encode(masks()[k]), score=0.5) for label, k in zip((KOREAN, ODD, "c"), kinds, strict=True)
    ]
    return scene(name, SIZE, [*found, segment("box", None, box=[3.25, 4.0, 10.0, 12.0], score=0.25)])


@pytest.mark.parametrize("kind", list(masks()))
def test_a_map_is_taken_apart(kind: str) -> None:
    mask = masks()[kind]
    found = id_map.split(np.where(mask, 70_000, 3))
    assert found.get(70_000, id_map.empty(SIZE)) == rle.encode(mask)
    assert found.get(3, id_map.empty(SIZE)) == rle.encode(~mask)


def test_a_map_of_noise_is_taken_apart() -> None:
    numbers = np.random.default_rng(0).integers(0, 5, (37, 53))
    found = id_map.split(numbers)
    assert list(found) == [1, 2, 3, 4]
    assert all(mask == rle.encode(numbers == number) for number, mask in found.items())


def test_masks_that_do_not_overlap_come_back(tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "sub/a.png"]
    scenes = [alone(name) for name in names]
    scenes[0]["segments"][1] |= {"track": 3, "crowd": True, "mask_score": 0.5}
    scenes.append(scene("full.png", SIZE, [segment("full", rle.encode(masks()["full"]))]))
    scenes.append(scene("none.png", SIZE, [], [f"class {i}" for i in range(300)]))
    assert not written(tmp_path, *scenes).losses
    assert known.recognised(tmp_path) == "png_ids"
    data = known.read(tmp_path)
    found = {s["image"]: s for s in data}
    assert not data.problems
    assert read_back(list(found.values())) == read_back(scenes)
    assert found["a.png"]["segments"][1] == scenes[0]["segments"][1]
    assert found["none.png"]["queries"] == scenes[-1]["queries"]


def test_what_the_files_look_like(tmp_path: Path) -> None:
    written(tmp_path, alone())
    with Image.open(tmp_path / "sub" / "b.png") as image:
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.array(image), masks()["parts"] + 2 * masks()["pixel"] * ~masks()["parts"])
    index = json.loads((tmp_path / "sub" / "b.json").read_text(encoding="utf-8"))
    assert [s["id"] for s in index["segments"]] == [1, 2, 3, 4]
    assert [index["segments"][0][key] for key in ("label", "score", "box")] == [KOREAN, 0.5, [2, 2, 30, 20]]
    assert [("mask" in s) for s in index["segments"]] == [False, False, False, True]


def test_the_higher_score_keeps_a_pixel(tmp_path: Path) -> None:
    wide, high = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    wide[5:10], high[:, 4:9] = True, True
    found = [segment("none", rle.encode(masks()["full"]))]
    found += [segment("wide", rle.encode(wide), score=0.5), segment("high", rle.encode(high), score=0.75)]
    found += [segment("later", rle.encode(wide), score=0.5)]
    writer = written(tmp_path, scene("a.png", SIZE, found))
    assert writer.losses == {"masks lose pixels that lie under masks with a higher score": 3}
    (back,) = png_ids.read(tmp_path)
    got = {s["label"]: mask_of(s) for s in back["segments"]}
    assert list(got) == ["none", "wide", "high", "later"]
    np.testing.assert_array_equal(got["high"], high)
    np.testing.assert_array_equal(got["wide"], wide & ~high)
    np.testing.assert_array_equal(got["none"], ~wide & ~high)
    assert not got["later"].any()
    assert back["segments"][3]["box"] == [0, 5, 32, 10]


def test_what_overlaps_is_counted(tmp_path: Path) -> None:
    assert written(tmp_path, hard()).losses.total() == 5  # all but the first, the empty, and the box
    (back,) = png_ids.read(tmp_path)
    assert len(back["segments"]) == 8


def test_maps_of_three_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "shallow", alone())
    monkeypatch.setattr(png_ids, "SHALLOW", 3)
    written(tmp_path / "deep", alone())
    with Image.open(tmp_path / "deep" / "sub" / "b.png") as image:
        assert image.mode == "RGB"
    assert list(png_ids.read(tmp_path / "deep")) == list(png_ids.read(tmp_path / "shallow"))


def test_ids_of_more_than_16_bits(tmp_path: Path) -> None:
    numbers = [1, 65_535, 65_536, 70_000]
    ids = np.zeros(SIZE, np.uint32)
    ids[3, 4:8] = numbers
    rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    index = {"format": "gsam png_ids 1", "image": "a.png", "width": SIZE[1], "height": SIZE[0]}
    entries = [{"id": number, "label": "x", "score": None, "box": [0, 0, 1, 1]} for number in numbers]
    (tmp_path / "a.json").write_text(json.dumps(index | {"segments": entries}))
    data = png_ids.read(tmp_path)
    (back,) = data
    assert not data.problems
    for i, found in enumerate(back["segments"]):
        assert np.argwhere(mask_of(found)).tolist() == [[3, 4 + i]]


def test_what_is_wrong_is_left_out_and_told(tmp_path: Path) -> None:
    written(tmp_path, *(alone(f"{i}.png") for i in range(5)))
    (tmp_path / "0.png").unlink()
    Image.new("L", (5, 5)).save(tmp_path / "1.png")
    (tmp_path / "2.json").write_text("[]")
    index = json.loads((tmp_path / "3.json").read_text(encoding="utf-8"))
    index["segments"][:2] = [{"label": "x", "box": [0, 0, 1, 1]}, 7]
    (tmp_path / "3.json").write_text(json.dumps(index))
    (tmp_path / "4.png").write_bytes((tmp_path / "4.png").read_bytes()[:60])
    data = png_ids.read(tmp_path)
    (found,) = data
    assert (found["image"], [s["label"] for s in found["segments"]]) == ("3.png", ["c", "box"])
    assert len(data.problems) == 7
    assert any("2 ids have no entry, 1 the first" in problem for problem in data.problems)
    assert any("its map is 5 x 5, the image 32 x 24" in problem for problem in data.problems)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="is no data set of png_ids"):
        png_ids.read(tmp_path / "nothing")
