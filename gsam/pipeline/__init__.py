"""detect -> suppress -> segment -> classify, or propose -> classify, compiled as one function of fixed shapes."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from gsam.errors import UsageError
from gsam.inputs.image import Picture, Source, open_image
from gsam.pipeline.finish import to_results
from gsam.pipeline.limits import Limits
from gsam.pipeline.prepare import asked, read_ahead
from gsam.pipeline.suppress import above_threshold, deduplicate, suppress, suppress_contained
from gsam.pipeline.text_cache import stack, text_caches
from gsam.pipeline.tile import cut, merge, tiles
from gsam.results.result import Result
from gsam.results.tracks import TrackedFrame
from gsam.roles import Classifier, Detector, Grounder, Segmenter, Step, Tracker
from gsam.runtime.batch import gather, image_fingerprint
from gsam.runtime.memory import release_host_memory
from gsam.runtime.program import Program
from gsam.runtime.shapes import images_per_call, query_bucket
from gsam.runtime.shard import replicate, shard_batch
from gsam.text.queries import Queries, Query, parse_queries
from gsam.types import Images, Params, Scene, Text, Thresholds, View

Stage = Detector | Grounder | Segmenter | Classifier | Step
ROLES = ("detect", "segment", "classify")
REMEMBERED = 4
"""Pictures whose features are kept for the next query."""
AHEAD = 1
"""Batches that a stream has begun while the one before is brought to the host."""


@dataclasses.dataclass(frozen=True)
class _InFlight:
    """A batch that a device works on."""

    scene: Scene
    pictures: Sequence[Picture]
    queries: Sequence[Queries]
    limits: Limits


class Pipeline:
    """Steps in order, each a detector, a segmenter, a classifier or a function ``Scene -> Scene`` of your own.

    The first step is a detector, or proposes everything (`gsam.GridProposer`).  `apply` is the pure function behind it: jit,
    vmap, shard or export it yourself.
    """

    def __init__(
        self,
        *steps: Stage,
        name: str = "custom",
        limits: Limits | None = None,
        devices: Sequence[jax.Device] | None = None,
        tracker: Callable[[], Tracker] | None = None,
        following: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """``tracker`` makes what `track` needs, when it is needed; ``following`` are settings of `gsam.tracking.text_tracking`."""
        if not steps or _role(steps[0], 0) not in ("detect", "ground"):
            raise TypeError(
                "the first step of a pipeline is a detector: it needs a method `detect`, or `ground` for everything"
            )
        self.name = name
        self.limits = dataclasses.replace(limits or Limits(), **settings)
        self.steps = _slots(steps)
        self.roles = {slot: _role(step, i) for i, (slot, step) in enumerate(self.steps.items())}
        """What the step of each slot does; None for a function of one's own."""
        self.devices = tuple(devices or jax.local_devices()[:1])
        self._tracker, self._following = tracker, dict(following or {})
        self._engine: Any = None
        self._readers = text_caches(self._stages(), lambda: self.params)
        self._asked: collections.OrderedDict[Any, Any] = collections.OrderedDict()
        self._seen: collections.OrderedDict[bytes, tuple[Images, Any]] = collections.OrderedDict()
        self._encoded = 0

    @functools.cached_property
    def params(self) -> dict[str, Params]:
        """The parameters of every stage by its slot, on the devices."""
        params = replicate({slot: s.params for slot, s in self._stages().items()}, self.devices)
        release_host_memory()
        return cast(dict[str, Params], params)

    @functools.cached_property
    def views(self) -> tuple[View, ...]:
        """How the stages want to see a picture, each way once."""
        return tuple({s.view.key: s.view for s in self._stages().values()}.values())

    def encode(self, params: Mapping[str, Params], images: Images) -> dict[str, Any]:
        """Pure.  What is computed once a picture, by the slot of the stage: the features of detector and segmenter."""
        features: dict[str, Any] = {}
        for slot, stage in self._stages().items():
            if hasattr(stage, "features"):
                features[slot] = stage.features(params[slot], images)
                images, features = jax.lax.optimization_barrier((images, features))  # one after the other: less memory
        return features

    def apply(
        self,
        params: Mapping[str, Params],
        images: Images,
        tokens: Text,
        features: Mapping[str, Any] | None = None,
        thresholds: Thresholds | None = None,
    ) -> Scene:
        """Pure.  ``images`` and ``tokens`` as `prepare` makes them, ``features`` as `encode` does.

        ``thresholds``: those of `limits` by default, as constants of the program; give ``Limits(...).thresholds`` to change
        them without compiling again.
        """
        features = self.encode(params, images) if features is None else features
        thresholds = self.limits.thresholds if thresholds is None else thresholds
        (slot, first), *rest = self.steps.items()
        known, text = {"features": features[slot]} if slot in features else {}, tokens.stages.get(slot)
        if self.roles[slot] == "ground":
            found = first.ground(params[slot], images, text, tokens.valid, self.limits.boxes, **known)
            scene = above_threshold(Scene(images, tokens, thresholds, *found))
        else:
            boxes, labels = first.detect(params[slot], images, text, tokens.valid, self.limits.boxes, **known)
            scene = suppress(Scene(images, tokens, thresholds, boxes, labels))
        for slot, step in rest:
            role = self.roles[slot]
            if role == "segment":
                masks = step.segment(params[slot], features[slot], images, scene.boxes)
                scene = suppress_contained(dataclasses.replace(scene, masks=masks))
            elif role == "classify":
                scene = step.classify(params[slot], scene, tokens.stages.get(slot), tokens.valid)
                scene = suppress_contained(deduplicate(scene))
            else:
                scene = step(scene)
        return scene

    def prepare(self, images: Source | Sequence[Source], query: Query) -> tuple[Images, Text]:
        """What `apply` takes, for one picture or several, from anything `__call__` takes."""
        many = cast(Sequence[Source], images if isinstance(images, (list, tuple)) else [images])
        queries = [parse_queries(query)] * len(many)
        return gather([open_image(i) for i in many], self.views), self._text(queries)

    def __call__(self, image: Source, query: Query, **thresholds: float) -> Result:
        """One picture: a path, a PIL image, uint8 RGB [H, W, 3] or the bytes of a file.

        ``query``: names separated by ``.`` ``,`` or newlines, a list of them, or ``{query: label}``.  ``thresholds``
        override `Limits` for this call.  What was computed of the last pictures is remembered, so that asking one
        something else costs no backbone (`counts` tells).  Raises `gsam.errors.ImageError` and `QueryError`.
        """
        picture, queries = open_image(image), parse_queries(query)
        if self._tiled(picture, thresholds):
            return self._by_tiles(picture, queries, thresholds, 1 if self.devices[0].platform == "cpu" else 8)
        return self._collect(self._dispatch([(picture, queries)], thresholds, 1, remember=True))[0]

    def track(
        self, video: Any, query: Query, *, start: TrackedFrame | None = None, next_id: int = 1, **settings: Any
    ) -> Iterator[TrackedFrame]:
        """Follow what ``query`` names through a video, frame by frame, with ids that stay.

        ``video``: as for `gsam.inputs.video.open_frames`; a live source is followed as it comes.  The pipeline looks at every
        tenth frame, SAM 2 carries the masks in between; ``settings`` are those of `gsam.tracking.text_tracking.TrackingConfig` (``every``,
        ``match``, ``patience`` ...), and thresholds as for a call.  ``start``: go on after this frame, which was finished
        before, with ids from ``next_id`` on for what is new.  Raises `UsageError` where the pipeline has no tracker.
        """
        from gsam.tracking.text_tracking import TrackingConfig, follower

        if self._tracker is None:
            raise UsageError(
                f"{self.name} has no tracker: a recipe with SAM 2 follows things, nano or grounded_sam2 for instance"
            )
        own = {f.name for f in dataclasses.fields(TrackingConfig)}
        following = TrackingConfig(**self._following | {k: v for k, v in settings.items() if k in own})
        thresholds = {k: v for k, v in settings.items() if k not in own}
        find: Any = functools.partial(self, query=query, **thresholds)
        parse_queries(query)  # complains now, not on the first frame
        return follower(self._steps(), video, find, following).run(start, next_id)

    def _steps(self) -> Any:
        """The tracker, compiled once."""
        if self._engine is None:
            from gsam.tracking.engine import engine

            assert self._tracker is not None
            self._engine = engine(self._tracker())
        return self._engine

    def stream(
        self,
        images: Iterable[Source] | Iterable[tuple[Source, Query]],
        query: Query | None = None,
        *,
        batch_size: int = 8,
        on_error: Callable[[Source, Exception], None] | None = None,
        **thresholds: float,
    ) -> Iterator[Result]:
        """Results in input order, ``batch_size`` pictures at a time, while the next ones are read.

        Without ``query``, ``images`` are pairs of a picture and its own query.  A picture that cannot be read goes to
        ``on_error`` and is left out; without it the error is raised.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, at least 1 is needed")
        pairs = asked(images, query)
        together = images_per_call(batch_size, self.views, self.devices)
        batch: list[tuple[Picture, Queries]] = []
        begun: collections.deque[_InFlight] = collections.deque()
        for (source, queries), picture in read_ahead(pairs, 2 * batch_size, self.views):
            if isinstance(picture, Exception):
                if on_error is None:
                    raise picture
                on_error(source, picture)
                continue
            large = self._tiled(picture, thresholds)
            if not large:
                batch.append((picture, queries))
            if batch and (large or len(batch) == together):
                begun.append(self._dispatch(batch, thresholds, together))
                batch = []
            while len(begun) > (0 if large else AHEAD):
                yield from self._collect(begun.popleft())
            if large:
                yield self._by_tiles(picture, queries, thresholds, together)
        if batch:
            begun.append(self._dispatch(batch, thresholds, together))
        while begun:
            yield from self._collect(begun.popleft())

    @property
    def compilations(self) -> int:
        """How many programs have been compiled so far."""
        programs = [self._encode, self._decode, *(r.embed for r in self._readers.values() if r.embed is not None)]
        return sum(program.compilations for program in programs)

    @property
    def counts(self) -> dict[str, int]:
        """How many ``pictures`` went through the backbones so far, and how many ``texts`` through each text encoder."""
        return {"pictures": self._encoded, **{f"{slot} texts": r.read for slot, r in self._readers.items()}}

    def _dispatch(
        self,
        batch: Sequence[tuple[Picture, Queries]],
        thresholds: Mapping[str, Any],
        batch_size: int,
        *,
        remember: bool = False,
    ) -> _InFlight:
        """Start the device on a batch, filled up to ``batch_size``, and do not wait for it."""
        pictures, queries = [p for p, _ in batch], [q for _, q in batch]
        spare = batch_size - len(batch)
        limits = dataclasses.replace(self.limits, **thresholds)
        text = shard_batch(self._text([*queries, *[queries[-1]] * spare]), self.devices)
        images, features = self._features([*pictures, *[pictures[-1]] * spare], remember)
        scene = self._decode(self.params, images, text, features, replicate(limits.thresholds, self.devices))
        return _InFlight(scene, pictures, queries, limits)

    def _collect(self, begun: _InFlight) -> list[Result]:
        """Wait for a batch, and bring what was found to the host."""
        limits, stages = begun.limits, list(self._stages().values())
        return to_results(
            begun.scene, begun.pictures, begun.queries, self.name, stages, limits.mask_threshold, limits.text_threshold
        )

    def _tiled(self, picture: Picture, thresholds: Mapping[str, Any]) -> bool:
        tile = thresholds.get("tile", self.limits.tile)
        if tile < 0:
            raise ValueError(f"tile is a side in pixels, or 0 for no tiles, not {tile}")
        return 0 < tile < max(picture.pixels.shape[:2])

    def _by_tiles(self, picture: Picture, queries: Queries, thresholds: Mapping[str, Any], batch_size: int) -> Result:
        """One picture as a whole and in tiles, ``batch_size`` of them at a time."""
        limits = dataclasses.replace(self.limits, **thresholds)
        height, width = picture.pixels.shape[:2]
        rectangles = [(0, 0, height, width), *tiles((height, width), limits.tile, limits.overlap)]
        parts, results = cut(picture, rectangles), []
        for start in range(0, len(parts), batch_size):
            some = parts[start : start + batch_size]
            results += self._collect(self._dispatch([(p, queries) for p in some], thresholds, batch_size))
        return merge(picture, rectangles, results, limits)

    def _features(self, pictures: Sequence[Picture], remember: bool) -> tuple[Images, Any]:
        """The pictures and their features on the devices; those of the last `REMEMBERED` single pictures are kept."""
        key = b"".join(image_fingerprint(p.pixels) for p in pictures) if remember else b""
        if found := self._seen.get(key):
            self._seen.move_to_end(key)
            return found
        images = shard_batch(gather(pictures, self.views), self.devices)
        features = self._encode(self.params, images)
        self._encoded += len(pictures)
        if remember:
            self._seen[key] = images, features
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return images, features

    @functools.cached_property
    def _encode(self) -> Program[dict[str, Any]]:
        return Program(self.encode, self.devices[0].platform)

    @functools.cached_property
    def _decode(self) -> Program[Scene]:
        return Program(self.apply, self.devices[0].platform)

    def _text(self, queries: Sequence[Queries]) -> Text:
        count = query_bucket(max(len(q.prompts) for q in queries))
        prompts = tuple(tuple(q.prompts) for q in queries)
        if (prompts, count) not in self._asked:
            padded = {p: [*p, *[""] * (count - len(p))] for p in set(prompts)}
            texts = {p: {slot: r.ask(asked) for slot, r in self._readers.items()} for p, asked in padded.items()}
            self._asked[prompts, count] = stack([texts[p] for p in prompts])
            while len(self._asked) > 64:
                self._asked.popitem(last=False)
        valid = np.arange(count)[None, :] < np.array([len(p) for p in prompts])[:, None]
        return Text(self._asked[prompts, count], jnp.asarray(valid))

    def _stages(self) -> dict[str, Any]:
        return {slot: step for slot, step in self.steps.items() if self.roles[slot]}


def _role(step: Any, place: int) -> str | None:
    if place == 0 and hasattr(step, "ground"):
        return "ground"
    return next((role for role in ROLES if hasattr(step, role)), None)


def _slots(steps: Sequence[Any]) -> dict[str, Any]:
    """A name for every step, its role where it has one: ``detect``, ``step_1``, ``segment``, ``classify``, ``classify_4``."""
    slots: dict[str, Any] = {}
    for i, step in enumerate(steps):
        role = _role(step, i)
        if role is None and not callable(step):
            raise TypeError(f"step {i} ({type(step).__name__}) is neither a stage nor a function Scene -> Scene")
        name = role or f"step_{i}"
        slots[name if name not in slots else f"{name}_{i}"] = step
    return slots
