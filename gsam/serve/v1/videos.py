"""Videos: upload one, look at its frames, follow objects through it by words or clicks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from gsam.serve import video_upload
from gsam.serve.config import ServeConfig
from gsam.serve.events import Coming, EventStream
from gsam.serve.following import Asked, Happening, by_clicks, by_words, parse
from gsam.serve.problems import ServeError
from gsam.serve.state import config_of, engine_of, jobs_of, videos_of
from gsam.serve.tracking import Job, Jobs
from gsam.serve.uploads import FORM as MULTIPART
from gsam.serve.uploads import read_json
from gsam.serve.videos import Video, Videos, described, picture, probe
from gsam.serve.waiting import within
from gsam.types import Json


@contextlib.asynccontextmanager
async def kept(app: FastAPI) -> AsyncIterator[None]:
    """Videos and followings for as long as the application runs."""
    config: ServeConfig = app.state.config
    videos, jobs = Videos(config), Jobs()
    app.state.videos, app.state.jobs = videos, jobs
    watch = asyncio.ensure_future(videos.watch())
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.to_thread(jobs.close)
        videos.close()


router = APIRouter(tags=["videos"], lifespan=kept)


def _body(kind: str, schema: Json) -> Json:
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


FORM: Json = {
    "type": "object",
    "required": ["video"],
    "properties": {"video": {"type": "string", "format": "binary"}},
}
NUMBERS: Json = {"type": "array", "items": {"type": "number"}}
NUMBER: Json = {"type": "integer", "minimum": 0}
PROMPT: Json = {
    "type": "object",
    "properties": {
        "frame": NUMBER,
        "object": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        "label": {"type": "string"},
        "points": {"type": "array", "items": {**NUMBERS, "minItems": 2, "maxItems": 2}},
        "labels": {"type": "array", "items": {"type": "integer", "enum": [0, 1]}},
        "box": {**NUMBERS, "minItems": 4, "maxItems": 4},
    },
}
TRACK: Json = {
    "type": "object",
    "properties": {
        "query": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "object"}]},
        "prompts": {"type": "array", "items": PROMPT},
        "masks": {"type": "string", "enum": ["rle", "polygons", "png", "none"]},
        "every": {"type": "integer", "minimum": 1},
        "first": NUMBER,
        "last": NUMBER,
        "direction": {"type": "string", "enum": ["forward", "backward", "both"]},
    },
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events: start, frame ..., end or error", "content": {"text/event-stream": {}}}
}


@router.post("/v1/videos", status_code=201, summary="Upload a video", openapi_extra=_body(MULTIPART, FORM))
async def upload(request: Request) -> Json:
    config, engine, videos = config_of(request), engine_of(request), videos_of(request)
    with videos.arriving() as place:
        await video_upload.receive(request, place, config.max_video_body)
        frames, count = await within(request, engine.read(probe, place, config))
        video = videos.add(place, frames, count)
    return described(video, videos.expires_in(video))


@router.get("/v1/videos/{video}", summary="What is known of a video")
async def known(request: Request, video: str) -> Json:
    videos = videos_of(request)
    found = videos.find(video)
    return described(found, videos.expires_in(found))


@router.delete("/v1/videos/{video}", status_code=204, summary="Forget a video")
async def delete(request: Request, video: str) -> Response:
    found = videos_of(request).find(video)
    await within(request, jobs_of(request).let_end(found.id))
    async with found.reading:  # a thread may be reading a frame
        videos_of(request).delete(found)
    return Response(status_code=204)


@router.get(
    "/v1/videos/{video}/frames/{number}",
    summary="A frame as JPEG",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
async def frame(request: Request, video: str, number: int) -> Response:
    videos = videos_of(request)
    found = videos.find(video)
    if not 0 <= number < found.count:
        raise ServeError(404, "frame_unknown", f"the video has the frames 0 to {found.count - 1}")
    data = videos.kept_picture(found, number) or await within(request, _sought(request, found, number))
    return Response(data, media_type="image/jpeg")


@router.post(
    "/v1/videos/{video}/track",
    summary="Follow objects, by words or clicks; the answer is a stream of events",
    openapi_extra=_body("application/json", TRACK),
    response_class=EventStream,
    status_code=200,  # OpenAPI asks for it
    responses=STREAM,
)
async def track(request: Request, video: str) -> EventStream:
    found = videos_of(request).find(video)
    fields = await read_json(request)
    engine = engine_of(request)
    engine.check_ready()
    asked = await within(request, engine.read(parse, fields, found, config_of(request)))
    job, coming = await begun(request, found, asked)
    return EventStream(coming, job.cancel)


@router.delete("/v1/videos/{video}/track", status_code=204, summary="Cancel the following of objects")
async def cancel(request: Request, video: str) -> Response:
    found = videos_of(request).find(video)
    await within(request, jobs_of(request).let_end(found.id))
    return Response(status_code=204)


async def begun(
    request: Request, video: Video, asked: Asked, told: Callable[[Iterator[Happening]], Iterator[Happening]] = iter
) -> tuple[Job, Coming]:
    """Begin to follow objects, and wait until it is begun.

    Args:
        request: Whose client waits for it.
        video: The video.
        asked: What is followed.
        told: Makes of what happens what the client is told, in the thread.

    Returns:
        The work, and what gives its events.

    Raises:
        Exception: What was wrong before the first event.
    """
    videos, jobs, pipe = videos_of(request), jobs_of(request), engine_of(request).pipe
    if asked.queries is not None:
        work = functools.partial(by_words, pipe, video, asked)
    else:
        work = functools.partial(by_clicks, functools.partial(jobs.predictor, pipe), video, asked)
    job = await within(request, jobs.begin(video.id, lambda: told(work()), lambda: videos.hold(video)))
    try:
        start = await within(request, job.coming())
    except BaseException:
        job.cancel()
        raise
    return job, _after(start, job)


async def _sought(request: Request, video: Video, number: int) -> bytes:
    """Seek a frame, one at a time in each video; that goes on when nobody waits for it any more."""
    videos = videos_of(request)
    await video.reading.acquire()
    let_go = videos.hold(video)
    seeking = asyncio.ensure_future(engine_of(request).read(picture, video, number))

    def done(task: asyncio.Future[bytes]) -> None:
        let_go()
        video.reading.release()
        if not task.cancelled() and task.exception() is None:
            videos.keep_picture(video, number, task.result())

    seeking.add_done_callback(done)
    return await asyncio.shield(seeking)


def _after(start: bytes | None, job: Job) -> Coming:
    """Give the first event again, and then those that come."""
    first = [start]

    async def coming() -> bytes | None:
        return first.pop() if first else await job.coming()

    return coming
