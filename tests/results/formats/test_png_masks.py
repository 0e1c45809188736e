"""A PNG for each mask: nothing is lost, names never collide, SAM's own folders are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.results.formats import known, mask_folder, png_masks
from gsam.results.formats.dataset import mask_of, scene, segment
from gsam.results.masks import rle
from tests.results.formats.scenes import KOREAN, ODD, SIZE, hard, masks, read_back


def written(folder: Path, *scenes: Any) -> png_masks.Writer:
    folder.mkdir(exist_ok=True)
    with png_masks.Writer(folder) as writer:
        for one in scenes:
            writer.add(one)
    return writer


def test_everything_comes_back(tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "sub/a.png", "sub/deep/b.tif"]
    more = scene("m.png", SIZE, [segment(f"class {i}", rle.encode(masks()["line"]), mask_score=0.25) for i in range(3)])
    more["segments"][0] |= {"track": 7, "crowd": True}
    more["queries"] = [f"class {i}" for i in range(300)]
    assert not written(tmp_path, *map(hard, names), more).losses
    assert known.recognised(tmp_path) == "png_masks"
    data = known.read(tmp_path)
    found = list(data)
    assert not data.problems
    assert read_back(found) == read_back([*map(hard, names), more])
    again = next(s for s in found if s["image"] == "m.png")
    assert again["segments"] == more["segments"]
    assert again["queries"] == more["queries"]
    assert {KOREAN, ODD} <= {s["label"] for s in found[0]["segments"]}


def test_what_the_files_look_like(tmp_path: Path) -> None:
    written(tmp_path, hard("sub/b.png"))
    folder = tmp_path / "sub" / "b"
    assert sorted(p.name for p in folder.iterdir()) == [*(f"{i}.png" for i in range(7)), "index.json"]
    for i, mask in enumerate(masks().values()):
        with Image.open(folder / f"{i}.png") as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.array(image), np.where(mask, 255, 0))
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert [index[key] for key in ("image", "width", "height")] == ["sub/b.png", 32, 24]
    assert index["segments"][1] == {"label": KOREAN, "score": 0.5, "box": [2, 2, 30, 20], "mask": "1.png"}
    assert index["segments"][7] == {"label": "box", "score": 0.25, "box": [3, 4, 10, 12], "mask": None}


def test_images_called_like_masks(tmp_path: Path) -> None:
    names = [
        "x.jpg",
        "x/0.jpg",
        "x/0.png",
        "x/index.json.png",
        "x/0.png/y.png",
        "../../up.png",
        "/root.png",
        "..",
        "-.png",
    ]
    out = tmp_path / "a" / "out"
    out.mkdir(parents=True)
    written(out, *map(hard, names))
    found = list(known.read(out, "png_masks"))
    assert sorted(s["image"] for s in found) == sorted([*names[:5], "up.png", "root.png", "8.png", "-.png"])
    assert all(len(s["segments"]) == 8 for s in found)
    assert [p for p in tmp_path.rglob("*.png") if not p.is_relative_to(out)] == []


def test_masks_of_other_people_s_values(tmp_path: Path) -> None:
    written(tmp_path, scene("a.png", SIZE, [segment("x", rle.encode(masks()["hole"]))]))
    mask = masks()["hole"]
    for pixels in (
        mask.astype(np.uint8),
        mask,
        mask.astype(np.uint16) * 65535,
        np.where(mask, 255, 3).astype(np.uint8),
    ):
        Image.fromarray(pixels).save(tmp_path / "a" / "0.png")
        ((one,),) = (s["segments"] for s in png_masks.read(tmp_path))
        assert (mask_of(one) == mask).all()


def test_what_is_wrong_is_left_out_and_told(tmp_path: Path) -> None:
    good = hard("good.png")
    written(tmp_path, good, *(hard(f"{i}.png") for i in range(3)))
    index = tmp_path / "good" / "index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    for i, change in enumerate(
        [{"mask": "../0/0.png"}, {"mask": "none.png"}, {"mask": ""}, {"label": None, "box": [1]}, {"score": 7}]
    ):
        content["segments"][i] |= change
    del content["segments"][5]["label"]
    index.write_text(json.dumps(content))
    Image.new("L", (5, 5)).save(tmp_path / "good" / "6.png")
    (tmp_path / "0" / "index.json").write_text("{")
    (tmp_path / "1" / "index.json").write_text(
        '{"format": "gsam png_masks 1", "image": "1.png", "width": 1e10, "height": 1e10}'
    )
    (tmp_path / "2" / "0.png").write_bytes(b"no PNG")
    data = png_masks.read(tmp_path)
    found = {s["image"]: s["segments"] for s in data}
    assert {image: len(some) for image, some in found.items()} == {"good.png": 2, "2.png": 7}
    assert found["good.png"][0]["score"] is None
    assert len(data.problems) == 10
    for text in ("'../0/0.png' is no file beside", "'label' is missing", "is no size", "its mask is 5 x 5", "score 7"):
        assert any(text in problem for problem in data.problems), text


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    writer = written(tmp_path, scene("a.png", SIZE, [segment("x", rle.encode(masks()["line"]), score=float("nan"))]))
    assert writer.losses == {"scores that are no numbers": 1}
    ((one,),) = (s["segments"] for s in png_masks.read(tmp_path))
    assert one["score"] is None


def test_folders_of_sam_are_read(tmp_path: Path) -> None:
    for name, labels in (("one", True), ("two", False)):
        records = [
            {"segmentation": rle.encode(mask), "area": int(mask.sum()), "bbox": [0, 0, 1, 1], "predicted_iou": 0.75,
             "point_coords": [[1.0, 2.0]], "stability_score": 0.95, "crop_box": [0, 0, 32, 24],
             **({"label": kind} if labels else {})}
            for kind, mask in masks().items()
        ]  # fmt: skip
        mask_folder.write(records, tmp_path / "sub" / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "metadata.csv").write_text("id,area\n")
    assert known.recognised(tmp_path) == "png_masks"
    data = known.read(tmp_path)
    one, two = data
    assert (one["image"], two["image"]) == ("sub/one.png", "sub/two.png")
    assert [s["label"] for s in one["segments"]] == list(masks())
    assert {s["label"] for s in two["segments"]} == {"object"}
    for some in (one, two):
        for found, mask in zip(some["segments"], masks().values(), strict=True):
            assert (mask_of(found) == mask).all()
            assert found["score"] == 0.75
    assert len(data.problems) == 1
    (alone,) = png_masks.read(tmp_path / "sub" / "one")
    assert alone["image"] == "one.png"


def test_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no data set of png_masks") as caught:
        png_masks.read(tmp_path)
    assert caught.value.code == "format_unreadable"
