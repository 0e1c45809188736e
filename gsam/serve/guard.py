"""The gate before every request: its host, its site, its token, its size; headers on every answer.

It is the outermost part of the application that is gsam's: whatever happens inside, the answer has
gsam's form and headers, and no trace.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import logging
from collections.abc import Mapping

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gsam.serve import names
from gsam.serve.bodies import Body, Held
from gsam.serve.config import ServeConfig
from gsam.serve.cvat import gate
from gsam.serve.problems import ServeError, answer

OPEN = ("/", "/livez", "/readyz")
"""Paths that need no token: the page, which asks for it, and whether the server is there."""
OPEN_BELOW = "/page/"
BASIC = ("/health", "/setup", "/predict", "/webhook", "/versions")
"""Paths of Label Studio, which can send a user's name and, as the password, the token."""
TOKEN_HEADER = ("/health", "/v1/models", "/v1/predict")
"""Paths where the token may come in a header ``Token``, as X-AnyLabeling sends it."""
TOKEN_HEADER_BELOW = "/v1/video/"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def token_given(headers: Mapping[str, str], path: str) -> str | None:
    """The token that a request brings.

    Args:
        headers: Names in lower case.
        path: Of the request; some protocols of labelling tools send it in their own way.

    Returns:
        The token, not yet compared, or None.
    """
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() == "basic" and path in BASIC:
        with contextlib.suppress(ValueError):  # which base64 and Unicode raise
            return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
        return None
    return headers.get("token") if path in TOKEN_HEADER or path.startswith(TOKEN_HEADER_BELOW) else None


def path_of(scope: Scope) -> str:
    """The path that routes are compared with: without ``root_path``, where a proxy left it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if not root or not path.startswith(root):
        return path
    return "" if path == root else path[len(root) :] if path[len(root)] == "/" else path


class Guard:
    """ASGI middleware.

    Args:
        app: What is behind the gate.
        config: Whom it lets in, and with how much.
    """

    def __init__(self, app: ASGIApp, config: ServeConfig) -> None:
        self.app, self.config, self.held = app, config, Held()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            if self.config.root_path:  # in place: routes are noted in the scope, for who is outside
                scope["root_path"] = self.config.root_path
            await self._http(scope, receive, send)
        else:  # a web socket, which nothing here speaks
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(receive, path_of(scope), self.config, self.held)
        started = replaced = False

        async def out(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = with_headers(message)
            await send(message)

        async def from_app(message: Message) -> None:
            """The application's answer, or the one that its body has had already."""
            nonlocal replaced
            if replaced:
                return
            if message["type"] == "http.response.start" and body.refused is not None:
                replaced = True
                await answer(body.refused)(scope, receive, out)
                return
            await out(message)

        try:
            self._check(scope, body)
            await self.app(scope, body.receive, from_app)
        except Exception as error:
            response = answer(body.refused or error)
            if not started:
                await response(scope, receive, out)
        finally:
            body.let_go()

    def _check(self, scope: Scope, body: Body) -> None:
        pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        headers, path = dict(pairs), path_of(scope)
        names.check_host([value for name, value in pairs if name == "host"], self.config)
        names.check_site(scope["method"], headers, self.config)
        client = (scope.get("client") or ("",))[0]
        if not (self._may(scope["method"], path, headers) or gate.excused(path, headers, client, self.config)):
            raise ServeError(
                401,
                "unauthorized",
                gate.HINT
                if self.config.cvat and gate.is_ours(path)
                else "a token is needed: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        lengths = [value for name, value in pairs if name == "content-length"]
        body.check_announced(lengths, "transfer-encoding" in headers)

    def _may(self, method: str, path: str, headers: Mapping[str, str]) -> bool:
        if self.config.token is None:
            return True
        if method in ("GET", "HEAD") and (path in OPEN or path.startswith(OPEN_BELOW)):
            return True
        given = token_given(headers, path)
        return given is not None and hmac.compare_digest(given.encode(), self.config.token.encode())


def with_headers(message: Message) -> Message:
    """The beginning of an answer with the headers that every answer has."""
    given = {name.lower() for name, _ in message.get("headers", [])}
    more = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items() if k.lower().encode() not in given]
    return {**message, "headers": [*message.get("headers", []), *more]}


def install(app: FastAPI, config: ServeConfig) -> None:
    """Put the gate in front of an application."""
    app.add_middleware(Guard, config=config)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of single bytes
