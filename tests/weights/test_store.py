"""Every way of naming a model gives the same numbers, and every way of failing to says what to
do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.errors import CheckpointError, UsageError
from gsam.weights import find, folders, identify, store
from gsam.weights.rules import EXACT, precision
from tests.weights.files import nano_sam, random, state_dict


@pytest.fixture(scope="module")
def nano() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return nano_sam()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "gsam cache"))


def same(found: Mapping[str, Any], expected: Mapping[str, Any], dtype: Any = jnp.float32) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        kept = precision(name, dtype)
        assert found[name].dtype == kept, name
        assert np.asarray(found[name]).tobytes() == np.asarray(value).astype(kept).tobytes(), name


# one file


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_one_file_in_the_original_layout(tmp_path: Path, nano: Any, suffix: str) -> None:
    from safetensors.numpy import save_file

    params, original = nano
    path = tmp_path / f"anything{suffix}"
    if suffix == ".safetensors":
        save_file(original, path)
    else:
        state_dict(path, original)
    loaded = store.load(path)
    assert (loaded.family, loaded.config) == ("sam", gsam.models.sam.VARIANTS["nano_sam"])
    assert (loaded.tokenizer, loaded.name) == (None, str(path))
    same(loaded.params, params)
    same(store.load(str(path), role="segment").params, params)


def test_one_file_with_our_own_names(tmp_path: Path, nano: Any) -> None:
    from safetensors.numpy import save_file

    params, _ = nano
    save_file({k: np.asarray(v) for k, v in params.items()}, tmp_path / "x.safetensors")
    same(store.load(tmp_path / "x.safetensors").params, params)


def test_one_file_from_torch_itself(tmp_path: Path, nano: Any) -> None:
    torch = pytest.importorskip("torch")
    params, original = nano
    tensors = {f"module.{k}": torch.from_numpy(v.copy()) for k, v in original.items()}
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "x.pth")
    same(store.load(tmp_path / "x.pth").params, params)


@pytest.mark.parametrize("dtype", ["bfloat16", jnp.bfloat16, "float16"])
def test_dtype(tmp_path: Path, nano: Any, dtype: Any) -> None:
    params, original = nano
    same(store.load(state_dict(tmp_path / "x.pth", original), dtype=dtype).params, params, jnp.dtype(dtype))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("none.pth", "none.safetensors", "a/b.pt"):
        with pytest.raises(CheckpointError, match=re.escape(f"no such file: {tmp_path / name}")) as error:
            store.load(tmp_path / name)
        assert error.value.code == "checkpoint_missing"


# folders as on the hub


@pytest.fixture(scope="module")
def hub_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Role -> a folder that transformers wrote, and some of its tensors by our names in our
    axes.
    """
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from benchmarks.harness.oracles import seeded

    places = {
        "segment": ("mask_decoder.iou_prediction_head.proj_out", "mask_decoder/iou_prediction_head/layers/2"),
        "detect": ("class_head.dense0", "class_head/dense0"),
        "classify": ("visual_projection", "visual_projection"),
    }
    found = {}
    for role, model in (
        ("segment", seeded.sam("tiny")),
        ("detect", seeded.owl("tiny")),
        ("classify", seeded.clip("tiny")),
    ):
        folder = seeded.save(model, tmp_path_factory.mktemp(role) / "model")
        shutil.copy(folders.data_folder("nano") / "tokenizer.json", folder)
        theirs, ours = places[role]
        found[role] = folder, {f"{ours}/kernel": model.state_dict()[f"{theirs}.weight"].numpy().T}
    return found


@pytest.mark.parametrize(("role", "family"), [("segment", "sam"), ("detect", "owl_vit"), ("classify", "clip")])
def test_hub_folder(hub_folders: Any, role: str, family: str) -> None:
    folder, some = hub_folders[role]
    loaded = store.load(folder)
    assert (loaded.family, loaded.name, loaded.tokenizer) == (family, str(folder), folder)
    for name, value in some.items():
        assert np.array_equal(loaded.params[name], value)
    stage = getattr(gsam, {"segment": "segmenter", "detect": "detector", "classify": "classifier"}[role])
    assert stage(str(folder)).config == loaded.config


@pytest.mark.parametrize(("role", "needs"), [("segment", "detect"), ("detect", "classify"), ("classify", "segment")])
def test_the_wrong_role(hub_folders: Any, role: str, needs: str) -> None:
    make = {"segment": gsam.segmenter, "detect": gsam.detector, "classify": gsam.classifier}[needs]
    with pytest.raises(UsageError, match=f"is a model to {role}, one to {needs} is needed"):
        make(str(hub_folders[role][0]))


