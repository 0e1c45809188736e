"""What a folder says of the preparation of images is done or refused, never ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from gsam.errors import CheckpointError
from gsam.models import clip, grounding_dino
from gsam.weights import identify, store
from gsam.weights.fields import Fields
from tests.weights.files import random
from tests.weights.test_folders import VALUES

DINO: dict[str, Any] = {
    "model_type": "grounding-dino",
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 10,
    "max_text_len": 32,
    "backbone_config": {"model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
    "text_config": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
}


def folder(path: Path, family: Any, values: dict[str, Any], **files: Any) -> Path:
    config = identify.family_modules(family.__name__.rpartition(".")[2])[1].config_from_hf(values)
    save_file({k: np.asarray(v) for k, v in random(family.spec(config).shapes).items()}, path / "model.safetensors")
    for name, content in {"config": values, **files}.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def test_sizes_and_pixels_of_grounding_dino_are_taken(tmp_path: Path) -> None:
    own = {"size": {"shortest_edge": 320, "longest_edge": 500}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2] * 3}
    path = folder(tmp_path, grounding_dino, DINO, preprocessor_config=own)
    loaded = store.load(path, role="detect")
    seen = grounding_dino.view(loaded.config)
    assert (seen.size, seen.limit) == (320, 500)
    assert (loaded.config.mean, loaded.config.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    (path / "preprocessor_config.json").unlink()
    (path / "processor_config.json").write_text(json.dumps({"image_processor": {"size": 400, "max_size": 600}}))
    assert (store.load(path).config.size, store.load(path).config.limit) == (400, 600)


@pytest.mark.parametrize(
    "own",
    [
        {"image_mean": [0.5, 0.5, 0.5]},
        {"image_std": [1, 1, 1]},
        {"size": {"height": 32, "width": 32}},
        {"crop_size": 32},
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5},
        {"size": "x"},
        [],
    ],
)
def test_what_is_not_done_is_refused(tmp_path: Path, own: Any) -> None:
    path = folder(tmp_path, clip, VALUES, preprocessor_config=own)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        store.load(path)


def test_the_official_preparation_is_read(tmp_path: Path) -> None:
    """In the words of old and new versions of transformers."""
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    both = {"image_mean": mean, "image_std": std, "do_normalize": True, "resample": 3}
    old = both | {"size": 16, "crop_size": 16, "feature_extractor_type": "CLIPFeatureExtractor"}
    new = both | {
        "size": {"shortest_edge": 16},
        "crop_size": {"height": 16, "width": 16},
        "rescale_factor": 0.00392156862745098,
    }
    for own in (old, new):
        assert store.load(folder(tmp_path, clip, VALUES, preprocessor_config=own)).family == "clip"


PROCESSORS = {
    "SamImageProcessor": "sam_vit_b",
    "Owlv2ImageProcessor": "owlv2_base_patch16",
    "OwlViTImageProcessor": "owlvit_base_patch32",
    "CLIPImageProcessor": "clip_vit_base_patch32",
    "SiglipImageProcessor": "siglip_base_patch16_224",
    "GroundingDinoImageProcessor": "grounding_dino_tiny",
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_transformers_writes_is_read(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    written = json.loads(json.dumps(getattr(transformers, name)().to_dict(), default=str))
    variant = PROCESSORS[name]
    module, port = identify.family_modules(str(identify.family_of(variant)))
    config = module.VARIANTS[variant]
    assert port.prepared(config, Fields(written, file="preprocessor_config.json")) == config
