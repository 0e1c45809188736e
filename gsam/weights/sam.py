"""Official names of SAM's parts that families share, and sizes, for `gsam.weights.rules.Layout`."""

from __future__ import annotations

from typing import TypedDict

from gsam.types import JsonMapping
from gsam.weights.fields import Fields

Renames = tuple[tuple[str, str], ...]

TRANSPOSED = r"output_upscaling/conv"

ORIGINAL: Renames = (
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.norm2."),
    (r"output_upscaling\.0\.", "output_upscaling.conv1."),
    (r"output_upscaling\.1\.", "output_upscaling.norm1."),
    (r"output_upscaling\.3\.", "output_upscaling.conv2."),
    (r"mask_downscaling\.0\.", "mask_downscaling.conv1."),
    (r"mask_downscaling\.1\.", "mask_downscaling.norm1."),
    (r"mask_downscaling\.3\.", "mask_downscaling.conv2."),
    (r"mask_downscaling\.4\.", "mask_downscaling.norm2."),
    (r"mask_downscaling\.6\.", "mask_downscaling.conv3."),
)
ORIGINAL_BACK: Renames = (
    (r"neck\.conv1\.", "neck.0."),
    (r"neck\.norm1\.", "neck.1."),
    (r"neck\.conv2\.", "neck.2."),
    (r"neck\.norm2\.", "neck.3."),
    (r"output_upscaling\.conv1\.", "output_upscaling.0."),
    (r"output_upscaling\.norm1\.", "output_upscaling.1."),
    (r"output_upscaling\.conv2\.", "output_upscaling.3."),
    (r"mask_downscaling\.conv1\.", "mask_downscaling.0."),
    (r"mask_downscaling\.norm1\.", "mask_downscaling.1."),
    (r"mask_downscaling\.conv2\.", "mask_downscaling.3."),
    (r"mask_downscaling\.norm2\.", "mask_downscaling.4."),
    (r"mask_downscaling\.conv3\.", "mask_downscaling.6."),
)
ORIGINAL_UNUSED: Renames = ((r"pixel_(mean|std)", "constants of the preprocessing"),)

HUGGING_FACE: Renames = (
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
    (r"^vision_encoder\.layers", "image_encoder.blocks"),
    (r"^vision_encoder\.patch_embed\.projection", "image_encoder.patch_embed.proj"),
    (r"^vision_encoder\.neck\.layer_norm", "image_encoder.neck.norm"),
    (r"^vision_encoder", "image_encoder"),
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.shared_embedding.positional_embedding"),
    (r"shared_embedding\.positional_embedding$", "pe_layer.positional_encoding_gaussian_matrix"),
    (r"\.point_embed\.", ".point_embeddings."),
    (r"\.mask_embed\.conv", ".mask_downscaling.conv"),
    (r"\.mask_embed\.layer_norm", ".mask_downscaling.norm"),
    (r"transformer\.layers\.(\d+)\.layer_norm", r"transformer.layers.\1.norm"),
    (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
    (r"\.upscale_conv", ".output_upscaling.conv"),
    (r"\.upscale_layer_norm\.", ".output_upscaling.norm1."),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head|hq_mask_mlp)\.layers\.0\.", r"\1.layers.1."),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head|hq_mask_mlp)\.proj_in\.", r"\1.layers.0."),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head|hq_mask_mlp)\.proj_out\.", r"\1.layers.2."),
)
_MLPS = r"(hypernetworks_mlps\.\d+|iou_prediction_head|hf_mlp|pred_obj_score_head|obj_ptr_proj)"
HUGGING_FACE_BACK: Renames = (
    (r"^image_encoder\.blocks\.(\d+)\.norm", r"vision_encoder.layers.\1.layer_norm"),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.neck\.norm", "vision_encoder.neck.layer_norm"),
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.conv", ".mask_embed.conv"),
    (r"\.mask_downscaling\.norm", ".mask_embed.layer_norm"),
    (r"transformer\.layers\.(\d+)\.norm", r"transformer.layers.\1.layer_norm"),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.output_upscaling\.conv", ".upscale_conv"),
    (r"\.output_upscaling\.norm1\.", ".upscale_layer_norm."),
    (_MLPS + r"\.layers\.0\.", r"\1.proj_in."),
    (_MLPS + r"\.layers\.1\.", r"\1.layers.0."),
    (_MLPS + r"\.layers\.2\.", r"\1.proj_out."),
)
HUGGING_FACE_TIED: Renames = (
    ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding"),
)

