"""X-AnyLabeling's remote models: words, and points or a rectangle, to polygons.

Written from a description of the protocol and from what its client (4.2) sends and reads, without
its server; its videos are in `gsam.serve.x_anylabeling_video`.  Answers say ``success``, and errors
have a ``message`` beside this server's own form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from numpy.typing import NDArray

from gsam.results.masks import polygons
from gsam.results.overview.shapes import simplified
from gsam.results.result import Result
from gsam.serve import clicks
from gsam.serve.asked import queries_of
from gsam.serve.batcher import Batcher
from gsam.serve.config import ServeConfig
from gsam.serve.cvat.detection import from_score, threshold_for
from gsam.serve.engine import Engine
from gsam.serve.integrations import Integration
from gsam.serve.problems import ServeError, answer
from gsam.serve.remembered import Remembered
from gsam.serve.uploads import opened, read_form
from gsam.serve.v1 import info
from gsam.serve.waiting import within
from gsam.types import Json
from gsam.version import __version__

WORDS, CLICKS, VIDEO = "gsam-words", "gsam-clicks", "gsam-video"
OBJECT = "AUTOLABEL_OBJECT"
"""The label of a mask of clicks: the client takes the last one away, and asks for a name when the
object is finished."""
FINENESS = {"mask_fineness_slider": 10, "mask_fineness_value_label": None}
"""Distance of outlines from masks, at most: the client's own beginning, 0.001 of their length."""
REPLACES = {WORDS: None, CLICKS: False}
"""Whether an answer takes the place of all that is there; of words the client's own switch says."""


