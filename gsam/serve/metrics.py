"""Numbers for whoever watches a server: ``/metrics`` in Prometheus' text."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gsam.serve.batcher import Batcher
from gsam.serve.engine import Engine

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64)
NO_ROUTE = "none"
"""The route of paths that are none of ours: clients choose them, so they are never a label."""
METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")

router = APIRouter(tags=["server"])


class Metrics:
    """The numbers of one application, in a registry of its own."""

    def __init__(self, app: FastAPI, engine: Engine, batcher: Batcher) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "gsam_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "gsam_request_seconds",
            "Seconds until an answer begins.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "gsam_batch_images", "Images computed together.", buckets=IMAGES, registry=self.registry
        )
        batcher.on_batch = self.batches.observe
        self._gauge("gsam_queue", "Requests that wait for the models.", lambda: batcher.waiting)
        self._gauge("gsam_ready", "Whether the models are loaded and compiled.", lambda: engine.ready)
        self._gauge("gsam_compilations", "Programs compiled so far.", lambda: engine.compilations)
        self._gauge("gsam_sessions", "Images that are kept for clicks.", lambda: _count(app, "sessions"))
        self._gauge("gsam_session_bytes", "Memory that they take.", lambda: app.state.sessions.bytes)
        self._gauge("gsam_videos", "Videos that are kept.", lambda: _count(app, "videos"))

    def _gauge(self, name: str, text: str, value: Any) -> None:
        Gauge(name, text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Write all numbers as Prometheus reads them."""
        return generate_latest(self.registry)


class Measure:
    """ASGI middleware that counts requests and takes their time, by route and never by path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, told = time.perf_counter(), False

        def tell(status: int) -> None:
            nonlocal told
            if told:
                return
            told = True
            route = _route(scope)
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - begun)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                tell(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            tell(500)
            raise


@router.get("/metrics", summary="Numbers for whoever watches, as Prometheus reads them")
async def read_metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def install(app: FastAPI, engine: Engine, batcher: Batcher) -> None:
    """Count the requests of an application; call it last, so that those refused count too."""
    app.state.metrics = Metrics(app, engine, batcher)
    app.include_router(router)
    app.add_middleware(Measure, metrics=app.state.metrics)


def _route(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else NO_ROUTE


def _count(app: FastAPI, name: str) -> int:
    kept = getattr(app.state, name, None)
    try:
        return len(kept) if kept is not None else 0
    except TypeError:
        return 0