TINY_VIT: Renames = (
    (r"patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"patch_embed\.seq\.2\.", "patch_embed.conv2."),
)
TINY_VIT_BACK: Renames = (
    (r"patch_embed\.conv1\.", "patch_embed.seq.0."),
    (r"patch_embed\.conv2\.", "patch_embed.seq.2."),
)
TINY_VIT_UNUSED: Renames = (
    (r"image_encoder\.(norm_)?head\.(weight|bias)", "the classifier that the encoder was trained with"),
    (r".*\.num_batches_tracked", "counts the steps of training"),
)


class VitSizes(TypedDict):
    """The fields of `gsam.nn.sam_vit.SamVit`."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    image_size: int
    patch: int
    window: int
    mlp_ratio: int
    out_chans: int


class DecoderSizes(TypedDict):
    """The sizes of SAM's prompts and decoder."""

    decoder_heads: int
    decoder_mlp: int
    mask_chans: int


def hugging_face_sizes(values: JsonMapping) -> tuple[VitSizes, DecoderSizes]:
    """A Hugging Face ``config.json`` as our sizes; what it leaves out is ViT-B's.

    Raises:
        CheckpointError: A size that cannot be, or a model that computes otherwise than SAM.
    """
    fields = Fields(values)
    vision, prompt, decoder = (fields.part(f"{k}_config") for k in ("vision", "prompt_encoder", "mask_decoder"))
    vision.only(hidden_act="gelu", layer_norm_eps=1e-6, num_channels=3)
    vision.only(qkv_bias=True, use_abs_pos=True, use_rel_pos=True)
    prompt.only(hidden_act="gelu", layer_norm_eps=1e-6, num_point_embeddings=4)
    decoder.only(hidden_act="relu", num_hidden_layers=2, attention_downsample_rate=2)
    decoder.only(layer_norm_eps=(1e-6, 1e-5))  # the original's 1e-5 counts: Hugging Face writes 1e-6
    decoder.only(num_multimask_outputs=3, iou_head_depth=3)
    width, heads = vision.size("hidden_size", 768), vision.size("num_attention_heads", 12)
    side, patch = vision.side("image_size", 1024), vision.side("patch_size", 16)
    prompt.only(image_size=(side, [side, side]), patch_size=(patch, [patch, patch]))
    prompt.only(image_embedding_size=(side // patch, [side // patch, side // patch]))
    hidden = vision.size("mlp_dim", round(width * vision.number("mlp_ratio", 4.0)))
    vision.divides(width, heads, "heads")
    vision.divides(hidden, width, "units (hidden_size)")
    vision.divides(side, patch, "pixels (patch_size)")
    depth = vision.layers("num_hidden_layers", 12)
    vit = VitSizes(
        width=width,
        depth=depth,
        heads=heads,
        global_blocks=vision.sizes("global_attn_indexes", (2, 5, 8, 11), most=depth - 1, least=0),
        image_size=side,
        patch=patch,
        window=vision.size("window_size", 14, side // patch),
        mlp_ratio=hidden // width,
        out_chans=vision.size("output_channels", 256),
    )
    return vit, DecoderSizes(
        decoder_heads=decoder.size("num_attention_heads", 8),
        decoder_mlp=decoder.size("mlp_dim", 2048),
        mask_chans=prompt.size("mask_input_channels", 16),
    )
