"""Fine-tuning a small SAM on drawings: what is written, resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import GsamError, UsageError
from gsam.predictors.image import Predictor
from gsam.training.finetuned import read_sides
from gsam.training.segmenter.finetune import finetune
from gsam.weights import store
from tests.helpers.drawings import write_drawings
from tests.helpers.one_device import one_device
from tests.helpers.tiny_sam import write_tiny_sam

SIZE = (24, 36)
SETTINGS: dict[str, Any] = {
    "batch_size": 2, "objects": 2, "corrections": 0, "prompts": ["box"], "held_out": 0.34, "quiet": True,
}  # fmt: skip
"""One kind of prompts, so that little is compiled."""


@pytest.fixture(autouse=True)
def _one(monkeypatch: pytest.MonkeyPatch) -> None:
    one_device(monkeypatch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam(tmp_path_factory.mktemp("tiny") / "sam")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawings(tmp_path_factory.mktemp("drawings"), 6, size=SIZE)


def changed(before: Path, after: Path) -> set[str]:
    """First parts of the names of parameters that differ."""
    old, new = (store.load(str(path), role="segment").params for path in (before, after))
    return {name.split("/")[0] for name in old if not np.array_equal(old[name], new[name])}


@pytest.mark.long
def test_a_decoder_learns_and_serves(tiny: Path, drawings: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    found = finetune(drawings, model=tiny, out=out, steps=4, rate=1e-3, **SETTINGS)
    assert found.model == out / "model"
    assert set(found.before) == set(found.after) == {"one box", "one click", "three clicks"}
    assert found.before != found.after
    assert {(s.label, s.prompt) for s in found.scores} <= {(k, p) for k in ("ring", "cross") for p in found.before}
    assert found.page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert changed(tiny, out) == {"mask_decoder", "prompt_encoder"}
    kept = sorted(out.glob("features/*/*.safetensors"))
    steps = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    train = json.loads((out / "run.json").read_text())["settings"]
    assert len(train["data"]) == 64
    held_out = len({row[0] for row in json.loads((out / "before.json").read_text())["scores"]})
    assert len(kept) == 2 * (6 - held_out) + held_out  # mirror images too
    assert [line["step"] for line in steps if line["event"] == "step"] == [4]
    predictor = Predictor(str(out))
    predictor.set_image(drawings.parent / "images" / "000.png")
    masks, _, _ = predictor.predict(box=[2, 2, 20, 20], multimask_output=False)
    assert masks.shape == (1, *SIZE)

    written = [path.stat().st_mtime_ns for path in kept]
    again = finetune(drawings, model=tiny, out=out, steps=4, rate=1e-3, **SETTINGS)
    assert again.after == found.after
    assert [path.stat().st_mtime_ns for path in kept] == written
    with pytest.raises(UsageError, match=r"learning_rate was 0\.001, now 0\.002") as refused:
        finetune(drawings, model=tiny, out=out, steps=4, rate=2e-3, **SETTINGS)
    assert refused.value.code == "training_changed"
    with pytest.raises(UsageError, match="batch_size was 2, now 3"):
        finetune(drawings, model=tiny, out=out, steps=4, rate=1e-3, **{**SETTINGS, "batch_size": 3})


@pytest.mark.long
def test_adapters_learn_and_serve(tiny: Path, drawings: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"held_out": 0.0}
    found = finetune(drawings, model=tiny, out=tmp_path / "run", what="lora", rank=2, steps=1, rate=1e-2, **settings)
    assert changed(tiny, found.model) == {"image_encoder"}
    assert (found.model / "adapters.safetensors").stat().st_size < 30_000
    assert not (tmp_path / "run" / "features").exists()
    assert (found.scores, found.before) == ((), {})


@pytest.mark.long
def test_adapters_of_the_decoder_learn_on_kept_features(tiny: Path, drawings: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "run", SETTINGS | {"held_out": 0.0}
    found = finetune(drawings, model=tiny, out=out, what="lora", lora_on="^mask_decoder.*q_proj", steps=1, **settings)
    assert changed(tiny, found.model) == {"mask_decoder"}
    assert len(list(out.glob("features/*/*.safetensors"))) == 12


@pytest.mark.long
def test_every_parameter_learns(tiny: Path, drawings: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"held_out": 0.0}
    found = finetune(drawings, model=tiny, out=tmp_path / "run", what="all", steps=1, rate=1e-3, **settings)
    assert changed(tiny, found.model) == {"image_encoder", "mask_decoder", "prompt_encoder"}


def test_what_cannot_be_trained_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for name, why in (
        ("fast_sam_s", "answers no prompts"), ("owlv2_base_patch16", "a model to detect"), ("nano_clip", "to classify"),
    ):  # fmt: skip
        with pytest.raises(
            UsageError, match=f"{why}.*SAM, SAM-HQ, MedSAM, MobileSAM, EfficientSAM and SAM 2 can"
        ) as no:
            finetune(tmp_path / "none.json", model=name, out=tmp_path / "run")
        assert no.value.code == "train_family"
    with pytest.raises(UsageError, match="decoder, lora or all, not 'head'"):
        finetune(tmp_path / "none.json", model="nano_sam", out=tmp_path / "run", what="head")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_patience_needs_something_held_out(tiny: Path, tmp_path: Path) -> None:
    one = write_drawings(tmp_path / "one", 1, size=SIZE)
    with pytest.raises(GsamError, match="patience needs held-out images"):
        finetune(one, model=tiny, out=tmp_path / "run", patience=2, **SETTINGS)


def test_another_data_set_is_held_out_with_its_own_images_or_the_same(tmp_path: Path) -> None:
    data, other = (write_drawings(tmp_path / name, 2, size=SIZE, seed=i) for i, name in enumerate(("a", "b")))
    for images in (None, data.parent / "images"):
        sides = read_sides(data, images, other, 0, masks=True)
        assert [entry.path.parent for entry in sides.held_out] == [other.parent / "images"] * 2
    beside = data.with_name("test.json")
    beside.write_bytes(data.read_bytes())
    (data.parent / "images").rename(tmp_path / "photos")
    sides = read_sides(data, tmp_path / "photos", beside, 0, masks=True)
    assert {entry.path.parent for entry in (*sides.held_out, *sides.train.images)} == {tmp_path / "photos"}
