"""The peers' side of every row: transformers' models in a form (eager, sdpa, compile), or ONNX Runtime for the encoder."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import grounded_sam, images, inputs
from benchmarks.harness.checkpoints import SMOOTH
from benchmarks.harness.setting import Setting

Run = Callable[[int], dict[str, Any]]
FORMS = ("eager", "sdpa", "compile", "onnx")


class Absent(RuntimeError):
    """This peer has no such case, or is not installed."""


class Side:
    """As `benchmarks.harness.gsam_cases.Side`."""

    def __init__(self, setting: Setting, form: str) -> None:
        import torch

        self.setting, self.form = setting, form
        self.device = "cuda" if setting.device == "gpu" else "cpu"
        self.dtype = torch.bfloat16 if setting.half else torch.float32
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        if setting.device == "gpu" and not torch.cuda.is_available():
            raise Absent("torch has no CUDA here")

    def case(self, name: str, **options: Any) -> Run:
        import torch

        if not hasattr(self, name):
            raise Absent(f"{self.form} has no {name}")
        run = getattr(self, name)(**options)

        def quietly(number: int) -> dict[str, Any]:
            with torch.inference_mode():
                return run(number)

        return quietly

    def put(self, values: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, self.dtype)

    @functools.cache  # noqa: B019
    def load(self, name: str, kind: str) -> Any:
        import transformers

        attention = {"sdpa": "sdpa", "compile": "sdpa"}.get(self.form, "eager")
        try:
            model = getattr(transformers, kind).from_pretrained(
                self.setting.folder / name, attn_implementation=attention
            )
        except ValueError as error:  # not every model has every form
            raise Absent(f"{kind} has no {attention} attention") from error
        return model.eval().to(self.device, self.dtype)

    def formed(self, module: Callable[..., Any]) -> Callable[..., Any]:
        import torch

        return torch.compile(module) if self.form == "compile" else module

    def encoder(self, size: str, batch: int = 1) -> Run:
        sam = self.load(f"sam_{size}", "SamModel")
        side = sam.config.vision_config.image_size
        pixels = self.put(inputs.pixels(batch, side).transpose(0, 3, 1, 2))
        if self.form == "onnx":
            return self.onnx(sam.vision_encoder, pixels, size)
        run = self.formed(sam.vision_encoder)
        return lambda number: {"embedding": run(pixels).last_hidden_state.permute(0, 2, 3, 1)}

    def onnx(self, module: Any, pixels: Any, size: str) -> Run:
        import torch

        try:
            import onnxruntime
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise Absent(f"{error.name} is not installed") from error

        class Encoder(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = module

            def forward(self, pixels: Any) -> Any:
                return self.module(pixels).last_hidden_state

        path = self.setting.folder / f"encoder_{size}.onnx"
        with torch.inference_mode(False), torch.no_grad():
            torch.onnx.export(Encoder(), (pixels.clone(),), path, dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name, values = session.get_inputs()[0].name, pixels.numpy()
        return lambda number: {"embedding": session.run(None, {name: values})[0].transpose(0, 2, 3, 1)}

    def decoder(self, prompts: int) -> Run:
        sam = self.load("sam_b", "SamModel")
        grid = sam.config.prompt_encoder_config.image_embedding_size
        embedding = inputs.embedding(grid, sam.config.prompt_encoder_config.hidden_size).transpose(2, 0, 1)[None]
        features = self.put(embedding)
        boxes = self.put(inputs.boxes(prompts, sam.config.vision_config.image_size)[None])
        run = self.formed(sam)

        def decode(number: int) -> dict[str, Any]:
            out = run(image_embeddings=features, input_boxes=boxes, multimask_output=True)
            return {"logits": out.pred_masks[0], "iou": out.iou_scores[0]}

        return decode

    def click(self) -> Run:
        import torch

        sam = self.load("sam_b", "SamModel")
        side = sam.config.vision_config.image_size
        grid = sam.config.prompt_encoder_config.image_embedding_size
        embedding = inputs.embedding(grid, sam.config.prompt_encoder_config.hidden_size).transpose(2, 0, 1)[None]
        features, size = self.put(embedding), (240, 360) if self.setting.small else (1024, 1536)
        scale = side / max(size)
        point = torch.tensor([[[[120.0 * scale, 90.0 * scale]]]], device=self.device)
        label = torch.ones((1, 1, 1), dtype=torch.long, device=self.device)
        content = tuple(int(x * scale + 0.5) for x in size)

        def click(number: int) -> dict[str, Any]:
            out = sam(image_embeddings=features, input_points=point, input_labels=label, multimask_output=True)
            return {"masks": enlarge(out.pred_masks[0].float(), side, content, size)[0].cpu().numpy()}

        return click

    def post(self, dense: bool) -> Run:
        import torch

        logits = torch.from_numpy(inputs.masks(dense))[None]
        return lambda number: {"masks": enlarge(logits, 1024, (683, 1024), (1000, 1500))[0].numpy()}

    def deformable(self) -> Run:
        import torch
        from transformers.models.grounding_dino.modeling_grounding_dino import MultiScaleDeformableAttention

        given, shapes = inputs.points(self.setting.small), list(inputs.maps(self.setting.small))
        value, xy, weight = (torch.from_numpy(given[k]).to(self.device) for k in ("value", "xy", "weight"))
        sizes = torch.tensor(shapes, device=self.device)
        starts = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
        run = self.formed(MultiScaleDeformableAttention())
        return lambda number: {"sampled": run(value, sizes, shapes, starts, xy, weight, 64)}

    def owlv2(self) -> Run:
        import torch

        model = self.load("owl_2", "Owlv2ForObjectDetection")
        text = model.config.text_config
        pixels = self.put(inputs.pixels(1, model.config.vision_config.image_size).transpose(0, 3, 1, 2))
        words = inputs.words(8, text.max_position_embeddings, text.vocab_size).astype(np.int64)
        ids = torch.from_numpy(words).to(self.device)

        def detect(number: int) -> dict[str, Any]:
            out = model(input_ids=ids, pixel_values=pixels)
            return {"logits": out.logits, "boxes": out.pred_boxes}

        return detect

    def everything(self, photo: str, points: int, points_per_batch: int = 64, **options: Any) -> Run:
        from PIL import Image
        from transformers import pipeline
        from transformers.models.sam import image_processing_pil_sam

        _have_nms()
        model = self.load(f"sam_{SMOOTH}", "SamModel")
        side = model.config.vision_config.image_size
        processor = image_processing_pil_sam.SamImageProcessorPil(
            size={"longest_edge": side}, pad_size={"height": side, "width": side}, mask_size={"longest_edge": side // 4}
        )
        if "torchvision.ops.boxes" in sys.modules:  # past the check that it is installed
            processor.post_process_for_mask_generation = image_processing_pil_sam._post_process_for_mask_generation
        generator = pipeline("mask-generation", model=model, image_processor=processor, device=self.device)
        picture = Image.fromarray(images.opened(photo, self.setting.small))
        options["crops_nms_thresh"] = options.pop("box_nms_thresh")

        def run(number: int) -> dict[str, Any]:
            side = points if number else inputs.FEW
            found = generator(picture, points_per_batch=points_per_batch, points_per_crop=side, **options)
            masks = np.array([np.asarray(m).sum() for m in found["masks"]])
            return {"masks": masks, "iou": np.asarray(found["scores"], np.float32)}

        return run

    def clip_crops(self) -> Run:
        model = self.load("clip_b", "CLIPModel")
        pixels = self.put(inputs.pixels(16, model.config.vision_config.image_size).transpose(0, 3, 1, 2))
        run = self.formed(model.vision_model)

        def embed(number: int) -> dict[str, Any]:
            seen = model.visual_projection(run(pixels).pooler_output)
            return {"embedding": seen / seen.norm(dim=-1, keepdim=True)}

        return embed

    def video(self, objects: int) -> Run:
        import torch
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        model = self.load("sam2", "Sam2VideoModel")
        config = model.config
        side, (grid, _) = config.image_size, config.vision_config.backbone_feature_sizes[-1]
        memory, width = config.memory_encoder_output_channels, config.vision_config.fpn_hidden_size
        given = inputs.remembered(objects, grid**2, memory, width)
        mean, std = (np.array(v, np.float32) for v in (inputs.MEAN, inputs.STD))
        pixels = (inputs.frame(side).astype(np.float32) / 255 - mean) / std
        video = torch.from_numpy(pixels.transpose(2, 0, 1)).expand(inputs.NOW + 1, -1, -1, -1)
        session = Sam2VideoInferenceSession(video=video, video_height=side, video_width=side, dtype=self.dtype)
        place = model.memory_encoder.position_encoding((1, memory, grid, grid), "cpu", self.dtype)
        place = place.flatten(2).permute(2, 0, 1)
        for number in range(objects):
            outputs = session.output_dict_per_obj[session.obj_id_to_idx(number)]
            for i in range(inputs.NOW):
                remembered = torch.from_numpy(given["memory"][number][i].astype(np.float32)).to(torch.bfloat16)
                outputs["cond_frame_outputs" if i == 0 else "non_cond_frame_outputs"][i] = {
                    "maskmem_features": remembered[:, None],
                    "maskmem_pos_enc": place,
                    "object_pointer": torch.from_numpy(given["pointers"][number][i])[None, None],
                }

        def run(number: int) -> dict[str, Any]:
            session.cache.clear_all()
            found = model(session, frame_idx=inputs.NOW)
            return {"masks": found.pred_masks[:, 0]}

        return run

    @functools.cached_property
    def whole(self) -> grounded_sam.Theirs:
        if self.form != "eager":
            raise Absent("Grounding DINO has one form")
        return grounded_sam.Theirs(self.setting)

    def grounding_dino(self) -> Run:
        side = self.whole
        picture = images.photograph(grounded_sam.SIZES[self.setting.small][0], 0)
        return lambda number: {"boxes": side.every(picture, grounded_sam.names("fresh", number))}

    def grounded_sam(self, kind: str, pictures: int = 1) -> Run:
        return grounded_sam.runs(self.whole, self.setting.small, kind, pictures)


def enlarge(logits: Any, side: int, content: tuple[int, int], size: tuple[int, int]) -> Any:
    """SAM's postprocessing: logits [1, N, h, w] -> bool [1, N, H, W]."""
    from torch.nn.functional import interpolate

    view = interpolate(logits, (side, side), mode="bilinear", align_corners=False)[..., : content[0], : content[1]]
    return interpolate(view, size, mode="bilinear", align_corners=False) > 0


def _have_nms() -> None:
    """transformers takes it from torchvision; where that is not installed, a plain one does."""
    import importlib.util
    import types

    import torch

    if importlib.util.find_spec("torchvision"):
        return

    def batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
        order, kept = scores.argsort(descending=True, stable=True), []
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        while len(order):
            best, order = order[0], order[1:]
            kept.append(best)
            low = torch.maximum(boxes[best, :2], boxes[order, :2])
            side = (torch.minimum(boxes[best, 2:], boxes[order, 2:]) - low).clamp(min=0)
            shared = side.prod(1)
            order = order[~(shared / (area[best] + area[order] - shared) > iou_threshold)]
        return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.long)

    names = ("torchvision", "torchvision.ops", "torchvision.ops.boxes")
    sys.modules.update({name: types.ModuleType(name) for name in names if name not in sys.modules})
    sys.modules[names[2]].batched_nms = batched_nms  # type: ignore[attr-defined]


def wait(outputs: Any) -> None:
    """Until the device has computed ``outputs``."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def host(outputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return {k: v if isinstance(v, np.ndarray) else v.detach().float().cpu().numpy() for k, v in outputs.items()}
