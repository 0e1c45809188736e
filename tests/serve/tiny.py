"""A small application behind the gate, for what is not about models."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
from fastapi import FastAPI, Request

from gsam.serve import guard, problems
from gsam.serve.config import ServeConfig

SECRET = "xyzzy-secret"


class Named(pydantic.BaseModel):
    """The body of ``/named``."""

    name: str


def tiny(config: ServeConfig) -> FastAPI:
    """Make it."""
    app = FastAPI(docs_url=None, redoc_url=None)
    problems.install(app)

    @app.post("/size")
    @app.post("/v1/videos")
    async def size(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @app.post("/form")
    async def form(request: Request) -> dict[str, int]:
        async with request.form(max_files=1, max_fields=8) as found:
            return {"fields": len(found)}

    @app.post("/named")
    async def named(body: Named) -> dict[str, str]:
        return {"name": body.name}

    @app.get("/unread")
    @app.post("/unread")
    async def unread() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/boom")
    async def boom(request: Request) -> None:
        raise KeyError((await request.body()).decode())

    @app.get("/slow")
    async def slow(seconds: float) -> dict[str, Any]:
        await asyncio.sleep(seconds)
        return {"status": "ok"}

    guard.install(app, config)
    return app
