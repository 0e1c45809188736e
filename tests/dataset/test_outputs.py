"""Where results go: never over an input; which formats; which items are finished."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from gsam.dataset import manifest
from gsam.dataset.manifest import Manifest
from gsam.dataset.mask_files import ImageMasks, MaskFiles
from gsam.dataset.outputs import formats_of
from gsam.dataset.run import Run
from gsam.dataset.scene_files import SceneFiles
from gsam.dataset.sources import Item
from gsam.dataset.track_files import TrackFiles
from gsam.errors import UsageError
from gsam.inputs.image import open_image
from gsam.results.formats.sa1b import sa1b_dict
from gsam.results.masks import rle
from gsam.results.result import Result
from tests.helpers.fake_gsam import result_of


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
            SceneFiles(folder, ["json", "png"], [item(image)])
        assert caught.value.code == "output_is_input"
        with pytest.raises(UsageError, match="would overwrite an input"):
            TrackFiles(folder, ["mp4"], [item(video)], ["dog"], False)
    assert SceneFiles(tmp_path, ["json"], [item(image)]).paths(item(image)) == [tmp_path / "a.json"]


def test_a_folder_of_frames_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    with pytest.raises(UsageError, match="would overwrite an input"):
        TrackFiles(tmp_path, ["davis"], [item(tmp_path / "clip")], ["dog"], False)


def segment(folder: Path, kinds: str, items: list[Item], **given: Any) -> SceneFiles:
    overwrite = given.pop("overwrite", False)
    return SceneFiles(folder, kinds.split(), items, lambda: {"pipeline": "nano", **given}, overwrite=overwrite)


def pictures(folder: Path, names: str = "abcd") -> list[Item]:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", (9, 8), (i, 200, 0)).save(folder / f"{name}.png")
    time.sleep(0.01)  # what changes while a run works is not what it read
    return [item(folder / f"{name}.png") for name in names]


def work(files: SceneFiles, *, resume: bool = False) -> list[str]:
    """Write what is to be written, and name it."""
    with Run(files.items, files, lambda *_: None, resume=resume) as run:
        run.process((i, result_of(open_image(i.path), ["dog"])) for i in run.todo)
        run.finish()
    return [i.stem for i in run.todo]


def test_only_what_is_finished_alike_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items, out = pictures(tmp_path / "in"), tmp_path / "out"
    assert work(segment(out, "json png", items), resume=True) == ["a", "b", "c", "d"]
    assert work(segment(out, "json png", items), resume=True) == []
    assert work(segment(out, "json", items), resume=True) == []
    capsys.readouterr()
    (out / "b.png").unlink()
    Image.new("RGB", (5, 5)).save(items[2].path)  # another picture of that name
    assert work(segment(out, "json png", items), resume=True) == ["b", "c"]
    assert "1 of 4 images are done again: the image changed" in capsys.readouterr().err
    assert json.loads((out / "c.json").read_text())["width"] == 5
    assert work(segment(out, "json png", items, limits={"threshold": 0.9}), resume=True) == ["a", "b", "c", "d"]
    assert "4 of 4 images are done again: limits.threshold was not given, is 0.9" in capsys.readouterr().err
    assert work(segment(out, "json png", items, limits={"threshold": 0.9}), resume=True) == []


def test_a_picture_of_the_same_size_and_time_is_another_one(tmp_path: Path) -> None:
    items, out = pictures(tmp_path / "in"), tmp_path / "out"
    work(segment(out, "json", items))
    path = items[1].path
    before, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    touched = items[0].path
    touched.write_bytes(touched.read_bytes())
    with segment(out, "json", items).held():
        pass
    files = segment(out, "json", items)
    with files.held():
        assert {i.stem for i in files.finished()} == {"a", "c", "d"}  # the same bytes are the same picture


def test_a_killed_run_of_other_settings_is_not_mixed_in(tmp_path: Path) -> None:
    items, out = pictures(tmp_path / "in", "ab"), tmp_path / "out"
    work(segment(out, "json png", items))
    other = segment(out, "json png", items, limits={"threshold": 0.9})
    with other.held():  # killed after the files of one picture, before it was finished
        other.write(items[0], result_of(open_image(items[0].path), ["dog"]))
    assert work(segment(out, "json png", items), resume=True) == ["a"]


def test_the_coco_file_of_a_resumed_run_is_that_of_a_whole_one(tmp_path: Path) -> None:
    items, out = pictures(tmp_path / "in"), tmp_path / "out"
    work(segment(out, "json coco", items))
    whole = (out / "coco.json").read_bytes()
    (out / "b.json").unlink()
    assert work(segment(out, "json coco", items), resume=True) == ["b"]
    assert (out / "coco.json").read_bytes() == whole
    assert [i["file_name"] for i in json.loads(whole)["images"]] == ["a.png", "b.png", "c.png", "d.png"]
    (out / "c.json").unlink()
    assert work(segment(out, "coco", items), resume=True) == ["a", "b", "c", "d"]  # what is in it is nowhere else


def refused(files: SceneFiles | TrackFiles, *, resume: bool = False) -> str:
    with pytest.raises(UsageError) as caught, Run(files.items, files, lambda *_: None, resume=resume):
        raise AssertionError("entered")
    return caught.value.code


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["b.json", "b.png", "coco.json"])
def test_what_gsam_did_not_write_is_not_replaced(tmp_path: Path, name: str, resume: bool) -> None:
    items, out = pictures(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    before = contents(out)
    assert refused(segment(out, "json png coco", items), resume=resume) == "output_exists"
    assert contents(out) == before
    assert work(segment(out, "json png coco", items, overwrite=True), resume=resume) == ["a", "b", "c", "d"]
    assert (out / name).read_bytes() != b"mine"


def test_what_was_changed_since_is_not_replaced(tmp_path: Path) -> None:
    items, out = pictures(tmp_path / "in"), tmp_path / "out"
    work(segment(out, "json", items))
    work(segment(out, "json", items))  # its own it replaces
    changed = (out / "a.json").read_text().replace("dog", "cat")
    (out / "a.json").write_text(changed)
    assert refused(segment(out, "json", items)) == "output_changed"
    assert (out / "a.json").read_text() == changed


def test_a_file_that_comes_while_a_run_works_is_not_replaced(tmp_path: Path) -> None:
    items, out = pictures(tmp_path / "in"), tmp_path / "out"
    files = segment(out, "json png", items)
    with Run(items, files, lambda *_: None) as run:
        (out / "b.json").write_text("mine")
        run.process((i, result_of(open_image(i.path), ["dog"])) for i in run.todo)
    assert run.exit_code == 3
    assert [i.stem for i in run.failed] == ["b"]
    assert (out / "b.json").read_text() == "mine"
    assert (out / "b.png").is_file()  # the other format, and the other pictures
    assert (out / "d.json").is_file()


def test_links_and_folders_in_the_way_stay(tmp_path: Path) -> None:
    items, out = pictures(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (tmp_path / "elsewhere").write_text("precious")
    (out / "a.json").symlink_to(tmp_path / "elsewhere")
    assert refused(segment(out, "json", items)) == "output_exists"
    (out / "a.json").unlink()
    (out / "a.json").mkdir()
    assert refused(segment(out, "json", items)) == "output_exists"
    assert refused(segment(out, "json", items, overwrite=True)) == "output_exists"


def test_commands_do_not_replace_each_other_s_results(tmp_path: Path) -> None:
    items, out = pictures(tmp_path / "in"), tmp_path / "out"
    work(segment(out, "json png", items))
    before = contents(out)
    for resume in (False, True):
        assert refused(cast(Any, MaskFiles(out, ["json"], items, [])), resume=resume) == "output_of_another"
    assert contents(out) == before
    with MaskFiles(out, ["csv"], items, []).held():  # where they are not in each other's way they may share it
        pass


def test_pictures_of_one_name_do_not_replace_each_other_s_results(tmp_path: Path) -> None:
    one, two = pictures(tmp_path / "one", "a"), pictures(tmp_path / "two", "ba")[1:]
    work(segment(tmp_path / "out", "json", one))
    assert refused(segment(tmp_path / "out", "json", two)) == "output_of_another"
    (tmp_path / "one").rename(tmp_path / "moved")
    assert work(segment(tmp_path / "out", "json", [item(tmp_path / "moved" / "a.png")])) == ["a"]


def masks(count: int) -> ImageMasks:
    mask = np.zeros((8, 9), bool)
    mask[2:4, 2:4] = True
    record = {
        "segmentation": rle.encode(mask), "area": 4, "bbox": [2, 2, 1, 1], "predicted_iou": 0.9,
        "point_coords": [[2.0, 2.0]], "stability_score": 0.9, "crop_box": [0, 0, 9, 8],
    }  # fmt: skip
    return ImageMasks(np.zeros((8, 9, 3), np.uint8), sa1b_dict([record] * count, "a.png", (8, 9)))


def test_numbered_images_of_others_stay_beside_the_masks(tmp_path: Path) -> None:
    (one,), out = pictures(tmp_path / "in", "a"), tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "7.png").write_bytes(b"mine")

    def write(count: int) -> int:
        files = MaskFiles(out, ["csv"], [one], [])
        with Run([one], files, lambda *_: None) as run:
            run.process([(one, masks(count))])
        return run.exit_code

    assert write(5) == 0
    assert write(2) == 0
    assert sorted(contents(out / "a")) == ["0.png", "1.png", "7.png", "metadata.csv"]  # its own went
    before = contents(out / "a")
    assert write(9) == 3  # number 7 is taken, so none is written
    assert contents(out / "a") == before


def test_one_format_s_failure_does_not_cost_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items, out = pictures(tmp_path / "in", "ab"), tmp_path / "out"
    monkeypatch.setattr(Result, "plot", lambda _: [][0])
    with Run(items, segment(out, "png json", items), lambda *_: None) as run:
        run.process((i, result_of(open_image(i.path), ["dog"])) for i in run.todo)
        run.finish()
    assert (run.exit_code, len(run.failed)) == (3, 2)
    assert sorted(p.name for p in out.glob("*.*")) == [manifest.NAME, "a.json", "b.json"]
    assert "IndexError: list index out of range [internal]" in capsys.readouterr().err


def test_a_manifest_that_was_torn_off_costs_nothing_else(tmp_path: Path) -> None:
    items, out = pictures(tmp_path / "in", "ab"), tmp_path / "out"
    work(segment(out, "json", items))
    data = (out / manifest.NAME).read_bytes()
    (out / manifest.NAME).write_bytes(data[:-10])  # the last line: b is finished
    assert work(segment(out, "json", items), resume=True) == ["b"]
    assert work(segment(out, "json", items), resume=True) == []


def test_a_manifest_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "SPARE", 3)
    items, out = pictures(tmp_path / "in", "ab"), tmp_path / "out"
    for _ in range(8):
        work(segment(out, "json", items))
    assert len((out / manifest.NAME).read_bytes().splitlines()) < 20
    assert work(segment(out, "json", items), resume=True) == []


def test_the_file_of_a_run_is_not_replaced_by_that_of_other_pictures(tmp_path: Path) -> None:
    items, out = pictures(tmp_path / "in"), tmp_path / "out"
    work(segment(out, "coco", items[:3]))
    work(segment(out, "coco", items))  # those, and one more
    before = contents(out)
    assert refused(segment(out, "coco", items[1:])) == "output_of_another"
    assert refused(segment(out, "coco", pictures(tmp_path / "else", "xy"))) == "output_of_another"
    assert {k: v for k, v in contents(out).items() if k in before} == before
    work(segment(out, "coco", items[1:], overwrite=True))
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 3


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_replaced_whoever_asks(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "frames").mkdir()
    inputs = [tmp_path / "clip.mp4", tmp_path / "frames" / "00000.png"]
    for path in inputs:
        path.write_bytes(b"an input")
    (tmp_path / "link.mp4").symlink_to(inputs[0])
    reads = [inputs[0], inputs[1].parent]
    with Manifest(tmp_path, "track", reads, overwrite=overwrite) as manifest:
        for path in (*inputs, tmp_path / "link.mp4"):
            with pytest.raises(UsageError) as caught:
                manifest.check(path)
            assert caught.value.code == "output_is_input", path
