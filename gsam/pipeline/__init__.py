"""detect -> suppress -> segment -> classify, compiled as one function of fixed shapes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from gsam.image import Picture, Source, open_image
from gsam.pipeline.finish import finish
from gsam.pipeline.prepare import gather, read_ahead
from gsam.pipeline.shapes import bucket
from gsam.pipeline.shard import replicate, spread
from gsam.pipeline.suppress import deduplicate, suppress
from gsam.result import Result
from gsam.roles import Classifier, Detector, Segmenter, Step
from gsam.text import Queries, Query, parse_queries
from gsam.types import Images, Params, Scene, Text, View

Stage = Detector | Segmenter | Classifier | Step
ROLES = ("detect", "segment", "classify")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is kept.  Only ``boxes`` is a shape; changing the others recompiles nothing."""

    boxes: int = 300
    """At most so many objects a picture."""
    threshold: float = 0.3
    """Detections below this score are dropped."""
    overlap: float = 0.7
    """Of two boxes with one label and a larger IoU, the better is kept."""
    duplicate: float = 1.0
    """Of two boxes with different labels and a larger IoU, the better is kept; 1 keeps both."""
    reject: float = 0.0
    """What the classifier believes in less than this is dropped."""
    mask_threshold: float = 0.0
    """Logits above this are mask."""


