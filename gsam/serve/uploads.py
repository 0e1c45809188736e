"""Images that come with a request: as a file of a form, as base64, or at an address.

Names that clients give files are never used.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from gsam.errors import ImageError
from gsam.inputs.image import Picture, open_image
from gsam.serve.config import ServeConfig
from gsam.serve.fetching import fetch_allowed
from gsam.serve.problems import ServeError
from gsam.types import Json

DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,", re.ASCII)
FORM = "multipart/form-data"


async def read_form(request: Request) -> tuple[bytes | str | None, Json]:
    """Read a request with an image, as a form or as JSON.

    Args:
        request: Its body is ``multipart/form-data`` with a file ``image`` and further fields as
            text, or JSON, an object whose ``image`` is base64, a data URI or an ``https`` address.

    Returns:
        The image's bytes, or its address, or None where there is none; and the other fields.

    Raises:
        ServeError: 400 ``body_invalid``, 415 ``content_type``, or 413 from the limits.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        return await _from_form(request)
    fields = await read_json(request, f"{FORM} or application/json")
    image = fields.pop("image", None)
    return (None if image is None else decoded(image)), fields


async def read_json(request: Request, expected: str = "application/json") -> Json:
    """Read a request that is a JSON object.

    Raises:
        ServeError: 400 ``body_invalid``, or 415 ``content_type``, whose message says ``expected``.
    """
    check_json(request, expected)
    return parsed(await request.body())


def check_json(request: Request, expected: str = "application/json") -> None:
    """Raise `ServeError` 415 ``content_type`` where a request says that it is no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ServeError(415, "content_type", f"a request is {expected}, not {kind[:80] or 'nothing'}")


def parsed(body: bytes | bytearray) -> Json:
    """Parse a JSON object.  Raises `ServeError` 400 ``body_invalid`` for anything else."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise ServeError(400, "body_invalid", "the body is no JSON") from None
    if not isinstance(fields, dict):
        raise ServeError(400, "body_invalid", "the body has to be a JSON object")
    return fields


def decoded(image: Any) -> bytes | str:
    """The bytes of an image in JSON, or its address.  Raises `ServeError` 422 for anything else."""
    if not isinstance(image, str) or not image:
        raise ServeError(422, "image_field", "image has to be base64 text, a data URI or an address")
    if image[:8].lower().startswith(("http://", "https://")):
        return image
    text = DATA_URI.sub("", image, count=1) if image.startswith("data:") else image
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ServeError(422, "image_field", "image is no base64") from None


def opened(image: bytes | str | None, config: ServeConfig) -> Picture:
    """Open an image of a request within the limits; in a thread, it may take a while.

    Raises:
        ServeError: 422 ``image_field`` without an image, 403 for an address that is not allowed.
        ImageError: It cannot be read.
    """
    if image is None:
        raise ServeError(422, "image_field", "the request has no image")
    data = fetch_allowed(image, config) if isinstance(image, str) else image
    picture = open_image(data, max_pixels=config.max_pixels)
    h, w = picture.pixels.shape[:2]
    if h * w > config.max_pixels:
        raise ImageError(f"an image of {w} x {h} pixels, at most {config.max_pixels} are served", "image_too_large")
    return picture


async def _from_form(request: Request) -> tuple[bytes | None, Json]:
    form = await request.form(max_files=1, max_fields=64, max_part_size=1 << 20)
    try:
        image, fields = None, {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "image":
                    raise ServeError(422, "image_field", "the file of a request is called image")
                image = await value.read()
            elif name in fields:
                raise ServeError(422, "field_twice", f"{name[:40]} is given twice")
            else:
                fields[name] = value
        return image, fields
    finally:
        await form.close()
