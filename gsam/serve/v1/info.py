"""Is it there, is it ready, what does it serve."""

from __future__ import annotations

import dataclasses

from fastapi import APIRouter, Request

from gsam.build.recipes import recipes
from gsam.serve.engine import Engine
from gsam.types import Json
from gsam.version import __version__

router = APIRouter(tags=["server"])


@router.get("/livez", summary="Whether the process answers")
async def livez() -> Json:
    return {"status": "ok", "version": __version__}


@router.get("/readyz", summary="Whether the models are loaded and compiled; 503 until then")
async def readyz(request: Request) -> Json:
    engine: Engine = request.app.state.engine
    engine.check_ready()
    return {"status": "ready"}


@router.get("/v1/models", summary="What answers words and clicks")
async def models(request: Request) -> Json:
    engine: Engine = request.app.state.engine
    engine.check_ready()
    return {
        "pipeline": engine.pipe.name,
        "predictor": engine.predictor.name,
        "threshold": engine.pipe.limits.threshold,
        "limits": dataclasses.asdict(engine.pipe.limits),
        "batch": engine.together,
        "version": __version__,
    }


@router.get("/v1/recipes", summary="Names of the recipes that a server can be started with")
async def known_recipes() -> Json:
    return {"recipes": recipes()}
