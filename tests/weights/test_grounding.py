"""Grounding DINO's checkpoints: stacked tensors, copies, prefixes, and files of another size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import CheckpointError
from gsam.models import grounding_dino as gd
from gsam.models.grounding_dino import port
from gsam.weights import store
from gsam.weights.read import read
from gsam.weights.rules import convert, fit
from tests.models import small_detectors as small
from tests.weights import files

THIRDS = ("query", "key", "value")
SHAPES = gd.spec(small.CONFIG).shapes
PARAMS = files.random(SHAPES)


def original() -> dict[str, np.ndarray]:
    """`PARAMS` as GroundingDINO's own code writes them: torch's axes, stacked attentions, every
    copy of the box head.
    """
    out: dict[str, np.ndarray] = {}
    for path, value in PARAMS.items():
        stem, leaf = path.rsplit("/", 1)
        array = np.asarray(value)
        if leaf == "kernel":
            array = array.transpose((3, 2, 0, 1) if array.ndim == 4 else (1, 0))
        stem = re.sub(r"^backbone/", "backbone/0/", stem)
        stem = re.sub(r"^(input_proj/\d+)/(conv|norm)", lambda m: f"{m[1]}/{int(m[2] == 'norm')}", stem)
        name = stem.replace("/", ".")
        kind = "bias" if leaf == "bias" else "weight"
        owner, _, third = name.rpartition(".")
        if third in THIRDS and not path.startswith("bert/"):
            name = f"{owner}.qkv.{kind}" if path.startswith("backbone/") else f"{owner}.in_proj_{kind}"
            out.setdefault(name, np.zeros((3 * array.shape[0], *array.shape[1:]), np.float32))
            rows = THIRDS.index(third) * array.shape[0]
            out[name][rows : rows + array.shape[0]] = array
        else:
            known = leaf in ("kernel", "scale", "embedding", "weight", "bias")
            out[f"{name}.{kind}" if known else f"{name}.{leaf}".lstrip(".")] = np.ascontiguousarray(array)
    for name in [n for n in out if n.startswith("bbox_embed.0.")]:
        rest = name.removeprefix("bbox_embed.0.")
        for i in range(small.CONFIG.decoder_layers):
            out[f"bbox_embed.{i}.{rest}"] = out[f"transformer.decoder.bbox_embed.{i}.{rest}"] = out[name]
    out["backbone.0.layers.0.blocks.0.attn.relative_position_index"] = np.zeros((16, 16), np.int64)
    out["bert.embeddings.position_ids"] = np.arange(64)[None]
    out["bert.pooler.dense.weight"] = np.zeros((32, 32), np.float32)
    out["label_enc.weight"] = np.zeros((5, 64), np.float32)
    return out


def loaded(path: Path) -> dict[str, Any]:
    tensors = read(path)
    layout = fit(tensors, port.LAYOUTS, SHAPES)
    assert layout.name == "original"
    return convert(tensors, SHAPES, layout, "float32")


def test_the_names_are_the_official_ones() -> None:
    assert not original().keys() - files.LISTS["groundingdino_swint_ogc"]["keys"].keys()


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("key", [None, "model"])
def test_the_original_layout(tmp_path: Path, prefix: str, key: str | None) -> None:
    tensors = {f"{prefix}{name}": value for name, value in original().items()}
    assert sum("qkv" in n or "in_proj" in n for n in tensors) == 2 * (6 + 1 + 2 * 2)
    params = loaded(files.state_dict(tmp_path / "x.pth", tensors, key))
    assert params.keys() == PARAMS.keys()
    for path, value in params.items():
        np.testing.assert_array_equal(value, PARAMS[path], err_msg=path)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    "copy", ["bbox_embed.1.", "transformer.decoder.bbox_embed.0.", "transformer.decoder.bbox_embed.1."]
)
def test_copies_of_the_box_head_must_agree(tmp_path: Path, prefix: str, copy: str) -> None:
    tensors = original()
    name = f"{copy}layers.1.weight"
    tensors[name] = tensors[name] + np.float32(1e-3)
    path = files.state_dict(tmp_path / "x.pth", {f"{prefix}{n}": value for n, value in tensors.items()})
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} and .*bbox_embed.* differ") as error:
        loaded(path)
    assert error.value.code == "checkpoint_mismatch"


@pytest.mark.parametrize("shape", [(), (95, 32), (97, 32)])
def test_what_is_not_three_of_a_size_is_not_taken_apart(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors = original() | {"backbone.0.layers.0.blocks.0.attn.qkv.weight": np.zeros(shape, np.float32)}
    with pytest.raises(CheckpointError, match=r"attn\.qkv\.weight"):
        loaded(files.state_dict(tmp_path / "x.pth", tensors))


def test_a_checkpoint_of_the_other_size(tmp_path: Path) -> None:
    """The configuration is the tiny model's, the tensors are the base model's."""
    folder = files.hollow(tmp_path, "IDEA-Research__grounding-dino-base", {"model_type": "grounding-dino"})
    with pytest.raises(CheckpointError, match="does not fit") as error:
        store.load(folder, role="detect")
    assert error.value.code == "checkpoint_mismatch"
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == 12
    assert "the model needs" in lines[0] + lines[1]
    assert lines[-1] == "  It looks like grounding_dino_base."


def test_mm_grounding_dino(tmp_path: Path) -> None:
    """Heads of its own for every layer stay apart."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from benchmarks.harness.oracles import grounding_dino, seeded

    reference = grounding_dino.model("mm")
    model = store.load(seeded.save(reference, tmp_path), role="detect")
    assert (model.family, model.config.scaled, model.config.shared_heads) == ("grounding_dino", True, False)
    assert model.params.keys() == gd.spec(model.config).shapes.keys()
    theirs = reference.state_dict()
    for i in range(model.config.decoder_layers):
        head = theirs[f"bbox_embed.{i}.layers.0.weight"].numpy()
        np.testing.assert_array_equal(np.asarray(model.params[f"bbox_embed/{i}/layers/0/kernel"]).T, head)
        np.testing.assert_array_equal(model.params[f"class_embed/{i}/bias"], theirs[f"class_embed.{i}.bias"].numpy())
    heads = [np.asarray(model.params[f"bbox_embed/{i}/layers/0/kernel"]) for i in range(model.config.decoder_layers)]
    assert not np.array_equal(heads[0], heads[1])
