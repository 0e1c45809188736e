"""The gateway of functions that CVAT's server talks to, in nuclio's place.

Two routes say which functions there are, one calls them.  The image comes with every call; what it
was encoded to, and what SAM 2 remembers, stays here.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from gsam.dataset.report import explain
from gsam.errors import GsamError
from gsam.inputs.image import Picture
from gsam.pipeline import Pipeline
from gsam.serve import clicks
from gsam.serve.config import ServeConfig
from gsam.serve.cvat import functions, shapes
from gsam.serve.cvat.detection import from_score, threshold_for, words
from gsam.serve.cvat.following import Followed, Follower
from gsam.serve.cvat.gate import INVOKE, LIST
from gsam.serve.cvat.states import States
from gsam.serve.engine import Engine
from gsam.serve.integrations import Integration
from gsam.serve.problems import LOG, ServeError
from gsam.serve.remembered import Remembered
from gsam.serve.uploads import decoded, opened, read_json
from gsam.serve.waiting import within
from gsam.text.queries import Queries
from gsam.types import Json

T = TypeVar("T")
NAME = "x-nuclio-function-name"
WARM = 64
"""Side in pixels of the image that the tracker is compiled with; its programs serve all sizes."""


class Gateway:
    """The functions, and all that they keep between two calls."""

    def __init__(self, config: ServeConfig, remembered: Remembered) -> None:
        """Prepare the functions.

        Raises:
            gsam.errors.QueryError: ``config.cvat_query`` cannot be read, or is too much.
        """
        self.queries: Queries | None = words(config.cvat_query) if config.cvat_query.strip() else None
        self.remembered, self.states = remembered, States(config)
        self.status = Integration("CVAT", "nothing was heard of CVAT yet: see docs/labelling-tools.md")
        self._pool = ThreadPoolExecutor(1, "gsam-cvat")
        self._follower: Follower | None = None
        self._warm = False

    def known(self, engine: Engine) -> dict[str, Json]:
        """The functions by their names; that which follows is known when the models are loaded."""
        ready = engine.ready
        prompts = engine.predictor.model.prompt_types if ready else frozenset({"foreground", "background", "box"})
        clicks = engine.predictor.name if ready else "clicks"
        found = [functions.interactor(clicks, frozenset(prompts), ready)]
        if self.queries is not None:
            found.insert(0, functions.detector(engine.config.pipeline, self.queries, ready))
        if ready and engine.pipe.tracks:
            found.append(functions.tracker("SAM 2", ready))
        return {one["metadata"]["name"]: one for one in found}

    def follower(self, pipe: Pipeline) -> Follower:
        """The pipeline's tracker with programs of its own, made at its first use; in its thread."""
        if self._follower is None:
            self._follower = Follower.of(pipe.tracker, pipe.devices[0], pipe.segmenter if pipe.redraws else None)
        return self._follower

    def warm(self, engine: Engine) -> None:
        """Begin to load and compile the tracker, in its thread, before somebody waits for it."""
        if not self._warm and engine.ready and engine.pipe.tracks:
            self._warm = True
            self._pool.submit(_warm, self, engine.pipe)

    async def in_turn(self, engine: Engine, call: Callable[[], T]) -> T:
        """Run in the tracker's thread.  Raises `ServeError` 503 if too much waits for it."""
        return await engine.run(self._pool, call)

    def close(self) -> None:
        """Let the thread end; what it has begun is finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """End the tracker's thread with the server."""
    try:
        yield
    finally:
        app.state.cvat.close()


router = APIRouter(tags=["cvat"], lifespan=lifespan)


def install(app: FastAPI, config: ServeConfig, remembered: Remembered) -> None:
    """Let an application speak CVAT's protocol."""
    app.state.cvat = Gateway(config, remembered)
    app.state.integrations["cvat"] = app.state.cvat.status
    app.include_router(router)


@router.get(LIST, summary="The functions that CVAT can call")
async def listed(request: Request) -> Json:
    gateway: Gateway = request.app.state.cvat
    known = gateway.known(request.app.state.engine)
    gateway.warm(request.app.state.engine)
    gateway.status.ok(f"CVAT asked which functions there are: {', '.join(known)}")
    return known


@router.get(LIST + "/{name}", summary="One function")
async def one(request: Request, name: str) -> Json:
    return _known(request, name)


