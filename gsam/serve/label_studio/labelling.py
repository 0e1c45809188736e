"""Answers to Label Studio: everything that its labels name, or the one thing a user asks for."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from gsam.errors import GsamError, ImageError, UsageError
from gsam.inputs.image import Picture
from gsam.predictors.embedding import Embedding
from gsam.results.result import Result
from gsam.serve import clicks
from gsam.serve.asked import queries_of
from gsam.serve.batcher import Batcher
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.integrations import Integration
from gsam.serve.label_studio.access import LabelStudioAccess, shown
from gsam.serve.label_studio.context import Prompt, is_interactive, read_context
from gsam.serve.label_studio.labelling_config import KINDS, NONE, Control, LabellingConfig, read_config
from gsam.serve.label_studio.regions import regions
from gsam.serve.problems import LOG, ServeError
from gsam.serve.remembered import Remembered
from gsam.serve.uploads import decoded, opened
from gsam.text.queries import Queries
from gsam.types import Json, JsonMapping
from gsam.version import __version__

BUSY = 0.5
"""Seconds until a queue that is full is tried again."""


class Labelling:
    """The part of the protocol that computes.

    Whatever is wrong with a task, Label Studio gets an answer; what was wrong is told by the status
    and the log, and a task of which nothing is known has no prediction, so that it can be asked for
    again.

    Args:
        engine: The models.
        batcher: The queue for words.
        config: The limits.
        access: Label Studio, for its images.
        status: Is told what happens.
        remembered: Holds encoded images by their address, so that a second click on one costs the
            decoder only.
    """

    def __init__(
        self,
        engine: Engine,
        batcher: Batcher,
        config: ServeConfig,
        access: LabelStudioAccess,
        status: Integration,
        remembered: Remembered,
    ) -> None:
        self._engine, self._batcher, self._config = engine, batcher, config
        self._access, self._status = access, status
        self._remembered = remembered

    @property
    def model_version(self) -> str:
        """The name under which Label Studio shows predictions."""
        return f"gsam-{__version__}-{self._engine.pipe.name}"

    async def predict(self, request: JsonMapping) -> list[Any]:
        """Answer a request for predictions.

        Args:
            request: ``tasks``, ``label_config`` and ``params`` as Label Studio sends them.

        Returns:
            An entry per task, in order: a prediction, or an empty list where a task failed.
        """
        tasks, params = request.get("tasks"), request.get("params")
        context = params.get("context") if isinstance(params, dict) else None
        asked = context if is_interactive(context) else None
        if not isinstance(tasks, list) or not tasks:
            self._status.problem("Label Studio sent no tasks")
            return []
        failures: list[str] = []
        try:
            labels = await asyncio.to_thread(read_config, request.get("label_config"))
        except UsageError as error:
            self._status.problem(str(error))
            return [self._answer([]) if asked else [] for _ in tasks]
        gate = asyncio.Semaphore(max(self._config.batch, 2))  # some are fetched while others are computed

        async def one(task: Any) -> Any:
            async with gate:
                found = await self._found(task, labels, asked, failures)
            return self._answer(found or []) if found is not None or asked else []

        answers = await asyncio.gather(*map(one, tasks))
        self._tell(answers, failures, asked is not None)
        return list(answers)

    def _answer(self, found: list[Json]) -> Json:
        scores = [one["score"] for one in found]
        mean = round(statistics.fmean(scores), 5) if scores else 0.0
        return {"model_version": self.model_version, "score": mean, "result": found}

    def _tell(self, answers: Sequence[Any], failures: Sequence[str], interactive: bool) -> None:
        objects = len({one["id"] for answer in answers if answer for one in answer["result"]})
        self._status.counts.update({"clicks" if interactive else "tasks": len(answers), "regions": objects})
        if failures:
            some = f" ({len(failures)} of {len(answers)} tasks)" if len(answers) > 1 else ""
            self._status.problem(f"{failures[0]}{some}")
        elif interactive:
            self._status.ok(f"the last click or word was answered, regions: {objects}")
        else:
            self._status.ok(f"tasks were labelled: {len(answers)}, regions: {objects}")

    async def _found(
        self, task: Any, labels: LabellingConfig, context: JsonMapping | None, failures: list[str]
    ) -> list[Json] | None:
        """The results of a task; None where it cannot be answered, and why in ``failures``."""
        try:
            async with asyncio.timeout(self._config.deadline):
                if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                    raise UsageError("a task has no data", "task")
                if context is None:
                    return await self._labelled(task, labels)
                return await self._asked(task, labels, read_context(context, self._config.max_prompts), failures)
        except TimeoutError:
            failures.append(f"a task was not answered within {self._config.deadline:g} s")
        except GsamError as error:
            failures.append(str(error))
        except Exception as error:
            number = uuid.uuid4().hex[:12]
            LOG.error("error %s: %s", number, type(error).__name__, exc_info=error)
            failures.append(f"something went wrong here; the log has it as error {number}")
        return None

    # All labels

    async def _labelled(self, task: JsonMapping, labels: LabellingConfig) -> list[Json]:
        found, known = [], False
        for name in labels.images:
            controls = _shown(labels.controls_of(name, task["data"]))
            words = {word: label.name for one in controls for label in one.labels for word in label.words}
            if not words:
                continue
            known = True
            result = await self._words(self._image_of(task, labels, name), queries_of(words, self._config))
            found += await self._engine.write(_drawn, result, controls)
        if not known:
            raise UsageError(
                NONE if not labels.controls else "the tools of the labelling config have no labels", "labels"
            )
        return found

    # One thing

    async def _asked(
        self, task: JsonMapping, labels: LabellingConfig, prompt: Prompt, failures: list[str]
    ) -> list[Json]:
        name = prompt.image if prompt.image in labels.images else next(iter(labels.images), None)
        controls = [] if name is None else labels.controls_of(name, task["data"])
        if name is None or not controls:
            raise UsageError(NONE, "labels")
        controls.sort(key=lambda one: (one.only_smart, KINDS.index(one.kind)))
        place = self._image_of(task, labels, name)
        if not (prompt.points or prompt.boxes):
            return await self._named(place, controls, prompt, failures)
        control = next((one for one in controls if prompt.label and one.label_of(prompt.label)), controls[0])
        label = _label_of(control, prompt.label)
        embedding = await self._embedding(*place)
        return await self._engine.on_clicks(self._clicked, embedding, prompt, control, label)

    async def _named(
        self, place: tuple[str, Any], controls: Sequence[Control], prompt: Prompt, failures: list[str]
    ) -> list[Json]:
        """Find the things that the words of a text field name."""
        queries = queries_of("\n".join(prompt.words), self._config)
        tools: dict[str, tuple[Control, str]] = {}
        for word in queries.names:
            control = next((one for one in controls if one.label_of(word)), controls[0])
            tools[word] = control, _label_of(control, word)
            if control.label_of(word) is None and len(control.labels) > 1:
                failures.append(
                    f"{word[:60]!r} is no label of this project: what it names got the first, {tools[word][1]!r}"
                )
        result = await self._words(place, queries)
        return await self._engine.write(_drawn_with, result, tools)

    def _clicked(self, embedding: Embedding, prompt: Prompt, control: Control, label: str) -> list[Json]:
        """Decode and draw, in the thread of the predictor: one object, or one of each rectangle."""
        height, width = embedding.size
        points = [[x * width, y * height] for x, y in prompt.points] or None
        boxes = [[x0 * width, y0 * height, x1 * width, y1 * height] for x0, y0, x1, y1 in prompt.boxes]
        lone = points is not None and len(points) == 1 and not boxes
        every: list[list[float] | None] = [*(boxes[-1:] if points else boxes)]
        found = []
        for box in every or [None]:
            click = clicks.Click(points, prompt.positive if points else None, box, None, lone, "none")
            answer = clicks.predict(self._engine.predictor, embedding, click, None)
            found += regions(answer.masks[0], None, control, label, float(answer.iou[0]))
        return found

    # Images

    def _image_of(self, task: JsonMapping, labels: LabellingConfig, name: str) -> tuple[str, Any]:
        """An image's address as the task has it, and the task's number."""
        data: Mapping[str, Any] = task["data"]
        texts = [value for value in data.values() if isinstance(value, str)]
        image = data.get(labels.images[name], data.get("image", texts[0] if len(texts) == 1 else None))
        if not isinstance(image, str) or not image.strip():
            raise UsageError(f"the data of a task has no {labels.images[name][:60]!r} with an image's address", "task")
        return image.strip(), task.get("id")

    async def _words(self, place: tuple[str, Any], queries: Queries) -> Result:
        """Find what queries name in an image, with those of other clients."""
        limits = self._engine.pipe.limits
        while True:
            try:
                return await self._batcher.find(lambda: (self._picture(*place), queries, limits))
            except ServeError as error:
                if error.code != "busy":
                    raise
            await asyncio.sleep(BUSY)  # until the deadline: Label Studio would not ask again by itself

    def _picture(self, image: str, task: Any) -> Picture:
        kept = self._remembered.find(self._key(image, task))
        return self._open(image, task) if kept is None or kept.pixels is None else Picture(kept.pixels)

    async def _embedding(self, image: str, task: Any) -> Embedding:
        key = self._key(image, task)
        kept = self._remembered.find(key)
        if kept is None:
            picture = await self._engine.read(self._open, image, task)
            kept = await self._engine.on_images(self._engine.predictor.encode, picture)
            with contextlib.suppress(ServeError):  # it is too large to be held, or all others are in use
                self._remembered.keep(key, kept)
        return kept

    def _key(self, image: str, task: Any) -> str:
        return image if image.startswith("data:") else self._access.address_of(image, task)

    def _open(self, image: str, task: Any) -> Picture:
        if image.startswith("data:"):
            return opened(decoded(image), self._config)
        address = self._access.address_of(image, task)
        data = self._access.fetch(address)
        try:
            return opened(data, self._config)
        except ImageError as error:
            raise ImageError(f"the image at {shown(address)}: {error}", error.code) from None


def _shown(controls: Sequence[Control]) -> list[Control]:
    """The tools that show what was found: those to ask with only if there are no others."""
    plain = [one for one in controls if not one.smart]
    return plain or [one for one in controls if not one.only_smart] or list(controls)


def _label_of(control: Control, word: str | None) -> str:
    """The label for a word, or the first.  Raises `UsageError` where there are none."""
    if not control.labels:
        raise UsageError(f"the tool {control.name!r} of the labelling config has no labels", "labels")
    label = control.label_of(word) if word else None
    return (label or control.labels[0]).name


def _drawn(result: Result, controls: Sequence[Control]) -> list[Json]:
    """Every object in every tool that has a label for it."""
    found = []
    for i, row in enumerate(result.label_ids):
        mask, word = result.mask(i), result.queries[int(row)]
        for control in controls:
            if (label := control.label_of(word)) is not None:
                found += regions(mask, result.xyxy[i].tolist(), control, label.name, float(result.scores[i]))
    return found


def _drawn_with(result: Result, tools: Mapping[str, tuple[Control, str]]) -> list[Json]:
    """Every object in the tool of its word."""
    found = []
    for i, row in enumerate(result.label_ids):
        control, label = tools[result.queries[int(row)]]
        found += regions(result.mask(i), result.xyxy[i].tolist(), control, label, float(result.scores[i]))
    return found