class Pipeline:
    """Steps in order, each a detector, a segmenter, a classifier or a function ``Scene -> Scene`` of your own.

    The first step is a detector.  `apply` is the pure function behind it: jit, vmap, shard or export it yourself.
    """

    def __init__(
        self,
        *steps: Stage,
        name: str = "custom",
        limits: Limits | None = None,
        devices: Sequence[jax.Device] | None = None,
        **settings: Any,
    ) -> None:
        if not steps or _role(steps[0]) != "detect":
            raise TypeError("the first step of a pipeline is a detector: it needs a method `detect`")
        self.name = name
        self.limits = dataclasses.replace(limits or Limits(), **settings)
        self.steps = _slots(steps)
        self.devices = tuple(devices or jax.local_devices()[:1])
        self._texts: dict[tuple[str, ...], dict[str, Any]] = {}
        self._embedders: dict[str, Callable[..., Any]] = {}

    @functools.cached_property
    def params(self) -> dict[str, Params]:
        """The parameters of every stage by its slot, on the devices."""
        return cast(dict[str, Params], replicate({slot: s.params for slot, s in self._stages().items()}, self.devices))

    @functools.cached_property
    def views(self) -> tuple[View, ...]:
        """How the stages want to see a picture, each way once."""
        return tuple({s.view.key: s.view for s in self._stages().values()}.values())

    def apply(self, params: Mapping[str, Params], images: Images, tokens: Text) -> Scene:
        """Pure.  ``images`` and ``tokens`` as `prepare` makes them."""
        (slot, detector), *rest = self.steps.items()
        boxes, labels = detector.detect(params[slot], images, tokens.stages.get(slot), tokens.valid, self.limits.boxes)
        scene = suppress(Scene(images, tokens, boxes, labels))
        for slot, step in rest:
            role = _role(step)
            if role == "segment":
                masks = step.segment(params[slot], step.features(params[slot], images), images, scene.boxes)
                scene = dataclasses.replace(scene, masks=masks)
            elif role == "classify":
                scene = deduplicate(step.classify(params[slot], scene, tokens.stages.get(slot), tokens.valid))
            else:
                scene = step(scene)
        return scene

    def prepare(self, images: Source | Sequence[Source], query: Query, **thresholds: float) -> tuple[Images, Text]:
        """What `apply` takes, for one picture or several, from anything `__call__` takes."""
        many = cast(Sequence[Source], images if isinstance(images, (list, tuple)) else [images])
        return self._images([open_image(i) for i in many]), self._text(parse_queries(query), **thresholds)

    def __call__(self, image: Source, query: Query, **thresholds: float) -> Result:
        """One picture: a path, a PIL image, uint8 RGB [H, W, 3] or the bytes of a file.

        ``query``: names separated by ``.`` ``,`` or newlines, a list of them, or ``{query: label}``.  ``thresholds``
        override `Limits` for this call.  Raises `gsam.errors.ImageError` and `QueryError`.
        """
        return self._run([open_image(image)], parse_queries(query), thresholds, 1)[0]

    def stream(
        self,
        images: Iterable[Source],
        query: Query,
        *,
        batch_size: int = 8,
        on_error: Callable[[Source, Exception], None] | None = None,
        **thresholds: float,
    ) -> Iterator[Result]:
        """Results in input order, ``batch_size`` pictures at a time, while the next ones are read.

        A picture that cannot be read goes to ``on_error`` and is left out; without it the error is raised.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, at least 1 is needed")
        queries = parse_queries(query)
        batch: list[Picture] = []
        for source, picture in read_ahead(images, 2 * batch_size):
            if isinstance(picture, Exception):
                if on_error is None:
                    raise picture
                on_error(source, picture)
                continue
            batch.append(picture)
            if len(batch) == batch_size:
                yield from self._run(batch, queries, thresholds, batch_size)
                batch = []
        if batch:
            yield from self._run(batch, queries, thresholds, batch_size)

    @property
    def compilations(self) -> int:
        """How many programs have been compiled so far."""
        counts = [f._cache_size() for f in self._embedders.values()]  # type: ignore[attr-defined]
        return int(self._program._cache_size()) + sum(counts)

    def _run(
        self, pictures: list[Picture], queries: Queries, thresholds: Mapping[str, Any], batch_size: int
    ) -> list[Result]:
        limits = dataclasses.replace(self.limits, **thresholds)
        padded = pictures + [pictures[-1]] * (batch_size - len(pictures))
        images = spread(self._images(padded), self.devices)
        scene = self._program(self.params, images, self._text(queries, **thresholds))
        return finish(scene, pictures, queries, self.name, self._mask_view(), limits.mask_threshold)

    @functools.cached_property
    def _program(self) -> Any:
        return jax.jit(self.apply)

    def _images(self, pictures: Sequence[Picture]) -> Images:
        return gather(pictures, self.views)

    def _text(self, queries: Queries, **thresholds: Any) -> Text:
        limits = dataclasses.replace(self.limits, **thresholds)
        count = bucket(len(queries.prompts))
        valid = np.arange(count) < len(queries.prompts)
        return Text(
            self._embedded(tuple(queries.prompts), count),
            jnp.asarray(valid),
            jnp.full(count, limits.threshold, jnp.float32),
            jnp.float32(limits.overlap),
            jnp.float32(limits.duplicate),
            jnp.float32(limits.reject),
        )

    def _embedded(self, prompts: tuple[str, ...], count: int) -> dict[str, Any]:
        if prompts not in self._texts:
            asked = [*prompts, *[""] * (count - len(prompts))]
            texts = {}
            for slot, stage in self._stages().items():
                if hasattr(stage, "encode"):
                    texts[slot] = replicate(stage.encode(asked), self.devices)
                    if hasattr(stage, "embed"):
                        embed = self._embedders.setdefault(slot, jax.jit(stage.embed))
                        texts[slot] = embed(self.params[slot], texts[slot])
            if len(self._texts) >= 256:
                self._texts.pop(next(iter(self._texts)))
            self._texts[prompts] = texts
        return self._texts[prompts]

    def _stages(self) -> dict[str, Any]:
        return {slot: step for slot, step in self.steps.items() if _role(step)}

    def _mask_view(self) -> View | None:
        views = [s.view for s in self.steps.values() if _role(s) == "segment"]
        return views[-1] if views else None


def _role(step: Any) -> str | None:
    return next((role for role in ROLES if hasattr(step, role)), None)


def _slots(steps: Sequence[Any]) -> dict[str, Any]:
    """A name for every step, its role where it has one: ``detect``, ``step_1``, ``segment``, ``classify``, ``classify_4``."""
    slots: dict[str, Any] = {}
    for i, step in enumerate(steps):
        role = _role(step)
        if role is None and not callable(step):
            raise TypeError(f"step {i} ({type(step).__name__}) is neither a stage nor a function Scene -> Scene")
        name = role or f"step_{i}"
        slots[name if name not in slots else f"{name}_{i}"] = step
    return slots
