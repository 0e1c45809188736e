"""What transformers, its cache and its users leave on a disk loads, or is told what to name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gsam
from gsam.errors import CheckpointError
from gsam.models import clip
from gsam.models.clip.port import config_from_hf
from gsam.text.tokenizer import load_tokenizer
from gsam.weights import store
from gsam.weights.folders import data_folder
from gsam.weights.rules import convert
from tests.weights.files import nano_sam, random, state_dict

TOWER = {"hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4}
VALUES: dict[str, Any] = {
    "model_type": "clip",
    "projection_dim": 16,
    "text_config": {**TOWER, "vocab_size": 300},
    "vision_config": {**TOWER, "image_size": 16, "patch_size": 8},
}


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    found = random(clip.spec(config_from_hf(VALUES)).shapes)
    return {name: np.asarray(value) for name, value in found.items()}


def folder(path: Path, tensors: dict[str, np.ndarray], file: str = "model.safetensors") -> Path:
    from safetensors.numpy import save_file

    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(VALUES))
    if file.endswith(".safetensors"):
        save_file(tensors, path / file)
    else:
        state_dict(path / file, tensors)
    return path


def shards(path: Path, tensors: dict[str, np.ndarray], suffix: str) -> Path:
    stem, places = "model" if suffix == ".safetensors" else "pytorch_model", {}
    for i in (1, 2):
        some = {k: v for n, (k, v) in enumerate(sorted(tensors.items())) if n % 2 == i - 1}
        name = f"{stem}-0000{i}-of-00002{suffix}"
        folder(path, some, name)
        places |= dict.fromkeys(some, name)
    (path / f"{stem}{suffix}.index.json").write_text(json.dumps({"weight_map": places}))
    return path


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_shards(tmp_path: Path, tensors: dict[str, np.ndarray], suffix: str) -> None:
    path = shards(tmp_path / "a", tensors, suffix)
    assert store.load(path).params.keys() == tensors.keys()
    one = next(path.glob("*-00001-*"))
    with pytest.raises(CheckpointError, match=r"one of several shards.*name its folder"):
        store.load(one)
    (path / "evil.index.json").touch()
    index = next(path.glob("*model*.index.json"))
    index.write_text(index.read_text().replace("00002-of", "/../00002-of"))
    with pytest.raises(CheckpointError) as error:
        store.load(path)
    assert error.value.code == "checkpoint_unsafe"


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "mine.pt", "checkpoint.ckpt"])
@pytest.mark.long
def test_a_file_or_its_folder(tmp_path: Path, tensors: dict[str, np.ndarray], file: str) -> None:
    path = folder(tmp_path / "a", tensors, file)
    assert store.load(path).config == config_from_hf(VALUES)
    assert store.load(path / file).config == config_from_hf(VALUES)


def test_several_files_are_named(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    path = folder(tmp_path / "a", tensors, "one.pt")
    folder(path, tensors, "two.pt")
    with pytest.raises(CheckpointError, match=r"one\.pt, two\.pt.*name the file"):
        store.load(path)


def test_a_config_beside_another_model_is_not_taken(tmp_path: Path) -> None:
    state_dict(tmp_path / "sam.pth", nano_sam()[1])
    (tmp_path / "config.json").write_text(json.dumps(VALUES))
    assert store.load(tmp_path / "sam.pth").family == "sam"


def test_the_hub_s_cache(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    cache = tmp_path / "models--me--clip"
    one = folder(cache / "snapshots" / ("a" * 40), tensors)
    assert store.load(cache).family == "clip"
    two = cache / "snapshots" / ("b" * 40)
    shutil.copytree(one, two)
    with pytest.raises(CheckpointError, match="name one of its snapshots"):
        store.load(cache)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("b" * 40 + "\n")
    assert store.load(cache).family == "clip"


def test_a_run_says_which_folders_it_has(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    for step in (500, 1000):
        folder(tmp_path / f"checkpoint-{step}", tensors)
    with pytest.raises(CheckpointError, match=r"checkpoint-1000.*checkpoint-500") as error:
        store.load(tmp_path)
    assert error.value.code == "checkpoint_missing"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "vocab.txt"])
def test_links_to_nothing(tmp_path: Path, tensors: dict[str, np.ndarray], name: str) -> None:
    path = folder(tmp_path / "a", tensors)
    (path / name).unlink(missing_ok=True)
    (path / name).symlink_to("../blobs/gone")
    with pytest.raises(CheckpointError, match=f"{name} is a link to nothing") as error:
        store.load(path)
    assert error.value.code == "checkpoint_missing"
    if name == "model.safetensors":
        with pytest.raises(CheckpointError, match="is a link to nothing"):
            store.load(path / name)


def test_no_tokenizer_is_told_at_load(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    path = folder(tmp_path / "a", tensors)
    with pytest.raises(CheckpointError, match=r"looked in .*tokenizer\.json.*merges\.txt.*vocab\.txt") as error:
        gsam.classifier(str(path))
    assert error.value.code == "tokenizer_missing"
    shutil.copy(data_folder("nano") / "tokenizer.json", path)
    assert gsam.classifier(str(path)).tokenizer is not None


def test_another_model_s_tokenizer(tmp_path: Path) -> None:
    values = VALUES | {"text_config": {**TOWER, "vocab_size": 20}}
    found = random(clip.spec(config_from_hf(values)).shapes)
    path = folder(tmp_path / "a", {name: np.asarray(value) for name, value in found.items()})
    (path / "config.json").write_text(json.dumps(values))
    shutil.copy(data_folder("nano") / "tokenizer.json", path)
    with pytest.raises(CheckpointError, match="tokens and the model 20") as error:
        gsam.classifier(str(path))
    assert error.value.code == "tokenizer_mismatch"


def test_a_token_that_the_model_has_not(tmp_path: Path) -> None:
    """Also of SigLIP, whose tokenizers are larger than its models."""
    model = gsam.classifier("nano_clip")
    assert model.tokenizer.limit == model.config.vocab
    tokenizer = load_tokenizer(data_folder("nano") / "tokenizer.json")
    known = tokenizer.encode(["dog"], 8)
    tokenizer.limit = int(known.max()) + 1
    assert (tokenizer.encode(["dog"], 8) == known).all()
    tokenizer.limit -= 1
    with pytest.raises(CheckpointError, match=r"reads .* in 'dog' as token .*, and the model knows") as error:
        tokenizer.encode(["dog"], 8)
    assert error.value.code == "tokenizer_mismatch"


CHANGES = {
    "added tokens": ({"vocab_size": 30, "max_position_embeddings": 8, "eos_token_id": 21}, {}),
    "the highest id": ({"vocab_size": 30, "max_position_embeddings": 8, "eos_token_id": 2}, {}),
    "plain GELU": ({"vocab_size": 30, "hidden_act": "gelu"}, {"hidden_act": "gelu"}),
    "GELU by tanh": ({"vocab_size": 30, "hidden_act": "gelu_pytorch_tanh"}, {"hidden_act": "gelu"}),
    "another eps": ({"vocab_size": 30, "layer_norm_eps": 1e-2}, {"layer_norm_eps": 1e-1}),
    "an odd width": ({"vocab_size": 30, "intermediate_size": 50}, {"intermediate_size": 70}),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.long
def test_what_config_json_says_is_computed(what: str) -> None:
    """As transformers does with the same configuration and weights."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    text, vision = CHANGES[what]
    values = VALUES | {"text_config": {**TOWER, **text}, "vision_config": VALUES["vision_config"] | vision}
    config = config_from_hf(values)
    assert config.end == (21 if what == "added tokens" else None)
    torch.manual_seed(0)
    given = {k: v for k, v in values.items() if k != "model_type"}
    model = transformers.CLIPModel(transformers.CLIPConfig(**given)).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(0, 0.3)
    ids = np.array([[20, 27, 3, 21, 21, 0, 0, 0], [20, 4, 29, 5, 21, 0, 0, 28]])
    if what != "added tokens":
        model.text_model.eos_token_id = 2  # the highest id, where the default would be beyond the vocabulary
    pixels = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        expected = [
            model.get_text_features(torch.from_numpy(ids)),
            model.get_image_features(torch.from_numpy(pixels.transpose(0, 3, 1, 2))),
        ]
    spec = clip.spec(config)
    state = {k: Given(v) for k, v in model.state_dict().items()}
    bound = spec.bind(convert(state, spec.shapes, clip.LAYOUTS[0], "float32"))
    for found, wanted in zip((bound.text(ids.astype(np.int32)), bound.image(pixels)), expected, strict=True):
        wanted = getattr(wanted, "pooler_output", wanted)
        wanted = (wanted / wanted.norm(dim=-1, keepdim=True)).numpy()
        np.testing.assert_allclose(np.asarray(found), wanted, atol=2e-5)


class Given:
    """A tensor of torch as if in a file."""

    def __init__(self, value: Any) -> None:
        self.value, self.shape, self.dtype = value.numpy(), tuple(value.shape), np.dtype("float32")

    def load(self) -> np.ndarray:
        return self.value
