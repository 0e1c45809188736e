"""SAM 2 on video beside transformers' Sam2Video on the same weights.

It is a sound oracle for clicks and boxes, with hole filling off.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

import gsam
from benchmarks.harness.oracles.compare import Row, relative
from benchmarks.harness.oracles.seeded import seed
from gsam.build.stages import tracker
from gsam.ops.views import IMAGENET_MEAN, IMAGENET_STD

CHANGE = (
    "holes stay; clicks and boxes only, what is remembered of a drawn mask differs (tests/parity/test_sam2_video.py)"
)
MEAN, STD = (np.array(v, np.float32) for v in (IMAGENET_MEAN, IMAGENET_STD))


def tiny(v21: bool) -> Sam2VideoConfig:
    """A reduced model: 128 pixels, a grid of 8 x 8, pointers of two tokens."""
    trunk = {
        "hidden_size": 32, "num_attention_heads": 1, "image_size": [128, 128], "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [32, 64, 128, 256], "num_attention_heads_per_stage": [1, 2, 4, 8],
        "global_attention_blocks": [3], "window_positional_embedding_background_size": [7, 7],
    }  # fmt: skip
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", **trunk},
        "backbone_channel_list": [256, 128, 64, 32], "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 128,
    }  # fmt: skip
    return Sam2VideoConfig(
        vision_config={"model_type": "sam2_vision_model", **vision},
        prompt_encoder_config={"hidden_size": 128, "image_size": 128},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 256, "iou_head_hidden_dim": 128},
        image_size=128,
        memory_attention_hidden_size=128,
        memory_attention_feed_forward_hidden_size=256,
        memory_attention_num_layers=2,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=128,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=512,
        enable_occlusion_spatial_embedding=v21,
        enable_temporal_pos_encoding_for_object_pointers=v21,
    )


def model(config: Sam2VideoConfig, number: int = 0) -> Any:
    """The reference, seeded, with an object score that says yes.

    The pointer of a drawn mask is made the original's, of the single mask: transformers takes the
    best of three.
    """
    made = seed(Sam2VideoModel(config).eval(), number)
    with torch.no_grad():
        made.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
        made.shared_image_embedding.positional_embedding.copy_(
            made.prompt_encoder.shared_embedding.positional_embedding
        )
    theirs = made._single_frame_forward

    def as_original(*given: Any, **named: Any) -> Any:
        if named.get("input_masks") is not None and named.get("input_points") is None:
            named["multimask_output"] = False
        return theirs(*given, **named)

    made._single_frame_forward = as_original
    return made


def load(reference: Any, folder: Path) -> Any:
    """The same weights as a tracker."""
    folder.mkdir(parents=True, exist_ok=True)
    reference.config.save_pretrained(folder)
    save_file({k: v.contiguous() for k, v in reference.state_dict().items()}, folder / "model.safetensors")
    return tracker(str(folder))


@dataclasses.dataclass
class Theirs:
    """Their answers, frame by frame: masks [N, s, s], scores and pointers of every object."""

    masks: dict[int, np.ndarray]
    scores: dict[int, np.ndarray]
    pointers: dict[int, np.ndarray]


class Reference:
    """A session of theirs in the words of ours."""

    def __init__(self, reference: Any, frames: np.ndarray) -> None:
        self.model = reference
        x = ((frames.astype(np.float32) / 255.0) - MEAN) / STD
        video = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
        size = frames.shape[1:3]
        self.session = Sam2VideoInferenceSession(
            video=video, video_height=size[0], video_width=size[1], inference_device="cpu", dtype=torch.float32
        )

    def click(
        self, frame: int, obj: int, points: np.ndarray, labels: list[int], box: list[float] | None = None
    ) -> None:
        """Pixels of the view; a box is two points before the others, as in the original."""
        if box is not None:
            points = np.concatenate([np.array(box, np.float32).reshape(2, 2), np.asarray(points).reshape(-1, 2)])
            labels = [2, 3, *labels]
        coords = torch.tensor(np.asarray(points, np.float32))[None, None]
        given = {"point_coords": coords, "point_labels": torch.tensor(labels, dtype=torch.int32)[None, None]}
        index = self.session.obj_id_to_idx(obj)
        self.session.add_point_inputs(index, frame, given)
        self.session.remove_mask_inputs(index, frame)
        self.session.obj_with_new_inputs.append(obj)

    def draw(self, frame: int, obj: int, mask: np.ndarray) -> None:
        index = self.session.obj_id_to_idx(obj)
        self.session.add_mask_inputs(index, frame, torch.from_numpy(mask)[None, None].float())
        self.session.remove_point_inputs(index, frame)
        self.session.obj_with_new_inputs.append(obj)

    @torch.no_grad()
    def begin(self, frame: int) -> np.ndarray:
        return np.asarray(self.model(self.session, frame_idx=frame).pred_masks[:, 0])

    @torch.no_grad()
    def propagate(self, start: int, reverse: bool = False, most: int | None = None) -> Theirs:
        found = Theirs({}, {}, {})
        steps = self.model.propagate_in_video_iterator(self.session, start, most, reverse=reverse)
        for step in steps:
            frame = step.frame_idx
            found.masks[frame] = np.asarray(step.pred_masks[:, 0])
            found.scores[frame] = np.asarray(step.object_score_logits).reshape(-1)
            pointers = []
            for outputs in self.session.output_dict_per_obj.values():
                output = outputs["cond_frame_outputs"].get(frame) or outputs["non_cond_frame_outputs"][frame]
                pointers.append(np.asarray(output["object_pointer"]).reshape(-1))
            found.pointers[frame] = np.stack(pointers)
        return found


def moving(count: int, size: int = 128, number: int = 0) -> np.ndarray:
    """Draw frames [T, S, S, 3] of two objects that move over noise, in cells of ``size`` / 128."""
    zoom, size = size // 128, 128
    rng = np.random.default_rng(number)
    back = rng.integers(0, 255, (size, size, 3))
    frames = np.repeat(back[None], count, 0)
    for t in range(count):
        frames[t, 20 + 3 * t : 50 + 3 * t, 16 + 4 * t : 50 + 4 * t] = (230, 30, 40)
        frames[t, 80 : 80 + 30, 100 - 4 * t : 124 - 4 * t] = (20, 220, 90)
    return frames.astype(np.uint8).repeat(zoom, 1).repeat(zoom, 2)


def compare(reference: Any, folder: Path, count: int = 9, start: int = 3) -> list[Row]:
    """Compare two objects, prompted by a click and a box on frame ``start``, in both directions."""
    size = reference.config.image_size
    zoom = size // 128
    ours, frames = predictor(reference, folder, progress=False), moving(count, size)
    theirs, state = Reference(reference, frames), ours.init_state(list(frames))
    point, box = [45.0 * zoom, 44.0 * zoom], [88.0 * zoom, 78.0 * zoom, 114.0 * zoom, 112.0 * zoom]
    theirs.click(start, 1, np.array([point]), [1])
    theirs.click(start, 2, np.zeros((0, 2)), [], box=box)
    first = theirs.begin(start)
    ours.add_new_points_or_box(state, start, 1, [point], [1])
    ours.add_new_points_or_box(state, start, 2, box=box)
    answers = np.stack([o.logits for o in state.outputs(start) if o is not None])
    rows = [Row("mask logits of a click and a box", relative(answers, first), 1e-4)]
    for way in ("forwards", "backwards"):
        reverse = way == "backwards"
        list(ours.propagate_in_video(state, start, reverse=reverse))
        want = theirs.propagate(start, reverse=reverse)
        seen = {frame: [o for o in state.outputs(frame) if o is not None] for frame in want.masks}
        masks = {frame: np.stack([o.logits for o in found]) for frame, found in seen.items()}
        union = {frame: ((masks[frame] > 0) | (mask > 0)).sum() for frame, mask in want.masks.items()}
        apart = {frame: ((masks[frame] > 0) ^ (mask > 0)).sum() for frame, mask in want.masks.items()}
        scores = [np.abs([o.score for o in seen[f]] - score).max() for f, score in want.scores.items()]
        pointers = [relative([o.pointer for o in seen[f]], pointer) for f, pointer in want.pointers.items()]
        where = f"{way}, the worst of {len(seen)} frames"
        rows += [
            Row(f"mask logits, {where}", max(relative(masks[f], mask) for f, mask in want.masks.items()), 1e-3),
            Row(f"1 - IoU of the masks, {where}", max(float(apart[f] / union[f]) for f in seen), 1e-3, "of the union"),
            Row(f"object scores, {where}", float(max(scores)), 1e-4, "of a logit"),
            Row(f"object pointers, {where}", max(pointers), 1e-4),
        ]
    return rows


def predictor(reference: Any, folder: Path, **settings: Any) -> gsam.VideoPredictor:
    """Ours, as theirs works: holes stay."""
    return gsam.VideoPredictor(load(reference, folder), fill_hole_area=0, **settings)
