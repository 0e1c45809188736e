"""gsam's side of every case.

A case is a function of the call's number that returns the outputs to compare.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import grounded_sam, inputs, weights
from benchmarks.harness.checkpoints import SMOOTH
from benchmarks.harness.images import draw_image, open_or_draw
from benchmarks.harness.roofline import count_operations, measure_peak, minimum_bytes
from benchmarks.harness.setting import Setting
from gsam.results.masks.low_res import LowResMasks
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.runtime.memory import low_memory_options

Run = Callable[[int], dict[str, Any]]


class CountedProgram:
    """A compiled function that remembers its last arguments, so that its cost can be counted."""

    def __init__(self, function: Callable[..., Any], platform: str) -> None:
        self.function, self.args = function, ()
        self.compiled = jax.jit(function, compiler_options=low_memory_options(platform))

    def __call__(self, *args: Any) -> Any:
        self.args = args
        return self.compiled(*args)

    def cost(self) -> dict[str, float]:
        """Count operations and bytes.

        Returns:
            ``operations`` of matrix products, the fewest ``bytes`` to move, bytes ``accessed`` by
            XLA's count, and the bytes of ``temporary`` buffers and of the ``output``.
        """
        program = self.compiled.lower(*self.args).compile()
        counted, memory = program.cost_analysis(), program.memory_analysis()
        counted = counted[0] if isinstance(counted, list) else counted
        return {
            "operations": count_operations(self.function, *self.args),
            "bytes": minimum_bytes(self.function, *self.args),
            "accessed": float((counted or {}).get("bytes accessed", 0.0)),
            "temporary": float(memory.temp_size_in_bytes),
            "output": float(memory.output_size_in_bytes),
        }


class GsamCases:
    """Makes cases, and shares the models among them."""

    def __init__(self, setting: Setting) -> None:
        enable_compilation_cache()
        self.setting = setting
        self.device = jax.local_devices(backend=setting.device)[0]
        self.dtype = jnp.bfloat16 if setting.half else jnp.float32
        self.program: CountedProgram | None = None

    def case(self, name: str, **options: Any) -> Run:
        """Make the case ``name``, a method of this class, see `benchmarks.harness.cases`."""
        self.program = None
        return getattr(self, name)(**options)

    def cost(self) -> dict[str, float]:
        """Count what the case made last costs; raise RuntimeError if it is no single program."""
        if self.program is None:
            raise RuntimeError("this case is no single program")
        return self.program.cost()

    def device_and_peak(self) -> dict[str, Any]:
        """Return the device's name and the rates it reaches; a CPU's are measured on less."""
        small = self.device.platform == "cpu"
        peak = measure_peak(self.device, self.dtype, *((512, 2) if small else ()))
        return {"device": self.device.device_kind, "operations": peak.operations, "bandwidth": peak.bandwidth}

    def wait(self, outputs: Any) -> None:
        """Wait until the device has computed ``outputs``."""
        jax.block_until_ready(outputs)

    def host(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return ``outputs`` in NumPy, bfloat16 as float32."""
        return {
            k: np.asarray(v, np.float32) if np.asarray(v).dtype.name == "bfloat16" else np.asarray(v)
            for k, v in outputs.items()
        }

    def put(self, values: Any) -> Any:
        """Return ``values`` on the device."""
        return jax.device_put(values, self.device)

    def jit(self, function: Callable[..., Any]) -> CountedProgram:
        """Compile the one function that a case consists of."""
        self.program = CountedProgram(function, self.device.platform)
        return self.program

    @functools.cache  # noqa: B019
    def load(self, name: str, role: str) -> tuple[Any, Any]:
        """Return a checkpoint's configuration, and its parameters on the device."""
        config, params = weights.load(self.setting, name, role)
        return config, self.put(params)

    def sam(self, size: str) -> Any:
        """Return the stage of a SAM."""
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
        predictor.set_image(draw_image((240, 360) if self.setting.small else (1024, 1536), 0))
        predictor.features = self.put(
            jnp.asarray(inputs.embedding(stage.config.grid, stage.config.out_chans), self.dtype)[None]
        )
        return lambda number: {"masks": predictor.predict([[120.0, 90.0]], [1])[0]}

    def post(self, dense: bool) -> Run:
        logits = inputs.masks(dense)
        return lambda number: {"masks": LowResMasks(logits, 1024, (683, 1024), (1000, 1500)).dense()}

    def deformable(self) -> Run:
        from gsam.ops.deformable import sample

        shapes, given = inputs.feature_maps(self.setting.small), inputs.sampling_points(self.setting.small)
        size = np.array([[w, h] for h, w in shapes], np.float32)[:, None]
        value, xy, weight = self.put(
            (jnp.asarray(given["value"], self.dtype), given["xy"] * size - 0.5, jnp.asarray(given["weight"]))
        )
        run = self.jit(lambda value, xy, weight: sample(value, shapes, xy, weight))
        return lambda number: {"sampled": run(value, xy, weight)}

    def sam2_encoder(self) -> Run:
        from gsam.models import sam2

        stage = sam2.build(*self.load("sam2", "segment"))
        pixels = self.put(jnp.asarray(inputs.pixels(1, stage.config.image_size), self.dtype))

        def work(params: Any, pixels: jax.Array) -> dict[str, Any]:
            model = stage.spec.bind(params)
            return dict(zip(inputs.STRIDES, model.without_memory(model.encode(pixels)), strict=True))

        run = self.jit(work)
        return lambda number: run(stage.params, pixels)

    def owl(self, model: str) -> Run:
        from gsam.models import owl_vit

        config, params = self.load(model, "detect")
        spec = owl_vit.spec(config)
        pixels = self.put(jnp.asarray(inputs.pixels(1, config.image_size), self.dtype))
        ids = self.put(inputs.token_ids(8, config.context, config.vocab))

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
    def pipeline(self) -> grounded_sam.GsamPipeline:
        """Grounded SAM as gsam runs it."""
        return grounded_sam.GsamPipeline(self.setting)

    def grounding_dino(self) -> Run:
        pipe, detector = self.pipeline.pipe, self.pipeline.detector
        image = draw_image(grounded_sam.SIZES[self.setting.small][0], 0)
        count = detector.config.queries
        run = self.jit(lambda params, images, text, valid: detector.detect(params, images, text, valid, count)[0].xyxy)

        def detect(number: int) -> dict[str, Any]:
            images, text = pipe.prepare(image, grounded_sam.queries("fresh", number))
            images, stages, valid = self.put((images, text.stages["detect"], text.valid))
            return {"boxes": run(pipe.params["detect"], images, stages, valid)[0]}

        return detect

    def grounded_sam(self, kind: str, images: int = 1) -> Run:
        return grounded_sam.case(self.pipeline, self.setting.small, kind, images)

    def everything(self, photo: str, points: int, **options: Any) -> Run:
        """Generate the masks of an image; the first call, which is compared, has few points."""
        import gsam

        stage, image = self.sam(SMOOTH), open_or_draw(photo, self.setting.small)
        few, every = (
            gsam.MaskGenerator(stage, side, progress=False, **options) for side in (inputs.WARM_UP_POINTS, points)
        )
        every._embed, every._decode = few._embed, few._decode

        def run(number: int) -> dict[str, Any]:
            found = (every if number else few).generate(image)
            return {
                "masks": np.array([r["segmentation"].sum() for r in found]),
                "iou": np.array([r["predicted_iou"] for r in found], np.float32),
            }

        return run

    def answers(self, photo: str) -> Run:
        """Return area, predicted IoU and stability of a few masks, to choose thresholds by."""
        import gsam

        stage, image = self.sam(SMOOTH), open_or_draw(photo, self.setting.small)
        loose = {"pred_iou_thresh": -1e9, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0, "progress": False}
        found = [
            gsam.MaskGenerator(stage, inputs.WARM_UP_POINTS, mask_threshold=cut, **loose).find(image)
            for cut in inputs.MASK_THRESHOLDS
        ]
        area = np.array([[c[1::2].sum() for c in f.counts] for f in found]) / image[..., 0].size
        answers = {
            "area": area,
            "iou": np.stack([f.iou for f in found]),
            "stability": np.stack([f.stability for f in found]),
        }
        return lambda number: answers

    def video(self, objects: int) -> Run:
        from gsam.build.stages import tracker
        from gsam.inputs.video import open_frames
        from gsam.tracking.engine import Engine
        from gsam.tracking.objects import FrameOutput, TrackedObject
        from gsam.tracking.session import Session

        model = tracker(str(self.setting.folder / "sam2"))
        engine, memory = Engine.of(model, fill_hole_area=0), model.memory
        given = inputs.tracking_memory(objects, *memory.shape, memory.pointer_width)
        state = Session(open_frames([inputs.frame(engine.view_size)] * (inputs.CURRENT_FRAME + 1)))
        empty = np.zeros((engine.mask_size, engine.mask_size), np.float32)
        for number in range(objects):
            tracked = state.objects[number] = TrackedObject(number)
            for i, (own, pointer) in enumerate(zip(*(given[k][number] for k in ("memory", "pointers")), strict=True)):
                output = FrameOutput(state.arrays, 1.0, 1.0, pointer, empty, own)
                (tracked.prompted if i == 0 else tracked.propagated)[i] = output

        def run(number: int) -> dict[str, Any]:
            state.features.clear()
            engine.propagate_frame(state, inputs.CURRENT_FRAME)
            return {"masks": np.stack([t.propagated[inputs.CURRENT_FRAME].logits for t in state.objects.values()])}

        return run

    def nano(self, images: int = 64, batch: int = 32) -> Run:
        import gsam

        pipe = gsam.load("nano", device=[self.device])
        shown = [draw_image((256, 320), i) for i in range(images)]
        return lambda number: {"found": np.array([len(r) for r in pipe.stream(shown, "dog. pizza", batch_size=batch)])}
