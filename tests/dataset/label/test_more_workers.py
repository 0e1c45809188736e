"""Workers by what further variables say, and a TPU host's metadata server."""

from __future__ import annotations

import http.server
import threading

import pytest

from gsam.dataset.label.workers import Worker, worker_of

ARRAY = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "5"}
TPU = {"TPU_WORKER_ID": "1", "TPU_WORKER_HOSTNAMES": "a,b,c"}
TOLD = {
    "slurm": ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, (2, 4, "SLURM_PROCID")),
    "array with a step": (
        {**ARRAY, "SLURM_ARRAY_TASK_ID": "18", "SLURM_ARRAY_TASK_STEP": "4"},
        (2, 5, "SLURM_ARRAY_TASK_ID"),
    ),
    "array of several": ({**ARRAY, "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (5, 10, "SLURM_ARRAY_TASK_ID")),
    "array of one": ({**ARRAY, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, (2, 5, "SLURM_ARRAY_TASK_ID")),
    "array, nonsense": ({**ARRAY, "SLURM_ARRAY_TASK_ID": "x"}, None),
    "array with gaps": ({**ARRAY, "SLURM_ARRAY_TASK_ID": "90"}, None),
    "tpu": (TPU, (1, 3, "TPU_WORKER_ID")),
    "slices": ({**TPU, "MEGASCALE_SLICE_ID": "1", "MEGASCALE_NUM_SLICES": "2"}, (4, 6, "TPU_WORKER_ID")),
    "a single host": ({"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "localhost"}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize("kind", TOLD)
def test_schedulers(kind: str) -> None:
    environment, expected = TOLD[kind]
    assert worker_of(None, environment) == (None if expected is None else Worker(*expected))


class Metadata(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        attributes = {"agent-worker-number": "2", "worker-network-endpoints": "a:1:10.0.0.1,b:2:10.0.0.2,c:3:10.0.0.3"}
        told = attributes.get(self.path.rpartition("/")[2])
        asked = self.headers["Metadata-Flavor"] == "Google" and self.path.startswith(
            "/computeMetadata/v1/instance/attributes/"
        )
        self.send_response(200 if told and asked else 404)
        self.end_headers()
        self.wfile.write((told or "").encode())

    def log_message(self, *_: object) -> None: ...


def test_a_tpu_host_asks_the_metadata_server() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        assert worker_of(None, {"GCE_METADATA_HOST": host}) == Worker(2, 3, "agent-worker-number")
        server.shutdown()
    assert worker_of(None, {"GCE_METADATA_HOST": host}) is None
