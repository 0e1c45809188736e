"""OpenAI's own CLIP files: TorchScript programs and state dicts are read as data."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from gsam.errors import CheckpointError
from gsam.models import clip
from gsam.text.tokenizer import load_tokenizer
from gsam.weights import store
from tests.text.test_queries import byte_letters
from tests.weights.files import state_dict

torch = pytest.importorskip("torch")
CONFIG = clip.VARIANTS["nano_clip"]
"""The only variant that is small: the files are told by their shapes."""


@pytest.fixture(scope="module")
def model() -> Any:
    from tests.models.openai_clip import Clip

    torch.manual_seed(0)
    c = CONFIG
    return Clip(c.vision, c.text, c.projection, c.image_size, c.patch, c.vocab, c.context).eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["script", "trace", "state dict", "state dict with sizes", "half"])
@pytest.mark.long
def test_embeddings_are_those_of_the_original(tmp_path: Path, model: Any, kind: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(2, CONFIG.image_size, CONFIG.image_size, 3)).astype(np.float32)
    ids = np.array([[3, 7, 191, 0, 0, 0, 0, 0], [3, 8, 9, 10, 11, 12, 13, 191]])
    seen = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        image, text = (x / x.norm(dim=-1, keepdim=True) for x in model(seen, torch.from_numpy(ids)))
    path = tmp_path / "ViT-N-8.pt"
    sizes = {"input_resolution": torch.tensor(64), "context_length": torch.tensor(8), "vocab_size": torch.tensor(192)}
    if kind == "script":
        torch.jit.script(model).save(str(path))
    elif kind == "trace":
        torch.jit.trace(model, (seen, torch.from_numpy(ids))).save(str(path))
    elif kind == "half":
        torch.save({k: v.half() for k, v in model.state_dict().items()}, path)
    else:
        torch.save(model.state_dict() | (sizes if "sizes" in kind else {}), path)
    loaded = store.load(path, role="classify")
    assert loaded.config == CONFIG
    bound = clip.spec(CONFIG)
    near = 2e-3 if kind == "half" else 2e-5
    got = np.asarray(jax.jit(lambda p, x: bound.bind(p).image(x))(loaded.params, pixels))
    np.testing.assert_allclose(got, image.numpy(), atol=near)
    got = np.asarray(jax.jit(lambda p, x: bound.bind(p).text(x))(loaded.params, ids.astype(np.int32)))
    np.testing.assert_allclose(got, text.numpy(), atol=near)


def test_what_looks_like_openclip_is_told(tmp_path: Path, model: Any) -> None:
    torch.save(model.state_dict(), tmp_path / "a.pt")
    with pytest.warns(UserWarning, match="OpenCLIP"):
        store.load(tmp_path / "a.pt", role="classify")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("visual.layer1.0.conv1.weight", "ResNet"),
        ("module.visual.attnpool.q_proj.weight", "ResNet"),
        ("visual.trunk.stem.0.weight", "timm"),
    ],
)
def test_other_image_encoders_are_refused(tmp_path: Path, model: Any, name: str, what: str) -> None:
    kept = {k: v.numpy() for k, v in model.half().state_dict().items() if not k.startswith("visual.")}
    model.float()
    tensors = {k: v.astype(np.float32) for k, v in kept.items()} | {name: np.ones((2, 2), np.float32)}
    with pytest.raises(CheckpointError, match=what) as error:
        store.load(state_dict(tmp_path / "RN50.pt", tensors), role="classify")
    assert error.value.code == "checkpoint_unknown"


def test_openai_s_vocabulary(tmp_path: Path) -> None:
    """``bpe_simple_vocab_16e6.txt.gz`` is the same as ``vocab.json`` with ``merges.txt``."""
    merges = ["d o", "do g</w>", "t h", "th e</w>", "a n", "an d</w>", "' s</w>"]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with gzip.open(tmp_path / "one" / "bpe_simple_vocab_16e6.txt.gz", "wb") as file:
        file.write("\n".join(['"bpe_simple_vocab_16e6.txt#version: 0.2', *merges]).encode() + b"\n")
    letters = byte_letters()
    words = [*letters, *(c + "</w>" for c in letters), *("".join(m.split()) for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "two" / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (tmp_path / "two" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    texts = ["the dog's and THE", "zebra 12!!", "été 犬"]
    one, two = (load_tokenizer(tmp_path / f).encode(texts, 40) for f in ("one", "two"))
    assert one.tolist() == two.tolist()
    assert one.max() == len(words) - 1


@pytest.mark.filterwarnings("ignore")
def test_a_file_with_its_vocabulary_classifies(tmp_path: Path, model: Any) -> None:
    """The whole way, by the name of the file, with the shipped vocabulary beside it."""
    from gsam.weights.folders import data_folder

    torch.save(model.state_dict(), tmp_path / "ViT.pt")
    (tmp_path / "tokenizer.json").write_text((data_folder("nano") / "tokenizer.json").read_text())
    assert gsam.classifier(str(tmp_path / "ViT.pt")).tokenizer is not None
