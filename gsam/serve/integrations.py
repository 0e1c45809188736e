"""State of the labelling tools that this server talks with, for the page's status panel."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter, Request

from gsam.serve.problems import LOG
from gsam.types import Json

router = APIRouter(tags=["server"])
State = Literal["waiting", "ok", "problem"]
LONGEST = 600
"""Characters of a message, at most."""
AGAIN = 60.0
"""Seconds in which one problem is logged once."""


class Integration:
    """One labelling tool: whether it was heard of, and what went wrong last.

    Args:
        title: Name of the tool, for people.
        message: Of the time before anything was heard of it.
        look: Looks at the other side before a status is given; it must end soon, and not raise.
    """

    def __init__(self, title: str, message: str, look: Callable[[], Awaitable[None]] | None = None) -> None:
        self.title, self.look = title, look
        self.state: State = "waiting"
        self.message = message
        self.counts = collections.Counter[str]()
        self._problem: _Told | None = None

    def ok(self, message: str) -> None:
        """Something worked."""
        self.state, self.message = "ok", message[:LONGEST]

    def problem(self, message: str) -> None:
        """Something did not work: into the log and the status, in words for the user.

        Args:
            message: Without tokens, without parts of bodies, without query strings.
        """
        message = " ".join(message.split())[:LONGEST]
        now = time.monotonic()
        if self._problem is None or self._problem.message != message or now - self._problem.logged > AGAIN:
            LOG.warning("%s%s", "" if message.startswith(self.title) else f"{self.title}: ", message)
            self._problem = _Told(message, now, now)
        self._problem = dataclasses.replace(self._problem, at=now)
        self.state, self.message = "problem", message
        self.counts["problems"] += 1

    def told(self) -> Json:
        """State, message, counts, and the last problem with its age, if there was one."""
        found: Json = {"title": self.title, "state": self.state, "message": self.message, "counts": dict(self.counts)}
        if self._problem is not None:
            ago = round(time.monotonic() - self._problem.at, 1)
            found["last_problem"] = {"message": self._problem.message, "seconds_ago": ago}
        return found


@dataclasses.dataclass(frozen=True)
class _Told:
    message: str
    at: float
    logged: float


@router.get("/v1/integrations", summary="Whether labelling tools are connected, and what is wrong if they are not")
async def integrations(request: Request) -> Json:
    known: dict[str, Integration] = request.app.state.integrations
    for one in known.values():
        if one.look is not None:
            await one.look()
    return {name: one.told() for name, one in known.items()}
