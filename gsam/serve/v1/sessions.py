"""Upload an image once, then ask about it again and again: points, boxes, masks and words."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from gsam.inputs.image import Picture
from gsam.serve import clicks
from gsam.serve.answers import rendered
from gsam.serve.asked import check_fields, format_of, queries_of, settings_of
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.masks import checked_kind
from gsam.serve.sessions import Session, Sessions
from gsam.serve.uploads import opened, read_form, read_json
from gsam.serve.v1.bodies import image_body, json_body
from gsam.serve.v1.everything import everything_in
from gsam.serve.v1.segment import FIELDS as WORDS
from gsam.serve.v1.segment import SCHEMA
from gsam.serve.waiting import within

if TYPE_CHECKING:
    from gsam.pipeline import Pipeline
    from gsam.predictors.image import Predictor
    from gsam.results.result import Result
    from gsam.serve.batcher import Asked
    from gsam.types import Json


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Forget old sessions while a server runs, and all when it ends."""
    sessions: Sessions = app.state.sessions
    watching = asyncio.ensure_future(sessions.watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        sessions.clear()


router = APIRouter(prefix="/v1/sessions", tags=["sessions"], lifespan=lifespan)
NUMBERS = {"type": "array", "items": {"type": "number"}}
CLICK = {
    "points": {
        "type": "array",
        "items": {**NUMBERS, "minItems": 2, "maxItems": 2},
        "description": "[x, y] in pixels of the image",
    },
    "labels": {
        "type": "array",
        "items": {"type": "integer", "enum": [0, 1]},
        "description": "One a point: 1 for the object, 0 for what is not",
    },
    "box": {**NUMBERS, "minItems": 4, "maxItems": 4, "description": "x0 y0 x1 y1 in pixels of the image"},
    "mask": {"type": "string", "description": "The id of an earlier answer of this session, to go on from it"},
    "multimask": {"type": "boolean", "description": "Three masks, or one; by default three for one lone point"},
    "masks": SCHEMA["masks"],
}
"""The fields of a click, for OpenAPI."""


@router.post(
    "",
    status_code=201,
    summary="Upload an image, for any number of questions about it",
    openapi_extra=image_body({}, ["image"]),
)
async def create(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    engine.check_ready()
    image, fields = await read_form(request)
    check_fields(fields, ("image",))
    session = await within(request, _create(request, image))
    return JSONResponse(_described(request, session), 201)


@router.get("/{session}", summary="What a session is of, and when it is forgotten")
async def describe(request: Request, session: str) -> Response:
    return JSONResponse(_described(request, _sessions(request).find(session)))


@router.delete("/{session}", status_code=204, summary="Forget a session now")
async def delete(request: Request, session: str) -> Response:
    _sessions(request).delete(session)
    return Response(status_code=204)


@router.post("/{session}/predict", summary="Masks of points, a box, or an earlier mask", openapi_extra=json_body(CLICK))
async def predict(request: Request, session: str) -> Response:
    config: ServeConfig = request.app.state.config
    fields = await read_json(request)
    with _sessions(request).using(session) as used:
        click = clicks.parse_click(fields, used.size, config.max_prompts)
        return JSONResponse({"masks": await within(request, _predict(request, used, click))})


@router.post(
    "/{session}/segment",
    summary="Find what a query names, without encoding the image again",
    openapi_extra=json_body(SCHEMA, ["query"]),
)
async def segment(request: Request, session: str) -> Response:
    state = request.app.state
    config: ServeConfig = state.config
    engine: Engine = state.engine
    fields = await read_json(request)
    check_fields(fields, WORDS)
    kind, form = checked_kind(fields.get("masks")), format_of(fields)
    limits = engine.pipe.limits_for(settings_of(fields))
    with _sessions(request).using(session) as used:

        def asked() -> Asked:
            return used.picture, queries_of(fields.get("query"), config), limits

        async def answer() -> Response:
            if limits.tiled(used.size):  # whose parts nobody holds
                found = await state.batcher.find(asked)
            else:
                pipe = engine.pipe
                words = await engine.read(_prepared, pipe, used, asked)
                found = await engine.on_words(_words, pipe, _sessions(request), used, words)
            return await engine.write(rendered, found, kind, form)

        return await within(request, answer())


@router.post(
    "/{session}/everything",
    summary="Find everything in the image",
    openapi_extra=json_body({"masks": SCHEMA["masks"]}),
)
async def everything(request: Request, session: str) -> Response:
    engine: Engine = request.app.state.engine
    engine.check_ready()
    fields = await read_json(request)
    check_fields(fields, ("masks",))
    kind = checked_kind(fields.get("masks"))
    with _sessions(request).using(session) as used:
        return await within(request, everything_in(engine, used.picture, kind))


async def _create(request: Request, image: bytes | str | None) -> Session:
    engine: Engine = request.app.state.engine
    predictor, config = engine.predictor, request.app.state.config
    picture = await engine.read(_opened, image, config, predictor)
    return _sessions(request).add(await engine.on_images(clicks.encode, predictor, picture))


def _opened(image: bytes | str | None, config: ServeConfig, predictor: Predictor) -> Picture:
    """Open an image, and make of it all that needs no device."""
    from gsam.runtime.batch import prepared

    return prepared(opened(image, config), [predictor.model.view])


def _prepared(pipe: Pipeline, session: Session, asked: Callable[[], Asked]) -> Asked:
    """Parse what is asked, and make all of an image that needs no device, unless that was done."""
    from gsam.runtime.batch import prepared

    picture, queries, limits = asked()
    return (picture if session.words is not None else prepared(picture, pipe.views)), queries, limits


def _words(pipe: Pipeline, sessions: Sessions, session: Session, asked: Asked) -> Result:
    """Ask the pipeline, which encodes the image the first time only; in the thread of words."""
    from gsam.pipeline.held import ask, hold

    picture, queries, limits = asked
    held = session.words or hold(pipe, picture)
    if session.words is None:
        sessions.hold_words(session, held)
    return ask(pipe, held, queries, limits)


async def _predict(request: Request, session: Session, click: clicks.Click) -> list[Json]:
    engine: Engine = request.app.state.engine
    logits = None if click.mask is None else session.logits_of(click.mask)
    found = await engine.on_clicks(clicks.predict, engine.predictor, session.embedding, click, logits)
    objects = await engine.write(clicks.written, found, click.kind)
    names = _sessions(request).keep(session, list(found.low_res))
    return [{"id": name, **own} for name, own in zip(names, objects, strict=True)]


def _described(request: Request, session: Session) -> Json:
    height, width = session.size
    left: float = _sessions(request).expires_in(session)
    return {"session": session.id, "width": width, "height": height, "expires_in": left}


def _sessions(request: Request) -> Sessions:
    sessions: Any = request.app.state.sessions
    assert isinstance(sessions, Sessions)
    return sessions
