"""Whole runs of `finetune_detector` and `finetune_classifier` on nano, a few steps long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

pytest.importorskip("optax")

from gsam.build.stages import classifier, detector
from gsam.errors import UsageError
from gsam.training import finetune_classifier, finetune_detector
from gsam.training.model_folder import load_base
from tests.helpers.shapes import NAMES, write

RUNS = {"detector": finetune_detector, "classifier": finetune_classifier}
MODELS = {"detector": "nano_owl", "classifier": "nano_clip"}


def run(kind: str, folder: Path, **settings: Any) -> Any:
    if not (folder / "data").exists():
        write(folder / "data", 8)
    given = {"model": MODELS[kind], "out": folder / "run", "steps": 3, "batch_size": 4, "held_out": 0.4, "quiet": True}
    return RUNS[kind](folder / "data" / "train.json", folder / "data" / "images", **given | settings)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "measures"), [("detector", {"AP50", "recall"}), ("classifier", {"accuracy"})])
def test_a_run_leaves_a_model_a_page_and_figures(kind: str, measures: set[str], tmp_path: Path) -> None:
    found = run(kind, tmp_path)
    assert set(found.before) == set(found.after) == measures
    assert {score.label for score in found.scores} <= set(NAMES)
    assert found.page.is_file()
    told = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert told["model"] == load_base(MODELS[kind], "detect" if kind == "detector" else "classify").sha256
    base, tuned = (
        load_base(m, "detect" if kind == "detector" else "classify") for m in (MODELS[kind], str(found.model))
    )
    changed = {name for name, value in tuned.params.items() if (value != base.params[name]).any()}
    assert changed
    assert not [name for name in changed if "encoder" in name or "embeddings" in name]

    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    again = run(kind, tmp_path)  # goes on where it was, which is the end
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log
    assert again.after == pytest.approx(found.after)
    with pytest.raises(UsageError, match="batch_size was 4, now 2") as error:
        run(kind, tmp_path, batch_size=2)
    assert error.value.code == "training_changed"
    with pytest.raises(UsageError, match="held_out"):
        run(kind, tmp_path, held_out=0.2)


@pytest.mark.long
def test_adapters_of_a_detector_are_small_and_merged_when_loaded(tmp_path: Path) -> None:
    found = run("detector", tmp_path, what="lora", rank=2, steps=2, held_out=0.0)
    assert found.before == found.after == {}
    assert (found.model / "adapters.safetensors").stat().st_size < 1_000_000
    tuned, base = detector(str(tmp_path / "run")), load_base("nano_owl", "detect")
    changed = {name for name, value in tuned.params.items() if (np.asarray(value) != base.params[name]).any()}
    assert {name.split("/")[0] for name in changed} == {"vision_model", "class_head", "box_head", "objectness_head"}
    assert any("self_attn/q_proj" in name for name in changed)


@pytest.mark.long
def test_a_tuned_classifier_is_a_model_like_any_other(tmp_path: Path) -> None:
    found = run("classifier", tmp_path, what="lora", rank=2, steps=2)
    stage, base = classifier(str(found.model)), classifier("nano_clip")
    ids = stage.text.tokenize(NAMES)
    mine, theirs = (np.asarray(jax.jit(s.embed)(s.params, ids)) for s in (stage, base))
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() > 0
    np.testing.assert_allclose(np.linalg.norm(mine, axis=-1), 1.0, atol=1e-5)


@pytest.mark.long
def test_another_data_set_is_held_out_by_the_names_of_its_classes(tmp_path: Path) -> None:
    other = write(tmp_path / "other", 3, seed=1)
    content = json.loads(other.read_text())
    content["categories"] = [*content["categories"][::-1], {"id": 99, "name": "other"}]
    other.write_text(json.dumps(content))
    found = run("classifier", tmp_path, held_out=other)
    labels = {a["category_id"] for a in content["annotations"]}
    assert {score.label for score in found.scores} == {NAMES[i - 1] for i in labels}
    content["categories"] = [{"id": c["id"], "name": f"an {c['name']}"} for c in content["categories"]]
    other.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="none of the classes"):
        run("classifier", tmp_path / "second", held_out=other)
