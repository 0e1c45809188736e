"""The peers' side of every case.

Forms: transformers' models in torch with eager or sdpa attention; ``compile``, the sdpa form under
torch.compile; ``bf16``, that under autocast to bfloat16, where the processor has instructions for
it; ``compile_by_1`` and ``sdpa_by_4``, which take a decoder's prompts one by one and four at a
time, as is fastest on a CPU; and ONNX Runtime for the encoder.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import grounded_sam, inputs, machine
from benchmarks.harness.checkpoints import SMOOTH
from benchmarks.harness.images import draw_image, open_or_draw
from benchmarks.harness.setting import Setting

Run = Callable[[int], dict[str, Any]]


class AbsentPeer(RuntimeError):
    """This peer has no such case, or is not installed."""


class TorchCases:
    """Makes cases of one form, and shares the models among them; see `gsam_cases.GsamCases`."""

    def __init__(self, setting: Setting, form: str) -> None:
        import torch

        self.setting = setting
        self.form, _, together = form.partition("_by_")
        self.together = int(together or 0)
        if self.form == "bf16" and not has_bfloat16():
            raise AbsentPeer("this processor has no instructions for bfloat16")
        self.device = "cuda" if setting.device == "gpu" else "cpu"
        self.dtype = torch.bfloat16 if setting.half else torch.float32
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        if setting.device == "gpu" and not torch.cuda.is_available():
            raise AbsentPeer("torch has no CUDA here")

    def case(self, name: str, **options: Any) -> Run:
        """Make the case ``name``; raise `AbsentPeer` if this form has none."""
        import torch

        if not hasattr(self, name):
            raise AbsentPeer(f"{self.form} has no {name}")
        run = getattr(self, name)(**options)

        def without_gradients(number: int) -> dict[str, Any]:
            with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.form == "bf16"):
                return run(number)

        return without_gradients

    def wait(self, outputs: Any) -> None:
        """Wait until the device has computed ``outputs``."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def host(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return ``outputs`` in NumPy, bfloat16 as float32."""
        return {k: v if isinstance(v, np.ndarray) else v.detach().float().cpu().numpy() for k, v in outputs.items()}

    def put(self, values: np.ndarray) -> Any:
        """Return ``values`` on the device, in the dtype of the setting."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, self.dtype)

    @functools.cache  # noqa: B019
    def load(self, name: str, kind: str) -> Any:
        """Return the checkpoint ``name`` as transformers' class ``kind``, in this form."""
        import transformers

        attention = "eager" if self.form in ("eager", "onnx") else "sdpa"
        try:
            model = getattr(transformers, kind).from_pretrained(
                self.setting.folder / name, attn_implementation=attention
            )
        except ValueError as error:  # not every model has every form
            raise AbsentPeer(f"{kind} has no {attention} attention") from error
        return model.eval().to(self.device, self.dtype)

    def compiled(self, module: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``module``, under torch.compile if that is the form."""
        import torch

        return torch.compile(module) if self.form in ("compile", "bf16") else module

    def encoder(self, size: str, batch: int = 1) -> Run:
        sam = self.load(f"sam_{size}", "SamModel")
        side = sam.config.vision_config.image_size
        pixels = self.put(inputs.pixels(batch, side).transpose(0, 3, 1, 2))
        if self.form == "onnx":
            return self.onnx(sam.vision_encoder, pixels, size)
        run = self.compiled(sam.vision_encoder)
        return lambda number: {"embedding": run(pixels).last_hidden_state.permute(0, 2, 3, 1)}

    def onnx(self, module: Any, pixels: Any, size: str) -> Run:
        """Export the encoder and run it in ONNX Runtime."""
        import torch

        try:
            import onnxruntime
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise AbsentPeer(f"{error.name} is not installed") from error

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
        import torch

        sam = self.load("sam_b", "SamModel")
        grid = sam.config.prompt_encoder_config.image_embedding_size
        embedding = inputs.embedding(grid, sam.config.prompt_encoder_config.hidden_size).transpose(2, 0, 1)[None]
        features = self.put(embedding)
        boxes = self.put(inputs.boxes(prompts, sam.config.vision_config.image_size)[None])
        run = self.compiled(sam)

        def decode(number: int) -> dict[str, Any]:
            parts = boxes.split(self.together or prompts, 1)
            found = [run(image_embeddings=features, input_boxes=part, multimask_output=True) for part in parts]
            logits, iou = [out.pred_masks[0] for out in found], [out.iou_scores[0] for out in found]
            return {"logits": torch.cat(logits), "iou": torch.cat(iou)}

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
        run = self.compiled(sam)

        def click(number: int) -> dict[str, Any]:
            out = run(image_embeddings=features, input_points=point, input_labels=label, multimask_output=True)
            return {"masks": upsample(out.pred_masks[0].float(), side, content, size)[0].cpu().numpy()}

        return click

    def post(self, dense: bool) -> Run:
        import torch

        logits = torch.from_numpy(inputs.masks(dense))[None]
        return lambda number: {"masks": upsample(logits, 1024, (683, 1024), (1000, 1500))[0].numpy()}

    def deformable(self) -> Run:
        import torch
        from transformers.models.grounding_dino.modeling_grounding_dino import MultiScaleDeformableAttention

        given, shapes = inputs.sampling_points(self.setting.small), list(inputs.feature_maps(self.setting.small))
        value, xy, weight = (torch.from_numpy(given[k]).to(self.device) for k in ("value", "xy", "weight"))
        sizes = torch.tensor(shapes, device=self.device)
        starts = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
        run = self.compiled(MultiScaleDeformableAttention())
        return lambda number: {"sampled": run(value, sizes, shapes, starts, xy, weight, 64)}

    def sam2_encoder(self) -> Run:
        model = self.load("sam2", "Sam2Model")
        pixels = self.put(inputs.pixels(1, model.config.prompt_encoder_config.image_size).transpose(0, 3, 1, 2))
        run = self.compiled(model.get_image_embeddings)

        def encode(number: int) -> dict[str, Any]:
            found = [x.permute(0, 2, 3, 1) for x in run(pixels)]
            return dict(zip(inputs.STRIDES, found, strict=True))

        return encode

    def owl(self, model: str) -> Run:
        import torch

        kind = "Owlv2ForObjectDetection" if model == "owl_2" else "OwlViTForObjectDetection"
        owl = self.load(model, kind)
        text = owl.config.text_config
        pixels = self.put(inputs.pixels(1, owl.config.vision_config.image_size).transpose(0, 3, 1, 2))
        words = inputs.token_ids(8, text.max_position_embeddings, text.vocab_size).astype(np.int64)
        ids = torch.from_numpy(words).to(self.device)

        run = self.compiled(owl)

        def detect(number: int) -> dict[str, Any]:
            out = run(input_ids=ids, pixel_values=pixels)
            return {"logits": out.logits, "boxes": out.pred_boxes}

        return detect

    def everything(self, photo: str, points: int, points_per_batch: int = 64, **options: Any) -> Run:
        from PIL import Image
        from transformers import pipeline
        from transformers.models.sam import image_processing_pil_sam

        _provide_nms()
        model = self.load(f"sam_{SMOOTH}", "SamModel")
        side = model.config.vision_config.image_size
        processor = image_processing_pil_sam.SamImageProcessorPil(
            size={"longest_edge": side}, pad_size={"height": side, "width": side}, mask_size={"longest_edge": side // 4}
        )
        if "torchvision.ops.boxes" in sys.modules:  # past the check that it is installed
            processor.post_process_for_mask_generation = image_processing_pil_sam._post_process_for_mask_generation
        generator = pipeline("mask-generation", model=model, image_processor=processor, device=self.device)
        image = Image.fromarray(open_or_draw(photo, self.setting.small))
        options["crops_nms_thresh"] = options.pop("box_nms_thresh")

        def run(number: int) -> dict[str, Any]:
            side = points if number else inputs.WARM_UP_POINTS
            found = generator(image, points_per_batch=points_per_batch, points_per_crop=side, **options)
            masks = np.array([np.asarray(m).sum() for m in found["masks"]])
            return {"masks": masks, "iou": np.asarray(found["scores"], np.float32)}

        return run

    def clip_crops(self) -> Run:
        model = self.load("clip_b", "CLIPModel")
        pixels = self.put(inputs.pixels(16, model.config.vision_config.image_size).transpose(0, 3, 1, 2))
        run = self.compiled(model.vision_model)

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
        given = inputs.tracking_memory(objects, grid**2, memory, width)
        mean, std = (np.array(v, np.float32) for v in (inputs.IMAGENET_MEAN, inputs.IMAGENET_STD))
        pixels = (inputs.frame(side).astype(np.float32) / 255 - mean) / std
        video = torch.from_numpy(pixels.transpose(2, 0, 1)).expand(inputs.CURRENT_FRAME + 1, -1, -1, -1)
        session = Sam2VideoInferenceSession(video=video, video_height=side, video_width=side, dtype=self.dtype)
        place = model.memory_encoder.position_encoding((1, memory, grid, grid), "cpu", self.dtype)
        place = place.flatten(2).permute(2, 0, 1)
        for number in range(objects):
            outputs = session.output_dict_per_obj[session.obj_id_to_idx(number)]
            for i in range(inputs.CURRENT_FRAME):
                remembered = torch.from_numpy(given["memory"][number][i].astype(np.float32)).to(torch.bfloat16)
                outputs["cond_frame_outputs" if i == 0 else "non_cond_frame_outputs"][i] = {
                    "maskmem_features": remembered[:, None],
                    "maskmem_pos_enc": place,
                    "object_pointer": torch.from_numpy(given["pointers"][number][i])[None, None],
                }

        def run(number: int) -> dict[str, Any]:
            session.cache.clear_all()
            found = model(session, frame_idx=inputs.CURRENT_FRAME)
            return {"masks": found.pred_masks[:, 0]}

        return run

    @functools.cached_property
    def pipeline(self) -> grounded_sam.TransformersPipeline:
        """Grounded SAM of transformers' models."""
        if self.form != "eager":
            raise AbsentPeer("Grounding DINO has one form")
        return grounded_sam.TransformersPipeline(self.setting)

    def grounding_dino(self) -> Run:
        side = self.pipeline
        image = draw_image(grounded_sam.SIZES[self.setting.small][0], 0)
        return lambda number: {"boxes": side.detect(image, grounded_sam.queries("fresh", number))}

    def grounded_sam(self, kind: str, images: int = 1) -> Run:
        return grounded_sam.case(self.pipeline, self.setting.small, kind, images)


def upsample(logits: Any, side: int, content: tuple[int, int], size: tuple[int, int]) -> Any:
    """Upsample logits [1, N, h, w] to masks [1, N, H, W] bool, as SAM's postprocessing does."""
    from torch.nn.functional import interpolate

    view = interpolate(logits, (side, side), mode="bilinear", align_corners=False)[..., : content[0], : content[1]]
    return interpolate(view, size, mode="bilinear", align_corners=False) > 0


def has_bfloat16() -> bool:
    """Return whether this processor multiplies in bfloat16."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & machine.processor_flags())


def _provide_nms() -> None:
    """Put a plain NMS in the place of torchvision's, if that is not installed."""
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
