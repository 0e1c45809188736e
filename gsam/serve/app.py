"""The application: routes, limits and errors put together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from gsam.serve import guard, integrations, labelling_tools, metrics, page_files, problems
from gsam.serve.batcher import Batcher
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.sessions import Sessions
from gsam.serve.v1 import everything, info, segment, sessions, videos
from gsam.version import __version__


def create_app(config: ServeConfig | None = None, *, engine: Engine | None = None) -> FastAPI:
    """Make the application that ``gsam serve`` runs.

    Args:
        config: What is served, and its limits; by default nano on this machine.
        engine: The models, where they are there already; by default loaded when the application
            starts.

    Returns:
        An ASGI application; its ``state`` holds ``config`` and ``engine``.

    Example:
        >>> app = create_app(ServeConfig(pipeline="nano"))
        >>> app.title
        'gsam'
    """
    config = config or ServeConfig()
    models = engine or Engine(config)
    batcher = Batcher(models, config)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if engine is None:
            models.start()
        try:
            yield
        finally:
            batcher.close()
            if engine is None:
                models.close()

    app = FastAPI(
        title="gsam",
        summary="Text query in, labelled masks out.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # they load from elsewhere; /openapi.json is ours
        redoc_url=None,
    )
    app.state.config, app.state.engine, app.state.integrations = config, models, {}
    app.state.batcher = batcher
    app.state.sessions = Sessions(config)
    problems.install(app)
    labelling_tools.install(app, config)
    app.include_router(info.router)
    app.include_router(segment.router)
    app.include_router(everything.router)
    app.include_router(sessions.router)
    app.include_router(videos.router)
    app.include_router(integrations.router)
    if config.page:
        app.include_router(page_files.page_router())
    guard.install(app, config)
    metrics.install(app, models, batcher)  # the outermost: what is refused counts too
    return app
