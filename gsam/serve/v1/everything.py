"""Everything in an image, without words: a grid of points, each asked for by itself."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gsam.inputs.image import Picture
from gsam.serve.answers import as_json
from gsam.serve.answers import everything as described
from gsam.serve.asked import check_fields
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.masks import KINDS, checked_kind
from gsam.serve.uploads import opened, read_form
from gsam.serve.v1.bodies import image_body
from gsam.serve.waiting import within

router = APIRouter(prefix="/v1", tags=["everything"])


@router.post(
    "/everything",
    summary="Find everything in an image",
    openapi_extra=image_body({"masks": {"type": "string", "enum": list(KINDS), "default": "rle"}}, ["image"]),
)
async def everything(request: Request) -> Response:
    config: ServeConfig = request.app.state.config
    engine: Engine = request.app.state.engine
    engine.check_ready()
    image, fields = await read_form(request)
    check_fields(fields, ("image", "masks"))
    kind = checked_kind(fields.get("masks"))

    async def answer() -> Response:
        return await everything_in(engine, await engine.read(opened, image, config), kind)

    return await within(request, answer())


async def everything_in(engine: Engine, picture: Picture, kind: str) -> Response:
    """Answer with everything in an image.

    Args:
        engine: The models.
        picture: The image.
        kind: Of the masks, as `gsam.serve.masks.mask_fields` takes it.

    Raises:
        ServeError: 503, too much waits, or there is no memory.
        gsam.errors.UsageError: The segmenter takes no points.
    """
    found = await engine.everything(picture.pixels)
    height, width = picture.pixels.shape[:2]
    return await engine.write(lambda: as_json(described(found, (height, width), kind)))
