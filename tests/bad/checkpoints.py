"""Checkpoints, hubs and recipes that cannot be used: what is made, and the error and exit code it
must give.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gsam.build.pipelines import load
from gsam.build.stages import stage
from gsam.errors import CheckpointError, GsamError, UsageError
from gsam.weights import hashes, store
from tests.bad import hubs
from tests.weights import files


@dataclasses.dataclass(frozen=True)
class Row:
    """One bad input."""

    id: str
    """The number of its kind, and a letter."""
    what: str
    make: Callable[[Path], Callable[[], Any]]
    """Prepares it in a folder; what comes back must fail."""
    error: type[GsamError]
    code: str
    exit: int


@functools.cache
def _nano() -> dict[str, np.ndarray]:
    return files.nano_sam()[1]


def _load(path: Path) -> Callable[[], Any]:
    return lambda: store.load(path, role="segment")


def _pickle(module: str, name: str, *args: str) -> Callable[[Path], Callable[[], Any]]:
    def make(folder: Path) -> Callable[[], Any]:
        marker = folder / "marker"
        call = files.Call(module, name, *(a.format(marker=marker) for a in args))
        path = files.archive(folder / "x.pth", {"weight": call})

        def run() -> None:
            try:
                store.load(path)
            finally:
                assert not marker.exists(), "the file was executed"

        return run

    return make


def _safetensors(header: Any, data: bytes, length: int | None = None) -> Callable[[Path], Callable[[], Any]]:
    return lambda folder: _load(files.safetensors(folder / "x.safetensors", header, data, length))


def _changed(**changes: Any) -> Callable[[Path], Callable[[], Any]]:
    """The nano segmenter with tensors changed: None removes one, a function is applied."""

    def make(folder: Path) -> Callable[[], Any]:
        tensors = dict(_nano())
        for name, change in changes.items():
            if change is None:
                del tensors[name]
            else:
                tensors[name] = change(tensors.get(name))
        return _load(files.state_dict(folder / "x.pth", tensors))

    return make


def _of_the_other_size(folder: Path) -> Callable[[], Any]:
    source = "IDEA-Research__grounding-dino-base"
    files.hollow(folder, source, {"model_type": "grounding-dino"})  # which without sizes is the tiny model's
    return lambda: store.load(folder, role="detect")


def _poisoned(value: np.ndarray) -> np.ndarray:
    value = value.copy()
    value.flat[7] = np.nan
    return value


def _truncated(folder: Path) -> Callable[[], Any]:
    path = files.state_dict(folder / "x.pth", _nano())
    path.write_bytes(path.read_bytes()[:-1000])
    return _load(path)


def _page(folder: Path) -> Callable[[], Any]:
    (folder / "x.pth").write_text("<!doctype html><title>404</title>")
    return _load(folder / "x.pth")


def _flipped(folder: Path) -> Callable[[], Any]:
    path = files.state_dict(folder / "x.pth", _nano())
    raw = bytearray(path.read_bytes())
    import hashlib

    right = hashlib.sha256(raw).hexdigest()
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    return lambda: hashes.verify_hash(path, right)


def _bomb(folder: Path) -> Callable[[], Any]:
    return _load(files.archive(folder / "x.pth", b"\x80\x02(" + b"}" * 3_000_000 + b"l."))


def _packed_bomb(folder: Path) -> Callable[[], Any]:
    with zipfile.ZipFile(folder / "x.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", bytes(50 << 20))
    return _load(folder / "x.pth")


def _dangling(folder: Path) -> Callable[[], Any]:
    (folder / "model.safetensors").symlink_to("gone")
    return _load(folder)


def _resnet(folder: Path) -> Callable[[], Any]:
    return _load(files.state_dict(folder / "RN50.pt", {"visual.layer1.0.conv1.weight": np.ones((2, 2), np.float32)}))


def _no_weights(folder: Path) -> Callable[[], Any]:
    return _load(files.archive(folder / "x.pth", {"epoch": 3, "args": files.Call("argparse", "Namespace", state={})}))


def _config(**vision: Any) -> Callable[[Path], Callable[[], Any]]:
    def make(folder: Path) -> Callable[[], Any]:
        files.safetensors(folder / "model.safetensors", {"a": files.entry([2], 0, 8)}, bytes(8))
        (folder / "config.json").write_text(json.dumps({"model_type": "sam", "vision_config": vision | _FEW | vision}))
        return _load(folder)

    return make


_FEW = {"num_hidden_layers": 1, "global_attn_indexes": [0]}


def _preparation(folder: Path) -> Callable[[], Any]:
    load_ = _config()(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5, 0.5, 0.5]}))
    return load_


def _runs(folder: Path) -> Callable[[], Any]:
    (folder / "checkpoint-500").mkdir()
    files.state_dict(folder / "checkpoint-500" / "pytorch_model.bin", _nano())
    return _load(folder)


def _no_tokenizer(folder: Path) -> Callable[[], Any]:
    from gsam.weights.folders import data_folder

    path = folder / "detector.safetensors"
    path.write_bytes((data_folder("nano") / "detector.safetensors").read_bytes())
    return lambda: stage("detect", str(path), {})


def _network(folder: Path) -> Callable[[], Any]:
    """A network pickled whole, in which a call hides where a tensor should be."""
    marker = folder / "marker"
    tensors = {"weight": files.Call("os", "system", f"touch {marker}")}
    made = files.Call("ultralytics.nn.tasks", "SegmentationModel", state={"_parameters": tensors})
    path = files.archive(folder / "x.pt", {"model": made})

    def run() -> None:
        try:
            store.load(path)
        finally:
            assert not marker.exists(), "the file was executed"

    return run


def _recipe(text: str) -> Callable[[Path], Callable[[], Any]]:
    def make(folder: Path) -> Callable[[], Any]:
        (folder / "x.toml").write_text(text)
        return lambda: load(folder / "x.toml")

    return make


_LINEAR = "image_encoder.blocks.0.mlp.lin1.weight"
_TWO = {"a": files.entry([2], 0, 8)}
_TWICE = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
_UNSAFE, _BROKEN, _UNFIT = "checkpoint_unsafe", "checkpoint_truncated", "checkpoint_mismatch"

_TABLE: tuple[tuple[str, str, Callable[[Path], Callable[[], Any]], type[GsamError], str], ...] = (
    ("32a", "a pickle that runs a command", _pickle("os", "system", "touch {marker}"), CheckpointError, _UNSAFE),
    (
        "32b",
        "a pickle that evaluates code",
        _pickle("builtins", "eval", "open({marker!r}, 'w')"),
        CheckpointError,
        _UNSAFE,
    ),
    (
        "32c",
        "a pickle that uses numpy's test tools",
        _pickle("numpy.testing._private.utils", "runstring", "open({marker!r}, 'w')", "x"),
        CheckpointError,
        _UNSAFE,
    ),
    ("32d", "a pickle that opens a file", _pickle("builtins", "open", "{marker}", "w"), CheckpointError, _UNSAFE),
    ("32e", "a network in a .pt that hides a call", _network, CheckpointError, "checkpoint_unsafe"),
    ("33a", "a truncated .pth", _truncated, CheckpointError, _BROKEN),
    ("33b", "a truncated .safetensors", _safetensors(_TWO, bytes(7)), CheckpointError, _BROKEN),
    ("33c", "a .safetensors with bytes after its end", _safetensors(_TWO, bytes(9)), CheckpointError, _BROKEN),
    (
        "33d",
        "a .safetensors whose tensors overlap",
        _safetensors(_TWO | {"b": files.entry([2], 4, 12)}, bytes(12)),
        CheckpointError,
        _BROKEN,
    ),
    (
        "33e",
        "a .safetensors whose sizes overflow",
        _safetensors({"a": files.entry([1 << 62, 1 << 62], 0, 8)}, bytes(8)),
        CheckpointError,
        _BROKEN,
    ),
    (
        "33f",
        "a .safetensors with an endless header",
        _safetensors(_TWO, bytes(8), 1 << 62),
        CheckpointError,
        _BROKEN,
    ),
    ("33g", "a .safetensors with a tensor twice", _safetensors(_TWICE, bytes(8)), CheckpointError, _BROKEN),
    ("33h", "a web page named .pth", _page, CheckpointError, "checkpoint_format"),
    (
        "34a",
        "a model that is not known here",
        _safetensors({"layer.weight": files.entry([2], 0, 8)}, bytes(8)),
        CheckpointError,
        "checkpoint_unknown",
    ),
    ("34b", "a checkpoint without one tensor", _changed(**{_LINEAR: None}), CheckpointError, _UNFIT),
    (
        "34c",
        "a checkpoint with one tensor too many",
        _changed(**{"head.weight": lambda _: np.ones(3, np.float32)}),
        CheckpointError,
        _UNFIT,
    ),
    (
        "34d",
        "a checkpoint with a transposed tensor",
        _changed(**{_LINEAR: lambda x: np.ascontiguousarray(x.T)}),
        CheckpointError,
        _UNFIT,
    ),
    (
        "34e",
        "a checkpoint with integer weights",
        _changed(**{_LINEAR: lambda x: x.astype(np.int64)}),
        CheckpointError,
        "checkpoint_format",
    ),
    ("34f", "a checkpoint of Grounding DINO in another size", _of_the_other_size, CheckpointError, _UNFIT),
    ("32f", "a pickle that makes far more than its file", _bomb, CheckpointError, _UNSAFE),
    ("33i", "a .pth whose packed pickle is 50 MB", _packed_bomb, CheckpointError, _UNSAFE),
    ("33j", "a checkpoint that is a link to nothing", _dangling, CheckpointError, "checkpoint_missing"),
    ("34g", "a CLIP with a ResNet", _resnet, CheckpointError, "checkpoint_unknown"),
    ("34h", "a training file without weights", _no_weights, CheckpointError, "checkpoint_format"),
    ("34i", "a config.json with another activation", _config(hidden_act="relu"), CheckpointError, "checkpoint_unknown"),
    (
        "34j",
        "a config.json with a size that is none",
        _config(num_hidden_layers="12"),
        CheckpointError,
        "checkpoint_format",
    ),
    ("34k", "a config.json of a million layers", _config(num_hidden_layers=10**6), CheckpointError, _UNFIT),
    ("34l", "a preprocessor_config.json with another mean", _preparation, CheckpointError, "checkpoint_unknown"),
    ("34m", "a folder of runs without weights itself", _runs, CheckpointError, "checkpoint_missing"),
    ("34n", "a model that reads text, without tokenizer", _no_tokenizer, CheckpointError, "tokenizer_missing"),
    ("35", "a file with one bit flipped", _flipped, CheckpointError, "checkpoint_hash"),
    ("36", "weights with a NaN", _changed(**{_LINEAR: _poisoned}), CheckpointError, "checkpoint_not_finite"),
    ("37a", "a hub model without network", hubs.hub("some/model", 0), CheckpointError, "hub_offline"),
    ("37b", "a hub model with HF_HUB_OFFLINE=1, not cached", hubs.offline, CheckpointError, "hub_offline"),
    ("37c", "a gated hub model", hubs.hub("some/model", 403, "GatedRepo"), CheckpointError, "hub_gated"),
    (
        "37d",
        "a hub model that does not exist",
        hubs.hub("some/model", 404, "RepoNotFound"),
        CheckpointError,
        "hub_not_found",
    ),
    (
        "37e",
        "a revision that does not exist",
        hubs.hub("some/model@v9", 404, "RevisionNotFound"),
        CheckpointError,
        "hub_revision",
    ),
    ("37f", "a name no hub model can have", hubs.hub("so me/mo del", 500), CheckpointError, "hub_not_found"),
    ("37h", "a model that a person has to fetch, not fetched", hubs.by_hand, CheckpointError, "checkpoint_missing"),
    ("37g", "a disk that is full", hubs.full, CheckpointError, "download_failed"),
    ("38", "two first loads at once of a wrong file", hubs.together, CheckpointError, "checkpoint_hash"),
    ("39a", "a recipe that is not TOML", _recipe("detect ="), UsageError, "usage"),
    ("39b", "a recipe with an unknown table", _recipe("[dtect]\nname = 'nano_owl'"), UsageError, "usage"),
    ("39c", "a recipe with an unknown key", _recipe("[detect]\nnam = 'nano_owl'"), UsageError, "usage"),
    ("39d", "a recipe with a value of the wrong type", _recipe("[detect]\nname = 3"), UsageError, "usage"),
    ("39e", "a recipe without a detector", _recipe("[segment]\nname = 'nano_sam'"), UsageError, "usage"),
    ("39f", "a model that is not registered", _recipe("[detect]\nname = 'nano_owll'"), UsageError, "model_unknown"),
)

ROWS = tuple(Row(*row, exit=2 if row[3] is UsageError else 1) for row in _TABLE)
