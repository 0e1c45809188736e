"""detect -> suppress -> segment -> classify, or ground -> classify, compiled with fixed shapes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

import jax

from gsam.errors import UsageError
from gsam.inputs.image import Picture, Source
from gsam.pipeline import streaming
from gsam.pipeline.compiled import CompiledSteps
from gsam.pipeline.limits import OPENING, CallSettings, Limits, LimitSettings, OpenSettings, TrackSettings, check_names
from gsam.pipeline.prepare import asked, opener, read_ahead
from gsam.pipeline.tile import by_tiles
from gsam.results.result import Result
from gsam.results.tracks import TrackedFrame
from gsam.roles import Stage, Step, Tracker
from gsam.runtime.batch import gather
from gsam.runtime.settings import COUNT
from gsam.runtime.shapes import default_batch_size
from gsam.text.queries import Queries, Query, parse_queries
from gsam.tracking.config import SETTINGS, TrackingConfig
from gsam.tracking.state import TrackingState
from gsam.types import Images, Text

if TYPE_CHECKING:
    from gsam.models.promptable import PromptableSegmenter
    from gsam.tracking.engine import Engine
    from gsam.tracking.text_tracking import TrackedVideoFrames

T = TypeVar("T")


class Pipeline(CompiledSteps):
    """Steps in order, each a detector, a segmenter, a classifier or a function of your own.

    The first step is a detector, or finds things without words (`gsam.GridProposer`); a function
    takes a `gsam.Scene` and returns one. `apply` is the pure function behind it: jit, vmap, shard
    or export it yourself.

    Args:
        *steps: The steps, see `gsam.roles`.
        name: The name that results carry.
        limits: What is kept; by default ``gsam.Limits()``.
        devices: Devices that images are spread over; by default the first local one.
        tracker: Builds what `track` needs, when it is needed; by default the pipeline cannot track.
        tracking: Settings of `track`, see `gsam.tracking.config.TrackingConfig`.
        **settings: Fields of `gsam.Limits` in place of those in ``limits``.

    Raises:
        TypeError: The first step neither detects nor grounds, or a step is nothing a pipeline
            knows.

    Example:
        >>> def only_large(scene: gsam.Scene) -> gsam.Scene:
        ...     x0, y0, x1, y1 = (scene.boxes.xyxy[..., i] for i in range(4))
        ...     keep = scene.boxes.valid & ((x1 - x0) * (y1 - y0) > 10_000)
        ...     boxes = dataclasses.replace(scene.boxes, valid=keep)
        ...     return dataclasses.replace(scene, boxes=boxes)
        >>> detect, segment = gsam.detector("nano_owl"), gsam.segmenter("nano_sam")
        >>> pipe = gsam.Pipeline(detect, only_large, segment)
        >>> sorted(set(pipe("notebooks/scene.png", "dog. pizza").labels))
        ['dog', 'pizza']
    """

    def __init__(
        self,
        *steps: Stage | Step,
        name: str = "custom",
        limits: Limits | None = None,
        devices: Sequence[jax.Device] | None = None,
        tracker: Callable[[], Tracker] | None = None,
        tracking: Mapping[str, Any] | None = None,
        **settings: Unpack[LimitSettings],
    ) -> None:
        limits = (limits or Limits()).replaced(settings)
        super().__init__(steps, name, limits, devices or jax.local_devices()[:1])
        self._tracker, self._tracking = tracker, dict(tracking or {})

    def __repr__(self) -> str:
        steps = " -> ".join(getattr(s, "__name__", type(s).__name__) for s in self.steps.values())
        where = f"{len(self.devices)} x " if len(self.devices) > 1 else ""
        return f"<{type(self).__name__} {self.name}: {steps} on {where}{self.devices[0].platform}>"

    def prepare(
        self, images: Source | Sequence[Source], query: Query, **opening: Unpack[OpenSettings]
    ) -> tuple[Images, Text]:
        """Prepare the arrays that `apply` takes.

        Args:
            images: One image or several, each as `__call__` takes it.
            query: The query, as `__call__` takes it.
            **opening: ``stretch`` and ``max_pixels``, as for `gsam.inputs.image.open_image`.

        Returns:
            The batch of images and its text.

        Raises:
            gsam.errors.ImageError: An image cannot be read.
            gsam.errors.QueryError: Nothing, or too much, is asked for.

        Example:
            >>> pipe = gsam.load("nano")
            >>> images, text = pipe.prepare("notebooks/scene.png", "dog. pizza")
            >>> scene = jax.jit(pipe.apply)(pipe.params, images, text)
            >>> scene.boxes.xyxy.shape[-1]
            4
        """
        many = cast(Sequence[Source], images if isinstance(images, (list, tuple)) else [images])
        queries = [parse_queries(query)] * len(many)
        return gather([*map(opener(opening), many)], self.views), self._text(queries)

    def __call__(self, image: Source, query: Query, **thresholds: Unpack[CallSettings]) -> Result:
        """Find what a query names in one image.

        The features of the last images are remembered, so that another query costs no image encoder
        (`counts` tells).

        Args:
            image: A path, bytes, PIL image or array, see `gsam.inputs.image.open_image`.
            query: Names separated by ``.``, ``,`` or newlines, a list of them, or ``{query:
                label}``.
            **thresholds: Fields of `gsam.Limits` for this call; ``boxes`` may only be fewer than
                the pipeline has. ``stretch`` and ``max_pixels`` as for `open_image`.

        Returns:
            The objects, best first.

        Raises:
            gsam.errors.ImageError: The image cannot be read.
            gsam.errors.QueryError: Nothing, or too much, is asked for.
            gsam.errors.UsageError: A setting does not exist or is out of its range.

        Example:
            >>> pipe = gsam.load("nano")
            >>> pipe("notebooks/scene.png", {"pizza": "food"}, threshold=0.3).labels
            ['food']
        """
        limits, queries = self.limits_for(thresholds), parse_queries(query)
        picture = opener(thresholds)(image)
        if limits.tiled(picture.pixels.shape):
            return self._by_tiles(picture, queries, limits, 1 if self.devices[0].platform == "cpu" else 8)
        return self.collect(self.dispatch([(picture, queries)], limits, 1, remember=True))[0]

    def track(
        self,
        video: Any,
        query: Query,
        *,
        start: TrackedFrame | TrackingState | None = None,
        next_id: int | None = None,
        **settings: Unpack[TrackSettings],
    ) -> TrackedVideoFrames:
        """Follow what a query names through a video, frame by frame, with ids that stay.

        The pipeline looks at every n-th frame, SAM 2 carries the masks in between, live ones too.

        Args:
            video: As `gsam.VideoPredictor.init_state` takes it.
            query: As for a call.
            start: Go on after a frame that was finished before, as if there had been no break: from
                the ``state()`` of an earlier call's iterator at once; from the frame itself by
                tracking again what lies before it, for what is hidden on it is not in it.
            next_id: Not needed any more: ids go on where they were.
            **settings: Fields of `gsam.tracking.config.TrackingConfig` (``every``,
                ``match``, ``patience`` ...), of `gsam.Limits`, ``stretch`` and ``max_pixels``.

        Returns:
            An iterator over the frames with their objects; its ``state()`` is for ``start``.

        Raises:
            gsam.errors.UsageError: The pipeline has no tracker, a setting is out of range, or
                ``start`` is not what is found with this video, query and settings.
            gsam.errors.QueryError: Nothing, or too much, is asked for.
            gsam.errors.VideoError: The video cannot be opened, or a frame cannot be read.

        Example:
            >>> pipe = gsam.load("nano")
            >>> for frame in pipe.track("notebooks/clip.mp4", "dog"):  # doctest: +SKIP
            ...     print(frame.index, frame.ids, frame.labels)
        """
        from gsam.inputs.video import open_frames
        from gsam.tracking.text_tracking import TextTracker, TrackedVideoFrames

        self._check_tracks()
        config = TrackingConfig(**self._tracking | {k: v for k, v in settings.items() if k in SETTINGS})
        limits: Any = {k: v for k, v in settings.items() if k not in (*SETTINGS, *OPENING)}
        check_names(settings, (*SETTINGS, *OPENING))
        self.limits_for(limits), parse_queries(query)  # complain now, not on the first frame
        frames = open_frames(video, stretch=settings.get("stretch", False), max_pixels=settings.get("max_pixels"))
        find: Any = functools.partial(self, query=query, **limits)
        if config.redraw and self.segmenter is None:
            raise UsageError(f"{self.name} has no segmenter that takes boxes: redraw needs one", "model_takes_no_boxes")
        engine = self._engine.redrawing() if config.redraw else self._engine
        return TrackedVideoFrames(TextTracker(engine, frames, find, config), start)

    @functools.cached_property
    def _engine(self) -> Engine:
        """The tracker, compiled once."""
        from gsam.tracking.engine import Engine
        from gsam.tracking.redraw import Redraw

        assert self._tracker is not None
        redraw = Redraw(self.segmenter) if self.segmenter is not None else None
        return Engine.of(self._tracker(), device=self.devices[0], redraw=redraw)

    @functools.cached_property
    def segmenter(self) -> PromptableSegmenter | None:
        """The first segmenter that takes boxes, with the weights that are on the device already;
        None where there is none.
        """
        from gsam.models.promptable import PromptableSegmenter

        for slot, step in self.steps.items():
            found = getattr(step, "segmenter", step)  # a grid of points holds one
            if isinstance(found, PromptableSegmenter) and "box" in found.prompt_types:
                return dataclasses.replace(found, params=self.params[slot])
        return None

    @property
    def redraws(self) -> bool:
        """Whether `track` draws masks again unless told otherwise."""
        return bool(self._tracking.get("redraw", False))

    @property
    def tracks(self) -> bool:
        """Whether it has a tracker, so that `track` follows what it finds."""
        return self._tracker is not None

    @property
    def tracker(self) -> Tracker:
        """The tracker that follows words; at first use its weights are read.

        Raises:
            gsam.errors.UsageError: It has none.
        """
        self._check_tracks()
        return self._engine.compiled.tracker

    def _check_tracks(self) -> None:
        if not self.tracks:
            raise UsageError(f"{self.name} has no tracker: nano and grounded_sam2 have one, for instance")

    def stream(
        self,
        images: Iterable[Source] | Iterable[tuple[Source, Query]],
        query: Query | None = None,
        *,
        batch_size: int | None = None,
        on_error: Callable[[Source, Exception], None] | None = None,
        **thresholds: Unpack[CallSettings],
    ) -> Iterator[Result]:
        """Find what a query names in many images, in bounded memory, reading ahead.

        Args:
            images: Images as `__call__` takes them; pairs of an image and its own query without
                ``query``.
            query: The query for all images.
            batch_size: Images computed together; by default 8 per accelerator, 1 per CPU device.
            on_error: Called with an image that cannot be read and its error, and the image is left
                out; by default the error is raised.
            **thresholds: Fields of `gsam.Limits` for this call.

        Returns:
            An iterator over results, in the order of the images.

        Raises:
            gsam.errors.ImageError: An image cannot be read, without ``on_error``.
            gsam.errors.QueryError: Nothing, or too much, is asked for.
            gsam.errors.UsageError: A setting does not exist or is out of its range.

        Example:
            >>> pipe = gsam.load("nano")
            >>> paths = ["notebooks/scene.png", "notebooks/scene.png"]
            >>> [len(result) for result in pipe.stream(paths, "pizza", batch_size=1)]
            [1, 1]
        """
        found = self.answers(asked(images, query), opener(thresholds), batch_size=batch_size, **thresholds)
        return streaming.results(found, on_error)

    def answers(
        self,
        pairs: Iterable[tuple[T, Queries]],
        opened: Callable[[T], Picture],
        *,
        batch_size: int | None = None,
        fixed: bool = False,
        **thresholds: Unpack[CallSettings],
    ) -> Iterator[tuple[T, Result | Exception]]:
        """Compute like `stream`, for callers that open images themselves and want errors in place.

        Args:
            pairs: Anything that stands for an image, each with its query.
            opened: Opens it; called in several threads, some images ahead.
            batch_size: As for `stream`.
            fixed: Whether one program computes all batches, the last too: then an image's result
                depends on no other.
            **thresholds: As for `stream`.

        Returns:
            An iterator over all of them in order, each with its result or why it has none.

        Raises:
            gsam.errors.UsageError: As for `stream`.

        Example:
            >>> from gsam.text.queries import parse_queries
            >>> pairs = [("scene", parse_queries("pizza"))]
            >>> places = {"scene": "notebooks/scene.png"}
            >>> found = gsam.load("nano").answers(pairs, lambda name: gsam.open_image(places[name]))
            >>> [(name, len(answer)) for name, answer in found]
            [('scene', 1)]
        """
        size = default_batch_size(self.devices) if batch_size is None else batch_size
        COUNT.check("batch_size", size)
        limits = self.limits_for(thresholds)
        return streaming.answers(self, read_ahead(pairs, 2 * size, self.views, opened), size, limits, fixed)

    def _by_tiles(self, picture: Picture, queries: Queries, limits: Limits, batch_size: int) -> Result:
        def find(some: Sequence[Picture]) -> list[Result]:
            return self.collect(self.dispatch([(p, queries) for p in some], limits, batch_size))

        return by_tiles(picture, limits, batch_size, find)
