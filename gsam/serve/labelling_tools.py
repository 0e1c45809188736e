"""The protocols of CVAT and X-AnyLabeling, put into an application that was told to speak them."""

from __future__ import annotations

from fastapi import FastAPI

from gsam.serve.config import ServeConfig


def install(app: FastAPI, config: ServeConfig) -> None:
    """Add the routes of the tools in ``config``; before others, of which they answer some too.

    Args:
        app: Its state has ``sessions``, ``batcher`` and ``integrations``.
        config: ``cvat`` and ``x_anylabeling`` say which.

    Raises:
        gsam.errors.QueryError: CVAT's words cannot be read.
    """
    if not (config.cvat or config.x_anylabeling):
        return
    from gsam.serve.remembered import Remembered

    remembered = Remembered(app.state.sessions, config.max_sessions)
    if config.cvat:
        from gsam.serve.cvat import gateway

        gateway.install(app, config, remembered)
    if config.x_anylabeling:
        from gsam.serve import x_anylabeling

        x_anylabeling.install(app, remembered)
