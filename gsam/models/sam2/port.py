"""Layouts of SAM 2's checkpoints: the original ``.pt`` and Hugging Face's.

They are of the part for images, or of the whole model with the memory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from gsam.errors import CheckpointError
from gsam.models.sam2.config import Config
from gsam.types import JsonMapping
from gsam.weights import sam
from gsam.weights.fields import LAYERS, Fields
from gsam.weights.preprocessing import IMAGENET, check_pixels, check_square
from gsam.weights.rules import Layout
from gsam.weights.sam import Renames

_WHY = "the memory, which pictures have no use for"
_DOWNSAMPLER: Renames = (
    (r"mask_downsampler\.encoder\.12\.", "mask_downsampler.last."),
    *((rf"mask_downsampler\.encoder\.{3 * i}\.", f"mask_downsampler.convs.{i}.") for i in range(4)),
    *((rf"mask_downsampler\.encoder\.{3 * i + 1}\.", f"mask_downsampler.norms.{i}.") for i in range(4)),
)
_DOWNSAMPLER_BACK: Renames = (
    (r"mask_downsampler\.last\.", "mask_downsampler.encoder.12."),
    *((rf"mask_downsampler\.convs\.{i}\.", f"mask_downsampler.encoder.{3 * i}.") for i in range(4)),
    *((rf"mask_downsampler\.norms\.{i}\.", f"mask_downsampler.encoder.{3 * i + 1}.") for i in range(4)),
)
_HEADS = r"(pred_obj_score_head|obj_ptr_proj)"


_HUGGING_FACE_BACK: Renames = (
    *sam.HUGGING_FACE_BACK,
    (r"^sam_(prompt_encoder|mask_decoder)\.", r"\1."),
    (r"\.point_embed\.\d\.weight$", ".point_embed.weight"),
    (r"^vision_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"(neck\.convs\.\d+)\.conv\.", r"\1."),
    (r"(blocks\.\d+\.mlp)\.layers\.0\.", r"\1.proj_in."),
    (r"(blocks\.\d+\.mlp)\.layers\.1\.", r"\1.proj_out."),
    (r"(transformer\.layers\.\d+\.mlp)\.lin1\.", r"\1.proj_in."),
    (r"(transformer\.layers\.\d+\.mlp)\.lin2\.", r"\1.proj_out."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"mask_downsampler\.convs\.(\d)\.", r"mask_downsampler.layers.\1.conv."),
    (r"mask_downsampler\.norms\.(\d)\.", r"mask_downsampler.layers.\1.norm."),
    (r"mask_downsampler\.last\.", "mask_downsampler.final_conv."),
    (r"memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"(fuser\.layers\.\d+)\.gamma$", r"\1.scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv", ".pointwise_conv"),
    (r"\.norm(\d*)\.", r".layer_norm\1."),
    (r"\.out_proj\.", ".o_proj."),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
)


def layouts(*, memory: bool) -> tuple[Layout, ...]:
    """Layouts of the whole model (``memory``), or of `gsam.models.sam2.model.Sam2Image`.

    The files are the same, and an image's part leaves the memory out; a file may hold that part
    alone.
    """
    return (
        Layout(
            "original",
            (
                *sam.ORIGINAL,
                (r"(decoder\.transformer\.layers\.\d+\.mlp)\.layers\.0\.", r"\1.lin1."),
                (r"(decoder\.transformer\.layers\.\d+\.mlp)\.layers\.1\.", r"\1.lin2."),
                (r"(embedding_maskfeature)\.0\.", r"\1.conv1."),
                (r"(embedding_maskfeature)\.1\.", r"\1.norm1."),
                (r"(embedding_maskfeature)\.3\.", r"\1.conv2."),
                *_DOWNSAMPLER,
            ),
            unused=() if memory else ((_MEMORY, _WHY),),
            transposed=sam.TRANSPOSED,
            back=(
                *sam.ORIGINAL_BACK,
                (r"(decoder\.transformer\.layers\.\d+\.mlp)\.lin1\.", r"\1.layers.0."),
                (r"(decoder\.transformer\.layers\.\d+\.mlp)\.lin2\.", r"\1.layers.1."),
                (r"(embedding_maskfeature)\.conv1\.", r"\1.0."),
                (r"(embedding_maskfeature)\.norm1\.", r"\1.1."),
                (r"(embedding_maskfeature)\.conv2\.", r"\1.3."),
                *_DOWNSAMPLER_BACK,
            ),
        ),
        Layout(
            "hugging_face",
            (
                *sam.HUGGING_FACE,
                (r"^(prompt_encoder|mask_decoder)\.", r"sam_\1."),
                (r"^image_encoder\.backbone\.", "image_encoder.trunk."),
                (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
                (r"(neck\.convs\.\d+)\.", r"\1.conv."),
                (r"\.layer_norm(\d*)\.", r".norm\1."),
                (r"\.o_proj\.", ".out_proj."),
                (r"(transformer\.layers\.\d+\.mlp)\.proj_in\.", r"\1.lin1."),
                (r"(transformer\.layers\.\d+\.mlp)\.proj_out\.", r"\1.lin2."),
                (r"(blocks\.\d+\.mlp)\.proj_in\.", r"\1.layers.0."),
                (r"(blocks\.\d+\.mlp)\.proj_out\.", r"\1.layers.1."),
                (r"^object_pointer_proj\.", "obj_ptr_proj."),
                (_HEADS + r"\.layers\.0\.", r"\1.layers.1."),
                (_HEADS + r"\.proj_in\.", r"\1.layers.0."),
                (_HEADS + r"\.proj_out\.", r"\1.layers.2."),
                (r"mask_downsampler\.layers\.(\d)\.conv\.", r"mask_downsampler.convs.\1."),
                (r"mask_downsampler\.layers\.(\d)\.norm\.", r"mask_downsampler.norms.\1."),
                (r"mask_downsampler\.final_conv\.", "mask_downsampler.last."),
                (r"memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
                (r"memory_encoder\.projection\.", "memory_encoder.out_proj."),
                (r"memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
                (r"(fuser\.layers\.\d+)\.scale$", r"\1.gamma"),
                (r"\.depthwise_conv\.", ".dwconv."),
                (r"\.pointwise_conv", ".pwconv"),
                (r"^no_memory_embedding$", "no_mem_embed"),
                (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
                (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
                (r"^no_object_pointer$", "no_obj_ptr"),
                (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
                (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
            ),
            unused=() if memory else ((_MEMORY_HF, _WHY),),
            tied=sam.HUGGING_FACE_TIED,
            transposed=sam.TRANSPOSED,
            stacked=(
                (
                    r"prompt_encoder\.point_embed\.weight$",
                    tuple(f"prompt_encoder.point_embeddings.{i}.weight" for i in range(4)),
                ),
            ),
            back=_HUGGING_FACE_BACK,
        ),
    )


_MEMORY = (
    r"maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial"
    r"|(memory_attention|memory_encoder|mask_downsample|obj_ptr_proj|obj_ptr_tpos_proj)[./].*"
)
_MEMORY_HF = (
    r"memory_temporal_positional_encoding|no_memory_positional_encoding|no_object_pointer"
    r"|occlusion_spatial_embedding_parameter"
    r"|(memory_attention|memory_encoder|mask_downsample|object_pointer_proj"
    r"|temporal_positional_encoding_projection_layer)\..*"
)

_V21 = {"no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"}

LAYOUTS = layouts(memory=False)
"""Layouts of the part for images."""
TRACKER_LAYOUTS = layouts(memory=True)
"""Layouts of the whole model."""

MODEL_TYPES = ("sam2_video", "sam2")


def told(config: Config, tensors: Mapping[str, object]) -> Config:
    """Set ``v21`` of the configuration by the tensors, where they include the memory.

    Only they tell SAM 2 from SAM 2.1, which images have no use for.
    """
    if not any(re.fullmatch(f"{_MEMORY}|{_MEMORY_HF}", name) for name in tensors):
        return config
    return dataclasses.replace(config, v21=not _V21.isdisjoint(tensors))


def config_from_hf(values: JsonMapping) -> Config:
    """Read the sizes in a Hugging Face ``config.json``; the defaults are SAM 2 tiny's.

    Raises:
        CheckpointError: Sizes that cannot be, a model that is no Hiera as SAM 2 has it (widths
            that do not double, other windows than square), or one that computes otherwise.
    """
    fields = Fields(values)
    vision, prompt, decoder = (fields.part(f"{k}_config") for k in ("vision", "prompt_encoder", "mask_decoder"))
    trunk = vision.part("backbone_config")
    _refuse_others(fields, vision, trunk, prompt, decoder)
    embed, heads = trunk.size("hidden_size", 96), trunk.size("num_attention_heads", 1)
    widths = trunk.sizes("embed_dim_per_stage", [embed << i for i in range(4)], 4)
    several = trunk.sizes("num_attention_heads_per_stage", [heads << i for i in range(4)], 4)
    if list(widths) != [widths[0] << i for i in range(4)] or list(several) != [several[0] << i for i in range(4)]:
        text = f"widths {widths} and heads {several} should double from stage to stage"
        raise CheckpointError(f"config.json: {text}", "checkpoint_unknown")
    trunk.divides(widths[0], several[0], "heads")
    stages = trunk.sizes("blocks_per_stage", (1, 2, 7, 2), 4, LAYERS)
    background = trunk.sizes("window_positional_embedding_background_size", (7, 7), 2)
    if background[0] != background[1]:
        text = f"positions of {background[0]} times {background[1]}, and only squares are supported here"
        raise CheckpointError(f"config.json: {text}", "checkpoint_unknown")
    side = prompt.side("image_size", 1024)
    fields.only(image_size=(side, [side, side]))
    fields.divides(side, 32, "pixels (the model's stride)")
    v21 = fields.flag("enable_occlusion_spatial_embedding", True)
    fields.only(enable_temporal_pos_encoding_for_object_pointers=v21)
    return Config(
        embed=widths[0],
        heads=several[0],
        stages=stages,
        global_blocks=trunk.sizes("global_attention_blocks", (5, 7, 9), most=sum(stages) - 1, least=0),
        v21=v21,
        background=background[0],
        window_spec=trunk.sizes("window_size_per_stage", (8, 4, 14, 7), 4, side),
        image_size=side,
        mlp_ratio=trunk.multiple("mlp_ratio", 4),
        width=vision.size("fpn_hidden_size", 256),
        decoder_heads=decoder.size("num_attention_heads", 8),
        decoder_mlp=decoder.size("mlp_dim", 2048),
        mask_chans=prompt.size("mask_input_channels", 16),
        num_maskmem=fields.size("num_maskmem", 7, 1024),
        mem_dim=fields.size("memory_encoder_output_channels", 64),
        memory_layers=fields.layers("memory_attention_num_layers", 4),
        memory_mlp=fields.size("memory_attention_feed_forward_hidden_size", 2048),
        max_obj_ptrs=fields.size("max_object_pointers_in_encoder", 16, 1024),
    )


def _refuse_others(fields: Fields, vision: Fields, trunk: Fields, prompt: Fields, decoder: Fields) -> None:
    """Raise `CheckpointError` for fields by which a model computes otherwise than the official."""
    trunk.only(model_type=("sam2_hiera_det_model", "hiera_det_model"), hidden_act="gelu", layer_norm_eps=1e-6)
    trunk.only(num_query_pool_stages=3, query_stride=([2, 2],), patch_kernel_size=([7, 7],), patch_stride=([4, 4],))
    trunk.only(patch_padding=([3, 3],), num_channels=3)
    vision.only(hidden_act="gelu", layer_norm_eps=1e-6, fpn_top_down_levels=([2, 3], [3, 2]), fpn_kernel_size=1)
    vision.only(fpn_stride=1, fpn_padding=0, num_feature_levels=3)
    prompt.only(hidden_act="gelu", layer_norm_eps=1e-6, num_point_embeddings=4, scale=1, patch_size=(16, [16, 16]))
    decoder.only(hidden_act="gelu", num_hidden_layers=2, attention_downsample_rate=2, num_multimask_outputs=3)
    decoder.only(iou_head_depth=3, dynamic_multimask_via_stability=True, dynamic_multimask_stability_delta=0.05)
    decoder.only(dynamic_multimask_stability_thresh=0.98)
    fields.only(sigmoid_scale_for_mem_enc=20.0, sigmoid_bias_for_mem_enc=-10.0, multimask_output_in_sam=True)
    fields.only(multimask_min_pt_num=0, multimask_max_pt_num=1, multimask_output_for_tracking=True)
    fields.only(max_cond_frame_num=(-1, 4), memory_attention_num_attention_heads=1, memory_attention_downsample_rate=1)
    fields.only(memory_attention_feed_forward_hidden_act="relu", memory_attention_rope_theta=10000)
    fields.part("rope_parameters").only(rope_theta=10000.0, rope_type=("axial", "default"))
    fields.only(mask_downsampler_kernel_size=3, mask_downsampler_stride=2, mask_downsampler_padding=1)
    fields.only(mask_downsampler_total_stride=16, mask_downsampler_hidden_act="gelu", memory_fuser_num_layers=2)
    fields.only(memory_fuser_kernel_size=7, memory_fuser_padding=3, memory_fuser_hidden_act="gelu")


def prepared(config: Config, fields: Fields) -> Config:
    """Refuse another preparation of images than the model's.  Raises `CheckpointError`."""
    check_pixels(fields, IMAGENET)
    check_square(fields, config.image_size)
    return config
