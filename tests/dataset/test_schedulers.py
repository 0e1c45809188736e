"""The commands of docs/schedulers.md, as processes with what each scheduler would tell them.

``gsam`` is a stand-in that computes little, buckets are folders, and of a scheduler there are its
variables.  Only the 8 devices (pretended ones) run the real pipeline.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from gsam.dataset.label.workers import worker_of
from gsam.results.formats.label_parts import read_parts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "schedulers.md").read_text(encoding="utf-8")
AT_ONCE = 2
TOLD = re.compile(r"^(JOB_COMPLETION|SKYPILOT_|OMPI_|PMI_|SLURM_|TPU_)")


def blocks(language: str, holding: str) -> str:
    """The only block of a language that has a text."""
    (block,) = [b for b in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if holding in b]
    return str(block)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images and one that is none, commands to stand in, and what one process makes of it."""
    place = tmp_path_factory.mktemp("schedulers")
    (place / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(rng.integers(0, 256, (9, 12 - i % 5, 3), np.uint8)).save(place / "photos" / f"{i}.png")
    (place / "photos" / "bad.png").write_bytes(b"no image")
    fake = shlex.join([sys.executable, str(ROOT / "tests" / "helpers" / "fake_gsam.py")])
    for name, content in {"gsam": f'exec {fake} "$@"', "srun": 'exec "$@"'}.items():
        (place / "bin").mkdir(exist_ok=True)
        (place / "bin" / name).write_text(f"#!/bin/sh\n{content}\n")
        (place / "bin" / name).chmod(0o755)
    ran = run(place, f"gsam label {PHOTOS} {ASKED} -o {SET}", "alone")
    assert ran.returncode == 3, ran.stderr
    return place


PHOTOS, SET, ASKED = "/shared/photos", "/shared/set", '-q "cat. dog" -p grounded_sam'


def run(place: Path, script: str, out: str, **told: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the page on this machine, with what a scheduler tells it."""
    here = script.replace("gs://BUCKET", "/shared")
    for old, new in ((PHOTOS, str(place / "photos")), (SET, str(place / out))):
        assert old in here
        here = here.replace(old, new)
    assert ASKED in here
    here = here.replace("-p grounded_sam", "-p nano --part-size 2 --parts jsonl")
    environment = {name: value for name, value in os.environ.items() if not TOLD.match(name)}
    environment |= {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "FAKE_SECONDS": "0.05"}
    return subprocess.run(["bash", "-c", here], capture_output=True, text=True, env=environment | told, check=False)


def check(place: Path, script: str, out: str, told: Sequence[dict[str, str]], name: str) -> None:
    """Run a script once for each worker; together they make what one process makes."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ran = list(pool.map(lambda mine: run(place, script, out, **mine), told))
    for i, one in enumerate(ran):
        assert one.returncode == 0, one.stderr  # though one image is none
        assert f"worker {i}/{len(told)} (from {name})" in one.stderr
    assert parts(place / out) == parts(place / "alone")
    assert len(list(read_parts(place / out))) == 11


def parts(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in (folder / "parts").iterdir()}
    assert len(found) == 6
    return found


@pytest.mark.long
def test_slurm_array(place: Path) -> None:
    script = blocks("sh", "#SBATCH")
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script, re.MULTILINE))
    assert script.startswith("#!/bin/bash\n")
    assert options.keys() >= {"array", "gres", "time", "requeue"}
    first, last = map(int, options["array"].split("-"))
    tasks = range(first, last + 1)
    array = {"SLURM_ARRAY_TASK_COUNT": str(len(tasks)), "SLURM_ARRAY_TASK_MIN": str(first)}
    step = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}  # srun's, in each task
    told = [{"SLURM_ARRAY_TASK_ID": str(i), **array, **step} for i in tasks]
    check(place, script, "slurm", told, "SLURM_ARRAY_TASK_ID")


