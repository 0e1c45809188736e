"""The protocols of labelling tools, put into an application that was told to speak them."""

from __future__ import annotations

from fastapi import FastAPI

from gsam.serve.config import ServeConfig


def install(app: FastAPI, config: ServeConfig) -> None:
    """Add the routes of the tools in ``config``; before others, of which they answer some too.

    Args:
        app: Its state has ``engine``, ``sessions``, ``batcher`` and ``integrations``.
        config: ``cvat``, ``x_anylabeling`` and ``label_studio`` say which.

    Raises:
        gsam.errors.QueryError: CVAT's words cannot be read.
    """
    if not (config.cvat or config.x_anylabeling or config.label_studio):
        return
    from gsam.serve.remembered import Remembered

    remembered = Remembered(app.state.sessions, config.max_sessions)
    if config.cvat:
        from gsam.serve.cvat import gateway

        gateway.install(app, config, remembered)
    if config.x_anylabeling:
        from gsam.serve import x_anylabeling, x_anylabeling_video

        x_anylabeling.install(app, remembered)
        x_anylabeling_video.install(app)
    if config.label_studio:  # after X-AnyLabeling, whose /health serves both
        from gsam.serve.label_studio import routes

        routes.install(app, config, remembered)
