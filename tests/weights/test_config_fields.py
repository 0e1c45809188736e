"""Every field of Hugging Face's configurations is read, refused, or said here to change nothing."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gsam.errors import CheckpointError
from gsam.weights import store
from gsam.weights.identify import family_modules
from tests.weights.files import entry, safetensors

transformers = pytest.importorskip("transformers")

MODELS = {
    "CLIPConfig": "clip",
    "OwlViTConfig": "owl_vit",
    "Owlv2Config": "owl_vit",
    "SiglipConfig": "siglip",
    "SamConfig": "sam",
    "SamHQConfig": "sam_hq",
    "Sam2VideoConfig": "sam2",
    "GroundingDinoConfig": "grounding_dino",
    "MMGroundingDinoConfig": "grounding_dino",
}
ABOUT = {
    "architectures", "transformers_version", "torch_dtype", "dtype", "id2label", "label2id", "problem_type", "return_dict",
    "output_attentions", "output_hidden_states", "tie_word_embeddings", "is_encoder_decoder", "use_cache", "_name_or_path",
    "chunk_size_feed_forward", "stage_names", "model_type", "auxiliary_loss", "disable_custom_kernels", "tokenizer_class",
    "torchscript", "use_bfloat16", "pruned_heads", "name_or_path", "finetuning_task", "prefix", "task_specific_params",
    "cross_attention_hidden_size", "add_cross_attention", "classifier_dropout", "is_decoder",
}  # fmt: skip
"""Fields about the file, the task or the caching of a generator."""
TRAINING = (
    "dropout", "drop_path", "droppath", "initializer", "init_std", "_cost", "coefficient", "focal_alpha", "init_value",
)  # fmt: skip
"""Words in the names of fields that training alone reads."""
SHAPES = {
    "num_pos_feats", "vit_dim", "iou_head_hidden_dim", "type_vocab_size", "memory_attention_hidden_size",
    "memory_encoder_hidden_size", "mask_downsampler_embed_dim", "memory_fuser_embed_dim", "memory_fuser_intermediate_dim",
    "backbone_channel_list", "mask_decoder_config.hidden_size", "prompt_encoder_config.hidden_size", "out_features",
    "vision_config.projection_dim", "text_config.projection_dim", "projection_dim",
}  # fmt: skip
"""Sizes that tensors show: another one is a mismatch."""
NOTHING = {
    "pad_token_id": "texts are padded by the tokenizer, and nothing reads the padding",
    "bos_token_id": "the tokenizer writes it",
    "sep_token_id": "the tokenizer writes it",
    "eos_token_id": "but for CLIP, which reads it: the highest id",
    "num_layers": "follows from depths",
    "encoder_stride": "of Swin's masked pretraining",
    "backbone_feature_sizes": "follow from the image size",
    "memory_attention_rope_feat_sizes": "follow from the image size",
    "swin.image_size": "Swin takes images of any size",
    "backbone_config.image_size": "the sizes of the prompts' configuration are read",
    "rope_type": "one kind in each version",
    "vision_config.mlp_ratio": "mlp_dim is there and wins",
    "vision_config.scale": "a default of num_pos_feats, which the tensors show",
    "backbone_config.hidden_size": "embed_dim_per_stage is there and wins",
    "backbone_config.num_attention_heads": "num_attention_heads_per_stage is there and wins",
    "num_feature_levels": "of the neck, whose tensors show it",
}
"""Fields that change nothing here, and why."""


def tables(values: dict[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from tables(value, (*place, key))
        else:
            yield (*place, key), value


def changed(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    out = copy.deepcopy(values)
    table = out
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    return out


def defaults(name: str) -> dict[str, Any]:
    values = json.loads(json.dumps(getattr(transformers, name)().to_dict()))
    if name == "Sam2VideoConfig":
        values["image_size"] = 1024
    return values


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1 if value < 1 else value * 2
    if isinstance(value, float):
        return value * 3 + 0.01
    if isinstance(value, str):
        return {"relu": "gelu", "gelu": "relu"}.get(value, "silu")
    return [*value[::-1], 3] if isinstance(value, list) and value else None


def skipped(path: tuple[str, ...]) -> bool:
    name = path[-1]
    names = {*path, ".".join(path[-2:])}
    return bool(names & (ABOUT | SHAPES | set(NOTHING))) or any(word in name for word in TRAINING)


@pytest.mark.parametrize("name", MODELS)
def test_the_official_configuration_is_read(name: str) -> None:
    port = family_modules(MODELS[name])[1]
    port.config_from_hf(defaults(name))


@pytest.mark.parametrize("name", MODELS)
def test_every_field_is_read_or_refused(name: str) -> None:
    port, values = family_modules(MODELS[name])[1], defaults(name)
    plain = port.config_from_hf(values)
    ignored, messages = [], []
    for path, value in tables(values):
        if value is None or other(value) is None:
            continue
        if name != "CLIPConfig" and path[-1] == "eos_token_id":
            continue
        if skipped(path) and not (name == "CLIPConfig" and path == ("text_config", "eos_token_id")):
            continue
        try:
            if port.config_from_hf(changed(values, path, other(value))) == plain:
                ignored.append((".".join(path), value, other(value)))
        except CheckpointError as error:
            messages.append(str(error))
    assert not ignored
    known = ("config.json: ", "supported", "pooling head")
    assert all(any(word in text for word in known) for text in messages)


WRONG = [
    "12",
    "",
    1.5,
    -1,
    0,
    [],
    {},
    True,
    [0],
    [None],
    {"a": 1},
    10**6,
    10**30,
    float("nan"),
    float("inf"),
    [10**9] * 4,
]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.long
def test_values_of_the_wrong_kind(name: str) -> None:
    """Nothing but a `CheckpointError`, at once, whatever one field holds."""
    port, values = family_modules(MODELS[name])[1], defaults(name)
    paths = [path for path, _ in tables(values)] + [(key,) for key in values if isinstance(values[key], dict)]
    start, refused = time.perf_counter(), []
    for path in paths:
        for value in WRONG:
            try:
                port.config_from_hf(changed(values, path, value))
            except CheckpointError as error:
                refused.append(str(error))
    assert len(refused) > 100
    assert max(map(len, refused)) < 400
    assert time.perf_counter() - start < 30


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "global_attn_indexes": [1]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "nul",
        "[" * 100_000,
        '{"model_type": []}',
        '{"model_type": "sam", "vision_config": 3}',
        json.dumps({"model_type": "sam", "vision_config": SMALL | {"num_hidden_layers": 200}}),
        json.dumps({"model_type": "sam", "vision_config": SMALL | {"num_hidden_layers": 10**12}}),
        json.dumps({"model_type": "sam", "vision_config": SMALL | {"image_size": 2**14, "patch_size": 1}}),
        json.dumps(
            {"model_type": "sam2", "vision_config": {"backbone_config": {"blocks_per_stage": [99, 99, 99, 99]}}}
        ),
        json.dumps({"model_type": "grounding-dino", "encoder_layers": 250, "decoder_layers": 250}),
        json.dumps({"model_type": "clip", "text_config": {"num_hidden_layers": 256}}),
        '{"model_type": "sam", "vision_config": {"hidden_size": NaN}}',
    ],
)
def test_absurd_configurations_are_answered_at_once(tmp_path: Path, text: str) -> None:
    safetensors(tmp_path / "model.safetensors", {"a": entry([1], 0, 4)}, bytes(4))
    (tmp_path / "config.json").write_text(text)
    start = time.process_time()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        store.load(tmp_path)
    assert time.process_time() - start < 5
