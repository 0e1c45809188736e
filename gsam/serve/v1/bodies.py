"""Bodies of requests as OpenAPI describes them; the routes read them themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gsam.types import Json

IMAGE = "The file, in a form; in JSON base64, a data URI, or an address of a host that is allowed"


def image_body(fields: Json, required: Sequence[str]) -> dict[str, Any]:
    """Describe a body with an image: a form, or JSON.

    Args:
        fields: Name -> schema of the other fields.
        required: Names that have to be there.

    Returns:
        What ``openapi_extra`` of a route takes.
    """
    shared = {"type": "object", "required": list(required), "additionalProperties": False}
    form = {"image": {"type": "string", "format": "binary", "description": IMAGE}, **fields}
    text = {"image": {"type": "string", "description": IMAGE}, **fields}
    content = {
        "multipart/form-data": {"schema": {**shared, "properties": form}},
        "application/json": {"schema": {**shared, "properties": text}},
    }
    return {"requestBody": {"required": True, "content": content}}


def json_body(fields: Json, required: Sequence[str] = ()) -> dict[str, Any]:
    """Describe a body that is a JSON object.

    Args:
        fields: Name -> schema.
        required: Names that have to be there.

    Returns:
        What ``openapi_extra`` of a route takes.
    """
    schema = {"type": "object", "required": list(required), "additionalProperties": False, "properties": dict(fields)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
