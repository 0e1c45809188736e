"""`gsam weights`: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from gsam.cli import weights
from gsam.errors import CheckpointError, GsamError, UsageError
from gsam.evaluation import published
from gsam.weights import download, find, folders, store

ENTRY = {"parameters": 0, "licence": "Apache-2.0", "published_on": "owner/name:picture.png"}
TEXTS = ["dog", "red apple"]
ROWS: dict[str, list[dict[str, Any]]] = {
    "nano_sam": [{"points": [[40, 30]], "iou": 0.0}, {"box": [10, 10, 60, 50], "iou": [0.0, 0.0, 0.0]}],
    "nano_owl": [{"texts": TEXTS, "boxes": np.zeros((3, 3)).tolist(), "logits": np.zeros((3, 2)).tolist()}],
    "nano_clip": [{"texts": TEXTS, "logits": [0.0, 0.0]}],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)).save(path)
    return path


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(weights.app, [str(w) for w in words])


def refused(kind: type[GsamError], code: str, *words: str | Path) -> str:
    error = run(*words).exception
    assert isinstance(error, kind), error
    assert error.code == code
    return str(error)


def manifest(monkeypatch: pytest.MonkeyPatch, **entries: Mapping[str, Any]) -> None:
    monkeypatch.setattr(weights, "_entries", lambda: entries)


def test_list_has_every_variant() -> None:
    done = run("list")
    assert done.exit_code == 0
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["NAME", "FAMILY", "ROLES", "PARAMETERS", "LICENCE", "HERE"]
    found = {row.split()[0]: row.split() for row in rows}
    assert set(found) == set(find.names())
    assert found["sam_vit_b"] == ["sam_vit_b", "sam", "segment", "93.7", "M", "Apache-2.0", "no"]
    assert found["nano_clip"][-1] == "yes"
    assert found["sam2.1_hiera_tiny"][1:4] == ["sam2", "segment,", "track"]
    assert found["fast_sam_s"][1:4] == ["fast_sam", "segment,", "ground"]


def test_pull() -> None:
    assert Path(run("pull", "nano_sam").stdout.strip()) == folders.data_folder("nano") / "segmenter.safetensors"
    assert "did you mean nano_sam" in refused(UsageError, "model_unknown", "pull", "nano_sm")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.long
def test_port(tmp_path: Path, dtype: str) -> None:
    folder = tmp_path / "ported"
    assert run("port", "nano_clip", folder, "--dtype", dtype).stdout.strip() == str(folder)
    ours, again = store.load("nano_clip", dtype=dtype), store.load(folder, dtype=dtype)
    assert again.config == ours.config
    assert again.tokenizer == folder
    for name, value in ours.params.items():
        assert again.params[name].dtype == value.dtype
        assert np.array_equal(again.params[name], value), name
    refused(UsageError, "output_exists", "port", "nano_sam", folder)
    assert run("port", "nano_sam", tmp_path / "x", "--dtype", "int8").exit_code == 2
    assert not (tmp_path / "x").exists()


def test_verify_what_ships() -> None:
    done = run("verify", "nano_clip")
    assert done.exit_code == 0, done
    assert [line[:2] for line in done.stdout.splitlines()] == ["ok", "ok", "ok", "--"]


@pytest.mark.long
def test_verify_says_what_it_cannot_check(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    own = load_file(folders.data_folder("nano") / "segmenter.safetensors")
    own["mask_decoder/iou_token/embedding"] += 1
    file = tmp_path / "mine.safetensors"
    save_file(own, file)
    done = run("verify", file)
    assert done.exit_code == 0
    assert [line[:2] for line in done.stdout.splitlines()] == ["--", "ok", "--", "--"]
    assert done.stdout.count("not checked") == 2
    assert "not compared" in done.stdout
    folder = store.save(store.load(file), tmp_path / "ported")
    assert "an Orbax folder has no hash" in run("verify", folder).stdout


def test_verify_finds_the_hash_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its value, whatever it is called; and by its name, where the value is another."""
    file = shutil.copy(folders.data_folder("nano") / "segmenter.safetensors", tmp_path / "renamed.safetensors")
    done = run("verify", file)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].startswith("ok  sha256")
    assert "the official file of nano_sam" in done.stdout
    official = {"url": "https://example.org/a/renamed.safetensors", "sha256": "0" * 64}
    manifest(monkeypatch, other=official)
    done = run("verify", file)
    assert done.exit_code == 1
    assert done.stdout.startswith("!!  sha256")
    assert f"the official other has {'0' * 64}" in done.stdout


def test_verify_refuses_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest(monkeypatch, nano_sam={**ENTRY, "sha256": "0" * 64})
    assert "expected 0000" in refused(CheckpointError, "checkpoint_hash", "verify", "nano_sam")


