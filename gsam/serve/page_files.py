"""The page: files of this package, known when the server starts; no other is ever opened."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gsam.results import offline
from gsam.serve.problems import ServeError

PAGE = Path(__file__).parent / "page"
THEME = Path(offline.__file__).parent / "theme.css"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
"""End of a name -> content type; files of other kinds are not served."""


class PageFile(NamedTuple):
    """A file and its headers."""

    data: bytes
    kind: str
    etag: str


def page_files() -> dict[str, PageFile]:
    """Read the files of the page, by name; the look that it shares with reports is one of them."""
    paths = [path for path in sorted(PAGE.iterdir()) if path.suffix in KINDS]
    return {path.name: _read(path) for path in [*paths, THEME]}


def page_router() -> APIRouter:
    """Make the routes of the page: ``/`` and ``/page/NAME``."""
    router = APIRouter(include_in_schema=False)
    files = page_files()

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return _answer(request, files["index.html"])

    @router.api_route("/page/{name}", methods=["GET", "HEAD"])
    async def part(request: Request, name: str) -> Response:
        if name not in files:
            raise ServeError(404, "not_found", "the page has no such file")
        return _answer(request, files[name])

    return router


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    return PageFile(data, KINDS[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:20]}"')


def _answer(request: Request, file: PageFile) -> Response:
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}  # asked for again, sent when it has changed
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.data, media_type=file.kind, headers=headers)
