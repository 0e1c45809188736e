"""Layouts of Grounding DINO's checkpoints: the original ``.pth`` and Hugging Face's.

Hugging Face's includes MM-Grounding-DINO.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from gsam.errors import CheckpointError
from gsam.models.grounding_dino.config import BertConfig, Config, SwinConfig
from gsam.types import JsonMapping
from gsam.weights.fields import LAYERS, PIXELS, WORDS, Fields
from gsam.weights.preprocessing import check_pixels
from gsam.weights.rules import Layout

_THIRDS = ("query", "key", "value")
_UNUSED = (
    (r".*\.relative_position_index", "follows from the window"),
    (r".*\.position_ids", "an arange"),
    (r".*(bert|text_backbone)\.pooler\..*", "of BERT; the tokens are read, not the sentence"),
)
_COPIES = tuple(
    (f"{prefix}bbox_embed.{i}.layers.{k}.{leaf}", f"bbox_embed.{0 if not prefix else i}.layers.{k}.{leaf}")
    for prefix in ("transformer.decoder.", "model.decoder.", "")
    for i in range(12)
    for k in range(3)
    for leaf in ("weight", "bias")
    if prefix or i
)
_COPIES += tuple((f"class_embed.{i}.bias", "class_embed.0.bias") for i in range(1, 12))
_COPIES += tuple((f"model.decoder.class_embed.{i}.bias", f"class_embed.{i}.bias") for i in range(12))

LAYOUTS = (
    Layout(
        "original",
        (
            (r"^module\.", ""),
            (r"^backbone\.0\.", "backbone."),
            (r"^input_proj\.(\d+)\.0\.", r"input_proj.\1.conv."),
            (r"^input_proj\.(\d+)\.1\.", r"input_proj.\1.norm."),
        ),
        unused=(*_UNUSED, (r"(module\.)?label_enc\.weight", "names of training's denoising queries")),
        tied=(*_COPIES, *((f"module.{copy}", f"module.{used}") for copy, used in _COPIES)),
        stacked=(
            (r"\.qkv\.(weight|bias)$", tuple(rf".{third}.\1" for third in _THIRDS)),
            (r"\.in_proj_(weight|bias)$", tuple(rf".{third}.\1" for third in _THIRDS)),
        ),
        back=(
            (r"^(backbone\..*\.attn)\.(query|key|value)\.", r"\1.qkv."),
            (r"^backbone\.", "backbone.0."),
            (r"^input_proj\.(\d+)\.conv\.", r"input_proj.\1.0."),
            (r"^input_proj\.(\d+)\.norm\.", r"input_proj.\1.1."),
            (r"\.(self_attn|ca_text)\.(query|key|value)\.(weight|bias)$", r".\1.in_proj_\3"),
        ),
    ),
    Layout(
        "hugging_face",
        (
            (r"^model\.backbone\.conv_encoder\.model\.(swin\.)?", "backbone."),
            (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "backbone.patch_embed.proj."),
            (r"^backbone\.embeddings\.norm\.", "backbone.patch_embed.norm."),
            (r"^backbone\.encoder\.", "backbone."),
            (r"^backbone\.hidden_states_norms\.stage1\.", "backbone.norm0."),
            (r"^backbone\.hidden_states_norms\.stage2\.", "backbone.norm1."),
            (r"^backbone\.hidden_states_norms\.stage3\.", "backbone.norm2."),
            (r"^backbone\.hidden_states_norms\.stage4\.", "backbone.norm3."),
            (r"^(backbone\..*)\.attention\.self\.", r"\1.attn."),
            (r"^(backbone\..*)\.attention\.output\.dense\.", r"\1.attn.proj."),
            (r"^(backbone\..*)\.layernorm_before\.", r"\1.norm1."),
            (r"^(backbone\..*)\.layernorm_after\.", r"\1.norm2."),
            (r"^(backbone\..*)\.intermediate\.dense\.", r"\1.mlp.fc1."),
            (r"^(backbone\..*)\.output\.dense\.", r"\1.mlp.fc2."),
            (r"^model\.text_backbone\.", "bert."),
            (r"^model\.text_projection\.", "feat_map."),
            (r"^model\.input_proj_vision\.(\d+)\.0\.", r"input_proj.\1.conv."),
            (r"^model\.input_proj_vision\.(\d+)\.1\.", r"input_proj.\1.norm."),
            (r"^model\.query_position_embeddings\.", "transformer.tgt_embed."),
            (r"^model\.encoder_output_bbox_embed\.", "transformer.enc_out_bbox_embed."),
            (r"^model\.(encoder|decoder|enc_output|enc_output_norm|level_embed)\b", r"transformer.\1"),
            (r"\.encoder\.layers\.(\d+)\.fusion_layer\.", r".encoder.fusion_layers.\1."),
            (r"\.encoder\.layers\.(\d+)\.text_enhancer_layer\.", r".encoder.text_layers.\1."),
            (r"\.encoder\.layers\.(\d+)\.deformable_layer\.", r".encoder.layers.\1."),
            (r"\.layer_norm_vision\.", ".layer_norm_v."),
            (r"\.layer_norm_text\.", ".layer_norm_l."),
            (r"\.vision_param$", ".gamma_v"),
            (r"\.text_param$", ".gamma_l"),
            (r"\.(values_|out_)?vision_proj\.", r".\1v_proj."),
            (r"\.(values_|out_)?text_proj\.", r".\1l_proj."),
            (r"(\.text_layers\..*)\.layer_norm_before\.", r"\1.norm1."),
            (r"(\.text_layers\..*)\.layer_norm_after\.", r"\1.norm2."),
            (r"(\.encoder\.layers\..*)\.self_attn_layer_norm\.", r"\1.norm1."),
            (r"(\.encoder\.layers\..*)\.final_layer_norm\.", r"\1.norm2."),
            (r"(\.decoder\.layers\..*)\.encoder_attn_layer_norm\.", r"\1.norm1."),
            (r"(\.decoder\.layers\..*)\.encoder_attn_text_layer_norm\.", r"\1.catext_norm."),
            (r"(\.decoder\.layers\..*)\.self_attn_layer_norm\.", r"\1.norm2."),
            (r"(\.decoder\.layers\..*)\.final_layer_norm\.", r"\1.norm3."),
            (r"(\.decoder\.layers\..*)\.encoder_attn_text\.", r"\1.ca_text."),
            (r"(\.decoder\.layers\..*)\.encoder_attn\.", r"\1.cross_attn."),
            (r"(^transformer\..*)\.fc(\d)\.", r"\1.linear\2."),
            (r"\.reference_points_head\.", ".ref_point_head."),
            (r"\.decoder\.layer_norm\.", ".decoder.norm."),
        ),
        unused=(
            *_UNUSED,
            (r"model\.backbone\.conv_encoder\.model\.swin\.layernorm\..*", "the stages have norms of their own"),
            (r"model\.encoder_output_class_embed\.bias", "moves all first guesses alike, and they are only ranked"),
        ),
        tied=_COPIES,
    ),
)

MODEL_TYPES = ("grounding-dino", "mm-grounding-dino")


def config_from_hf(values: JsonMapping) -> Config:
    """Read the sizes in a Hugging Face ``config.json``; the defaults are the tiny model's.

    Raises:
        CheckpointError: A model of another kind than the official ones.
    """
    scaled = values.get("model_type") == "mm-grounding-dino"
    fields = Fields(values)
    swin, bert = fields.part("backbone_config"), fields.part("text_config")
    shared = fields.flag("decoder_bbox_embed_share", not scaled)
    unknown = {
        "a backbone other than Swin": swin.values.get("model_type", "swin") != "swin",
        "another text backbone than BERT": bert.values.get("model_type", "bert") != "bert",
        "learned position codes": values.get("position_embedding_type", "sine") != "sine",
        "one stage": not (fields.flag("two_stage", True) and fields.flag("embedding_init_target", True)),
        "box heads shared, class heads not": scaled and fields.flag("decoder_cls_embed_share", False) != shared,
        "a first box head shared with the decoder's": fields.flag("two_stage_bbox_embed_share", False),
    }
    if reasons := [name for name, true in unknown.items() if true]:
        raise CheckpointError(f"a Grounding DINO with {reasons[0]} is not supported", "checkpoint_unknown")
    fields.only(activation_function="relu", layer_norm_eps=1e-5, positional_embedding_temperature=20, query_dim=4)
    width, heads = fields.size("d_model", 256), fields.size("encoder_attention_heads", 8)
    hidden, points = fields.size("encoder_ffn_dim", 2048), fields.size("encoder_n_points", 4)
    fields.only(decoder_attention_heads=heads, decoder_ffn_dim=hidden, decoder_n_points=points)
    fields.divides(width, heads, "heads")
    return Config(
        swin=_swin(swin),
        bert=_bert(bert),
        width=width,
        encoder_layers=fields.layers("encoder_layers", 6),
        decoder_layers=fields.layers("decoder_layers", 6),
        heads=heads,
        hidden=hidden,
        levels=fields.size("num_feature_levels", 4, 8),
        points=points,
        queries=fields.size("num_queries", 900),
        tokens=fields.size("max_text_len", 256, 4096),
        shared_heads=shared,
        scaled=scaled,
    )


def _swin(fields: Fields) -> SwinConfig:
    fields.only(hidden_act="gelu", layer_norm_eps=1e-5, num_channels=3, qkv_bias=True, use_absolute_embeddings=False)
    width, depths = fields.size("embed_dim", 96), fields.sizes("depths", (2, 2, 6, 2), most=LAYERS)
    heads = fields.sizes("num_heads", (3, 6, 12, 24), len(depths))
    for i, count in enumerate(heads):
        fields.divides(width << i, count, "heads")
    names = fields.values.get("out_features") if "out_indices" not in fields else None
    if names is not None and names != [f"stage{i}" for i in (2, 3, 4)]:
        fields.only(out_features=(["stage2", "stage3", "stage4"],))
    out = fields.sizes("out_indices", (2, 3, 4), most=len(depths))
    window, patch = fields.size("window_size", 7, 1024), fields.side("patch_size", 4)
    return SwinConfig(width, depths, heads, window, patch, fields.multiple("mlp_ratio", 4), tuple(i - 1 for i in out))


def _bert(fields: Fields) -> BertConfig:
    fields.only(hidden_act="gelu", layer_norm_eps=1e-12, position_embedding_type="absolute", is_decoder=False)
    fields.only(type_vocab_size=2)
    width, heads = fields.size("hidden_size", 768), fields.size("num_attention_heads", 12)
    fields.divides(width, heads, "heads")
    return BertConfig(
        width,
        fields.layers("num_hidden_layers", 12),
        heads,
        fields.size("intermediate_size", 3072),
        fields.size("vocab_size", 30522, WORDS),
        fields.size("max_position_embeddings", 512),
    )


def prepared(config: Config, fields: Fields) -> Config:
    """Take the sizes to which images are scaled, and the scale of pixels, from the folder.

    Raises:
        CheckpointError: Numbers that cannot be, or pixels that are not normalised.
    """
    mean, std = fields.numbers("image_mean", config.mean, 0.0), fields.numbers("image_std", config.std, 1e-3)
    check_pixels(fields, (mean, std))
    given = fields.values.get("size")
    if isinstance(given, Mapping):
        sizes = fields.part("size")
        unknown = sorted(set(map(str, given)) - {"shortest_edge", "longest_edge"})
        if unknown:
            sizes.only(**{unknown[0]: ("shortest_edge and longest_edge",)})
        shortest = sizes.size("shortest_edge", config.size, PIXELS)
        longest = sizes.size("longest_edge", config.limit, PIXELS)
    else:
        shortest, longest = fields.size("size", config.size, PIXELS), fields.size("max_size", config.limit, PIXELS)
    if longest < shortest:
        text = f"{fields.file}: the longest edge, {longest}, is shorter than the shortest, {shortest}"
        raise CheckpointError(text, "checkpoint_format")
    return dataclasses.replace(config, size=shortest, limit=longest, mean=mean, std=std)
