"""The process that JAX works in: a forked child is told what to do, where it would hang."""

from __future__ import annotations

import os
import sys

from gsam.errors import UsageError

_forked = False
"""Whether this process was forked from one that JAX had begun to work in."""


def check_process() -> None:
    """Refuse to compute in a forked child of a process that had computed.

    JAX works in threads, and a fork copies none of them: the child's first computation would wait
    for ever.

    Raises:
        UsageError: This process is such a child (``forked``).
    """
    if _forked:
        raise UsageError(
            "this process was forked from one that had used JAX already, whose threads it does not have: start "
            "processes with multiprocessing.get_context('spawn'), or load the model after the fork (docs/processes.md)",
            "forked",
        )


def _note_fork() -> None:
    global _forked
    _forked = _forked or _computing()


def _computing() -> bool:
    """Whether JAX has devices in this process; before that, a child can go on by itself."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    initialised = getattr(bridge, "backends_are_initialized", None)
    return bridge is not None and (initialised is None or bool(initialised()))


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_note_fork)
