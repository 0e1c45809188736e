"""The README's own code runs, and the files it points at are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

import gsam
from tests.models import small_detectors as small

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(autouse=True)
def _as_users_run_it() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):
        yield


def block(word: str) -> str:
    found = [b for b in BLOCKS if word in b]
    assert len(found) == 1, f"{len(found)} blocks of the README mention {word}"
    return found[0]


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) > 5
    assert not [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]


def test_exactly_two_commands() -> None:
    section = TEXT.split("## Two commands")[1].split("\n## ")[0]
    commands = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert len(commands) == 2
    assert "gsam segment notebooks/scene.png" in commands[0]
    assert "pytest" in commands[1]


def test_a_step_and_a_detector_of_your_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    space: dict[str, object] = {}
    for name in ("only_large", "Bright"):
        code = block(f"{name}")
        assert len([line for line in code.splitlines() if line.strip()]) <= 15
        exec(code, space)
        pipe = space["pipe"]
        assert isinstance(pipe, gsam.Pipeline)
        assert isinstance(pipe("notebooks/scene.png", "dog"), gsam.Result)


def test_ten_lines_of_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = block("result.plot()")
    code = code.replace('"a.jpg", "b.jpg"', '"notebooks/scene.png", "notebooks/scene.png"').replace(".show()", "")
    monkeypatch.chdir(ROOT)
    space: dict[str, object] = {}
    exec(code.replace("out/scene.json", str(tmp_path / "scene.json")), space)
    assert (tmp_path / "scene.json").is_file()
    assert {"dog", "pizza"} <= set(gsam.load("nano")("notebooks/scene.png", "dog. pizza. red apple").labels)


def test_grounded_sam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The block for photographs, with a small random Grounding DINO in place of the official one."""
    from PIL import Image

    for name in ("street.jpg", "a.jpg", "b.jpg", "aerial.png"):
        Image.new("RGB", (1100 if name == "aerial.png" else 90, 70), "gray").save(tmp_path / name)
    asked: list[dict[str, Any]] = []

    def load(name: str, **settings: Any) -> gsam.Pipeline:
        assert name == "grounded_sam"
        asked.append(settings)
        return gsam.Pipeline(small.stage(), segmenter, boxes=8)

    segmenter = gsam.segmenter("nano_sam")
    monkeypatch.setattr(gsam, "load", load, raising=False)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"gsam": gsam, "names_of_300_classes": [f"thing {i}" for i in range(30)]}
    exec(block('gsam.load("grounded_sam"'), space)
    assert asked == [{"threshold": 0.3}, {"labels": "phrases"}]
    assert space["again"].queries == ["traffic light", "car"]
    assert space["many"].queries == space["names_of_300_classes"]
    assert space["result"].image == "b.jpg"
    assert space["small"].size == (70, 1100)
    assert space["pipe"].counts["pictures"] == 1 + 2 + 3  # street.jpg once, a pair, and the whole with two tiles


def test_click_and_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The blocks for SAM's words, with nano's segmenter in place of the official one."""
    from PIL import Image

    for name in ("street.jpg", "a.jpg", "b.jpg"):
        Image.open(ROOT / "notebooks" / "scene.png").convert("RGB").resize((90, 70)).save(tmp_path / name)
    nano, predictor, generator = gsam.segmenter("nano_sam"), gsam.Predictor, gsam.MaskGenerator
    monkeypatch.setattr(gsam, "Predictor", lambda name: predictor(nano), raising=False)
    monkeypatch.setattr(
        gsam,
        "MaskGenerator",
        lambda name, points_per_side: generator(nano, 8, pred_iou_thresh=0.0, stability_score_thresh=0.0),
        raising=False,
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    space: dict[str, Any] = {"gsam": gsam}
    exec(block("predict_many"), space)
    assert space["many"].masks.shape == (2, 3, 70, 90)
    assert [m.shape for m in space["masks"]] == [(1, 70, 90), (2, 1, 70, 90)]
    assert (tmp_path / "out" / "clicked.png").is_file()
    assert (tmp_path / "out" / "street.safetensors").is_file()
    exec(block("points_per_side=32"), space)
    assert {"segmentation", "predicted_iou", "stability_score"} <= space["records"][0].keys()


def test_video(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks for videos, with a tiny random tracker, a folder of frames for the file, and a detector that always finds."""
    from PIL import Image

    from tests.tracking import small as video
    from tests.tracking.test_text_tracking import pipeline

    folder = tmp_path / "clip.mp4"
    folder.mkdir()
    for i, picture in enumerate(video.frames(4)):
        Image.fromarray(picture).resize((90, 70)).save(folder / f"{i}.png")
    predictor = gsam.VideoPredictor
    monkeypatch.setattr(gsam, "VideoPredictor", lambda name: predictor(video.made()), raising=False)
    monkeypatch.setattr(gsam, "load", lambda name: pipeline(), raising=False)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"gsam": gsam}
    exec(block("VideoPredictor"), space)
    assert space["ids"] == [1, 2]
    assert {frame: masks.shape for frame, masks in space["corrected"].items()} == dict.fromkeys(
        range(4), (2, 1, 70, 90)
    )
    exec(block("pipe.track"), space)
    assert space["frame"].index == 3
    assert capsys.readouterr().out.count("\n") == 8
