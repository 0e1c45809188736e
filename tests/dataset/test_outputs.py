"""Where results go: never over an input; which formats; which items are finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gsam.dataset.outputs import formats_of
from gsam.dataset.scene_files import SceneFiles
from gsam.dataset.sources import Item
from gsam.dataset.track_files import TrackFiles
from gsam.errors import UsageError


def item(path: Path) -> Item:
    return Item(path, path.name, path.stem)


def test_formats() -> None:
    assert formats_of(" PNG, json,png,", ("json", "png")) == ["png", "json"]
    for text in ("svg", ",", ""):
        with pytest.raises(UsageError, match="there are json, png"):
            formats_of(text, ("json", "png"))


def test_no_input_is_overwritten(tmp_path: Path) -> None:
    image, video = tmp_path / "a.png", tmp_path / "clip.mp4"
    for path in (image, video):
        path.touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link", tmp_path / "sub" / ".."):
        with pytest.raises(UsageError, match="would overwrite an input") as caught:
            SceneFiles(folder, ["json", "png"], [item(image)], ["dog"], "nano")
        assert caught.value.code == "output_is_input"
        with pytest.raises(UsageError, match="would overwrite an input"):
            TrackFiles(folder, ["mp4"], [item(video)], ["dog"], False)
    assert SceneFiles(tmp_path, ["json"], [item(image)], ["dog"], "nano").paths(item(image)) == [tmp_path / "a.json"]


def test_a_folder_of_frames_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    with pytest.raises(UsageError, match="would overwrite an input"):
        TrackFiles(tmp_path, ["davis"], [item(tmp_path / "clip")], ["dog"], False)


def test_finished(tmp_path: Path) -> None:
    items = [item(tmp_path / "in" / f"{name}.png") for name in "abcde"]
    scene = {"image": "a.png", "width": 4, "height": 3, "pipeline": "nano", "queries": ["dog"], "segments": []}
    (tmp_path / "a.json").write_text(json.dumps(scene))
    (tmp_path / "b.json").write_text(json.dumps({**scene, "queries": ["cat"]}))
    (tmp_path / "c.json").write_text(json.dumps({**scene, "pipeline": "own"}))
    (tmp_path / "d.json").write_text("[]")

    def finished(*kinds: str) -> list[str]:
        return sorted(i.stem for i in SceneFiles(tmp_path, kinds, items, ["dog"], "nano").finished())

    assert finished("json") == ["a"]
    assert finished("json", "png") == []
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    assert finished("json", "png") == ["a"]
    assert finished("png") == ["a", "b"]  # nothing tells what they answer
    assert finished("coco") == finished("png", "coco") == []  # the file of the run needs what is nowhere else


def test_the_coco_file_holds_what_was_finished_before(tmp_path: Path) -> None:
    scene = {"image": "a.png", "width": 4, "height": 3, "pipeline": "nano", "queries": ["dog"], "segments": []}
    (tmp_path / "a.json").write_text(json.dumps(scene))
    files = SceneFiles(tmp_path, ["json", "coco"], [item(tmp_path / "in" / "a.png")], ["dog"], "nano")
    assert len(files.finished()) == 1
    assert files.close() == tmp_path / "coco.json"
    assert [i["file_name"] for i in json.loads((tmp_path / "coco.json").read_text())["images"]] == ["a.png"]
