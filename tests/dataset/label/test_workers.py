"""Which of how many workers a process is, by what schedulers say."""

from __future__ import annotations

import pytest

from gsam.dataset.label.turns import _order
from gsam.dataset.label.workers import Worker, worker_of
from gsam.errors import UsageError

TOLD = {
    "slurm": ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, (2, 4, "SLURM_PROCID")),
    "slurm array": (
        {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "5",
         "SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
        (2, 5, "SLURM_ARRAY_TASK_ID"),
    ),
    "kubernetes": ({"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "8"}, (0, 8, "JOB_COMPLETION_INDEX")),
    "skypilot": ({"SKYPILOT_NODE_RANK": "1", "SKYPILOT_NUM_NODES": "2"}, (1, 2, "SKYPILOT_NODE_RANK")),
    "mpi": ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, (3, 4, "OMPI_COMM_WORLD_RANK")),
    "tpu": ({"TPU_WORKER_ID": "1", "TPU_WORKER_HOSTNAMES": "a,b,c"}, (1, 3, "TPU_WORKER_ID")),
    "one task": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None),
    "an index alone": ({"JOB_COMPLETION_INDEX": "3"}, None),
    "nonsense": ({"SLURM_PROCID": "x", "SLURM_NTASKS": "4"}, None),
    "nothing": ({}, None),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOLD)
def test_schedulers(kind: str) -> None:
    environment, expected = TOLD[kind]
    assert worker_of(None, environment) == (None if expected is None else Worker(*expected))


def test_the_flag_counts_more() -> None:
    assert worker_of("3/8", {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}) == Worker(3, 8, "--worker")
    for text in ("8/8", "x", "1", "-1/2", "1/0"):
        with pytest.raises(UsageError, match="a worker is its number"):
            worker_of(text)


def test_every_part_is_somebody_s_and_help_comes_from_the_end() -> None:
    orders = [list(_order(10, Worker(i, 3, ""))) for i in range(3)]
    assert orders[0] == [0, 3, 6, 9, 8, 7, 5, 4, 2, 1]
    assert sorted(part for i, order in enumerate(orders) for part in order[: len(range(i, 10, 3))]) == list(range(10))
    assert list(_order(3, None)) == [0, 1, 2]
