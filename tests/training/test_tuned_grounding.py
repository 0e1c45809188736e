"""Whole runs of `finetune_detector` on a small Grounding DINO as transformers writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optax")
pytest.importorskip("torch")
pytest.importorskip("transformers")

from benchmarks.harness.oracles import grounding_dino
from gsam.build.stages import detector
from gsam.errors import UsageError
from gsam.training import finetune_detector
from gsam.training.model_folder import load_base
from tests.helpers.shapes import write
from tests.models.small_detectors import vocabulary


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    grounding_dino.model("small").save_pretrained(folder)
    size = {"shortest_edge": 96, "longest_edge": 160}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    return vocabulary(folder)


def run(folder: Path, model: Path, **settings: Any) -> Any:
    if not (folder / "data").exists():
        file = write(folder / "data", 8, side=64)
        content = json.loads(file.read_text())
        for category in content["categories"]:
            category["name"] = "abcdefgh"[category["id"] - 1]
        file.write_text(json.dumps(content))
    given = {"model": str(model), "out": folder / "run", "steps": 2, "batch_size": 4, "held_out": 0.4, "quiet": True}
    return finetune_detector(folder / "data" / "train.json", folder / "data" / "images", **given | settings)


@pytest.mark.long
def test_a_run_leaves_a_model_that_detects(model: Path, tmp_path: Path) -> None:
    found = run(tmp_path, model)
    assert set(found.before) == set(found.after) == {"AP50", "recall"}
    assert found.page.is_file()
    base, tuned = load_base(str(model), "detect"), load_base(str(found.model), "detect")
    changed = {name for name, value in tuned.params.items() if (value != base.params[name]).any()}
    assert {name.split("/")[1] for name in changed if name.startswith("transformer")} >= {"decoder", "tgt_embed"}
    assert not [name for name in changed if name.startswith(("backbone", "bert", "transformer/encoder"))]
    assert detector(str(tmp_path / "run")).text.tokenize(["a"]).ids[0, 0] == 101

    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    run(tmp_path, model)  # goes on where it was, which is the end
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log
    with pytest.raises(UsageError, match='what was "heads", now "lora"'):
        run(tmp_path, model, what="lora")


@pytest.mark.slow
def test_adapters_are_small_and_merged_when_loaded(model: Path, tmp_path: Path) -> None:
    found = run(tmp_path, model, what="lora", rank=2, held_out=0.0, batch_size=2)
    assert (found.model / "adapters.safetensors").is_file()
    base, tuned = load_base(str(model), "detect"), detector(str(found.model))
    changed = {name for name, value in tuned.params.items() if (np.asarray(value) != base.params[name]).any()}
    assert any(name.startswith("backbone") and "attn" in name for name in changed)
    assert not [name for name in changed if name.startswith(("bert", "transformer/encoder"))]
