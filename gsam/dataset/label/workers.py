"""Which of how many workers this process is, by what schedulers say."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path

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
    return _of_slurm(environment) or _of_tpu(environment) or _of_metadata(environment)


PAIRS = (
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
    ("SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)
"""Variables of Kubernetes' indexed jobs, SkyPilot and MPI.

Kubernetes gives the index only; its count is set beside it in the job (docs/schedulers.md).
"""
METADATA = "metadata.google.internal"
SECONDS = 2.0
"""The longest that the metadata server may take."""


def _of_slurm(environment: Mapping[str, str]) -> Worker | None:
    """A task of an array, of which each may have several processes."""
    index, count = _number(environment, "SLURM_ARRAY_TASK_ID"), _number(environment, "SLURM_ARRAY_TASK_COUNT")
    process, processes = environment.get("SLURM_PROCID"), environment.get("SLURM_NTASKS")
    if index is None or count is None:
        return _numbers(process, processes, "SLURM_PROCID")
    first, step = _number(environment, "SLURM_ARRAY_TASK_MIN"), _number(environment, "SLURM_ARRAY_TASK_STEP")
    task = (index - (first or 0)) // (step or 1)
    inner = _numbers(process, processes, "") or Worker(0, 1, "")
    at, all_of_them = task * inner.count + inner.index, count * inner.count
    return _numbers(str(at), str(all_of_them), "SLURM_ARRAY_TASK_ID")


def _of_tpu(environment: Mapping[str, str]) -> Worker | None:
    """A host of a TPU slice, or of several slices."""
    hosts = environment.get("TPU_WORKER_HOSTNAMES") or environment.get("TPU_PROCESS_ADDRESSES")
    index = _number(environment, "TPU_WORKER_ID")
    if not hosts or index is None:
        return None
    count = len(hosts.split(","))
    at = (_number(environment, "MEGASCALE_SLICE_ID") or 0) * count + index
    return _numbers(str(at), str((_number(environment, "MEGASCALE_NUM_SLICES") or 1) * count), "TPU_WORKER_ID")


def _of_metadata(environment: Mapping[str, str]) -> Worker | None:
    """A host of a TPU slice that was reached by ssh: it has no variables, but a metadata server."""
    host = environment.get("GCE_METADATA_HOST")
    if host is None and not _is_tpu_vm():
        return None
    try:
        index, hosts = (_metadata(host or METADATA, key) for key in ("agent-worker-number", "worker-network-endpoints"))
    except (OSError, ValueError):
        return None
    return _numbers(index.strip(), str(len(hosts.split(","))), "agent-worker-number")


def _is_tpu_vm() -> bool:
    if not (glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")):
        return False
    try:
        return "Google" in Path("/sys/class/dmi/id/product_name").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _metadata(host: str, key: str) -> str:
    url = f"http://{host}/computeMetadata/v1/instance/attributes/{key}"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=SECONDS) as answer:
        return str(answer.read(65536).decode())


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None


def _numbers(index: str | None, count: str | None, told_by: str) -> Worker | None:
    if index is None or count is None or not (index.isdecimal() and count.isdecimal()):
        return None
    return Worker(int(index), int(count), told_by) if int(index) < int(count) and int(count) > 1 else None
