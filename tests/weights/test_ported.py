"""Downloads are converted once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from gsam.errors import CheckpointError
from gsam.weights import download, find, folders, store
from tests.weights.files import nano_sam, state_dict


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as downloads leave it in the cache, of a model of the manifest."""
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))
    file = state_dict(tmp_path / "model.pth", nano_sam()[1])
    monkeypatch.setattr(find, "manifest", lambda: {"some model": {"url": "https://example.org/model.pth"}})
    monkeypatch.setattr(download, "from_url", lambda *_: file)
    return file


def kept() -> list[Path]:
    return sorted((folders.cache_folder() / "ported").glob("*"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_second_time_nothing_is_converted(hub: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    first = store.load("some model", role="segment", dtype=jnp.dtype(dtype))
    (file,) = kept()
    assert file.name.startswith("some--model-")
    read: list[Path] = []
    reader = store.read
    monkeypatch.setattr(store, "read", lambda path: read.append(path) or reader(path))
    second = store.load("some model", role="segment", dtype=jnp.dtype(dtype))
    assert read == [file]
    assert (first.family, first.config) == (second.family, second.config)
    assert first.params.keys() == second.params.keys()
    for name, value in first.params.items():
        assert value.dtype == second.params[name].dtype, name
        np.testing.assert_array_equal(value, second.params[name], err_msg=name)


def test_another_file_or_precision_is_converted_anew(hub: Path) -> None:
    store.load("some model", role="segment")
    store.load("some model", role="segment", dtype="bfloat16")
    assert len(kept()) == 2
    changed: dict[str, Any] = {k: v + 1 for k, v in nano_sam()[1].items()}
    state_dict(hub, changed)
    again = store.load("some model", role="segment").params
    assert len(kept()) == 3
    np.testing.assert_array_equal(again["mask_decoder/iou_token/embedding"], changed["mask_decoder.iou_token.weight"])


def test_what_the_user_names_by_its_path_is_not_copied(hub: Path) -> None:
    store.load(hub, role="segment")
    assert kept() == []


def test_a_disk_that_is_full_is_no_error(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert store.load("some model", role="segment").params
    assert kept() == []


def test_a_file_that_is_not_what_the_hub_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's cache calls a large file by its sha256: checked when it is first converted."""
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))
    source = folders.data_folder("nano") / "segmenter.safetensors"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    blob, link = tmp_path / "blobs" / digest, tmp_path / "snapshot" / "model.safetensors"
    for folder in (blob.parent, link.parent):
        folder.mkdir()
    blob.write_bytes(source.read_bytes())
    link.symlink_to(blob)
    monkeypatch.setattr(find, "manifest", lambda: {"nano_sam_again": {"hub": "owner/name"}})
    monkeypatch.setattr(download, "from_hub", lambda *_: link.parent)
    assert store.load("nano_sam_again", role="segment").params
    raw = bytearray(blob.read_bytes())
    raw[-1] ^= 1
    blob.write_bytes(raw)
    with pytest.raises(CheckpointError, match=f"expected {digest}"):
        store.load("nano_sam_again", role="segment")


@pytest.mark.parametrize("damage", ["cut short", "empty", "a bit", "its hash gone", "its hash wrong", "no safetensors"])
@pytest.mark.long
def test_a_damaged_copy_is_made_anew(hub: Path, damage: str) -> None:
    first = store.load("some model", role="segment").params
    (file,) = kept()
    whole = file.read_bytes()
    (note,) = file.parent.with_name("ported-sha256").iterdir()
    if damage.startswith("its hash"):
        note.unlink() if damage.endswith("gone") else note.write_text("0" * 64)
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        broken = {"cut short": whole[:-100], "empty": b"", "a bit": flipped, "no safetensors": b"x" * 1000}[damage]
        file.write_bytes(broken)
    again = store.load("some model", role="segment").params
    assert kept() == [file]
    assert file.read_bytes() == whole
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
