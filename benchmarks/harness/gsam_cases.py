"""gsam's side of every row: a case by name -> a function of the call's number that returns what is compared."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import grounded_sam, images, inputs, weights
from benchmarks.harness.checkpoints import SMOOTH
from benchmarks.harness.roofline import least_bytes, products
from benchmarks.harness.setting import Setting
from gsam.results.masks.low_res import LowResMasks
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.runtime.memory import low_memory_options

Run = Callable[[int], dict[str, Any]]


class Counted:
    """A compiled function that remembers what it was called with, so that its cost can be asked."""

    def __init__(self, work: Callable[..., Any], platform: str) -> None:
        self.work, self.compiled, self.args = work, jax.jit(work, compiler_options=low_memory_options(platform)), ()

    def __call__(self, *args: Any) -> Any:
        self.args = args
        return self.compiled(*args)

    def cost(self) -> dict[str, float]:
        """Operations of its products, least bytes, bytes accessed as XLA counts them, and room beside inputs and outputs."""
        program = self.compiled.lower(*self.args).compile()
        counted, room = program.cost_analysis(), program.memory_analysis()
        counted = counted[0] if isinstance(counted, list) else counted
        return {
            "products": products(self.work, *self.args),
            "bytes": least_bytes(self.work, *self.args),
            "accessed": float(counted.get("bytes accessed", 0.0)),
            "room": float(room.temp_size_in_bytes),
            "output": float(room.output_size_in_bytes),
        }


class Side:
    """Builds the cases asked for, and shares the models among them."""

    def __init__(self, setting: Setting) -> None:
        enable_compilation_cache()
        self.setting = setting
        self.device = jax.local_devices(backend=setting.device)[0]
        self.dtype = jnp.bfloat16 if setting.half else jnp.float32
        self.counted: Counted | None = None

    def case(self, name: str, **options: Any) -> Run:
        """The case ``name`` of `benchmarks.harness.cases`."""
        self.counted = None
        return getattr(self, name)(**options)

    def put(self, values: Any) -> Any:
        return jax.device_put(values, self.device)

    def jit(self, work: Callable[..., Any]) -> Counted:
        self.counted = Counted(work, self.device.platform)
        return self.counted

    @functools.cache  # noqa: B019
    def load(self, name: str, role: str) -> tuple[Any, Any]:
        """A family's configuration and its parameters on the device, by role and folder."""
        config, params = weights.load(self.setting, name, role)
        return config, self.put(params)

    def sam(self, size: str) -> Any:
        from gsam.models import sam

        return sam.build(*self.load(f"sam_{size}", "segment"))

    def encoder(self, size: str, batch: int = 1) -> Run:
        stage = self.sam(size)
        run = self.jit(lambda params, pixels: stage.spec.bind(params).image_encoder(pixels))
        pixels = self.put(jnp.asarray(inputs.pixels(batch, stage.config.image_size), self.dtype))
        return lambda number: {"embedding": run(stage.params, pixels)}

    def decoder(self, prompts: int) -> Run:
        stage = self.sam("b")
        side = stage.config.image_size
        features = self.put(jnp.asarray(inputs.embedding(stage.config.grid, stage.config.out_chans), self.dtype))
        corners = self.put(jnp.asarray(inputs.boxes(prompts, side).reshape(-1, 2, 2)))
        kinds = self.put(jnp.tile(jnp.asarray([[2, 3]], jnp.int32), (prompts, 1)))

        def work(params: Any, features: jax.Array, corners: jax.Array, kinds: jax.Array) -> dict[str, Any]:
            logits, iou = stage.prompt(params, features, corners, kinds)
            return {"logits": logits, "iou": iou}

        run = self.jit(work)

        def decode(number: int) -> dict[str, Any]:
            return run(stage.params, features, corners, kinds)

        return decode

    def click(self) -> Run:
        from gsam import Predictor

        stage = self.sam("b")
        predictor = Predictor(stage)
        predictor.set_image(images.photograph((240, 360) if self.setting.small else (1024, 1536), 0))
        predictor.features = self.put(
            jnp.asarray(inputs.embedding(stage.config.grid, stage.config.out_chans), self.dtype)[None]
        )
        return lambda number: {"masks": predictor.predict([[120.0, 90.0]], [1])[0]}

    def post(self, dense: bool) -> Run:
        logits = inputs.masks(dense)
        return lambda number: {"masks": LowResMasks(logits, 1024, (683, 1024), (1000, 1500)).dense()}

    def deformable(self) -> Run:
        from gsam.ops.deformable import sample

        shapes, given = inputs.maps(self.setting.small), inputs.points(self.setting.small)
        size = np.array([[w, h] for h, w in shapes], np.float32)[:, None]
        value, xy, weight = self.put(
            (jnp.asarray(given["value"], self.dtype), given["xy"] * size - 0.5, jnp.asarray(given["weight"]))
        )
        run = self.jit(lambda value, xy, weight: sample(value, shapes, xy, weight))
        return lambda number: {"sampled": run(value, xy, weight)}

    def owlv2(self) -> Run:
        from gsam.models import owl_vit

        config, params = self.load("owl_2", "detect")
        spec = owl_vit.spec(config)
        pixels = self.put(jnp.asarray(inputs.pixels(1, config.image_size), self.dtype))
        ids = self.put(inputs.words(8, config.context, config.vocab))

        def work(params: Any, pixels: jax.Array, ids: jax.Array) -> dict[str, Any]:
            model = spec.bind(params)
            tokens = model.image(pixels)
            return {"logits": model.logits(tokens, model.text(ids)), "boxes": model.boxes(tokens)}

        run = self.jit(work)
        return lambda number: run(params, pixels, ids)

    def clip_crops(self) -> Run:
        from gsam.models import clip

        config, params = self.load("clip_b", "classify")
        spec = clip.spec(config)
        pixels = self.put(jnp.asarray(inputs.pixels(16, config.image_size), self.dtype))
        run = self.jit(lambda params, pixels: {"embedding": spec.bind(params).image(pixels)})
        return lambda number: run(params, pixels)

    @functools.cached_property
    def whole(self) -> grounded_sam.Ours:
        return grounded_sam.Ours(self.setting)

    def grounding_dino(self) -> Run:
        pipe, detector = self.whole.pipe, self.whole.detector
        picture = images.photograph(grounded_sam.SIZES[self.setting.small][0], 0)
        count = detector.config.queries
        run = self.jit(lambda params, images, text, valid: detector.detect(params, images, text, valid, count)[0].xyxy)

        def detect(number: int) -> dict[str, Any]:
            images, text = pipe.prepare(picture, grounded_sam.names("fresh", number))
            images, stages, valid = self.put((images, text.stages["detect"], text.valid))
            return {"boxes": run(pipe.params["detect"], images, stages, valid)[0]}

        return detect

    def grounded_sam(self, kind: str, pictures: int = 1) -> Run:
        return grounded_sam.runs(self.whole, self.setting.small, kind, pictures)

    def everything(self, photo: str, points: int, **options: Any) -> Run:
        """The first call asks few points: it compiles, and is compared."""
        import gsam

        stage, picture = self.sam(SMOOTH), images.opened(photo, self.setting.small)
        few, all_ = (gsam.MaskGenerator(stage, side, progress=False, **options) for side in (inputs.FEW, points))
        all_._embed, all_._decode = few._embed, few._decode

        def run(number: int) -> dict[str, Any]:
            found = (all_ if number else few).generate(picture)
            return {
                "masks": np.array([r["segmentation"].sum() for r in found]),
                "iou": np.array([r["predicted_iou"] for r in found], np.float32),
            }

        return run

    def answers(self, photo: str) -> Run:
        """Of a few points: predicted IoU, and the share of pixels above zero and their logits, to choose thresholds by."""
        import gsam

        stage, picture = self.sam(SMOOTH), images.opened(photo, self.setting.small)
        loose = {"pred_iou_thresh": -1e9, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0, "progress": False}
        found = [
            gsam.MaskGenerator(stage, inputs.FEW, mask_threshold=cut, **loose).find(picture) for cut in inputs.CUTS
        ]
        area = np.array([[c[1::2].sum() for c in f.counts] for f in found]) / picture[..., 0].size
        answers = {
            "area": area,
            "iou": np.stack([f.iou for f in found]),
            "stability": np.stack([f.stability for f in found]),
        }
        return lambda number: answers

    def video(self, objects: int) -> Run:
        from gsam.build.stages import tracker
        from gsam.inputs.video import open_frames
        from gsam.tracking.engine import engine
        from gsam.tracking.objects import Output, Track
        from gsam.tracking.session import Session

        model = tracker(str(self.setting.folder / "sam2"))
        config, made = model.config, engine(model, fill_hole_area=0)
        given = inputs.remembered(objects, config.grid**2, config.mem_dim, config.width)
        state = Session(open_frames([inputs.frame(config.image_size)] * (inputs.NOW + 1)))
        empty = np.zeros((made.step.side, made.step.side), np.float32)
        for number in range(objects):
            track = state.tracks[number] = Track(number)
            for i, (memory, pointer) in enumerate(
                zip(*(given[k][number] for k in ("memory", "pointers")), strict=True)
            ):
                output = Output(state.shelf, 1.0, 1.0, pointer, empty, memory)
                (track.prompted if i == 0 else track.followed)[i] = output

        def run(number: int) -> dict[str, Any]:
            state.cache.clear()
            made.follow(state, inputs.NOW)
            return {"masks": np.stack([t.followed[inputs.NOW].mask for t in state.tracks.values()])}

        return run

    def nano(self, pictures: int = 64, batch: int = 32) -> Run:
        import gsam

        pipe = gsam.load("nano", device=[self.device])
        shown = [images.photograph((256, 320), i) for i in range(pictures)]
        return lambda number: {"found": np.array([len(r) for r in pipe.stream(shown, "dog. pizza", batch_size=batch)])}


def wait(outputs: Any) -> None:
    """Until the device has computed ``outputs``."""
    jax.block_until_ready(outputs)


def host(outputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return {
        k: np.asarray(v, np.float32) if np.asarray(v).dtype.name == "bfloat16" else np.asarray(v)
        for k, v in outputs.items()
    }