def test_verify_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest(monkeypatch, nano_sam={**ENTRY, "parameters": 17})
    done = run("verify", "nano_sam")
    assert done.exit_code == 1
    assert "!!  parameters" in done.stdout
    assert "the manifest says 17" in done.stdout


def test_verify_knows_the_hub_s_hash(tmp_path: Path) -> None:
    """The hub's cache calls a large file by its sha256 and links to it."""
    source = folders.data_folder("nano") / "segmenter.safetensors"
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    blob = Path(shutil.copy(source, tmp_path / "blobs" / sha256))
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(blob)
    assert f"{sha256}, as the hub says" in run("verify", tmp_path / "snapshot").stdout
    raw = bytearray(blob.read_bytes())
    raw[-1] ^= 1
    blob.write_bytes(raw)
    refused(CheckpointError, "checkpoint_hash", "verify", tmp_path / "snapshot")


def test_verify_without_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    text = refused(CheckpointError, "hub_offline", "verify", "clip_vit_large_patch14")
    assert text.startswith("nothing was checked: openai/clip-vit-large-patch14 is not in the cache")


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.long
def test_published_values(name: str, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values off by more than the tolerance are noticed, and those that are right pass."""
    loaded = store.load(name)
    entry = {**ENTRY, "parameters": sum(v.size for v in loaded.params.values())}
    rows = [{**row, "tolerance": 1e-3} for row in ROWS[name]]
    found = list(published.compare({**entry, "published": rows}, loaded, picture))
    keys = [(i, k) for i, row in enumerate(rows) for k in ("iou", "boxes", "logits") if k in row]
    assert len(found) == len(keys)
    for (i, key), (_, expected, actual, _) in zip(keys, found, strict=True):
        assert len(expected) == len(actual)
        assert not np.allclose(actual, 0, atol=1e-3)
        rows[i][key] = np.reshape(actual, np.shape(rows[i][key])).tolist()
    manifest(monkeypatch, **{name: {**entry, "published": rows}})
    done = run("verify", name, "--image", picture)
    assert done.exit_code == 0, done.stdout
    assert done.stdout.count("ok  published") == len(keys)
    last, key = keys[-1]
    rows[last][key] = (np.asarray(rows[last][key]) + 2e-3).tolist()
    done = run("verify", name, "--image", picture)
    assert done.exit_code == 1
    assert done.stdout.count("!!  published") == 1


def test_published_values_without_their_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    rows = [{"points": [[1, 1]], "iou": 0.5, "tolerance": 1e-3}]
    count = store.load("nano_sam")
    entry = {**ENTRY, "parameters": sum(v.size for v in count.params.values()), "published": rows}
    manifest(monkeypatch, nano_sam=entry)
    done = run("verify", "nano_sam")
    assert done.exit_code == 0
    assert "--  published  not checked: owner/name/picture.png could not be downloaded" in done.stdout
    assert "--image" in done.stdout


def test_published_pictures_by_address(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Path]] = []

    def from_url(url: str, target: Path, sha256: str | None = None) -> Path:
        asked.append((url, target))
        return picture

    monkeypatch.setattr(download, "from_url", from_url)
    assert published.reference_image("http://example.org/a/000000039769.jpg") == picture
    assert asked == [
        ("http://example.org/a/000000039769.jpg", folders.cache_folder() / "pictures" / "000000039769.jpg")
    ]


def test_published_entries_are_of_a_shape_that_is_understood() -> None:
    keys = {"points", "labels", "box", "iou", "texts", "boxes", "logits", "tolerance", "query", "token_logits"}
    for name, entry in find.manifest().items():
        assert ("published" in entry) == ("published_on" in entry), name
        for row in entry.get("published", ()):
            assert set(row) <= keys, name
            assert 0 < row["tolerance"] <= 0.2, name
            assert {"iou", "boxes", "logits", "token_logits"} & set(row), name


def test_verify_a_trained_model(tmp_path: Path) -> None:
    from gsam.training.lora import Lora
    from gsam.training.model_folder import load_base, write_model

    shutil.copy(folders.data_folder("nano") / "segmenter.safetensors", tmp_path / "own.safetensors")
    base, lora = load_base(tmp_path / "own.safetensors"), Lora(rank=1)
    write_model(tmp_path / "run" / "model", base, adapters=lora.init(base.params, 0), lora=lora, what="lora")
    done = run("verify", tmp_path / "run")
    assert done.exit_code == 0, done
    assert done.stdout.startswith(f"ok  base       {tmp_path}/own.safetensors: the one it was trained from\n")
    (tmp_path / "own.safetensors").unlink()
    done = run("verify", tmp_path / "run")
    assert done.stdout.startswith("!!  base ")
    assert isinstance(done.exception, CheckpointError)
    assert done.exception.code == "checkpoint_base"
