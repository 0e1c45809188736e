"""Checkpoints as training scripts leave them: the weights load, whatever lies around them."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import functools
import pathlib
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import CheckpointError
from gsam.weights import store
from gsam.weights.find import find
from gsam.weights.read import read
from tests.weights.files import Call, archive, nano_sam, safetensors, state_dict, tensor

torch = pytest.importorskip("torch")


def optimiser(kind: str) -> Any:
    net = torch.nn.Linear(3, 2)
    made = getattr(torch.optim, kind)(net.parameters(), lr=0.1)
    net(torch.ones(1, 3)).sum().backward()
    made.step()
    return made


def beside() -> dict[str, Any]:
    adam = optimiser("AdamW")
    schedules = torch.optim.lr_scheduler
    return {
        "a namespace of namespaces": argparse.Namespace(lr=1e-4, more=argparse.Namespace(a=[1, (2, "x")])),
        "a counter": collections.Counter("hello"),
        "defaultdicts": collections.defaultdict(list, a=[1], b=[np.float32(2)]),
        "a default of its own kind": collections.defaultdict(collections.Counter, a=collections.Counter("a")),
        "a deque": collections.deque([1, 2], maxlen=5),
        "arrays": {"f": np.arange(6.0).reshape(2, 3), "s": np.array(["a", "bc"]), "o": np.array([{}, None], object)},
        "a structured array": np.zeros(2, [("a", "i4"), ("b", "f8")]),
        "numpy scalars": [np.float64(1.5), np.int32(3), np.bool_(True), np.str_("x")],
        "numpy dtypes": [np.dtype("float32"), np.float16],
        "a state of numpy's random numbers": np.random.default_rng(0).bit_generator.state,
        "a random generator": np.random.default_rng(0),
        "an older random generator": np.random.RandomState(0).get_state(),
        "devices, dtypes and sizes": [torch.device("cuda:1"), torch.float16, torch.complex64, torch.Size([1, 2])],
        "a layout": torch.strided,
        "a version": torch.torch_version.TorchVersion("2.1"),
        "paths": [pathlib.Path("runs/x"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("b")],
        "times": [datetime.datetime(2026, 1, 2), datetime.timedelta(1), datetime.date(2026, 1, 2)],
        "a time of a zone": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "SGD": optimiser("SGD").state_dict(),
        "AdamW": adam.state_dict(),
        "an optimiser itself": optimiser("Adam"),
        "MultiStepLR": schedules.MultiStepLR(adam, [3, 5]).state_dict(),
        "OneCycleLR": schedules.OneCycleLR(adam, 0.1, total_steps=5).state_dict(),
        "a schedule itself": schedules.StepLR(adam, 3),
        "a scaler": torch.amp.GradScaler("cpu").state_dict(),
        "states of random numbers": [torch.get_rng_state(), torch.Generator().get_state()],
        "sets and the like": [{1, 2}, frozenset("ab"), complex(1, 2), range(3), slice(1, 2), bytearray(b"x"), b"y"],
        "huge numbers": [2**120, -(2**70), 1e308, float("nan")],
        "simple things": [types.SimpleNamespace(a=1), decimal.Decimal("1.5"), uuid.UUID(int=5)],
        "a partial function": functools.partial(torch.nn.Linear, 3),
        "a loss": torch.nn.CrossEntropyLoss(),
        "complex and quantised tensors": [torch.ones(2, dtype=torch.complex64), torch.ones(2).to(torch.float8_e5m2)],
        "a sparse tensor": torch.eye(3).to_sparse(),
        "tuples of keys": {(1, 2): 3, ("a", (0, 1)): 4, None: 5},
        "a long list": list(range(5000)),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("what", beside())
@pytest.mark.long
def test_what_lies_beside(tmp_path: Path, what: str, protocol: int) -> None:
    weights = {"a.weight": torch.rand(3, 2), "b": torch.rand(4).to(torch.bfloat16)}
    content = {"epoch": 3, what: beside()[what], "model": weights, "last": beside()[what]}
    torch.save(content, tmp_path / "a.pth", pickle_protocol=protocol)
    found = read(tmp_path / "a.pth")
    assert found.keys() == weights.keys()
    np.testing.assert_array_equal(found["a.weight"].load(), weights["a.weight"].numpy())


def test_a_class_of_the_script_is_no_obstacle(tmp_path: Path) -> None:
    value = {
        "model": {"a": tensor("float32", "0", 1, (1,), (1,))},
        "config": Call("__main__", "TrainConfig", state={"lr": 0.1}),
        "history": Call("mmengine.logging.history_buffer", "HistoryBuffer", state={"max_length": 3}),
        "hydra": Call("omegaconf.dictconfig", "DictConfig", state={"_content": {}}),
    }
    assert read(archive(tmp_path / "a.pth", value, {"0": bytes(4)})).keys() == {"a"}


def test_tensors_of_other_kinds(tmp_path: Path) -> None:
    class Own(torch.Tensor):
        pass

    plain = torch.rand(2, 3)
    weights = {
        "parameter": torch.nn.Parameter(plain.clone()),
        "buffer": torch.nn.Buffer(plain.clone()),
        "noted": plain.clone().requires_grad_(),
    }
    weights["parameter"].note = {"a": 1}
    torch.save(weights, tmp_path / "a.pth")
    found = read(tmp_path / "a.pth")
    assert found.keys() == weights.keys()
    for tensor_ in found.values():
        np.testing.assert_array_equal(tensor_.load(), plain.numpy())


KEYS = ["model", "state_dict", "params", "model_state_dict", "ema", "net", "network", "weights", "anything"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_around(tmp_path: Path, key: str) -> None:
    path = state_dict(tmp_path / "a.pth", {"a": np.ones(2, np.float32)}, key)
    assert read(path).keys() == {"a"}


def test_dictionaries_in_dictionaries(tmp_path: Path) -> None:
    weights, other = {"a": torch.ones(1)}, {"a": torch.zeros(1)}
    optim = optimiser("AdamW").state_dict()
    for content in (
        {"ema": {"module": weights, "updates": 3}},
        {"state": {"net": weights}, "step": torch.tensor(3)},
        {"ema": other, "model": weights},
        {"optimizer": optim, "lr_scheduler": {}, "mine": weights},
        {"model": {"state_dict": {"module.a": torch.ones(1)}}},
    ):
        torch.save(content, tmp_path / "a.pth")
        found = read(tmp_path / "a.pth")
        assert found.keys() == {"a"}
        assert found["a"].load().tolist() == [1.0]


def test_no_state_dict_says_what_there_is(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "optimizer": optimiser("SGD").state_dict(), "best": 0.5}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"holds no state dict; it has epoch, optimizer, best\. Save"):
        read(tmp_path / "a.pth")
    torch.save({"left": {"a": torch.ones(1)}, "right": {"a": torch.ones(1)}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="several state dicts, left, right"):
        read(tmp_path / "a.pth")


@pytest.fixture(scope="module")
def nano() -> Any:
    return nano_sam()


PREFIXES = ["_orig_mod.", "model.", "sam.", "module.", "model._orig_mod.", "a.b.c.", "module.model._orig_mod."]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.long
def test_prefixes(tmp_path: Path, nano: Any, prefix: str, suffix: str) -> None:
    params, official = nano
    named = {prefix + k: v for k, v in official.items()}
    if suffix == ".pth":
        path = state_dict(tmp_path / "a.pth", named, "state_dict")
    else:
        from safetensors.numpy import save_file

        path = tmp_path / "a.safetensors"
        save_file(named, path)
    loaded = store.load(path, role="segment")
    assert loaded.family == "sam"
    name = "mask_decoder/iou_token/embedding"
    np.testing.assert_array_equal(loaded.params[name], params[name])


def test_a_part_that_was_compiled(tmp_path: Path, nano: Any) -> None:
    named = {k.replace("image_encoder.", "image_encoder._orig_mod."): v for k, v in nano[1].items()}
    assert store.load(state_dict(tmp_path / "a.pth", named), role="segment").family == "sam"


def test_what_has_another_prefix_is_left_over(tmp_path: Path, nano: Any) -> None:
    named = {f"model.{k}": v for k, v in nano[1].items()} | {"criterion.weight": np.ones(2, np.float32)}
    with pytest.raises(CheckpointError, match=r"left over: criterion\.weight"):
        store.load(state_dict(tmp_path / "a.pth", named), role="segment")


@pytest.mark.parametrize("name", ["a.ckpt", "a.PTH", "a.pth.tar", "weights", "v1.2", "a.torch", "A.SAFETENSORS"])
def test_any_name_of_a_file(tmp_path: Path, nano: Any, name: str) -> None:
    if name == "A.SAFETENSORS":
        from safetensors.numpy import save_file

        save_file(nano[1], tmp_path / name)
    else:
        state_dict(tmp_path / name, nano[1])
    assert find(tmp_path / name).path == tmp_path / name
    assert store.load(tmp_path / name, role="segment").family == "sam"


def test_a_safetensors_of_another_suffix(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "a.bin", {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4))
    assert read(path).keys() == {"a"}
