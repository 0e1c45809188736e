"""YOLO labels: one line an object, whose outline fills to its mask again; other people's styles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.results.formats import yolo
from gsam.results.formats.dataset import mask_of, scene, segment
from gsam.results.masks import rle
from tests.results.formats.scenes import KOREAN, ODD, SIZE, hard, masks


def image(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size[::-1]).save(path)


def test_masks_come_back_as_they_were(tmp_path: Path) -> None:
    with yolo.Writer(tmp_path, ["person"]) as writer:
        writer.add(hard("sub/b.png"))
    assert writer.losses == {"scores": 8, "empty masks": 1}
    image(tmp_path / "images" / "sub" / "b.png")
    data = yolo.read(tmp_path)
    (found,) = list(data)
    assert found["image"] == "sub/b.png"
    assert data.labels == ["person", "hole", KOREAN, ODD, "line", "empty", "full", "corners", "box"]
    *some, box = found["segments"]
    wanted = [mask for kind, mask in masks().items() if kind != "empty"]
    assert [s["label"] for s in some] == ["hole", KOREAN, ODD, "line", "full", "corners"]
    for one, mask in zip(some, wanted, strict=True):
        assert (mask_of(one) == mask).all()
    np.testing.assert_allclose(box["box"], [3, 4, 10, 12])
    assert not data.problems


def test_large_masks_come_back_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.random((60, 80)) < 0.5
    mask = np.kron(coarse, np.ones((51, 49))).astype(bool)
    with yolo.Writer(tmp_path) as writer:
        writer.add(scene("a.png", mask.shape, [segment("x", rle.encode(mask))]))
    image(tmp_path / "images" / "a.png", mask.shape)
    ((found,),) = [s["segments"] for s in yolo.read(tmp_path)]
    assert (mask_of(found) == mask).all()


def test_two_suffixes_do_not_collide(tmp_path: Path) -> None:
    with yolo.Writer(tmp_path) as writer:
        for name in ("a.png", "a.jpg", "b.png"):
            writer.add(scene(name, SIZE, []))
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == ["a.jpg.txt", "a.txt", "b.txt"]
    assert sum(writer.losses.values()) == 1
    for name in ("a.png", "a.jpg", "b.png"):
        image(tmp_path / "images" / name)
    assert sorted(s["image"] for s in yolo.read(tmp_path)) == ["a.jpg", "a.png", "b.png"]


def test_no_image_leads_out_of_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    out.mkdir(parents=True)
    with yolo.Writer(out) as writer:
        for name in ("../../up.png", "/root.png", "a/../../../b.png", "..", None):
            writer.add(scene(name, SIZE, []))  # type: ignore[arg-type]
    assert [p for p in tmp_path.rglob("*.txt") if not p.is_relative_to(out / "labels")] == []
    assert len(list(out.rglob("*.txt"))) == 5


STYLES = {
    "mapping": "names:\n  0: cat\n  1: 'no'\n",
    "list": "nc: 2\nnames: ['cat', 'no']\n",
    "lines": "train: ../x\nnames:\n- cat\n- no\nval: y\n",
    "inline": 'names: {0: cat, 1: "no"}  # two\n',
}


@pytest.mark.parametrize("style", STYLES)
def test_every_style_of_names_is_read(style: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(STYLES[style])
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("1 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75\n\n0 0.5 0.5 0.2 0.4 0.9\n")
    image(tmp_path / "images" / "a.jpg", (8, 16))
    data = yolo.read(tmp_path)
    (found,) = list(data)
    outline, box = found["segments"]
    assert (data.labels, outline["label"], box["label"], box["score"]) == (["cat", "no"], "no", "cat", 0.9)
    assert (outline["box"], outline["area"]) == ([4, 2, 8, 6], 16)
    np.testing.assert_allclose(box["box"], [6.4, 2.4, 9.6, 5.6])


def test_a_wrong_line_is_left_out_and_told(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [cat]")
    (tmp_path / "labels").mkdir()
    lines = ["x 1 2", "3 0.5 0.5 0.1 0.1", "0 0.1 0.2 0.3", "0 nan 0.5 0.1 0.1", "0 0.5 0.5 0.1 0.1"]
    (tmp_path / "labels" / "a.txt").write_text("\n".join(lines))
    (tmp_path / "labels" / "gone.txt").write_text("")
    image(tmp_path / "images" / "a.jpg")
    data = yolo.read(tmp_path)
    (found,) = list(data)
    assert len(found["segments"]) == 1
    assert len(data.problems) == 5
    assert "line 2: no class has the number 3" in data.problems[1]
    assert "has no image" in data.problems[4]


@pytest.mark.parametrize("content", [None, "", "names:\n", "names: 5", "names: [a", "\x00", "{}"])
def test_no_names_are_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(UsageError, match=r"has no names of classes|no folder labels"):
        yolo.read(tmp_path)
