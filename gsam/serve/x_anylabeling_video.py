"""X-AnyLabeling's videos: pictures in a row, words or points on one of them, followed to the last.

A session is one of the server's videos.  What was asked of it last is remembered until it is
followed, and the answer to that comes at the end, whole, as the tool wants it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import threading
import weakref
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gsam.inputs.video.folder import Pictures
from gsam.results.masks import rle
from gsam.serve.config import ServeConfig
from gsam.serve.cvat.detection import threshold_for
from gsam.serve.engine import Engine
from gsam.serve.events import Coming, EventStream
from gsam.serve.following import Asked, Happening, frame_number, object_key, parse
from gsam.serve.problems import ServeError
from gsam.serve.state import config_of, engine_of, jobs_of, videos_of
from gsam.serve.tracking import Job
from gsam.serve.uploads import check_json, read_json
from gsam.serve.v1.videos import begun
from gsam.serve.video_pictures import parsed_frames, stored
from gsam.serve.videos import UNKNOWN, Video
from gsam.serve.waiting import GONE, within
from gsam.serve.x_anylabeling import OBJECT, VIDEO, ToolRoute, clicked_on, named, number, polygons_of
from gsam.types import Json

MOST_RESULTS = 32 << 20
"""Characters of the shapes of all frames, as JSON."""


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Words, or points on objects, that a session was asked for."""

    words: str | None = None
    points: Mapping[tuple[int, int | str], Json] = dataclasses.field(default_factory=dict)
    """A prompt as `gsam.serve.following.parse` takes it, by frame and object."""
    least: float | None = None
    """The least score of words."""
    share: float = 0.0
    """Distance of outlines from masks, at most, as a share of their length."""


Sessions = MutableMapping[Video, Prompts]


async def _check_tracker(request: Request) -> None:
    if not request.app.state.engine.pipe.tracks:
        raise ServeError(501, "no_tracker", "this server's recipe has no tracker: -p grounded_sam2, or --tracker")


router = APIRouter(
    prefix="/v1/video", tags=["x-anylabeling"], route_class=ToolRoute, dependencies=[Depends(_check_tracker)]
)


def install(app: FastAPI) -> None:
    """Let an application speak of videos; its state has what `gsam.serve.x_anylabeling` needs."""
    app.state.video_prompts = weakref.WeakKeyDictionary()
    app.include_router(router)


@router.post("/init", summary="Begin with a video: its frames as base64")
async def init(request: Request) -> Json:
    engine, videos = engine_of(request), videos_of(request)
    check_json(request)
    with videos.arriving() as place:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
        except ClientDisconnect:
            raise ServeError(GONE, "client_gone", "the client has left") from None
        fields, frames = await within(request, engine.read(parsed_frames, body, config_of(request)))
        _check_model(fields)
        left = threading.Event()
        storing = asyncio.ensure_future(engine.read(stored, frames, place, config_of(request), left))
        try:
            found = await within(request, _result(storing))
        finally:
            left.set()
            await asyncio.gather(storing, return_exceptions=True)  # before the folder is removed
        video = videos.add(place, found, found.count)
    _sessions(request)[video] = Prompts()
    _ok(request, f"a video of {video.count} frames has come")
    return _answer(video, total_frames=video.count)


@router.post("/prompt", summary="Ask for words or points on a frame: its polygons")
async def prompt(request: Request) -> Json:
    fields = await read_json(request)
    _check_model(fields)
    video = _session(request, fields.get("session_id"))
    index = frame_number(fields.get("frame_index", 0), 0, video.count, "frame_index")
    params = fields.get("params") or {}
    if not isinstance(params, dict):
        raise ServeError(422, "params_invalid", "params has to be an object")
    words = fields.get("text_prompt") is not None
    if words == (fields.get("points") is not None):
        raise ServeError(422, "nothing_asked", "either text_prompt or points is needed")
    with _held(request, video):
        find = _named if words else _clicked
        shapes, asked = await within(request, find(request, video, index, {**fields, "params": params}))
    _sessions(request)[video] = asked
    _ok(request, f"a frame of a video was asked for {'words' if words else 'points'}, and answered")
    return _answer(video, masks=shapes)


async def _named(request: Request, video: Video, index: int, fields: Json) -> tuple[list[Json], Prompts]:
    params = fields["params"]
    asked = Prompts(fields["text_prompt"], {}, number(params, "conf_threshold"), number(params, "epsilon_factor") or 0)
    image = await engine_of(request).read(_image, video, index)
    return await named(request, image, {**params, "text_prompt": asked.words}), asked