class ToolRoute(APIRoute):
    """A route whose errors have the form that the tool shows, and this server's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            status: Integration = request.app.state.integrations["x_anylabeling"]
            try:
                return await handle(request)
            except Exception as error:
                refused = answer(error)
                body = json.loads(bytes(refused.body))
                status.problem(f"a request was refused: {body['error']['message']}")
                headers = error.headers if isinstance(error, ServeError) else None
                body = {"success": False, "message": body["error"]["message"], **body}
                return JSONResponse(body, refused.status_code, headers)

        return told


router = APIRouter(tags=["x-anylabeling"], route_class=ToolRoute)


def install(app: FastAPI, remembered: Remembered) -> None:
    """Let an application speak the protocol; its routes go before others of the same path."""
    status = Integration("X-AnyLabeling", "nothing was heard of X-AnyLabeling yet: see docs/labelling-tools.md")
    app.state.integrations["x_anylabeling"] = status
    app.state.remembered = remembered
    app.include_router(router)


@router.get("/health", summary="Whether the server is there, for labelling tools")
async def health() -> Json:
    return {"success": True, "status": "UP", "model_class": "GSAM", "version": __version__}


@router.get("/v1/models", summary="What answers words and clicks, for this server's clients and X-AnyLabeling")
async def models(request: Request) -> Json:
    engine: Engine = request.app.state.engine
    own = await info.models(request)
    request.app.state.integrations["x_anylabeling"].ok("X-AnyLabeling, or another client, asked for the models")
    return {**own, "success": True, "data": known(engine)}


def known(engine: Engine) -> Json:
    """The models as the tool lists them; it shows the controls that ``widgets`` name, no others."""
    least = engine.pipe.limits.threshold
    asking = {"edit_text": None, "button_send": None, "input_conf": None, "edit_conf": least}
    keeping = {"toggle_preserve_existing_annotations": None}
    clicking = dict.fromkeys(("button_add_point", "button_remove_point", "button_clear", "button_finish_object"))
    limits = {"conf_threshold": least, "epsilon_factor": 0.0}
    found = {
        WORDS: {
            "display_name": f"gsam: {engine.pipe.name} (words)",
            "batch_processing_mode": "text_prompt",
            "widgets": _widgets({**asking, **keeping, **FINENESS}),
            "params": limits,
        },
        CLICKS: {
            "display_name": f"gsam: {engine.predictor.name} (points, rectangle)",
            "batch_processing_mode": "default",
            "widgets": _widgets({**clicking, "button_add_rect": None, **FINENESS}),
            "params": {"epsilon_factor": 0.0},
        },
    }
    if engine.pipe.tracks:
        found[VIDEO] = {
            "display_name": f"gsam: {engine.pipe.name} (videos)",
            "batch_processing_mode": "video",
            "widgets": _widgets({**asking, **clicking, **keeping, **FINENESS}),
            "params": limits,
        }
    return found


def _widgets(values: dict[str, float | None]) -> list[Json]:
    found: list[Json] = [{"name": name, "value": value} for name, value in values.items()]
    for widget in found:
        if widget["name"] == "edit_text":
            widget["placeholder"] = "dog. red apple"
    return found


@router.post("/v1/predict", summary="Polygons of words, or of points and a rectangle")
async def predict(request: Request) -> Response:
    request.app.state.engine.check_ready()
    image, fields = await read_form(request)
    params = fields.get("params")
    if params is not None and not isinstance(params, dict):
        raise ServeError(422, "params_invalid", "params has to be an object")
    calls = {WORDS: named, CLICKS: _marked}
    model = fields.get("model")
    if not isinstance(model, str) or model not in calls:
        raise ServeError(404, "model_unknown", f"there are the models {', '.join(calls)}")
    shapes = await within(request, calls[model](request, image, params or {}))
    request.app.state.integrations["x_anylabeling"].ok(f"the last request, of {model}, was answered")
    data = {"shapes": shapes, "description": "", "replace": REPLACES[model]}
    return JSONResponse({"success": True, "data": data})


async def named(request: Request, image: bytes | str | None, params: Json) -> list[Json]:
    """Shapes of what words name in an image.

    Args:
        request: With the application that the models are of.
        image: As `gsam.serve.uploads.opened` takes it.
        params: ``text_prompt``, and ``conf_threshold`` and ``epsilon_factor`` if they are there.

    Raises:
        ServeError: 422 ``params_invalid``, and as of `Batcher.find`.
        gsam.errors.QueryError: The words ask for nothing, or for too much.
        gsam.errors.ImageError: The image cannot be read.
    """
    engine: Engine = request.app.state.engine
    batcher: Batcher = request.app.state.batcher
    config: ServeConfig = request.app.state.config
    least, share = number(params, "conf_threshold"), number(params, "epsilon_factor")
    limits = engine.pipe.limits_for({"threshold": threshold_for(engine.pipe, least)})
    queries = await engine.read(queries_of, params.get("text_prompt"), config)
    result = await batcher.find(lambda: (opened(image, config), queries, limits))
    return await engine.write(shapes_of, from_score(result, least), share or 0.0)


async def _marked(request: Request, image: bytes | str | None, params: Json) -> list[Json]:
    share = number(params, "epsilon_factor")
    return await clicked_on(request, image, clicked(params.get("marks")), share or 0.0)


async def clicked_on(request: Request, image: bytes | str | None, asked: Json, share: float) -> list[Json]:
    """Shapes of what was clicked on in an image.

    Args:
        request: With the application that the models are of.
        image: As `gsam.serve.uploads.opened` takes it.
        asked: As `gsam.serve.clicks.parse_click` takes it.
        share: As of `polygons_of`.

    Raises:
        ServeError: 422 where no such thing can be asked, 503 where there is no room.
        gsam.errors.ImageError: The image cannot be read.
    """
    engine: Engine = request.app.state.engine
    config: ServeConfig = request.app.state.config
    async with request.app.state.remembered.using(request, image) as session:
        click = clicks.parse_click(asked, session.size, config.max_prompts)
        found = await engine.on_clicks(clicks.predict, engine.predictor, session.embedding, click, None)
    score = min(max(float(np.nan_to_num(found.iou[0])), 0.0), 1.0)
    return await engine.write(polygons_of, found.masks[0], OBJECT, score, share, 1)


def clicked(marks: Any) -> Json:
    """Points and the box of a request, as `gsam.serve.clicks` takes them.

    Args:
        marks: ``{"type": "point", "data": [x, y], "label": 1 or 0}``, and one at most of
            ``{"type": "rectangle", "data": [x0, y0, x1, y1]}``.

    Raises:
        ServeError: 422 ``marks_invalid``.
    """
    if not isinstance(marks, list) or not all(isinstance(mark, dict) for mark in marks):
        raise ServeError(422, "marks_invalid", "marks has to be a list of points and rectangles")
    if any(mark.get("type") not in ("point", "rectangle") for mark in marks):
        raise ServeError(422, "marks_invalid", "a mark is a point or a rectangle")
    points = [mark for mark in marks if mark["type"] == "point"]
    boxes = [mark.get("data") for mark in marks if mark["type"] == "rectangle"]
    if len(boxes) > 1:
        raise ServeError(422, "marks_invalid", "one rectangle at a time")
    found: Json = {}
    if points:
        found = {"points": [p.get("data") for p in points], "labels": [p.get("label", 1) for p in points]}
    if boxes:
        found["box"] = _ordered(boxes[0])
    return found


def shapes_of(result: Result, share: float) -> list[Json]:
    """The objects of a result as shapes of the tool; rectangles where there are no masks."""
    made = []
    for i, label in enumerate(result.labels):
        score = round(float(result.scores[i]), 5)
        if result.low_res is None:
            x0, y0, x1, y1 = (float(v) for v in result.xyxy[i])
            made.append(_shape(label, "rectangle", [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], score, None))
        else:
            made += polygons_of(result.mask(i), label, score, share, i + 1)
    return made


def polygons_of(mask: NDArray[np.bool_], label: str, score: float, share: float, group: int) -> list[Json]:
    """A polygon for each part of a mask, holes joined by slits; several are a group.

    Args:
        mask: [H, W] bool.
        label: Of the shapes.
        score: Of the shapes.
        share: Distance of outlines from the mask, at most, as a share of their length.
        group: The number of the group.

    Returns:
        The shapes; none for an empty mask.
    """
    parts = polygons.outlines(mask)
    if share:
        parts = [[simplified(ring, share * _length(ring)) for ring in part] for part in parts]
        parts = [[ring for ring in part if len(ring) > 2] for part in parts if len(part[0]) > 2]
    number = group if len(parts) > 1 else None
    return [_shape(label, "polygon", polygons.bridged(part).tolist(), score, number) for part in parts]


def _shape(label: str, kind: str, points: list[list[float]], score: float, group: int | None) -> Json:
    return {"label": label, "shape_type": kind, "points": points, "score": score, "group_id": group}


def _length(ring: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(ring - np.roll(ring, 1, 0), axis=1).sum())


def _ordered(box: Any) -> Any:
    """A rectangle drawn from any of its corners; what is none is refused later."""
    plain = isinstance(box, list) and len(box) == 4
    if not plain or any(isinstance(v, bool) or not isinstance(v, int | float) for v in box):
        return box if box is not None else []
    return [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]


def number(params: Json, name: str) -> float | None:
    """A number from 0 to 1 among parameters, if it is there.  Raises 422 ``params_invalid``."""
    value = params.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ServeError(422, "params_invalid", f"{name} has to be a number from 0 to 1")
    return float(value)