def test_the_wrong_role_of_a_bare_file(tmp_path: Path, nano: Any) -> None:
    with pytest.raises(UsageError, match="is a model to segment, one to detect is needed"):
        gsam.detector(str(state_dict(tmp_path / "x.pth", nano[1])))


def test_tokenizers_are_found(tmp_path: Path, hub_folders: Any) -> None:
    folder = shutil.copytree(hub_folders["classify"][0], tmp_path / "copy")
    (folder / "tokenizer.json").unlink()
    assert find.find(folder).tokenizer is None
    (folder / "vocab.json").write_text("{}")
    assert find.find(folder).tokenizer is None
    (folder / "merges.txt").write_text("")
    assert find.find(folder).tokenizer == folder


CONFIGS = {
    "not JSON": ("{", "checkpoint_format"),
    "a list": ("[1]", "checkpoint_format"),
    "another model": ('{"model_type": "bert"}', "checkpoint_unknown"),
    "no type": ("{}", "checkpoint_unknown"),
    "numbers that are words": ('{"model_type": "clip", "vision_config": {"hidden_size": "x"}}', "checkpoint_format"),
    "no width": ('{"model_type": "clip", "vision_config": {"hidden_size": 0}}', "checkpoint_format"),
    "another size": ('{"model_type": "clip"}', "checkpoint_mismatch"),
    "another activation": ('{"model_type": "clip", "text_config": {"hidden_act": "relu"}}', "checkpoint_unknown"),
    "OWL's other activation": (
        '{"model_type": "owlvit", "vision_config": {"hidden_act": "relu"}}',
        "checkpoint_unknown",
    ),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_wrong_config(tmp_path: Path, hub_folders: Any, what: str) -> None:
    folder = shutil.copytree(hub_folders["classify"][0], tmp_path / "copy")
    text, code = CONFIGS[what]
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError) as error:
        store.load(folder)
    assert error.value.code == code


# Orbax


def loaded_nano(params: Mapping[str, Any], tokenizer: Path | None = None) -> store.Loaded:
    return store.Loaded("sam", gsam.models.sam.VARIANTS["nano_sam"], params, tokenizer, "nano_sam")


@pytest.mark.long
def test_orbax_round_trip(tmp_path: Path, nano: Any) -> None:
    tokenizer = folders.data_folder("nano") / "tokenizer.json"
    folder = store.save(loaded_nano(nano[0], tokenizer), tmp_path / "out")
    again = store.load(folder)
    same(again.params, nano[0])
    assert (again.family, again.config, again.name) == ("sam", gsam.models.sam.VARIANTS["nano_sam"], "nano_sam")
    assert again.tokenizer == folder
    assert (folder / "tokenizer.json").read_bytes() == tokenizer.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert gsam.segmenter(str(folder)).config == again.config
    with pytest.raises(UsageError) as error:
        store.save(loaded_nano(nano[0]), folder)
    assert error.value.code == "output_exists"


@pytest.mark.parametrize("family", ["owl_vit", "clip"])
def test_orbax_configs_of_other_families(tmp_path: Path, family: str) -> None:
    module, _ = identify.family_modules(family)
    config = module.VARIANTS[{"owl_vit": "nano_owl", "clip": "nano_clip"}[family]]
    params = random(module.spec(config).shapes)
    again = store.load(store.save(store.Loaded(family, config, params, None, "x"), tmp_path / "out"))
    assert again.config == config
    same(again.params, params)


def test_orbax_bfloat16(tmp_path: Path, nano: Any) -> None:
    folder = store.save(loaded_nano(nano[0]), tmp_path / "half", dtype=jnp.bfloat16)
    assert sum(f.stat().st_size for f in folder.rglob("*")) < 3 * sum(v.size for v in nano[0].values())
    same(store.load(folder, dtype=jnp.bfloat16).params, nano[0], jnp.bfloat16)
    wide = store.load(folder)
    assert {v.dtype for v in wide.params.values()} == {jnp.dtype("float32")}
    same(wide.params, {k: np.asarray(v).astype(precision(k, jnp.bfloat16)) for k, v in nano[0].items()})


def test_angles_and_temperatures_stay_exact_in_half_precision(tmp_path: Path, nano: Any) -> None:
    loaded = store.load(state_dict(tmp_path / "x.pth", nano[1]), dtype="bfloat16")
    exact = {k for k, v in loaded.params.items() if v.dtype == jnp.float32}
    assert exact == {"prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"}
    assert exact == {k for k in nano[0] if k.rsplit("/", 1)[-1] in EXACT}


