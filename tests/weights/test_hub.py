"""Models from the hub, through the hub's own client: first, again, offline, interrupted, wrong,
refused, two at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.cli import weights
from gsam.errors import CheckpointError
from gsam.weights.find import CheckpointSource
from gsam.weights.rules import rename
from tests.weights.files import LISTS, official, random, state_dict
from tests.weights.hub_server import TOKEN, Hub, Repository, oid, serve

CONFIG = {
    "model_type": "clip",
    "projection_dim": 24,
    "text_config": dict(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=100, max_position_embeddings=16
    ),
    "vision_config": dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=64, patch_size=8),
}
SCRIPT = """
import hashlib, json, sys
import numpy as np
from huggingface_hub import constants
from gsam.errors import CheckpointError
from gsam.weights import find, hashes, identify, store

constants.DOWNLOAD_CHUNK_SIZE = 10_000  # less than the files here, as the real one is less than real files
entries, names = json.loads(sys.argv[1]), sys.argv[2:]
find.manifest = identify.manifest = store.manifest = lambda: entries
identify.family_of = lambda name: None  # the sizes are those of config.json
checked, verify = [], hashes.verify_hash
store.verify_hash = hashes.verify_hash = lambda path, sha256: (checked.append(str(path)), verify(path, sha256))
for name in names:
    try:
        loaded = store.load(name)
        digests = {k: hashlib.sha256(np.asarray(v).tobytes()).hexdigest() for k, v in loaded.params.items()}
        print(json.dumps({"family": loaded.family, "params": digests, "checked": len(checked)}))
    except CheckpointError as error:
        print(json.dumps({"code": error.code, "text": str(error), "checked": len(checked)}))
"""


def digests(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: hashlib.sha256(np.asarray(value).tobytes()).hexdigest() for name, value in params.items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, bytes]]:
    """A tiny CLIP: the digests of its parameters, and its files as the hub has them."""
    from safetensors.numpy import save

    from gsam.models import clip
    from gsam.models.clip import port

    shapes = clip.spec(port.config_from_hf(CONFIG)).shapes
    layout = port.LAYOUTS[0]
    names = [n for n in LISTS["openai__clip-vit-base-patch32"]["keys"] if rename(n, shapes, layout) in shapes]
    params = random(shapes)
    tensors = official(params, shapes, layout, names)
    tensors["logit_scale"] = tensors["logit_scale"].reshape(())
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": save(tensors),
        "pytorch_model.bin": state_dict(tmp_path_factory.mktemp("model") / "model.bin", tensors).read_bytes(),
        "README.md": b"a tiny CLIP",
    }
    return digests(params), files


@pytest.fixture
def hub(model: Any) -> Iterator[Hub]:
    files = model[1]

    def without(*names: str) -> dict[str, bytes]:
        return {n: b for n, b in files.items() if n not in names}

    repositories = {
        "owner/clip": Repository(files, ("main", "v1")),
        "owner/gated": Repository(files, gated=True),
        "owner/old": Repository(without("model.safetensors")),
        "owner/no-config": Repository(without("config.json")),
        "owner/no-weights": Repository(without("model.safetensors", "pytorch_model.bin")),
        "owner/nothing": Repository({"README.md": b"soon"}),
    }
    with serve(repositories) as running:
        yield running


def surroundings(folder: Path, hub: Hub | str, **more: str) -> dict[str, str]:
    """Variables of a process that knows no hub but this one, and keeps everything in the folder."""
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and k.lower() not in proxies}
    return {
        **kept,
        "HF_ENDPOINT": hub if isinstance(hub, str) else hub.url,
        "HF_HOME": str(folder / "hf"),
        "GSAM_CACHE": str(folder / "gsam"),
        "JAX_PLATFORMS": "cpu",
        **more,
    }


def start(env: Mapping[str, str], *names: str, manifest: Mapping[str, Any] = {}) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, json.dumps(manifest), *names]
    return subprocess.Popen(command, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def load(env: Mapping[str, str], *names: str, manifest: Mapping[str, Any] = {}) -> list[dict[str, Any]]:
    """What loading these gave, one after the other, in a process of its own."""
    return rows(start(env, *names, manifest=manifest))


def loaded(env: Mapping[str, str], *names: str, manifest: Mapping[str, Any] = {}) -> list[dict[str, Any]]:
    """The same, where all of it succeeds."""
    given = load(env, *names, manifest=manifest)
    assert not [row for row in given if "code" in row]
    return given


def cached(folder: Path, repository: str = "owner/clip") -> dict[str, bytes]:
    """The files that the hub's cache shows of a repository."""
    root = folder / "hf" / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots"
    return {f.name: f.read_bytes() for f in root.glob("*/*") if f.is_file()}