@pytest.mark.long
def test_kubernetes_indexed_job(place: Path) -> None:
    job = yaml.safe_load(blocks("yaml", "kind: Job"))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (job["apiVersion"], spec["completionMode"], pod["restartPolicy"]) == ("batch/v1", "Indexed", "Never")
    assert spec["backoffLimitPerIndex"] > 0
    assert spec["podFailurePolicy"]["rules"][0]["onPodConditions"] == [{"type": "DisruptionTarget"}]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == "tpu-v5-lite-podslice"
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "2x4"
    assert all(isinstance(value, str) for value in pod["nodeSelector"].values())
    (container,) = pod["containers"]
    assert container["resources"] == {"requests": {"google.com/tpu": 8}, "limits": {"google.com/tpu": 8}}
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment == {"JOB_COMPLETIONS": str(spec["completions"])}
    assert spec["parallelism"] == spec["completions"]
    (shell, flag), (script,) = container["command"], container["args"]
    assert (shell, flag, "\n" in script) == ("sh", "-c", False)
    told = [{"JOB_COMPLETION_INDEX": str(i), **environment} for i in range(spec["completions"])]
    check(place, shlex.join([shell, flag, script]), "job", told, "JOB_COMPLETION_INDEX")


@pytest.mark.long
def test_skypilot(place: Path) -> None:
    task = yaml.safe_load(blocks("yaml", "num_nodes"))
    assert task.keys() <= {"name", "num_nodes", "resources", "workdir", "setup", "run"}
    assert task["setup"].startswith("pip install ")
    told = [
        {"SKYPILOT_NODE_RANK": str(i), "SKYPILOT_NUM_NODES": str(task["num_nodes"])} for i in range(task["num_nodes"])
    ]
    check(place, task["run"], "sky", told, "SKYPILOT_NODE_RANK")


@pytest.mark.long
def test_tpu_pod(place: Path) -> None:
    words = shlex.split(blocks("sh", "gcloud"))
    assert words[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "POD"]
    assert "--worker=all" in words
    (script,) = [word.removeprefix("--command=") for word in words if word.startswith("--command=")]
    hosts = {"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2,10.0.0.3"}
    check(place, script, "pod", [{"TPU_WORKER_ID": str(i), **hosts} for i in range(3)], "TPU_WORKER_ID")


@pytest.mark.long
def test_a_process_for_each_gpu(place: Path) -> None:
    script = blocks("sh", "CUDA_VISIBLE_DEVICES")
    ran = run(place, script.replace("0 1 2 3 4 5 6 7", "0 1").replace("$i/8", "$i/2"), "gpus")
    assert ran.returncode == 0
    assert all(f"worker {i}/2 (from --worker)" in ran.stderr for i in range(2))
    assert parts(place / "gpus") == parts(place / "alone")


def test_the_table_names_the_variables() -> None:
    table: Any = dict(re.findall(r"^\| ([\w ,]+) \| .* \| (.*) \|$", PAGE, re.MULTILINE))
    for machines, variables in {
        "Slurm": ("SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "SLURM_NTASKS"),
        "Kubernetes": ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
        "Cloud TPU": ("TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES"),
        "SkyPilot": ("SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES"),
        "MPI": ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMI_SIZE"),
    }.items():
        assert all(f"`{variable}`" in table[machines] for variable in variables), machines
    worker = worker_of(None, {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"})
    assert worker is not None
    assert worker.told_by == "OMPI_COMM_WORLD_RANK"


@pytest.mark.long
def test_eight_devices_give_the_bytes_of_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Image.open(ROOT / "notebooks" / "scene.png") as file:
        scene = file.convert("RGB")
    for i in range(10):
        width = 300 + i % 3 * 60
        scene.crop((i * 8, i * 5, i * 8 + width, i * 5 + 300)).save(tmp_path / "in" / f"{i}.png")
    found = {}
    for devices in (1, 8):
        flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
        flags += f" --xla_force_host_platform_device_count={devices}"
        command = [sys.executable, "-m", "gsam", "label", "in", "-q", "dog. pizza", "-p", "nano"]
        ran = subprocess.run(
            [*command, "-o", str(devices), "--parts", "jsonl", "--part-size", "5"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        found[devices] = {path.name: path.read_bytes() for path in (tmp_path / str(devices) / "parts").iterdir()}
    assert len(found[1]) == 2
    assert found[8] == found[1]
    assert sum(len(row["segments"]) for row in read_parts(tmp_path / "1")) > 10
