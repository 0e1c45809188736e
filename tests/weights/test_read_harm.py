"""Checkpoints that mean harm: nothing in them is executed, and they read nothing that is not
theirs.
"""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import CheckpointError
from gsam.weights.read import read
from tests.weights.files import Call, Name, archive, pickled, state_dict, tensor
from tests.weights.test_read import refused


def malicious(marker: Path) -> dict[str, Any]:
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Call("os", "system", f"touch {marker}"),
        "posix.system": Call("posix", "system", f"touch {marker}"),
        "eval": Call("builtins", "eval", touch),
        "exec": Call("builtins", "exec", touch),
        "eval of Python 2": Call("__builtin__", "eval", touch),
        "open": Call("builtins", "open", str(marker), "w"),
        "io.open": Call("io", "open", str(marker), "w"),
        "numpy runstring": Call("numpy.testing._private.utils", "runstring", touch, {}),
        "numpy.testing": Call("numpy.testing", "runstring", touch, {}),
        "subprocess": Call("subprocess", "Popen", ("touch", str(marker))),
        "getattr": Call("builtins", "getattr", Name("os", "system"), "x"),
        "import": Call("builtins", "__import__", "os"),
        "torch.load": Call("torch", "load", str(marker)),
        "torch hub": Call("torch.hub", "load", "a/b", "c"),
        "code": Call("torch.jit._serialization", "load", str(marker)),
        "dotted": Call("collections", "OrderedDict.fromkeys.__self__", ()),
        "a neighbour of what is known": Call("argparse", "ArgumentParser"),
    }


def evil(folder: Path, what: str, marker: Path, wrap: str) -> Path:
    call = malicious(marker)[what]
    good = tensor("float32", "0", 1, (1,), (1,))
    value = {"top": call, "in a dict": {"a": good, "b": call}, "in a wrapper": {"model": {"a": good}, "args": call}}
    return archive(folder / "evil.pth", value[wrap], {"0": bytes(4)})


@pytest.mark.parametrize("wrap", ["top", "in a dict", "in a wrapper"])
@pytest.mark.parametrize("what", malicious(Path("x")))
def test_nothing_is_executed(tmp_path: Path, what: str, wrap: str) -> None:
    marker = tmp_path / "marker"
    call = malicious(marker)[what]
    message = refused(evil(tmp_path, what, marker, wrap), "checkpoint_unsafe", "refused")
    assert not marker.exists()
    assert what == "getattr" or f"{call.module}.{call.name}" in message


def test_the_malicious_files_are_malicious(tmp_path: Path) -> None:
    """With Python's own unpickler they do what they say, so the test above tests something."""
    import pickle

    for what in ("os.system", "eval", "exec", "open"):
        marker = tmp_path / f"marker of {what.replace('.', ' ')}".replace(" ", "_")
        pickle.loads(pickled(malicious(marker)[what]))  # noqa: S301
        assert marker.exists(), what


def test_a_python_reduce_is_refused(tmp_path: Path) -> None:
    import pickle

    marker = tmp_path / "marker"

    class Open:
        def __reduce__(self) -> Any:
            return open, (str(marker), "w")

    for protocol in range(6):
        raw = pickle.dumps({"a": Open()}, protocol)
        refused(archive(tmp_path / "evil.pth", raw), "checkpoint_unsafe")
        assert not marker.exists()
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Open(), 2))
    refused(tmp_path / "bare.pth", "checkpoint_format")
    assert not marker.exists()


BEYOND = {
    "past the end": tensor("float32", "0", 4, (5,), (1,)),
    "offset past the end": tensor("float32", "0", 4, (1,), (1,), 4),
    "strides past the end": tensor("float32", "0", 4, (2, 2), (3, 1)),
    "negative offset": tensor("float32", "0", 4, (1,), (1,), -1),
    "negative stride": tensor("float32", "0", 4, (2,), (-1,), 1),
    "negative shape": tensor("float32", "0", 4, (-1,), (1,)),
    "ranks differ": tensor("float32", "0", 4, (2, 2), (1,)),
    "no storage": Call("torch._utils", "_rebuild_tensor_v2", 3, 0, (1,), (1,), False, {}),
    "words": Call("torch._utils", "_rebuild_tensor_v2", tensor("float32", "0", 4, (1,), (1,)), "x", (1,), (1,)),
}


@pytest.mark.parametrize("what", BEYOND)
def test_a_view_beyond_its_storage(tmp_path: Path, what: str) -> None:
    refused(archive(tmp_path / "a.pth", {"a": BEYOND[what]}, {"0": bytes(16)}), "checkpoint_format")


def test_a_storage_beyond_its_entry(tmp_path: Path) -> None:
    value = {"a": tensor("float32", "0", 8, (8,), (1,))}
    refused(archive(tmp_path / "a.pth", value, {"0": bytes(16)}), "checkpoint_truncated", "a are missing")
    refused(archive(tmp_path / "a.pth", value, {"1": bytes(32)}), "checkpoint_truncated", "a are missing")
    deflated = archive(tmp_path / "a.pth", value, {"0": bytes(32)}, zipfile.ZIP_DEFLATED)
    refused(deflated, "checkpoint_truncated", "a are missing")


def test_a_pickle_cannot_change_a_checked_view(tmp_path: Path) -> None:
    """The state a pickle puts into an object would move a view after it was checked, or change what
    floats are.
    """
    view = tensor("float32", "0", 4, (2, 2), (2, 1))
    view.state = {"strides": (5, -400)}
    refused(archive(tmp_path / "a.pth", {"a": view}, {"0": bytes(16)}), "checkpoint_format")
    view.state = (None, {"strides": (5, -400)})
    refused(archive(tmp_path / "a.pth", {"a": view}, {"0": bytes(16)}), "checkpoint_format")


def test_a_pickle_cannot_change_the_next_file(tmp_path: Path) -> None:
    for state in ({"dtype": "int64"}, (None, {"dtype": "int64"})):
        code = b"\x80\x02ctorch\nFloatStorage\n" + pickled(state)[2:-1] + b"b."
        refused(archive(tmp_path / "evil.pth", code), "checkpoint_format")
        good = state_dict(tmp_path / "a.pth", {"a": np.ones(2, np.float32)})
        assert read(good)["a"].load().dtype == np.float32


def test_every_shorter_archive_is_refused(tmp_path: Path) -> None:
    path = state_dict(tmp_path / "a.pth", {"a": np.ones(2, np.float32)})
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError) as error:
            read(path)
        assert error.value.code == ("checkpoint_truncated" if size >= 4 else "checkpoint_format")


def test_any_flipped_byte_gives_numbers_or_a_checkpoint_error(tmp_path: Path) -> None:
    path = state_dict(tmp_path / "a.pth", {"a": np.ones(2, np.float32)})
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        with contextlib.suppress(CheckpointError):  # anything else fails the test
            for tensor in read(path).values():
                assert tensor.load().shape == tensor.shape
