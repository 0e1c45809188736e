"""The process that JAX works in: what would hang for ever is told or prevented."""

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


def make_room_for_callbacks() -> UsageError | None:
    """Let XLA's CPU client have a thread more than devices, whatever the number of cores.

    A program that calls Python back holds one of the threads until Python has answered, and Python
    may wait for an array that another one has to copy: with as many threads as devices both wait
    for ever.  Threads are made when JAX first computes; call this before.

    Returns:
        The error (``threads``) to raise before such a program runs, where JAX has begun to compute
        with too few threads.
    """
    import jax

    needed = max(int(getattr(jax.config, "jax_num_cpu_devices", 1)), 1) + 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("PJRT_NPROC", "")
    if (int(given) if given.isdecimal() else cores) >= needed:
        return None
    if _computing():
        return UsageError(
            f"this training calls Python from compiled programs, which takes {needed} threads, and JAX has begun with "
            f"{given or cores}: set the environment variable PJRT_NPROC={needed} before Python starts",
            "threads",
        )
    os.environ["PJRT_NPROC"] = str(needed)
    return None


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