def test_orbax_numbers_that_are_none(tmp_path: Path, nano: Any) -> None:
    name = "image_encoder/pos_embed"
    folder = store.save(loaded_nano({**nano[0], name: nano[0][name].at[0, 0].set(jnp.nan)}), tmp_path / "out")
    with pytest.raises(CheckpointError, match=f"{name} holds numbers that are not finite"):
        store.load(folder)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_save_leaves_nothing(
    tmp_path: Path, nano: Any, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise error

    monkeypatch.setattr(store.shutil, "copy", stop)
    with pytest.raises((KeyboardInterrupt, OSError)):
        store.save(loaded_nano(nano[0], folders.data_folder("nano") / "tokenizer.json"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_damaged_orbax_folders(tmp_path: Path, nano: Any) -> None:
    folder = store.save(loaded_nano(nano[0]), tmp_path / "out")
    note = json.loads((folder / "gsam.json").read_text())

    def fails(code: str) -> None:
        with pytest.raises(CheckpointError) as error:
            store.load(folder)
        assert error.value.code == code

    for text in ("{", "[]", "{}", json.dumps(note | {"family": "x"}), json.dumps(note | {"config": {"x": 1}})):
        (folder / "gsam.json").write_text(text)
        fails("checkpoint_format")
    (folder / "gsam.json").write_text(json.dumps(note | {"config": note["config"] | {"width": 64}}))
    fails("checkpoint_mismatch")
    (folder / "gsam.json").write_text(json.dumps(note))
    store.load(folder)
    shutil.rmtree(folder / "params")
    fails("checkpoint_mismatch")


# names


def test_nano_names() -> None:
    folder = folders.data_folder("nano")
    for name, role in find.NANO.items():
        if not (folder / f"{role}.safetensors").is_file():
            pytest.skip("the nano models are not trained yet")
        loaded = store.load(name)
        assert loaded.name == name
        assert (loaded.tokenizer is None) == (name in ("nano_sam", "nano_sam2"))
        assert find.is_cached(name)


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"did you mean .*sam_vit_h") as error:
        store.load("sam_vit_hh")
    assert error.value.code == "model_unknown"
    with pytest.raises(UsageError, match="gsam weights list"):
        store.load("???")
    with pytest.raises(UsageError, match="clip_vit_base_patch32"):
        gsam.classifier("clip_vit_base_patch3")


def test_every_variant_has_an_entry() -> None:
    assert set(find.names()) == set(find.manifest()) | set(find.NANO)


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folders.cache_folder() == tmp_path / "gsam cache"
    monkeypatch.delenv("GSAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folders.cache_folder() == tmp_path / "gsam"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert folders.cache_folder() == tmp_path / "home" / ".cache" / "gsam"


# the hub, offline

SHA = "0123456789abcdef0123456789abcdef01234567"


def hub_cache(root: Path, repository: str, source: Path) -> Path:
    """A model in the hub's cache, as a download leaves it."""
    base = root / f"models--{repository.replace('/', '--')}"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text(SHA)
    return shutil.copytree(source, base / "snapshots" / SHA)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def in_a_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_cached_hub_model(tmp_path: Path, hub_folders: Any, offline: Path) -> None:
    folder = hub_cache(offline, "some/tiny-sam", hub_folders["segment"][0])
    expected = store.load(hub_folders["segment"][0])
    for name in ("some/tiny-sam", f"some/tiny-sam@{SHA}", "some/tiny-sam@main"):
        loaded = store.load(name)
        assert (loaded.family, loaded.config, loaded.name) == ("sam", expected.config, name)
        assert loaded.tokenizer == folder
        same(loaded.params, expected.params)


@pytest.mark.long
def test_the_hub_s_own_variables(tmp_path: Path, hub_folders: Any) -> None:
    hub_cache(tmp_path / "home" / "hub", "some/tiny-sam", hub_folders["segment"][0])
    code = "from gsam.weights import store; print(store.load('some/tiny-sam').family)"
    assert in_a_process(code, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1") == "sam"


def test_a_hub_model_that_is_not_cached(offline: Path) -> None:
    for name in ("some/absent", "some/absent@v1", "clip_vit_base_patch32"):
        with pytest.raises(CheckpointError, match="not in the cache and the hub cannot be reached") as error:
            store.load(name)
        assert error.value.code == "hub_offline"
        assert not find.is_cached(name)


def test_is_cached(tmp_path: Path, hub_folders: Any, offline: Path) -> None:
    assert not find.is_cached("clip_vit_base_patch32")
    hub_cache(offline, "openai/clip-vit-base-patch32", hub_folders["classify"][0])
    assert find.is_cached("clip_vit_base_patch32")
    assert not find.is_cached("sam_vit_b")
    (folders.cache_folder() / "weights").mkdir(parents=True)
    (folders.cache_folder() / "weights" / "sam_vit_b_01ec64.pth").touch()
    assert find.is_cached("sam_vit_b")
