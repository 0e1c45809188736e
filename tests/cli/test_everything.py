"""`gsam everything`, with a stand-in for the generator: files, formats, resuming, names, errors."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import gsam
from gsam import cli
from gsam.dataset import manifest
from gsam.inputs.image import Source, open_image
from gsam.results.masks import rle
from tests.helpers.command import Gsam, in_process

made: list[tuple[str, dict[str, Any]]] = []


class Fake:
    """Finds the bright pixels of a picture as one mask, and its first pixel as another."""

    def __init__(self, model: str, **options: Any) -> None:
        made.append((model, options))

    def generate(self, image: Source) -> list[dict[str, Any]]:
        pixels = open_image(image).pixels
        found = []
        for mask in (pixels.mean(-1) > 128, np.zeros(pixels.shape[:2], bool)):
            if found:
                mask[0, 0] = True
            x0, y0, x1, y1 = rle.bounds(rle.encode(mask))
            found.append(
                {"segmentation": rle.encode(mask), "area": int(mask.sum()), "bbox": [x0, y0, x1 - x0 - 1, y1 - y0 - 1],
                 "predicted_iou": 0.9 - 0.1 * len(found), "point_coords": [[1.0, 2.0]], "stability_score": 0.95,
                 "crop_box": [0, 0, *pixels.shape[1::-1]]}
            )  # fmt: skip
        return found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gsam:
    made.clear()
    monkeypatch.setattr(gsam, "MaskGenerator", Fake, raising=False)
    monkeypatch.chdir(tmp_path)
    return in_process(monkeypatch, "everything", "-p", "everything_nano")


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


def files(folder: Path) -> list[str]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != manifest.NAME)
    return sorted(p.relative_to(folder).as_posix() for p in found)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_folder_in_every_format(run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        picture(tmp_path / "in" / "sub" / f"{i}.png", i)
    (tmp_path / "in" / "sub" / "1.png").write_bytes(b"no picture")
    assert run("in", "-r", "-o", "out", "--format", "json,png,coco,csv") == 3
    masks = [f"sub/{i}/{name}" for i in (0, 2) for name in ("0.png", "1.png", "metadata.csv")]
    assert files(tmp_path / "out") == sorted(
        ["coco.json", *masks, *(f"sub/{i}.{k}" for i in (0, 2) for k in ("json", "png"))]
    )
    scene = read(tmp_path / "out" / "sub" / "2.json")
    assert scene["image"]["file_name"] == "sub/2.png"
    assert [a["predicted_iou"] for a in scene["annotations"]] == pytest.approx([0.9, 0.8])
    with Image.open(tmp_path / "in" / "sub" / "2.png") as file:
        bright = np.asarray(file).mean(-1) > 128
    np.testing.assert_array_equal(rle.decode(scene["annotations"][0]["segmentation"]), bright)
    coco = read(tmp_path / "out" / "coco.json")
    assert [i["file_name"] for i in coco["images"]] == ["sub/0.png", "sub/2.png"]
    assert [c["name"] for c in coco["categories"]] == ["object"]
    assert [a["bbox"] for a in coco["annotations"]][1] == [0, 0, 1, 1]  # one pixel, exclusive
    told = capsys.readouterr()
    assert "in/sub/1.png" in told.err
    assert "image_unreadable" in told.err
    assert "2 of 3 images" in told.err
    assert "2 masks -> out/sub/0.json" in told.out


def test_options_reach_the_generator(run: Gsam, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    options = {
        "points_per_side": 5, "points_per_batch": 7, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.6,
        "stability_score_offset": 0.7, "box_nms_thresh": 0.8, "crop_n_layers": 1, "crop_nms_thresh": 0.4,
        "crop_overlap_ratio": 0.25, "crop_n_points_downscale_factor": 2, "min_mask_region_area": 9,
        "mask_threshold": 0.1,
    }  # fmt: skip
    given = [part for k, v in options.items() for part in (f"--{k.replace('_', '-')}", v)]
    assert run("a.png", "-m", "sam_vit_b", *given, "--use-m2m", "--single-mask") == 0
    wanted = {**options, "use_m2m": True, "multimask_output": False, "output_mode": "coco_rle"}
    assert made == [("sam_vit_b", {**wanted, "device": jax.devices()[0], "dtype": jnp.float32})]


def test_it_computes_where_and_in_what_it_is_told(
    run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(gsam, "classifier", lambda name, **s: asked.append(s) or Bright(), raising=False)
    picture(tmp_path / "a.png")
    own = ["a.png", "-m", "sam_vit_b", "-q", "small. large", "-c", "clip_vit_base_patch32"]
    assert run(*own, "--device", "cpu:1", "--dtype", "bfloat16") == 0
    assert {made[0][1][k] for k in ("device", "dtype")} == {jax.devices()[1], jnp.dtype(jnp.bfloat16)}
    assert asked == [{"dtype": jnp.bfloat16}]
    assert run(*own, "--device", "cpu:0", "--dtype", "bfloat16", "--resume") == 0
    assert len(made) == 1  # which of the devices changes nothing
    assert run(*own, "--resume") == 0  # what another type computed is not mixed in
    assert len(made) == 2
    assert run(*own, "--device", "cpu:9") == 2
    assert "no device 'cpu:9'" in capsys.readouterr().err


def test_a_recipe_s_settings_are_the_defaults(run: Gsam, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert run("a.png", "--pred-iou-thresh", 0.3) == 0
    (model, options) = made[0]
    assert model == "nano_sam"
    assert (options["pred_iou_thresh"], options["points_per_side"], options["chunk"]) == (0.3, 16, 8)


def test_resume_does_only_what_is_missing_or_was_asked_otherwise(run: Gsam, tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "in" / f"{i}.png", i)
    assert run("in", "-o", "out", "--format", "json,coco") == 0
    whole = read(tmp_path / "out" / "coco.json")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("[0-9].json")}
    (tmp_path / "out" / "2.json").unlink()
    assert run("in", "-o", "out", "--format", "json,coco", "--resume") == 0
    assert {p: p.stat().st_mtime_ns for p in times if p.stem != "2"} == {
        p: t for p, t in times.items() if p.stem != "2"
    }
    assert read(tmp_path / "out" / "coco.json") == whole
    made.clear()
    assert run("in", "-o", "out", "--format", "json,coco", "--resume") == 0
    assert made == []
    assert run("in", "-o", "out", "--format", "json", "--resume", "--points-per-side", 3) == 0
    assert made
    assert read(tmp_path / "out" / "0.json")["gsam"]["settings"]["points_per_side"] == 3


def test_one_line_a_picture(run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a.png")
    assert run("a.png", "--json") == 0
    assert json.loads(capsys.readouterr().out)["image"]["file_name"] == "a.png"
    assert not (tmp_path / "out").exists()


class Bright:
    """A classifier by brightness: the first query is dark, the second bright."""

    params: ClassVar[dict[str, Any]] = {}
    view = gsam.View(64, "at_most")

    def classify(self, params: Any, scene: gsam.Scene, text: Any, valid: Any) -> gsam.Scene:
        assert scene.masks is not None
        large = scene.boxes.xyxy[..., 2] - scene.boxes.xyxy[..., 0] > 5
        labels = dataclasses.replace(scene.labels, index=jnp.where(large, 1, 0))
        keep = scene.boxes.valid & (scene.labels.score >= scene.thresholds.reject)
        return dataclasses.replace(scene, labels=labels, boxes=dataclasses.replace(scene.boxes, valid=keep))


def test_masks_are_named(
    run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(gsam, "classifier", lambda name, **s: asked.append((name, s)) or Bright(), raising=False)
    picture(tmp_path / "a.png")
    assert run("a.png", "-q", "small. large", "-c", "clip_vit_base_patch32", "--format", "json,png,coco") == 0
    assert asked == [("clip_vit_base_patch32", {"dtype": jnp.float32})]
    found = read(tmp_path / "out" / "a.json")
    assert [(a["label"], round(a["label_score"], 3)) for a in found["annotations"]] == [("large", 0.9), ("small", 0.8)]
    assert found["gsam"]["queries"] == ["small", "large"]
    coco = read(tmp_path / "out" / "coco.json")
    names = {c["id"]: c["name"] for c in coco["categories"]}
    assert [names[a["category_id"]] for a in coco["annotations"]] == ["large", "small"]
    assert "1 large, 1 small" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "a.png") as file:
        assert file.size == (30, 20)


def test_a_recipe_names_with_its_own_settings(run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(gsam, "classifier", lambda name, **s: asked.append((name, s)) or Bright(), raising=False)
    (tmp_path / "own.toml").write_text(
        '[everything]\nname = "nano_sam"\n[classify]\nname = "nano_clip"\ntemplate = "{}"\n[limits]\nreject = 0.85\n'
    )
    picture(tmp_path / "a.png")
    assert run("a.png", "-m", "own.toml", "-q", "small. large") == 0
    assert asked == [("nano_clip", {"dtype": jnp.float32, "template": "{}"})]
    assert [a["label"] for a in read(tmp_path / "out" / "a.json")["annotations"]] == ["large"]


def test_of_masks_with_one_name_that_share_their_pixels_the_best_stays(
    run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid of points finds a thing and, inside it, its part."""

    def generate(self: Any, pixels: np.ndarray) -> list[dict[str, Any]]:
        found = []
        for (y0, y1, x0, x1), iou in (((2, 12, 2, 9), 0.8), ((2, 18, 2, 26), 0.9), ((13, 17, 2, 24), 0.7)):
            mask = np.zeros(pixels.shape[:2], bool)
            mask[y0:y1, x0:x1] = True
            record = {
                "segmentation": rle.encode(mask),
                "area": int(mask.sum()),
                "bbox": [x0, y0, x1 - x0 - 1, y1 - y0 - 1],
            }
            more = {"point_coords": [[x0, y0]], "stability_score": 1.0, "crop_box": [0, 0, 30, 20]}
            found.append({**record, "predicted_iou": iou, **more})
        return found

    monkeypatch.setattr(Fake, "generate", generate)
    monkeypatch.setattr(gsam, "classifier", lambda name, **s: Bright(), raising=False)
    picture(tmp_path / "a.png")
    assert run("a.png", "-q", "small. large", "-c", "clip_vit_base_patch32") == 0
    assert [a["predicted_iou"] for a in read(tmp_path / "out" / "a.json")["annotations"]] == [0.9]
    keep_all = "[ground]\nname = 'nano_sam'\n[classify]\nname = 'nano_clip'\n[limits]\ninside = 1.0\n"
    (tmp_path / "own.toml").write_text(keep_all)
    assert run("a.png", "-m", "own.toml", "-q", "small. large", "-o", "all") == 0
    assert [a["predicted_iou"] for a in read(tmp_path / "all" / "a.json")["annotations"]] == [0.9, 0.8, 0.7]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["in", "--format", "svg"], 2, "no format 'svg'; there are json, png, coco, csv"),
        (["in", "--points-per-side", "0"], 2, "points_per_side is between 1 and 1024"),
        (["in", "--crop-overlap-ratio", "1.5"], 2, "crop_overlap_ratio"),
        (["in", "--shape", "round"], 2, "No such option"),
        (["in", "-m", "grounded_sam"], 2, "finds things by words: gsam segment -p grounded_sam"),
        (
            ["in", "-m", "grounding_dino_tiny"],
            2,
            "'grounding_dino_tiny' is a model to detect, one to segment is needed",
        ),
        (["in", "-q", "dog", "-c", "sam_vit_b"], 2, "'sam_vit_b' is a model to segment, one to classify is needed"),
        (["in", "-q", "dog", "-c", "grounded_sam"], 2, "grounded_sam names nothing by itself"),
        (["in", "-c", "nano_clip"], 2, "say the names with -q"),
        (["in", "-m", "sam_vit_b", "-q", "dog"], 2, "say which classifier"),
        (["in", "-q", "."], 2, "query"),
        (["in", "-o", "in/a.png"], 2, "is a file"),
        (["empty"], 4, "no image matches 'empty'"),
        (["in/b.png"], 3, "no such file"),
    ],
)
def test_what_is_refused(
    run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "empty").mkdir()
    assert run(*arguments) == code
    told = capsys.readouterr().err
    assert message in " ".join(told.split())
    assert "Traceback" not in told
    assert code == 3 or made == []  # before a model is loaded


def test_a_model_that_takes_no_points(run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "listen", lambda: None)
    picture(tmp_path / "a.png")
    monkeypatch.setattr(sys, "argv", ["gsam", "everything", "a.png", "-m", "nano_clip"])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    assert leave.value.code == 2