def blobs(folder: Path) -> list[Path]:
    return sorted((folder / "hf" / "hub" / "models--owner--clip" / "blobs").glob("*"))


@pytest.mark.long
def test_first_and_again(tmp_path: Path, hub: Hub, model: Any) -> None:
    params, files = model
    new, old = loaded(surroundings(tmp_path, hub), "owner/clip", "owner/old")
    assert new["family"] == old["family"] == "clip"
    assert new["params"] == old["params"] == params
    assert cached(tmp_path) == {n: files[n] for n in ("config.json", "model.safetensors")}
    assert cached(tmp_path, "owner/old") == {n: files[n] for n in ("config.json", "pytorch_model.bin")}
    assert len(hub.fetched()) == 4
    assert len(hub.fetched("/model.safetensors")) == len(hub.fetched("/pytorch_model.bin")) == 1

    hub.asked.clear()
    again, tagged = loaded(surroundings(tmp_path, hub), "owner/clip", "owner/clip@v1")
    assert again["params"] == tagged["params"] == params
    assert hub.fetched() == []
    assert {p for _, p, _ in hub.asked if "owner" in p} == {
        "/api/models/owner/clip/revision/main",
        "/api/models/owner/clip/revision/v1",
    }


@pytest.mark.parametrize("more", [{"HF_HUB_OFFLINE": "1"}, {}], ids=["offline", "unreachable"])
@pytest.mark.long
def test_without_network(tmp_path: Path, model: Any, more: Mapping[str, str]) -> None:
    with serve({"owner/clip": Repository(model[1])}) as hub:
        pass  # nobody listens there any more
    fill(tmp_path, "owner/clip", model[1])
    here, missing = load(surroundings(tmp_path, hub, **more), "owner/clip", "owner/old")
    assert here["params"] == model[0]
    assert missing["code"] == "hub_offline"
    assert re.search("not in the cache.*Load it once with network, or give the path", missing["text"])


def fill(folder: Path, repository: str, files: Mapping[str, bytes]) -> None:
    """Put a repository into the hub's cache."""
    root = folder / "hf" / "hub" / f"models--{repository.replace('/', '--')}"
    commit = Repository(files).commit
    for name in ("config.json", "model.safetensors"):
        blob, link = root / "blobs" / oid(name, files[name]), root / "snapshots" / commit / name
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(files[name])
        link.symlink_to(blob)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)


@pytest.mark.long
def test_an_interrupted_download(tmp_path: Path, hub: Hub, model: Any) -> None:
    params, files = model
    hub.reset_after = 50_000
    broken, after = load(surroundings(tmp_path, hub), "owner/clip", "owner/nothing")
    assert broken["code"] == "download_failed"
    assert "run the command again" in broken["text"]
    assert after["code"] == "checkpoint_missing"
    assert "model.safetensors" not in cached(tmp_path)
    assert oid("model.safetensors", files["model.safetensors"]) not in [b.name for b in blobs(tmp_path)]

    hub.asked.clear()
    hub.stop_after = 50_000  # the client itself goes on from here
    assert loaded(surroundings(tmp_path, hub), "owner/clip")[0]["params"] == params
    assert [r for m, p, r in hub.asked if m == "GET" and p.endswith("safetensors")] == [None, "bytes=50000-"]
    assert cached(tmp_path)["model.safetensors"] == files["model.safetensors"]
    assert not [b for b in blobs(tmp_path) if b.suffix == ".incomplete"]


@pytest.mark.long
def test_the_hash_of_the_manifest(tmp_path: Path, hub: Hub, model: Any) -> None:
    params, files = model
    right = files["model.safetensors"]
    flipped = bytearray(right)
    flipped[-5] ^= 1
    hub.wrong["model.safetensors"] = bytes(flipped)
    sha256 = hashlib.sha256(right).hexdigest()
    manifest = {
        "one": {"hub": "owner/clip", "sha256": sha256},
        "many": {"hub": "owner/clip", "revision": "v1", "sha256": {"model.safetensors": sha256}},
        "other": {"hub": "owner/clip", "sha256": {"model-00001.safetensors": sha256}},
        "none": {"hub": "owner/clip"},
    }
    env = surroundings(tmp_path, hub)
    refused = load(env, "one", "many", manifest=manifest)
    for row in refused:
        assert row["code"] == "checkpoint_hash"
        assert f"sha256 {hashlib.sha256(flipped).hexdigest()}, expected {sha256}" in row["text"]
    named = Path(refused[0]["text"].split(" is not the file")[0])
    assert named.read_bytes() == flipped
    assert not list((tmp_path / "gsam").rglob("*"))  # neither a note nor a converted copy

    named.unlink()  # as the message says
    hub.wrong.clear()
    one, many, other, again, none = load(env, "one", "many", "other", "one", "none", manifest=manifest)
    assert one["params"] == many["params"] == again["params"] == none["params"] == params
    assert other["code"] == "checkpoint_missing"
    assert [row["checked"] for row in (one, many, other, again, none)] == [1] * 5
    os.utime(named, ns=(1, 1))  # no longer the file that was checked
    named.write_bytes(flipped)
    changed, trusting = load(env, "one", "none", manifest=manifest)
    assert (changed["code"], changed["checked"]) == ("checkpoint_hash", 1)
    assert trusting["code"] == "checkpoint_hash"  # without a hash in the manifest, the hub's own counts


