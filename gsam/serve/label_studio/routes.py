"""The paths that Label Studio asks of a model back end.

Bodies are never logged: ``/setup`` brings a live token of Label Studio, which is not kept.
"""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, BackgroundTasks, FastAPI, Request, Response

from gsam.errors import UsageError
from gsam.serve.batcher import Batcher
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.integrations import Integration
from gsam.serve.label_studio.access import SETTINGS, LabelStudioAccess
from gsam.serve.label_studio.labelling import Labelling
from gsam.serve.label_studio.labelling_config import NONE, read_config
from gsam.serve.problems import ServeError
from gsam.serve.remembered import Remembered
from gsam.serve.uploads import read_json
from gsam.serve.waiting import within
from gsam.types import Json

router = APIRouter(tags=["label studio"])
NAME = "label_studio"
EVENTS = frozenset(
    {
        f"{what}_{how}"
        for what in ("ANNOTATION", "TASK", "PROJECT", "LABEL_LINK")
        for how in ("CREATED", "UPDATED", "DELETED")
    }
    | {f"{what}_{how}" for what in ("ANNOTATIONS", "TASKS") for how in ("CREATED", "UPDATED", "DELETED")}
    | {"START_TRAINING", "DRAFT_CREATED", "DRAFT_UPDATED", "DRAFT_DELETED", "REVIEW_CREATED", "REVIEW_UPDATED"}
)
AGAIN = 20.0
"""Seconds until Label Studio is looked at again."""
LONGEST = 3600.0
"""Seconds that a request of many tasks may take; each has its own deadline."""


class LabelStudio:
    """A connection with Label Studio: its state, and the answers to it.

    Args:
        engine: The models.
        batcher: The queue for words.
        config: The settings of the server.
        remembered: Holds encoded images.
    """

    def __init__(self, engine: Engine, batcher: Batcher, config: ServeConfig, remembered: Remembered) -> None:
        self.engine = engine
        self.access = LabelStudioAccess(config)
        hint = "waiting for Label Studio: add this server's address in a project's Settings > Model"
        self.status = Integration("Label Studio", hint if self.access.url else f"{hint}; {SETTINGS}", self.look)
        self.labelling = Labelling(engine, batcher, config, self.access, self.status, remembered)
        self._looked = -AGAIN
        self._wrong: str | None = None

    async def look(self) -> None:
        """See whether Label Studio can be reached with its token, now and then."""
        if self.access.configured is None or time.monotonic() - self._looked < AGAIN:
            return
        self._looked = time.monotonic()
        wrong = await asyncio.to_thread(self.access.look)
        if wrong is not None:
            self.status.problem(wrong)
        elif self._wrong is not None and self.status.message == self._wrong:
            self.status.ok(f"{self.access.name} answers, and knows the token")
        self._wrong = None if wrong is None else self.status.message

    async def set_up(self, fields: Json) -> None:
        """Hear of a project, and tell what is wrong with its labels."""
        self.status.counts["setups"] += 1
        elsewhere = self.access.learn(fields.get("hostname"))
        try:
            labels = await asyncio.to_thread(read_config, fields.get("schema"))
        except UsageError as error:
            self.status.problem(str(error))
            return
        if not labels.controls:
            self.status.problem(NONE)
            return
        kinds = ", ".join(dict.fromkeys(control.kind for control in labels.controls))
        names = labels.labels
        listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        project = str(fields.get("project") or "?").partition(".")[0][:20]
        text = f"connected with project {project}; labels: {listed or 'those of each task'}; tools: {kinds}"
        if elsewhere:
            text += f". Its images are asked for at {elsewhere} only when told so: {SETTINGS}"
        self.status.ok(text)


def install(app: FastAPI, config: ServeConfig, remembered: Remembered) -> None:
    """Let an application speak Label Studio's protocol."""
    connection = LabelStudio(app.state.engine, app.state.batcher, config, remembered)
    app.state.label_studio = connection
    app.state.integrations[NAME] = connection.status
    app.include_router(router)


@router.get("/health", summary="Whether the models are there; 503 until then")
async def health(request: Request) -> Json:
    _of(request).engine.check_ready()
    return {"status": "UP", "model_class": "GSAM"}


@router.post("/setup", summary="Connect a project")
async def setup(request: Request, later: BackgroundTasks) -> Json:
    connection = _of(request)
    connection.engine.check_ready()
    fields = await read_json(request)
    fields.pop("access_token", None)
    await connection.set_up(fields)
    later.add_task(connection.look)  # afterwards: Label Studio may not answer while it waits for us
    return {"model_version": connection.labelling.model_version}


@router.post("/predict", summary="Label tasks, or answer a click in the editor")
async def predict(request: Request) -> Json:
    connection = _of(request)
    connection.engine.check_ready()
    fields = await read_json(request)
    began = time.monotonic()
    try:
        return {"results": await within(request, connection.labelling.predict(fields), LONGEST)}
    except ServeError as error:
        if error.code == "client_gone":
            connection.status.problem(
                f"Label Studio stopped waiting after {time.monotonic() - began:.0f} s: choose fewer tasks at a time, "
                "or start it with a larger ML_TIMEOUT_PREDICT (seconds; 100 by default)"
            )
        raise


@router.post("/webhook", summary="Hear of events; 201 for known ones", status_code=201)
async def webhook(request: Request, response: Response) -> Json:
    fields = await read_json(request)
    counts = _of(request).status.counts
    if str(fields.get("action")) in EVENTS:
        counts["events"] += 1
        return {"status": "ok"}
    counts["unknown events"] += 1
    response.status_code = 200
    return {"status": "unknown event"}


@router.get("/versions", summary="Names of the model's versions")
async def versions(request: Request) -> Json:
    return {"versions": [_of(request).labelling.model_version]}


def _of(request: Request) -> LabelStudio:
    connection: LabelStudio = request.app.state.label_studio
    return connection
