"""Steps compiled for devices: batches are begun without waiting, and collected."""

from __future__ import annotations

import collections
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import jax
import numpy as np

from gsam.inputs.image import Picture
from gsam.pipeline.finish import InFlight, to_results
from gsam.pipeline.limits import Limits
from gsam.pipeline.steps import Steps
from gsam.pipeline.text_cache import stack, tell_of_nothing, text_caches
from gsam.results.result import Result
from gsam.roles import Stage, Step
from gsam.runtime.batch import gather, image_fingerprint
from gsam.runtime.memory import release_host_memory
from gsam.runtime.process import check_process
from gsam.runtime.program import Program
from gsam.runtime.shapes import query_bucket
from gsam.runtime.shard import replicate, shard_batch
from gsam.text.queries import Queries
from gsam.types import Images, Params, PyTree, Scene, Text

R = TypeVar("R")
REMEMBERED = 4
"""Images whose features are kept for the next query."""


class CompiledSteps(Steps):
    """Steps with their parameters on devices, and what is remembered of images and texts.

    Args:
        steps: The steps, see `gsam.roles`.
        name: The name that results carry.
        limits: What is kept.
        devices: Devices that batches are spread over.
    """

    def __init__(self, steps: Sequence[Stage | Step], name: str, limits: Limits, devices: Sequence[jax.Device]) -> None:
        super().__init__(steps, limits)
        self.name = name
        self.devices = tuple(devices)
        self._readers = text_caches(self._stages(), lambda: self.params)
        self._asked: collections.OrderedDict[Any, Any] = collections.OrderedDict()
        self._seen: collections.OrderedDict[bytes, tuple[Images, dict[str, PyTree]]] = collections.OrderedDict()
        self._encoded = 0
        self._lock = threading.RLock()

    @functools.cached_property
    def params(self) -> dict[str, Params]:
        """The parameters of every stage by its slot, on the devices."""
        params = replicate({slot: s.params for slot, s in self._stages().items()}, self.devices)
        release_host_memory()
        return cast(dict[str, Params], params)

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        text = (reader.embed for reader in self._readers.values())
        return sum(program.compilations for program in (self._encode, self._decode, *text) if program is not None)

    @property
    def counts(self) -> dict[str, int]:
        """Number of ``pictures`` encoded so far, and of ``texts`` by each text encoder."""
        return {"pictures": self._encoded, **{f"{slot} texts": r.encoded for slot, r in self._readers.items()}}

    def dispatch(
        self,
        batch: Sequence[tuple[Picture, Queries]],
        limits: Limits,
        batch_size: int,
        *,
        remember: bool = False,
    ) -> InFlight:
        """Start the device on a batch, and do not wait for it, as `stream` and servers do.

        Args:
            batch: Images, their views made ahead by `gsam.runtime.batch.prepared` or not, and what
                is asked of each.
            limits: Those of all of them, of `limits_for`.
            batch_size: Images that the program computes; it is filled up with the last.
            remember: Whether the images' features are kept for the next words.

        Returns:
            What `collect` waits for.

        Raises:
            gsam.errors.UsageError: In a process that was forked after JAX had begun.

        Example:
            >>> from gsam.inputs.image import open_image
            >>> from gsam.text.queries import parse_queries
            >>> pipe = gsam.load("nano")
            >>> asked = [(open_image("notebooks/scene.png"), parse_queries("dog"))]
            >>> begun = pipe.dispatch(asked, pipe.limits_for({"threshold": 0.3}), 1)
            >>> pipe.collect(begun)[0].labels
            ['dog']
        """
        check_process()
        with self._lock:  # what is remembered and compiled is all threads'
            return self._begin(batch, limits, batch_size, remember)

    def _begin(
        self, batch: Sequence[tuple[Picture, Queries]], limits: Limits, batch_size: int, remember: bool
    ) -> InFlight:
        pictures, queries = [p for p, _ in batch], [q for _, q in batch]
        spare = batch_size - len(batch)
        text = shard_batch(self._text([*queries, *[queries[-1]] * spare]), self.devices)
        images, features = self._features([*pictures, *[pictures[-1]] * spare], remember)
        scene = self._decode(self.params, images, text, features, replicate(limits.thresholds, self.devices))
        return InFlight(scene, pictures, queries, limits)

    def collect(self, begun: InFlight) -> list[Result]:
        """Wait for a batch, and bring what was found to the host.

        Args:
            begun: By `dispatch`.

        Returns:
            A result for each image of the batch, in order.
        """
        captions = next(iter(self.captions.values()), None)
        batch = begun.scene, begun.pictures, begun.queries
        results = to_results(*batch, self.name, self.masking, captions, begun.limits)
        return tell_of_nothing(results, self._readers)

    def limits_for(self, settings: Mapping[str, Any]) -> Limits:
        """Apply the settings of a call to the pipeline's own limits.

        Args:
            settings: Of `gsam.Limits` by name, as calls take them.

        Returns:
            The pipeline's limits with these settings in their place.

        Raises:
            gsam.errors.UsageError: A setting is unknown or out of range.
        """
        return self.limits.for_call(settings, phrases=any(c.labels == "phrases" for c in self.captions.values()))

    def _features(self, pictures: Sequence[Picture], remember: bool) -> tuple[Images, dict[str, PyTree]]:
        """The images and their features on the devices; the last `REMEMBERED` are kept."""
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
    def _encode(self) -> Program[dict[str, PyTree]]:
        return self._program(self.encode)

    @functools.cached_property
    def _decode(self) -> Program[Scene]:
        return self._program(self.apply)

    def _program(self, function: Callable[..., R]) -> Program[R]:
        owner = (self.limits.boxes, self.steps) if len(self.devices) == 1 else None
        return Program(function, self.devices[0].platform, owner=owner)

    def _text(self, queries: Sequence[Queries]) -> Text:
        count = query_bucket(max(len(q.prompts) for q in queries))
        prompts = tuple(tuple(q.prompts) for q in queries)
        if (prompts, count) not in self._asked:
            padded = {p: [*p, *[""] * (count - len(p))] for p in set(prompts)}
            texts = {p: {slot: r.encode(asked) for slot, r in self._readers.items()} for p, asked in padded.items()}
            self._asked[prompts, count] = stack([texts[p] for p in prompts])
            while len(self._asked) > 64:
                self._asked.popitem(last=False)
        valid = np.array([[bool(p) for p in [*own, *[""] * (count - len(own))]] for own in prompts])
        groups = np.array([[*q.groups, *range(len(q.groups), count)] for q in queries], np.int32)
        return Text(self._asked[prompts, count], jax.device_put(valid), jax.device_put(groups))
