"""Layouts of SAM 2's checkpoints: the original ``.pt`` and Hugging Face's.

They are of the part for images, or of the whole model with the memory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from gsam.models.sam2.config import Config
from gsam.types import JsonMapping
from gsam.weights import sam
from gsam.weights.rules import Layout
from gsam.weights.sam import Renames

_WHY = "the memory, which pictures have no use for"
_DOWNSAMPLER: Renames = (
    (r"mask_downsampler\.encoder\.12\.", "mask_downsampler.last."),
    *((rf"mask_downsampler\.encoder\.{3 * i}\.", f"mask_downsampler.convs.{i}.") for i in range(4)),
    *((rf"mask_downsampler\.encoder\.{3 * i + 1}\.", f"mask_downsampler.norms.{i}.") for i in range(4)),
)
_HEADS = r"(pred_obj_score_head|obj_ptr_proj)"


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
        ValueError: A model that is no Hiera as SAM 2 has it: widths that do not double, other
            windows than square.
    """
    vision, prompt, decoder = (values.get(f"{k}_config") or {} for k in ("vision", "prompt_encoder", "mask_decoder"))
    trunk = vision.get("backbone_config") or {}
    embed = trunk.get("hidden_size", 96)
    heads = trunk.get("num_attention_heads", 1)
    widths = trunk.get("embed_dim_per_stage") or [embed << i for i in range(4)]
    several = trunk.get("num_attention_heads_per_stage") or [heads << i for i in range(4)]
    if list(widths) != [widths[0] << i for i in range(4)] or list(several) != [several[0] << i for i in range(4)]:
        raise ValueError(f"widths {widths} and heads {several} should double from stage to stage")
    background = trunk.get("window_positional_embedding_background_size") or [7, 7]
    return Config(
        embed=widths[0],
        heads=several[0],
        stages=tuple(trunk.get("blocks_per_stage") or (1, 2, 7, 2)),
        global_blocks=tuple(trunk.get("global_attention_blocks") or (5, 7, 9)),
        v21=bool(values.get("enable_occlusion_spatial_embedding", True)),
        background=background[0],
        window_spec=tuple(trunk.get("window_size_per_stage") or (8, 4, 14, 7)),
        image_size=prompt.get("image_size", 1024),
        mlp_ratio=int(trunk.get("mlp_ratio", 4)),
        width=vision.get("fpn_hidden_size", 256),
        decoder_heads=decoder.get("num_attention_heads", 8),
        decoder_mlp=decoder.get("mlp_dim", 2048),
        mask_chans=prompt.get("mask_input_channels", 16),
        num_maskmem=values.get("num_maskmem", 7),
        mem_dim=values.get("memory_encoder_output_channels", 64),
        memory_layers=values.get("memory_attention_num_layers", 4),
        memory_mlp=values.get("memory_attention_feed_forward_hidden_size", 2048),
        max_obj_ptrs=values.get("max_object_pointers_in_encoder", 16),
    )