def test_verify_knows_the_hashes_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    known = {"a.safetensors": hashlib.sha256(b"a.safetensors").hexdigest()}
    monkeypatch.setattr(weights, "_entries", lambda: {"one": {"hub": "owner/clip", "sha256": known}})
    found = list(weights._hashes("one", CheckpointSource("one", tmp_path, "one")))
    assert [(how.split(":")[0], well) for _, how, well in found] == [("a.safetensors", True), ("b.safetensors", None)]
    known["a.safetensors"] = "0" * 64
    with pytest.raises(CheckpointError, match=f"expected {'0' * 64}"):
        list(weights._hashes("one", CheckpointSource("one", tmp_path, "one")))


@pytest.mark.long
def test_what_the_hub_refuses(tmp_path: Path, hub: Hub, model: Any) -> None:
    expected = {
        "owner/gated": ("hub_gated", "accept its terms"),
        "owner/none": ("hub_not_found", "no model 'owner/none' on the hub"),
        "owner/clip@v2": ("hub_revision", "no revision 'v2'"),
        "owner/no-weights": ("checkpoint_missing", "no .safetensors and no pytorch_model.bin"),
        "owner/nothing": ("checkpoint_missing", "no .safetensors and no pytorch_model.bin"),
        "owner/no-config": ("checkpoint_unknown", "it has no config.json"),
    }
    for name, row in zip(expected, load(surroundings(tmp_path, hub), *expected), strict=True):
        assert row.get("code") == expected[name][0], (name, row)
        assert expected[name][1] in row["text"]
    assert cached(tmp_path, "owner/gated") == {}


@pytest.mark.long
def test_two_at_once(tmp_path: Path, hub: Hub, model: Any) -> None:
    env = surroundings(tmp_path, hub)
    processes = [start(env, "owner/clip") for _ in range(2)]
    for process in processes:
        assert rows(process)[0]["params"] == model[0]
    assert cached(tmp_path)["model.safetensors"] == model[1]["model.safetensors"]
    assert not [f for f in tmp_path.rglob("*") if f.suffix in (".incomplete", ".partial")]


def pull(env: Mapping[str, str], name: str) -> tuple[int, str, str]:
    """``gsam weights pull`` where somebody watches: exit code, stdout, stderr."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, 100))
    command = [sys.executable, "-m", "gsam", "weights", "pull", name]
    process = subprocess.Popen(command, env=dict(env), stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen, end = b"", time.monotonic() + 120
    while time.monotonic() < end and (select.select([ours], [], [], 0.1)[0] or process.poll() is None):
        try:
            seen += os.read(ours, 1 << 16) if select.select([ours], [], [], 0)[0] else b""
        except OSError:  # all have closed the other end
            break
    os.close(ours)
    out, _ = process.communicate(timeout=120)
    return process.returncode, out.decode(), seen.decode(errors="replace")


@pytest.mark.long
def test_pull(tmp_path: Path, hub: Hub, model: Any) -> None:
    code, out, err = pull(surroundings(tmp_path, hub, HF_TOKEN=TOKEN), "owner/gated")
    assert code == 0, err
    assert out.count("\n") == 1
    assert (Path(out.strip()) / "model.safetensors").read_bytes() == model[1]["model.safetensors"]
    assert "100%" in err
    assert "2/2" in err

    hub.broken = True
    code, out, err = pull(surroundings(tmp_path, hub), "owner/clip")
    assert (code, out) == (1, "")
    assert err.rstrip().endswith("[hub_error]")
    assert "500" in err


@pytest.mark.long
def test_pull_without_network(tmp_path: Path) -> None:
    with serve({}) as hub:
        pass
    code, out, err = pull(surroundings(tmp_path, hub), "owner/clip")
    assert (code, out) == (1, "")
    assert err.rstrip().endswith("[hub_offline]")
