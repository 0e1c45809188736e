"""Reading checkpoint files: every number comes back as it was, and nothing in a file is ever
executed.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gsam.errors import CheckpointError
from gsam.weights import read as reading
from gsam.weights.read import read
from tests.weights.files import Call, archive, entry, pickled, safetensors, state_dict, tensor


def refused(path: Path, code: str, text: str | None = None) -> str:
    with pytest.raises(CheckpointError, match=text) as error:
        read(path)
    assert error.value.code == code, error.value
    return str(error.value)


# torch's own files


DTYPES = ["float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]


def numpy_of(value: Any) -> np.ndarray:
    import torch

    value = value.detach().contiguous()
    if value.dtype == torch.bfloat16:
        return value.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def same(found: dict[str, reading.Tensor], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        array, want = found[name].load(), numpy_of(value)
        assert found[name].shape == want.shape, name
        assert array.dtype == want.dtype, name
        assert array.flags.c_contiguous, name
        assert array.tobytes() == want.tobytes(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_round_trip(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    base = (torch.arange(60).reshape(3, 4, 5) * 3 - 50).to(getattr(torch, dtype))
    tensors = {
        "plain": base,
        "view": base[1:, 1:3],
        "stepped": base[:, ::2],
        "transposed": base.permute(2, 0, 1),
        "expanded": base[0, 0, :1].expand(4),
        "scalar": base[1, 2, 3],
        "empty": base[:0],
        "own": (base + 1 if dtype != "bool" else ~base).clone(),
    }
    torch.save(tensors, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as file:
        assert sum("/data/" in n for n in file.namelist()) == 2  # the views share one storage
    same(read(tmp_path / "a.pth"), tensors)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_checkpoint_in_a_zip(tmp_path: Path, compression: int) -> None:
    """As EfficientSAM-S is shipped, with what a Mac puts beside it."""
    torch = pytest.importorskip("torch")
    tensors = {"a": torch.randn(3, 50), "b": torch.arange(7)}
    tensors["turned"] = tensors["a"].T
    torch.save({"model": tensors}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt.zip", "w", compression) as file:
        file.write(tmp_path / "x.pt", "weights/x.pt")
        file.writestr("__MACOSX/weights/._x.pt", b"Mac OS X")
        file.writestr("weights/._x.pt", b"Mac OS X")
        file.writestr("README", b"read me")
    same(read(tmp_path / "x.pt.zip"), tensors)


def test_zips_that_are_refused(tmp_path: Path) -> None:
    def zipped(name: str, *members: tuple[str, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as file:
            for member, content in members:
                file.writestr(member, content)
        return tmp_path / name

    inner = state_dict(tmp_path / "x.pt", {"a": np.ones(3, np.float32)}).read_bytes()
    refused(zipped("two.zip", ("a.pt", inner), ("b.pt", inner)), "checkpoint_format", "no torch checkpoint")
    refused(zipped("none.zip", ("a.txt", inner)), "checkpoint_format", "no torch checkpoint")
    refused(zipped("text.zip", ("a.pt", b"a text")), "checkpoint_format", "no torch checkpoint")
    refused(zipped("short.zip", ("a.pt", inner[:-40])), "checkpoint_truncated")
    outer = zipped("again.zip", ("a.pt", zipped("inner.zip", ("a.pt", inner)).read_bytes()))
    refused(outer, "checkpoint_format", "no torch checkpoint")  # one in one in one
    refused(zipped("bomb.zip", ("a.pt", bytes(10**7))), "checkpoint_unsafe", "10,000,000 bytes unpacked")
    evil = archive(tmp_path / "evil.pt", Call("os", "system", "true")).read_bytes()
    refused(zipped("evil.zip", ("a.pt", evil)), "checkpoint_unsafe", "os.system")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_torch_suffixes(tmp_path: Path, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2)}, tmp_path / f"x{suffix}")
    same(read(tmp_path / f"x{suffix}"), {"a": torch.ones(2)})


@pytest.mark.parametrize("key", ["model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_wrappers(tmp_path: Path, key: str, prefix: str) -> None:
    torch = pytest.importorskip("torch")
    expected = {"a.weight": torch.rand(3, 2), "a.bias": torch.rand(3)}
    inner = OrderedDict((prefix + k, torch.nn.Parameter(v)) for k, v in expected.items())
    inner._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    torch.save({key: inner, "epoch": 3, "best": 0.5, "note": "x", "sizes": torch.Size([1, 2])}, tmp_path / "a.pth")
    same(read(tmp_path / "a.pth"), expected)


def test_torch_module(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(3, 4))
    torch.save(module.state_dict(), tmp_path / "a.pth")
    same(read(tmp_path / "a.pth"), module.state_dict())


def test_torch_folder(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.arange(3)}, tmp_path / "pytorch_model.bin")
    same(read(tmp_path), {"a": torch.arange(3)})


def test_the_files_made_by_hand_are_torch_s(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7, np.int64)}
    found = torch.load(state_dict(tmp_path / "a.pth", arrays), weights_only=True)
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[k].numpy(), v) for k, v in arrays.items())
    assert {k: v.load().tolist() for k, v in read(tmp_path / "a.pth").items()} == {
        k: v.tolist() for k, v in arrays.items()
    }


def test_torch_s_old_format_says_what_to_do(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert "torch.save(torch.load(PATH, weights_only=True), NEW)" in refused(tmp_path / "a.pth", "checkpoint_format")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_read_as_data(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    inner = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten())
    module = torch.nn.Sequential(inner, torch.nn.Linear(3, 2)).half()
    torch.jit.script(module).save(str(tmp_path / "a.pt"))
    same(read(tmp_path / "a.pt"), module.state_dict())


# safetensors


@pytest.mark.parametrize("dtype", [*DTYPES[:2], *DTYPES[3:], "bfloat16"])
def test_safetensors_round_trip(tmp_path: Path, dtype: str) -> None:
    from safetensors.numpy import save_file

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    arrays = {
        "a": np.arange(-3, 9).reshape(3, 4).astype(kind),
        "scalar": np.asarray(5).astype(kind),
        "empty": np.zeros((0, 3), kind),
    }
    save_file(arrays, tmp_path / "a.safetensors", {"format": "pt"})
    found = read(tmp_path / "a.safetensors")
    assert found.keys() == arrays.keys()
    for name, want in arrays.items():
        assert found[name].load().dtype == want.dtype
        assert found[name].load().shape == want.shape
        assert found[name].load().tobytes() == want.tobytes()


def shards(folder: Path, places: dict[str, str] | None = None) -> Path:
    from safetensors.numpy import save_file

    for i in (1, 2):
        save_file({f"t{i}": np.full((2, i), i, np.float32)}, folder / f"model-0000{i}-of-00002.safetensors")
    places = places or {f"t{i}": f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def test_shards(tmp_path: Path) -> None:
    found = read(shards(tmp_path))
    assert {k: v.load().tolist() for k, v in found.items()} == {"t1": [[1], [1]], "t2": [[2, 2], [2, 2]]}


@pytest.mark.parametrize(
    "name", ["../evil.safetensors", "/etc/evil.safetensors", "sub/evil.safetensors", "..", "evil.pth"]
)
def test_an_index_names_no_file_elsewhere(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    shards(tmp_path)
    state_dict(folder / "evil.pth", {"t1": np.ones(2, np.float32)})
    safetensors(tmp_path / "evil.safetensors", {"t1": entry([1], 0, 4)}, bytes(4))
    refused(shards(folder, {"t1": name}), "checkpoint_unsafe", "outside its folder")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 3}'])
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    refused(tmp_path, "checkpoint_format", "index")


def test_a_missing_shard_and_a_missing_tensor(tmp_path: Path) -> None:
    shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    refused(tmp_path, "checkpoint_missing", "00002")
    shards(tmp_path, {"t1": "model-00001-of-00002.safetensors", "t9": "model-00001-of-00002.safetensors"})
    refused(tmp_path, "checkpoint_truncated", "t9")


ONE = json.dumps({"a": entry([2], 0, 8)}).encode()
BROKEN = {
    "empty": (b"", b"", None),
    "truncated": (ONE, bytes(7), None),
    "trailing bytes": (ONE, bytes(9), None),
    "header longer than the file": (ONE, bytes(8), 1 << 20),
    "huge header": (ONE, bytes(8), 1 << 62),
    "overlap": ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12), None),
    "hole": ({"a": entry([2], 0, 8), "b": entry([2], 12, 20)}, bytes(20), None),
    "overflow": ({"a": entry([1 << 62, 1 << 62], 0, 8)}, bytes(8), None),
    "negative": (b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', bytes(8), None),
    "size and shape differ": ({"a": entry([3], 0, 8)}, bytes(8), None),
    "not JSON": (b"{'a'}", bytes(8), None),
    "not UTF-8": (b'{"\xff":1}', bytes(8), None),
    "unknown dtype": ({"a": entry([2], 0, 8, "F31")}, bytes(8), None),
    "duplicate key": (ONE[:-1] + b"," + ONE[1:], bytes(8), None),
    "duplicate key inside": (ONE.replace(b'"shape"', b'"dtype": "I32", "shape"'), bytes(8), None),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_safetensors(tmp_path: Path, what: str) -> None:
    header, data, length = BROKEN[what]
    refused(safetensors(tmp_path / "a.safetensors", header, data, length), "checkpoint_truncated")


def test_a_dtype_that_is_not_supported(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "a.safetensors", {"a": entry([2], 0, 2, "F8_E4M3")}, bytes(2))
    refused(path, "checkpoint_format", "F8_E4M3")


def test_every_shorter_safetensors_is_refused(tmp_path: Path) -> None:
    whole = safetensors(tmp_path / "a.safetensors", ONE, bytes(8)).read_bytes()
    assert read(tmp_path / "a.safetensors")["a"].load().tolist() == [0, 0]
    for size in range(len(whole)):
        (tmp_path / "a.safetensors").write_bytes(whole[:size])
        refused(tmp_path / "a.safetensors", "checkpoint_truncated")


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    page = tmp_path / "sam.pth"
    page.write_text("\n<!DOCTYPE html><html><body>404</body></html>")
    refused(page, "checkpoint_format", "web page")
    page.rename(tmp_path / "sam.safetensors")
    refused(tmp_path / "sam.safetensors", "checkpoint_truncated", "damaged")
    (tmp_path / "b.bin").write_bytes(os.urandom(100).replace(b"P", b"Q").replace(b"\x80", b"\0").replace(b"<", b"0"))
    refused(tmp_path / "b.bin", "checkpoint_format", "neither safetensors nor")
    (tmp_path / "empty.pth").touch()
    refused(tmp_path / "empty.pth", "checkpoint_format")
    refused(tmp_path / "none.pth", "checkpoint_missing", "no such file")
    with zipfile.ZipFile(tmp_path / "pictures.pth", "w") as file:
        file.writestr("a.txt", "x")
    refused(tmp_path / "pictures.pth", "checkpoint_format", "no torch checkpoint")
    refused(archive(tmp_path / "list.pth", (1, 2)), "checkpoint_format", "no state dict")
    refused(archive(tmp_path / "words.pth", {"a": "b"}), "checkpoint_format", "no state dict")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "checkpoint_missing", "no model.safetensors")


def test_big_endian(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled({"a": tensor("float32", "0", 1, (1,), (1,))}))
        file.writestr("archive/byteorder", b"big")
        file.writestr("archive/data/0", bytes(4))
    refused(path, "checkpoint_format", "big-endian")
