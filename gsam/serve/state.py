"""Settings, models, videos and followings that an application holds for its routes."""

from __future__ import annotations

from fastapi import Request

from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.tracking import Jobs
from gsam.serve.videos import Videos


def config_of(request: Request) -> ServeConfig:
    """Give the settings of the server."""
    found: ServeConfig = request.app.state.config
    return found


def engine_of(request: Request) -> Engine:
    """Give the models of the server."""
    found: Engine = request.app.state.engine
    return found


def videos_of(request: Request) -> Videos:
    """Give the videos that clients uploaded."""
    found: Videos = request.app.state.videos
    return found


def jobs_of(request: Request) -> Jobs:
    """Give the followings of objects."""
    found: Jobs = request.app.state.jobs
    return found
