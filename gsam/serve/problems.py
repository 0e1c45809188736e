"""Errors as HTTP answers: a status, a stable code, a message; never a trace.

The body is ``{"error": {"code": CODE, "message": TEXT}}`` whatever went wrong.
"""

from __future__ import annotations

import logging
import os
import traceback
import uuid
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gsam.errors import CheckpointError, GsamError, ImageError, QueryError, UsageError, VideoError

LOG = logging.getLogger("gsam.serve")

STATUS: dict[type[GsamError], int] = {
    ImageError: 400,
    VideoError: 400,
    QueryError: 422,
    UsageError: 422,
    CheckpointError: 503,
}
"""Class of error -> status, where `BY_CODE` has no other."""
BY_CODE = {
    "image_too_large": 413,
    "video_too_large": 413,
    "url_private": 403,
    "url_forbidden": 403,
    "url_too_large": 413,
    "url_failed": 502,
}
OF_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "content_type",
}
"""Status -> code, for what the framework refuses itself."""
MOST_TEXT = 600
"""Characters of a message, which may quote a part of the input."""
TRACEBACK = "GSAM_TRACEBACK"
"""Variable that lets the log have the text of errors of ours when it is 1, not only their place."""


class ServeError(GsamError):
    """A request that the server refuses.

    Args:
        status: Of the answer.
        code: Stable, and in docs/serve.md.
        message: What is wrong, and what to do.
        headers: Further ones of the answer, ``Retry-After`` for instance.
    """

    code = "refused"

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message, code)
        self.status, self.headers = status, headers or {}


def status_of(error: GsamError) -> int:
    """The status that goes with an error."""
    if isinstance(error, ServeError):
        return error.status
    if error.code in BY_CODE:
        return BY_CODE[error.code]
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def body_of(code: str, message: str) -> dict[str, Any]:
    """The JSON of an error."""
    shown = message if len(message) <= MOST_TEXT else f"{message[:MOST_TEXT]}..."
    return {"error": {"code": code, "message": shown}}


def answer(error: Exception) -> JSONResponse:
    """The answer to an error of any kind; what is not about the input is logged under a number."""
    if isinstance(error, GsamError):
        headers = error.headers if isinstance(error, ServeError) else {}
        return JSONResponse(body_of(error.code, str(error)), status_of(error), headers)
    number = uuid.uuid4().hex[:12]
    LOG.error("error %s: %s", number, _place_of(error))
    return JSONResponse(body_of("internal", f"something went wrong here; the log has it as error {number}"), 500)


def _place_of(error: Exception) -> str:
    """An error's kind and the lines it came through; its text may hold what a client sent."""
    if os.environ.get(TRACEBACK) == "1":
        return "".join(traceback.format_exception(error))
    return type(error).__name__ + "\n" + "".join(traceback.format_tb(error.__traceback__))


def install(app: FastAPI) -> None:
    """Let every error of an application be answered in this form."""

    @app.exception_handler(GsamError)
    async def known(_: Request, error: GsamError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(Exception)
    async def unknown(_: Request, error: Exception) -> JSONResponse:
        return answer(error)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        code = OF_STATUS.get(error.status_code, "refused")
        return JSONResponse(body_of(code, str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]  # without ``input``, which may be large
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return JSONResponse(body_of("request_invalid", f"{where or 'body'}: {first['msg']}"), 422)
