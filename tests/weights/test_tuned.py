"""Folders of trained models: found by any name, and refused where their base is another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gsam
from gsam.errors import CheckpointError, UsageError
from gsam.training.lora import Lora
from gsam.training.model_folder import load_base, write_model
from gsam.weights import find, identity, ported, store, tuned
from tests.weights.files import nano_sam, state_dict

KERNEL = "image_encoder/blocks/0/attn/qkv/kernel"
TOKEN = "mask_decoder/iou_token/embedding"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A base that is a file of the user's."""
    return state_dict(tmp_path / "own.pth", nano_sam()[1])


def with_adapters(run: Path, source: str | Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A run whose adapters change one kernel, and one token beside them; and what it computes
    with.
    """
    base = load_base(source)
    lora = Lora(rank=2, alpha=1.0, targets=KERNEL)
    rng = np.random.default_rng(0)
    adapters = {k: rng.normal(size=v.shape).astype(np.float32) for k, v in lora.init(base.params, 0).items()}
    token = {TOKEN: base.params[TOKEN] + 1}
    write_model(run / "model", base, token, adapters=adapters, lora=lora, what="lora")
    added = 0.5 * adapters[f"{KERNEL}/lora_a"] @ adapters[f"{KERNEL}/lora_b"]
    return run, {**base.params, **token, KERNEL: base.params[KERNEL] + added}


def same(found: Any, expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.allclose(found[name], value, rtol=0, atol=1e-6 if name == KERNEL else 0), name


def test_adapters_are_merged_into_their_base(tmp_path: Path, source: Path) -> None:
    run, expected = with_adapters(tmp_path / "run", source)
    assert sorted(f.name for f in (run / "model").iterdir()) == ["README.md", "adapters.safetensors", "gsam.json"]
    assert (run / "model" / "adapters.safetensors").stat().st_size < source.stat().st_size / 100
    for name in (run, str(run), run / "model", run / "model" / "adapters.safetensors"):
        loaded = store.load(name, role="segment")
        assert (loaded.family, loaded.config, loaded.name) == ("sam", gsam.models.sam.VARIANTS["nano_sam"], str(name))
        same(loaded.params, expected)
    half = store.load(run, dtype="bfloat16").params
    assert {str(v.dtype) for k, v in half.items() if "gaussian" not in k} == {"bfloat16"}
    assert gsam.segmenter(str(run)).config == gsam.models.sam.VARIANTS["nano_sam"]


def test_a_run_is_a_base_too(tmp_path: Path, source: Path) -> None:
    first, expected = with_adapters(tmp_path / "first", source)
    second, again = with_adapters(tmp_path / "second", first)
    same(store.load(second).params, again)
    assert not np.array_equal(again[TOKEN], expected[TOKEN])
    shutil.rmtree(first)
    refused(second, "checkpoint_base", "was trained from .*first, which cannot be loaded")


def refused(run: Path, code: str, says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as caught:
        store.load(run, role="segment")
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_a_base_that_went_away_and_came_back(tmp_path: Path, source: Path) -> None:
    run, expected = with_adapters(tmp_path / "run", source)
    source.rename(tmp_path / "elsewhere.pth")
    refused(
        run, "checkpoint_base", r"own\.pth, which cannot be loaded .*write where it is now as `base` into .*gsam.json"
    )
    note = run / "model" / "gsam.json"
    note.write_text(note.read_text().replace("own.pth", "elsewhere.pth"))
    same(store.load(run).params, expected)


def test_a_run_that_is_its_own_base(tmp_path: Path, source: Path) -> None:
    run, _ = with_adapters(tmp_path / "run", source)
    note = run / "model" / "gsam.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"base": str(run)}))
    refused(run, "checkpoint_base", "adapters on adapters")


def test_another_base_under_its_name(tmp_path: Path, source: Path) -> None:
    run, _ = with_adapters(tmp_path / "run", source)
    state_dict(source, nano_sam()[1] | {"mask_decoder.iou_token.weight": np.zeros((1, 64), np.float32)})
    refused(run, "checkpoint_base", "was trained from another .*own.pth than the one that is here")


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a newer gsam": (lambda note: note | {"trained": 2}, "newer gsam"),
    "no family": (lambda note: note | {"family": "x"}, "no family"),
    "sizes that are none": (lambda note: note | {"config": {"x": 1}}, "config|argument"),
    "no base": (lambda note: {k: v for k, v in note.items() if k != "base"}, "base"),
    "a base that is no name": (lambda note: note | {"base": 3}, "base is no name"),
    "a scale that is no number": (lambda note: note | {"scale": "x"}, "could not convert"),
    "an endless scale": (lambda note: note | {"scale": float("nan")}, "scale"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_damaged_note(tmp_path: Path, source: Path, what: str) -> None:
    run, _ = with_adapters(tmp_path / "run", source)
    change, says = CHANGES[what]
    note = run / "model" / "gsam.json"
    note.write_text(json.dumps(change(json.loads(note.read_text()))))
    refused(run, "checkpoint_format", f"does not describe a trained model.*{says}")


def test_damaged_adapters(tmp_path: Path, source: Path) -> None:
    run, _ = with_adapters(tmp_path / "run", source)
    file = run / "model" / "adapters.safetensors"
    good = {name: tensor.load() for name, tensor in store.read(file).items()}
    left = f"{KERNEL}/lora_a"
    cases: tuple[tuple[dict[str, np.ndarray], str, str], ...] = (
        ({k: v for k, v in good.items() if k != left}, "checkpoint_mismatch", "needs lora_a and lora_b"),
        (good | {left: good[left][:-1]}, "checkpoint_mismatch", "does not fit its base"),
        (good | {"stranger": good[left]}, "checkpoint_mismatch", "stranger .* is no tensor of its base"),
        (good | {left: np.full_like(good[left], np.nan)}, "checkpoint_not_finite", "lora_a holds numbers"),
    )
    for tensors, code, says in cases:
        ported.write(tensors, file)
        refused(run, code, says)
    file.write_bytes(file.read_bytes()[:-1])
    refused(run, "checkpoint_truncated", "adapters.safetensors")
    file.unlink()
    refused(run, "checkpoint_missing", "adapters.safetensors")


def test_a_run_without_a_model_yet(tmp_path: Path, source: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "features").mkdir()
    (run / "features" / "0.safetensors").touch()
    (run / "run.json").write_text("{}")
    refused(run, "checkpoint_missing", "has no model yet: go on with the command that began it")
    with_adapters(run, source)
    assert find.find(run).path == run / "model"


def test_the_wrong_role(tmp_path: Path, source: Path) -> None:
    run, _ = with_adapters(tmp_path / "run", source)
    with pytest.raises(UsageError, match="is a model to segment, one to detect is needed"):
        gsam.detector(str(run))
    with pytest.raises(UsageError, match="is a model to segment, one to classify is needed"):
        load_base(run, "classify")


def test_identity(tmp_path: Path, source: Path) -> None:
    """By which results are kept: of the model alone, not of the run beside it."""
    run, _ = with_adapters(tmp_path / "run", source)
    found = identity.identity(run)
    assert found.keys() == {"adapters.safetensors", "gsam.json"}
    (run / "log.jsonl").write_text("{}")
    (run / "features").mkdir()
    (run / "features" / "0.safetensors").write_text("x")
    assert identity.identity(run) == found == identity.identity(run / "model")
    assert identity.weights_hash(source) == identity.identity(source)["own.pth"]
    ours = identity.weights_hash(run)
    assert len(ours) == 64
    assert ours not in found.values()
    assert identity.weights_hash("nano_sam") == identity.identity("nano_sam")["segmenter.safetensors"]


def test_orbax_folders_are_none_of_these(tmp_path: Path, source: Path) -> None:
    folder = store.save(store.load(source), tmp_path / "orbax")
    assert tuned.note_of(folder) is None
    assert len(identity.weights_hash(folder)) == 64
    run, expected = with_adapters(tmp_path / "run", folder)
    same(store.load(run).params, expected)


def test_on_the_hub(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was uploaded serves by its id, adapters and whole models alike."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    run, expected = with_adapters(tmp_path / "run", source)
    whole = write_model(tmp_path / "whole", load_base(run), what="all")
    for name, folder in (("adapters", run / "model"), ("whole", whole)):
        place = tmp_path / "hub" / f"models--me--{name}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0" * 40)
        shutil.copytree(folder, place / "snapshots" / ("0" * 40))
        for _ in range(2):  # the second time from what was kept of the first
            loaded = store.load(f"me/{name}", role="segment")
            assert loaded.config == gsam.models.sam.VARIANTS["nano_sam"]
            same(loaded.params, expected)