@router.post(INVOKE, summary="Call a function: the header x-nuclio-function-name says which")
async def invoke(request: Request) -> Response:
    gateway: Gateway = request.app.state.cvat
    try:
        name = request.headers.get(NAME)
        if name is None:
            raise ServeError(422, "function_missing", f"the header {NAME} says which function is called")
        request.app.state.engine.check_ready()
        _known(request, name)
        fields = await read_json(request)
        calls = {functions.WORDS: _detect, functions.CLICKS: _interact, functions.TRACK: _track}
        answer = await within(request, calls[name](request, fields))
    except GsamError as error:
        gateway.status.problem(f"a call was refused: {error}")
        raise
    gateway.status.counts[name] += 1
    gateway.status.ok(f"the last call, of {name}, was answered")
    return answer


async def _detect(request: Request, fields: Json) -> Response:
    engine, batcher = request.app.state.engine, request.app.state.batcher
    queries, config = request.app.state.cvat.queries, request.app.state.config
    least, image = functions.threshold_of(fields), _image(fields)
    limits = engine.pipe.limits_for({"threshold": threshold_for(engine.pipe, least)})
    result = await batcher.find(lambda: (opened(image, config), queries, limits))
    return _json(await engine.write(functions.found_objects, from_score(result, least)))


async def _interact(request: Request, fields: Json) -> Response:
    engine, config = request.app.state.engine, request.app.state.config
    asked = functions.clicked(fields)
    async with request.app.state.cvat.remembered.using(request, _image(fields)) as session:
        click = clicks.parse_click(asked, session.size, config.max_prompts)
        found = await engine.on_clicks(clicks.predict, engine.predictor, session.embedding, click, None)
    return _json(await engine.write(functions.one_mask, found.masks[0]))


async def _track(request: Request, fields: Json) -> Response:
    engine: Engine = request.app.state.engine
    gateway: Gateway = request.app.state.cvat
    asked = functions.tracked(fields, request.app.state.config.max_prompts)
    kept = [None if state is None else gateway.states.find(state) for _, state in asked]
    boxes = [box if old is None else None for (box, _), old in zip(asked, kept, strict=True)]
    before = [None if old is None else old.followed for old in kept]
    picture = await _picture(request, fields)
    step = functools.partial(_step, gateway, engine.pipe, picture, boxes, before)
    after, seen = await gateway.in_turn(engine, step)
    answer: dict[str, list[Any]] = {"shapes": [], "states": []}
    for (given, state), old, new, box in zip(asked, kept, after, seen, strict=True):
        # of what is not seen CVAT wants a box all the same: where it was
        shape = box or given or (old.box if old is not None else None)
        assert shape is not None
        answer["shapes"].append(shape)
        answer["states"].append(gateway.states.keep(new, shape, state))
    return JSONResponse(answer)


def _step(
    gateway: Gateway,
    pipe: Pipeline,
    picture: Picture,
    boxes: Sequence[list[float] | None],
    before: Sequence[Followed | None],
) -> tuple[list[Followed], list[list[float] | None]]:
    """Take up what has a box and follow what has a state; the box of each where it is seen."""
    follower = gateway.follower(pipe)
    image = follower.look(picture)
    try:
        followed = iter(follower.follow(image, [state for state in before if state is not None]))
        after = [next(followed) if box is None else follower.begin(image, box) for box in boxes]
    except ValueError as error:
        raise ServeError(422, "shapes_invalid", str(error)) from None
    return after, [box or shapes.box_of(follower.mask_of(new)) for box, new in zip(boxes, after, strict=True)]


def _warm(gateway: Gateway, pipe: Pipeline) -> None:
    """Follow a box through four grey images: the programs of one object."""
    try:
        follower = gateway.follower(pipe)
        image = follower.look(Picture(np.full((WARM, WARM, 3), 127, np.uint8)))
        state = follower.begin(image, [WARM / 4, WARM / 4, WARM / 2, WARM / 2])
        for _ in range(3):
            (state,) = follower.follow(image, [state])
    except Exception as error:
        LOG.error("the tracker cannot be loaded: %s", explain(error))


async def _picture(request: Request, fields: Json) -> Picture:
    engine: Engine = request.app.state.engine
    return await engine.read(opened, _image(fields), request.app.state.config)


def _image(fields: Json) -> bytes | str | None:
    image = fields.get("image")
    return None if image is None else decoded(image)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _known(request: Request, name: str) -> Json:
    known = request.app.state.cvat.known(request.app.state.engine)
    if name not in known:
        raise ServeError(404, "function_unknown", f"there are the functions {', '.join(known)}")
    return known[name]
