"""Which of how many workers this process is, by what schedulers say."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from gsam.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Worker:
    """One of some workers."""

    index: int
    """From 0."""
    count: int
    told_by: str
    """Where that is known from."""


def worker_of(text: str | None = None, environment: Mapping[str, str] = os.environ) -> Worker | None:
    """Tell which worker this process is.

    Args:
        text: ``"3/8"``: number 3 (from 0) of 8; by default what a scheduler's variables say.
        environment: The variables.

    Returns:
        None where nothing is said: then parts are claimed as they come.

    Raises:
        UsageError: ``text`` is no such thing (``worker_invalid``).
    """
    if text is not None:
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not found or int(found[1]) >= int(found[2]):
            raise UsageError(f"a worker is its number from 0 and their count, as 3/8, not {text!r}", "worker_invalid")
        return Worker(int(found[1]), int(found[2]), "--worker")
    for index, count in PAIRS:
        if (worker := _numbers(environment.get(index), environment.get(count), index)) is not None:
            return worker
    if "SLURM_ARRAY_TASK_ID" in environment:
        first = environment.get("SLURM_ARRAY_TASK_MIN", "0")
        at = str(int(environment["SLURM_ARRAY_TASK_ID"]) - int(first))
        return _numbers(at, environment.get("SLURM_ARRAY_TASK_COUNT"), "SLURM_ARRAY_TASK_ID")
    hosts = environment.get("TPU_WORKER_HOSTNAMES") or environment.get("TPU_PROCESS_ADDRESSES")
    if hosts:
        return _numbers(environment.get("TPU_WORKER_ID"), str(len(hosts.split(","))), "TPU_WORKER_ID")
    return None


PAIRS = (
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
    ("SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
"""Variables of Kubernetes' indexed jobs, SkyPilot, MPI and Slurm.

Kubernetes gives the index only; its count is set beside it in the job (docs/label.md).
"""


def _numbers(index: str | None, count: str | None, told_by: str) -> Worker | None:
    if index is None or count is None or not (index.isdigit() and count.isdigit()):
        return None
    return Worker(int(index), int(count), told_by) if int(index) < int(count) and int(count) > 1 else None