async def _clicked(request: Request, video: Video, index: int, fields: Json) -> tuple[list[Json], Prompts]:
    key, share = object_key(fields.get("obj_id", 1)), number(fields["params"], "epsilon_factor") or 0.0
    click = {"points": _in_pixels(fields["points"], video), "labels": fields.get("point_labels")}
    points = {**_sessions(request)[video].points, (index, key): {"frame": index, "object": key, **click}}
    asked = Prompts(None, points, share=share)
    engine = engine_of(request)
    await engine.read(_asked_of, asked, 0, video.count - 1, engine, video, config_of(request))  # refused now, not later
    image = await engine.read(_image, video, index)
    return await clicked_on(request, image, click, share), asked


@router.post("/propagate/stream", summary="Follow what was asked for; the answer is a stream of events")
async def stream(request: Request) -> EventStream:
    _, job, coming, results = await _begun(request)

    async def told() -> bytes | None:
        found = await coming()
        kind = (found or b"").partition(b"\n")[0]
        if kind == b"event: end":
            _ok(request, "a video was gone through")
            return b'event: completed\ndata: {"type":"completed","results":%b}\n\n' % results.json()
        if found is not None and kind == b"event: error":
            _problem(request, _message(found)["message"])
            return found.replace(b"data: {", b'data: {"type":"error",', 1)
        return found

    return EventStream(told, job.cancel)


@router.post("/propagate", summary="Follow what was asked for; the answer comes within the deadline or not at all")
async def propagate(request: Request) -> Response:
    video, job, coming, results = await _begun(request)
    try:
        last = await within(request, _last(coming))
    finally:
        job.cancel()
    if last.startswith(b"event: error"):
        error = _message(last)
        raise ServeError(409 if error["code"] == "cancelled" else 500, error["code"], error["message"])
    _ok(request, "a video was gone through")
    head = b'{"success":true,"data":{"session_id":"%b","results":' % video.id.encode()
    return Response(head + results.json() + b"}}", media_type="application/json")


@router.get("/status/{session}", summary="Whether a video is being gone through")
@router.post("/status/{session}", include_in_schema=False)
@router.post("/status", include_in_schema=False)
async def status(request: Request, session: str | None = None) -> Json:
    video = await _named_session(request, session)
    return _answer(video, total_frames=video.count, running=jobs_of(request).of(video.id) is not None)


@router.post("/cancel/{session}", summary="End the following of objects")
@router.post("/cancel", include_in_schema=False)
async def cancel(request: Request, session: str | None = None) -> Json:
    video = await _named_session(request, session)
    await within(request, jobs_of(request).let_end(video.id))
    return _answer(video)


@router.post("/cleanup/{session}", summary="Forget a video")
@router.post("/cleanup", include_in_schema=False)
async def cleanup(request: Request, session: str | None = None) -> Json:
    video = await _named_session(request, session)
    await within(request, jobs_of(request).let_end(video.id))
    videos_of(request).delete(video)
    return _answer(video)


class Results:
    """The shapes of all frames, as JSON, collected while objects are followed.

    Args:
        asked: What the session was asked.
        count: Frames of the video.
        start: The first frame that is wanted.
    """

    def __init__(self, asked: Prompts, count: int, start: int) -> None:
        self._asked, self._count, self._start = asked, count, start
        self._frames: dict[int, str] = {}
        self._length = 0

    def told(self, happenings: Iterator[Happening]) -> Iterator[Happening]:
        """Give the progress as the tool understands it; in a thread.

        Args:
            happenings: Those of `gsam.serve.following`, with run lengths.

        Raises:
            ServeError: 413 ``results_too_large``.
        """
        for happening in happenings:
            kind, fields = happening or ("", {})
            if kind == "start":
                yield kind, {"type": "started", "total_frames": self._count, "start_frame_index": self._start}
            elif kind == "frame" and fields["index"] >= self._start:
                self._keep(fields["index"], fields["objects"])
                yield kind, {"type": "progress", "current_frame": fields["index"]}
            else:
                yield None

    def json(self) -> bytes:
        """The shapes by frame."""
        frames = (f'"{i}":{{"masks":{text}}}' for i, text in self._frames.items())
        return f"{{{','.join(frames)}}}".encode()

    def _keep(self, index: int, objects: list[Json]) -> None:
        shapes: list[Json] = []
        for i, found in enumerate(objects, 1):
            if self._asked.words is None:
                shapes += self._outlined(found, OBJECT, i)
            elif self._asked.least is None or found["score"] >= self._asked.least:
                # All are groups, so that an object has one number on every frame.
                shapes += [{**s, "group_id": found["id"]} for s in self._outlined(found, found["label"], i)]
        text = json.dumps(shapes, separators=(",", ":"), allow_nan=False)
        self._length += len(text)
        if self._length > MOST_RESULTS:
            told = f"the outlines of all frames up to {index} are too many for one answer"
            raise ServeError(413, "results_too_large", f"{told}: coarser outlines, or fewer frames, fit")
        self._frames[index] = text

    def _outlined(self, found: Json, label: str, group: int) -> list[Json]:
        return polygons_of(rle.decode(found["mask"]), label, found["score"], self._asked.share, group)


