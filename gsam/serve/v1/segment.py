"""Words: an image and a query in, labelled masks out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gsam.runtime.settings import LIMITS
from gsam.serve.answers import rendered
from gsam.serve.asked import FORMATS, check_fields, format_of, queries_of, settings_of
from gsam.serve.batcher import Asked, Batcher
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.masks import KINDS, checked_kind
from gsam.serve.uploads import opened, read_form
from gsam.serve.v1.bodies import image_body
from gsam.serve.waiting import within

router = APIRouter(prefix="/v1", tags=["words"])
FIELDS = ("query", "masks", "format", *LIMITS)
SCHEMA = {
    "query": {
        "description": "Names separated by . or ,; a list of them; or {query: label}",
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": {"type": "string"}},
        ],
    },
    "masks": {"type": "string", "enum": list(KINDS), "default": "rle"},
    "format": {"type": "string", "enum": list(FORMATS), "default": "json"},
    **{name: {"type": "number", "description": str(number)} for name, number in LIMITS.items()},
}
"""The schemas of `FIELDS`, for OpenAPI."""


@router.post(
    "/segment",
    summary="Find what a query names",
    response_description="As `gsam segment` writes it, or a PNG",
    openapi_extra=image_body(SCHEMA, ["image", "query"]),
)
async def segment(request: Request) -> Response:
    state = request.app.state
    config: ServeConfig = state.config
    engine: Engine = state.engine
    batcher: Batcher = state.batcher
    pipe = engine.pipe
    image, fields = await read_form(request)
    check_fields(fields, ("image", *FIELDS))
    kind, form = checked_kind(fields.get("masks")), format_of(fields)
    limits = pipe.limits_for(settings_of(fields))

    def asked() -> Asked:
        queries = queries_of(fields.get("query"), config)
        return opened(image, config), queries, limits

    async def answer() -> Response:
        return await engine.write(rendered, await batcher.find(asked), kind, form)

    return await within(request, answer())
