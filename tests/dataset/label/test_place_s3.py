"""A bucket spoken to by the real protocol: several processes at a local server of S3."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

from gsam.dataset.label.claims import Claims
from gsam.dataset.label.parts import done_parts, write_part
from gsam.dataset.label.place import Place, place_of
from gsam.dataset.label.plan import Plan
from gsam.errors import UsageError
from gsam.results.formats.label_parts import read_parts
from tests.dataset.label.test_place_parts import plan_of, row

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
WORKER = """
import sys, time
from gsam.dataset.label.claims import Claims
from gsam.dataset.label.parts import done_parts, write_part
from gsam.dataset.label.place import place_of
from tests.dataset.label.test_place_parts import plan_of, row

plan = plan_of(place_of(sys.argv[1]), sys.argv[2])
claims, did = Claims(plan.place, 0.3, 2.0), []
while len(done := done_parts(plan)) < plan.parts:
    for part in sorted(set(range(plan.parts)) - done):
        claim = claims.take(part)
        if claim is not None:
            if part not in done_parts(plan):
                time.sleep(float(sys.argv[3]))
                write_part(plan, part, [row(entry.id) for entry in plan.entries(part)])
                did.append(part)
            claim.release()
    time.sleep(0.1)
print(*did)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """A server of this machine, as variables that clients read."""
    import boto3
    import botocore.exceptions

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                boto3.client("s3", "us-east-1", endpoint_url=url, **given).create_bucket(Bucket="gsam-test")
                break
            except botocore.exceptions.EndpointConnectionError:
                assert time.monotonic() < until
        variables = {name.upper(): value for name, value in given.items()}
        yield {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1", **variables}
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A prefix in a bucket that nobody else uses."""
    import s3fs

    for name, value in server.items():
        monkeypatch.setenv(name, value)
    yield f"s3://gsam-test/{uuid.uuid4().hex}"
    s3fs.S3FileSystem.clear_instance_cache()


def start(place: Place | str, kind: str, seconds: float = 0.05) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(place), kind, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def content(place: Place) -> dict[str, bytes]:
    names = [*place.names(""), *(f"{folder}/{n}" for folder in ("parts", "claims") for n in place.names(folder))]
    return {name: place.read(name) for name in names}


def test_the_protocol_refuses_a_second(bucket: str, tmp_path: Path) -> None:
    place = place_of(bucket)
    place.prepare()
    assert place.names("") == []  # no probe stays
    assert place.put_once("plan.json", b"first")
    assert not place.put_once("plan.json", b"second")
    assert place.read("plan.json") == b"first"
    assert place.read_range("plan.json", 1, 3) == b"ir"
    assert place.read_range("plan.json", 0, 0) == b""
    for size in (3, 120 * 2**20):  # one request, and one of several parts
        name = f"parts/{size}"
        for number, answer in ((b"1", True), (b"2", False)):
            file = tmp_path / "file"
            file.write_bytes(number * size)
            assert place.put_file(name, file, once=True) is answer
        assert place.size(name) == size
        assert place.read_range(name, size - 2, size) == b"11"
    assert abs(place.age("plan.json")) < 60
    place.touch("claims/1", b"x")
    assert place.read("claims/1") == b"x"
    place.remove("claims/1")
    assert place.names("claims") == []
    assert place.modified("claims/1") is None


def test_what_cannot_be_reached_is_said(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such bucket") as error:
        place_of("s3://another-bucket/run").prepare()
    assert error.value.code == "output_not_writable"
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"cannot reach s3://gsam-test/\w+: .* tries in") as error:
        place_of(bucket).prepare()
    assert error.value.code == "store_unreachable"
    assert time.monotonic() - began < 60
    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(UsageError, match="credentials") as error:
        place_of(bucket).prepare()
    assert error.value.code == "store_denied"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_two_processes_share_the_parts(kind: str, bucket: str, tmp_path: Path) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    place = place_of(bucket)
    did = [process.communicate(timeout=120)[0].split() for process in [start(place, kind, 0.5) for _ in range(2)]]
    assert sorted(part for parts in did for part in parts) == ["0", "1", "2", "3"]  # nothing twice
    assert all(did)
    local = plan_of(place_of(tmp_path), kind)
    for part in range(4):
        write_part(local, part, [row(entry.id) for entry in local.entries(part)])
    assert content(place) == content(local.place)
    assert [r["id"] for r in read_parts(bucket)] == [f"{i}.png" for i in range(10)]


def test_killed_at_any_moment(bucket: str) -> None:
    place, rng = place_of(bucket), random.Random(0)
    for number in range(6):
        process = start(place, "jsonl", 0.4)
        time.sleep(1.5 + rng.uniform(0, 2))
        process.kill()
        process.wait()
        if number == 2:
            place.put("claims/000001", json.dumps({"host": "elsewhere", "pid": 1}).encode())
    assert start(place, "jsonl").communicate(timeout=120)
    plan = plan_of(place)
    assert done_parts(plan) == {0, 1, 2, 3}
    assert [r["id"] for r in read_parts(place)] == [f"{i}.png" for i in range(10)]
    Claims(place).sweep(done_parts(plan))
    assert set(content(place)) == {"plan.json", plan.listing, *(f"parts/0000{i}.jsonl" for i in range(4))}


def test_a_claim_without_a_sign_of_life_is_taken_over(bucket: str) -> None:
    place = place_of(bucket)
    place.prepare()
    place.put("claims/000001", json.dumps({"host": "elsewhere", "pid": 1}).encode())
    one, two = Claims(place, 0.5, 3.0), Claims(place, 0.5, 3.0)
    assert one.take(1) is None
    time.sleep(4.5)
    claim = one.take(1)
    assert claim is not None
    time.sleep(4.5)
    assert two.take(1) is None  # the holder lives
    claim.release()
    assert place.names("claims") == []


def test_a_plan_is_joined(bucket: str) -> None:
    plan = plan_of(place_of(bucket))
    assert isinstance(plan, Plan)
    assert plan_of(place_of(bucket)).key == plan.key