async def _begun(request: Request) -> tuple[Video, Job, Coming, Results]:
    """Begin to follow what a session was asked."""
    fields = {name: value for name, value in (await read_json(request)).items() if value is not None}
    _check_model(fields)
    video = _session(request, fields.get("session_id"))
    prompts = _sessions(request)[video]
    start = frame_number(fields.get("start_frame", 0), 0, video.count, "start_frame")
    last = frame_number(fields.get("end_frame", video.count - 1), start, video.count, "end_frame")
    engine = engine_of(request)
    with _held(request, video):
        asked = await within(request, engine.read(_asked_of, prompts, start, last, engine, video, config_of(request)))
        results = Results(prompts, video.count, start)
        job, coming = await begun(request, video, asked, results.told)
    return video, job, coming, results


def _asked_of(prompts: Prompts, start: int, last: int, engine: Engine, video: Video, config: ServeConfig) -> Asked:
    """Ask for what is followed: points from the first frame that has any, words from ``start``."""
    if prompts.words is not None:
        threshold = threshold_for(engine.pipe, prompts.least)
        return parse({"query": prompts.words, "threshold": threshold, "first": start, "last": last}, video, config)
    points = [one for (frame, _), one in prompts.points.items() if frame <= last]
    if not points:
        raise ServeError(422, "nothing_asked", "nothing was asked for up to that frame: words or points come first")
    first = min(start, *(one["frame"] for one in points))
    return parse({"prompts": points, "first": first, "last": last}, video, config)


def _in_pixels(points: Any, video: Video) -> list[list[float]]:
    """Points given in shares of width and height.  Raises `ServeError` 422 ``points_invalid``."""
    height, width = video.size
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ServeError(422, "points_invalid", "points has to be a list of [x, y]")
    for value in (value for point in points for value in point):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ServeError(422, "points_invalid", "a point is [x, y] in shares of width and height, from 0 to 1")
    return [[x * width, y * height] for x, y in points]


def _image(video: Video, index: int) -> bytes:
    """The file of a frame; in a thread.  Raises `ServeError` 404 where it is gone meanwhile."""
    assert isinstance(video.frames, Pictures)
    try:
        data: bytes = video.frames.pictures[index]  # type: ignore[assignment]
    except FileNotFoundError:
        raise ServeError(404, "video_unknown", UNKNOWN) from None
    return data


async def _result(task: asyncio.Future[Pictures]) -> Pictures:
    return await asyncio.shield(task)


async def _last(coming: Coming) -> bytes:
    """Read events to the last."""
    last = b""
    while (found := await coming()) is not None:
        last = found
    return last


def _message(error: bytes) -> Json:
    """The fields of an event of an error."""
    fields: Json = json.loads(error.partition(b"data: ")[2])
    return fields


def _check_model(fields: Json) -> None:
    if fields.get("model", VIDEO) != VIDEO:
        raise ServeError(404, "model_unknown", f"the model of videos is {VIDEO}")


async def _named_session(request: Request, session: str | None) -> Video:
    """The session that a path names, or the body."""
    return _session(request, (await read_json(request)).get("session_id") if session is None else session)


def _session(request: Request, key: Any) -> Video:
    video = videos_of(request).find(key if isinstance(key, str) else "")
    if video not in _sessions(request):  # it came in another way, and is no pictures perhaps
        raise ServeError(404, "video_unknown", UNKNOWN)
    return video


@contextlib.contextmanager
def _held(request: Request, video: Video) -> Iterator[None]:
    """Use a video: it is not forgotten meanwhile."""
    let_go = videos_of(request).hold(video)
    try:
        yield
    finally:
        let_go()


def _answer(video: Video, **data: Any) -> Json:
    return {"success": True, "data": {"session_id": video.id, **data}}


def _ok(request: Request, message: str) -> None:
    request.app.state.integrations["x_anylabeling"].ok(message)


def _problem(request: Request, message: str) -> None:
    request.app.state.integrations["x_anylabeling"].problem(f"a video was not gone through: {message}")


def _sessions(request: Request) -> Sessions:
    return request.app.state.video_prompts
