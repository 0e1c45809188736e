"""Embeddings in files: the same answers again, only for their own model, and never half a file."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gsam import bind
from gsam.errors import UsageError
from gsam.models import sam
from gsam.predictors.image import Predictor
from tests.helpers import discs

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
CONFIG = sam.Config(32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)


def predictor(gain: float = 1.0, dtype: Any = jnp.float32, **settings: Any) -> Predictor:
    return Predictor(discs.discs(gain, dtype), **settings)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    p = predictor()
    p.set_image(PICTURE)
    return p.save_embedding(tmp_path / "new" / "a.safetensors")


def test_the_same_answers_without_the_picture(saved: Path) -> None:
    p, again = predictor(), predictor()
    p.set_image(PICTURE)
    again.load_embedding(saved)
    assert again.counts["pictures"] == 0
    assert (again.original_size, again.input_size) == ((40, 100), (64, 64))
    for ours, other in zip(again.predict([[80, 10]], [1]), p.predict([[80, 10]], [1]), strict=True):
        np.testing.assert_array_equal(ours, other)
    with pytest.raises(RuntimeError, match="image="):
        again.to_result(again.predict([[80, 10]], [1]))
    assert len(again.to_result(again.predict([[80, 10]], [1]), image=PICTURE)) == 1
    with pytest.raises(ValueError, match="not of this picture"):
        again.to_result(again.predict([[80, 10]], [1]), image=PICTURE[:20])


def test_the_file_says_whose_it_is(saved: Path) -> None:
    with safe_open(saved, framework="np") as file:
        note = file.metadata()
        assert set(file.keys()) == {"features['fine']", "features['coarse'][0]"}
    assert (note["kind"], note["version"], note["model"]) == ("gsam.embedding", "1", "discs")
    assert (note["height"], note["width"], note["dtype"]) == ("40", "100", "float32")
    assert note["view"] == discs.discs().view.key
    assert len(note["fingerprint"]) == 32


@pytest.mark.long
def test_sam_s_one_array(tmp_path: Path) -> None:
    stage = sam.build(CONFIG, bind.random_params(sam.spec(CONFIG), 1))
    p = Predictor(stage)
    p.set_image(PICTURE)
    again = Predictor(stage)
    again.load_embedding(p.save_embedding(tmp_path / "a.safetensors"))
    np.testing.assert_array_equal(again.features, p.features)
    assert again.input_size == p.input_size == (26, 64)


def test_half_precision_is_the_same_model(saved: Path, tmp_path: Path) -> None:
    half = predictor(dtype=jnp.bfloat16)
    half.load_embedding(saved)
    assert half.features["fine"].dtype == jnp.bfloat16
    half.save_embedding(tmp_path / "half.safetensors")
    whole = predictor()
    whole.load_embedding(tmp_path / "half.safetensors")
    assert whole.features["fine"].dtype == jnp.float32
    exact = Predictor(discs.discs())
    exact.set_image(PICTURE)
    np.testing.assert_allclose(whole.features["fine"], exact.features["fine"], rtol=2**-8)


def test_several_pictures_are_not_one_embedding(tmp_path: Path) -> None:
    p = predictor()
    p.set_image_batch([PICTURE, PICTURE])
    with pytest.raises(RuntimeError, match="2 pictures are set"):
        p.save_embedding(tmp_path / "a.safetensors")


def rewritten(**changes: str) -> Callable[[Path], None]:
    """The same arrays with another note."""

    def damage(path: Path) -> None:
        with safe_open(path, framework="np") as file:
            note = {**file.metadata(), **changes}
        save_file(load_file(path), path, note)

    return damage


def not_a_number(path: Path) -> None:
    arrays = load_file(path)
    arrays["features['fine']"][0, 3, 3] = np.nan
    with safe_open(path, framework="np") as file:
        note = file.metadata()
    save_file(arrays, path, note)


def smaller(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        note = file.metadata()
    save_file({k: v[:, :4] for k, v in load_file(path).items()}, path, note)


@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-100]), "unreadable", "damaged"),
        (lambda p: p.write_bytes(b""), "unreadable", "damaged"),
        (lambda p: p.write_text("<html>"), "unreadable", "damaged"),
        (lambda p: save_file({"a": np.zeros(3)}, p), "unreadable", "no embedding"),
        (rewritten(version="2"), "unreadable", "version 2"),
        (rewritten(height="0"), "unreadable", "100 x 0 pixels"),
        (rewritten(width="-5"), "unreadable", "-5 x 40 pixels"),
        (rewritten(height="9" * 12), "unreadable", "999"),
        (not_a_number, "unreadable", "not finite"),
        (smaller, "unreadable", "does not hold"),
        (Path.unlink, "missing", "no such file"),
    ],
)
def test_damaged_files_say_so(saved: Path, damage: Callable[[Path], Any], code: str, says: str) -> None:
    damage(saved)
    p = predictor()
    with pytest.raises(UsageError, match=says) as caught:
        p.load_embedding(saved)
    assert caught.value.code == f"embedding_{code}"
    assert not p.is_image_set


def test_another_model_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"another 'discs', of other weights: encode") as caught:
        predictor(gain=2.0).load_embedding(saved)
    assert caught.value.code == "embedding_other_model"
    with pytest.raises(UsageError, match="an embedding of 'discs', not of 'sam'"):
        Predictor(sam.build(CONFIG, bind.random_params(sam.spec(CONFIG), 1))).load_embedding(saved)
    for work in (predictor().load_embedding, predictor().save_embedding):
        with pytest.raises((UsageError, RuntimeError), match=r"\.safetensors file|set an image"):
            work(tmp_path / "a.npz")


@pytest.mark.long
def test_a_model_that_is_trained_on_is_another_one() -> None:
    params = bind.random_params(sam.spec(CONFIG), 1)
    moved = {k: v * 1.001 for k, v in params.items()}
    half = {k: v.astype(jnp.bfloat16) for k, v in params.items()}
    first, other, again = (Predictor(sam.build(CONFIG, p))._encode.fingerprint.digest for p in (params, moved, half))
    assert first != other
    assert first == again


def test_whole_or_not_at_all(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    p = predictor()
    p.set_image(PICTURE[::-1])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        p.save_embedding(saved)
    assert saved.read_bytes() == before
    assert [f.name for f in saved.parent.iterdir()] == ["a.safetensors"]


def test_a_folder_keeps_them(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = predictor(cache=folder)
    first.set_image_batch([PICTURE, PICTURE[::-1]])
    assert first.counts["pictures"] == 2
    again = predictor(cache=folder)
    again.set_image_batch([PICTURE[:20], PICTURE[::-1], PICTURE])
    assert again.counts["pictures"] == 1
    expected = predictor()
    expected.set_image_batch([PICTURE[:20], PICTURE[::-1], PICTURE])
    for ours, other in zip(again._embeddings, expected._embeddings, strict=True):
        np.testing.assert_array_equal(ours.features["fine"], other.features["fine"])
        assert ours.size == other.size
        assert ours.pixels is not None
    for other in (predictor(gain=2.0, cache=folder), predictor(dtype=jnp.bfloat16, cache=folder)):
        other.set_image(PICTURE)
        assert other.counts["pictures"] == 1
    assert len(list(folder.iterdir())) == 5
    for file in folder.iterdir():
        file.write_bytes(b"damaged")
    again.set_image(PICTURE)
    assert again.counts["pictures"] == 2
    third = predictor(cache=folder)
    third.set_image(PICTURE)
    assert third.counts["pictures"] == 0
    blocked = predictor(cache=saved_file(tmp_path))
    blocked.set_image(PICTURE)
    assert blocked.predict([[80, 10]], [1]).masks.any()


def saved_file(folder: Path) -> Path:
    """What no folder can be made of."""
    (folder / "file").write_text("")
    return folder / "file"
