"""Networks pickled whole: their tensors get the names of ``state_dict()``, and nothing in the file
is ever executed.
"""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import CheckpointError
from gsam.weights import store
from gsam.weights.modules import Inert
from gsam.weights.read import read
from tests.weights.files import Call, Name, archive, pickled, tensor

# files as they are


@pytest.fixture
def classes() -> Iterator[dict[str, Any]]:
    """torch modules whose classes are said to be ultralytics', which is not installed here."""
    torch = pytest.importorskip("torch")
    package = types.ModuleType("ultralytics.nn.modules")

    class Conv(torch.nn.Module):
        def __init__(self, a: int, b: int) -> None:
            super().__init__()
            self.conv, self.bn, self.act = (
                torch.nn.Conv2d(a, b, 3, bias=False),
                torch.nn.BatchNorm2d(b),
                torch.nn.SiLU(),
            )

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Sequential(Conv(3, 4), torch.nn.MaxPool2d(5), torch.nn.ModuleList([Conv(4, 2)]))
            self.register_buffer("anchors", torch.arange(3.0), persistent=True)
            self.register_parameter("nothing", None)
            self.stride, self.names, self.yaml = torch.tensor([8.0, 16.0]), {0: "object"}, {"nc": 1, "scale": "s"}
            self.args = Settings()

    class Settings:
        def __init__(self) -> None:
            self.imgsz, self.metric = 1024, np.float64(0.25)

    found = {"Conv": Conv, "Model": Model, "Settings": Settings}
    names = ("ultralytics", "ultralytics.nn", "ultralytics.nn.modules")
    for name, kind in found.items():
        kind.__module__, kind.__qualname__ = names[-1], name
        setattr(package, name, kind)
    sys.modules |= {names[0]: types.ModuleType(names[0]), names[1]: types.ModuleType(names[1]), names[2]: package}
    yield found
    for name in names:
        sys.modules.pop(name, None)


def forget() -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "ultralytics"]:
        del sys.modules[name]


@pytest.mark.parametrize("where", ["model", "ema", "alone"])
def test_a_network_is_its_state_dict(tmp_path: Path, classes: dict[str, Any], where: str) -> None:
    import torch

    model = classes["Model"]().half()
    expected = model.state_dict()
    about = {
        "epoch": -1,
        "best_fitness": np.float64(0.5),
        "optimizer": None,
        "train_args": {"imgsz": 1024, "lr0": 0.01},
    }
    other = classes["Model"]().half() if where == "ema" else None
    whole = model if where == "alone" else {**about, "model": model if where == "model" else other, "ema": None}
    if where == "ema":
        whole["ema"] = model
    torch.save(whole, tmp_path / "a.pt")
    forget()
    found = read(tmp_path / "a.pt")
    assert found.keys() == expected.keys()
    assert "model.2.0.bn.running_var" in found
    for name, value in expected.items():
        array = found[name].load()
        assert array.dtype == (np.int64 if name.endswith("tracked") else np.float16), name
        np.testing.assert_array_equal(array, value.numpy())
    assert "ultralytics" not in sys.modules


def test_an_official_file_becomes_float32(tmp_path: Path) -> None:
    """FastSAM-s in half precision, all its tensors, as the modules that hold them."""
    torch = pytest.importorskip("torch")
    from benchmarks.harness.oracles.reference import fast_sam

    model = fast_sam.seeded("s").half()
    expected = model.state_dict()
    kinds = {type(m) for m in model.modules() if type(m).__module__ == fast_sam.__name__}
    package = types.ModuleType("ultralytics.nn.tasks")
    homes = {kind: kind.__module__ for kind in kinds}
    try:
        for kind in kinds:
            kind.__module__ = package.__name__
            setattr(package, kind.__qualname__, kind)
        sys.modules |= {n: types.ModuleType(n) for n in ("ultralytics", "ultralytics.nn")}
        sys.modules[package.__name__] = package
        torch.save({"model": model, "ema": None, "epoch": -1}, tmp_path / "FastSAM-s.pt")
    finally:
        forget()
        for kind, home in homes.items():
            kind.__module__ = home
    store._notice.cache_clear()
    with pytest.warns(UserWarning, match="AGPL-3.0"):
        loaded = store.load(tmp_path / "FastSAM-s.pt", role="segment")
    assert (loaded.family, loaded.config.width) == ("fast_sam", 0.5)
    kernel = expected["model.0.conv.weight"].float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(loaded.params["model/0/conv/kernel"], kernel)
    up = expected["model.22.proto.upsample.weight"].float().numpy().transpose(2, 3, 0, 1)
    np.testing.assert_array_equal(loaded.params["model/22/proto/upsample/kernel"], up)
    assert {str(v.dtype) for v in loaded.params.values()} == {"float32"}


# files that mean harm


class Made(Call):
    """A module as pickle makes one: an instance without arguments, and then its state."""

    def __init__(self, state: Any, name: str = "Conv", module: str = "ultralytics.nn.modules", *args: Any) -> None:
        super().__init__(module, name, *args, state=state)


GOOD = tensor("float32", "0", 1, (1,), (1,))


def module(**tables: Any) -> Made:
    return Made({"training": False, "_parameters": {}, "_buffers": {}, "_modules": {}, **tables})


def refused(path: Path, code: str, text: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=text) as error:
        read(path)
    assert error.value.code == code, error.value


def file(folder: Path, value: Any) -> Path:
    return archive(folder / "a.pt", value, {"0": np.float32(3).tobytes()})


def test_a_module_made_by_hand(tmp_path: Path) -> None:
    tree = module(_modules={"model": module(_parameters={"weight": GOOD, "bias": None}, _buffers={"mean": GOOD})})
    found = read(file(tmp_path, {"model": tree}))
    assert {k: v.load().tolist() for k, v in found.items()} == {"model.weight": [3.0], "model.mean": [3.0]}


def harm(marker: Path) -> dict[str, Any]:
    """Calls hidden where modules are."""
    touch = f"open({str(marker)!r}, 'w').close()"
    system, evaluate = Call("os", "system", f"touch {marker}"), Call("builtins", "eval", touch)
    return {
        "as a parameter": module(_parameters={"weight": system}),
        "as a module": module(_modules={"a": evaluate}),
        "as a module's state": Made(evaluate),
        "as the argument of a class": Call("ultralytics.nn.tasks", "Model", system),
        "in a setting": Made({"_parameters": {"weight": GOOD}, "args": Call("posix", "system", f"touch {marker}")}),
        "as a name": module(_parameters={system: GOOD}),
        "by apply": Call("builtins", "getattr", Name("torch.nn.modules", "Module"), "__reduce__"),
        "by its own torch": Call("torch", "load", str(marker)),
        "by a class next door": Call("torch.nnn", "Module"),
        "by a package of a similar name": Call("ultralytics_evil", "Model"),
        "by a package alone": Call("ultralytics", "Model"),
    }


@pytest.mark.parametrize("what", harm(Path("x")))
def test_nothing_is_executed(tmp_path: Path, what: str) -> None:
    marker = tmp_path / "marker"
    for value in (
        harm(marker)[what],
        {"model": harm(marker)[what]},
        {"model": {"a": GOOD}, "args": harm(marker)[what]},
    ):
        refused(file(tmp_path, value), "checkpoint_unsafe", "refused")
        assert not marker.exists()


def test_what_looks_like_a_class_is_not_looked_up(tmp_path: Path) -> None:
    """Functions of the packages, names with dots, and their results called again: all are one inert
    thing or an error.
    """
    marker = tmp_path / "marker"
    command = f"touch {marker}"
    for name in ("modules.module.sys.modules", "functional.os.system", "system", "__builtins__"):
        tree = module(_parameters={"weight": GOOD}, hook=Call("torch.nn.modules", name, command))
        assert read(file(tmp_path, {"model": tree})).keys() == {"weight"}
    called = (
        b"\x80\x02ctorch.nn.modules\nsystem\n)R(" + pickled(command)[2:-1] + b"tR."
    )  # the result of a class, called
    refused(file(tmp_path, called), "checkpoint_format", "not callable")
    assert not marker.exists()


@pytest.mark.parametrize(
    "state", [{"__class__": Name("torch.nn.modules", "X")}, (None, {"__setstate__": 1}), {"state": 1}, 7]
)
def test_a_state_is_kept_and_nothing_else(tmp_path: Path, state: Any) -> None:
    """A pickle that gives an object a state changes nothing of it, nor of its class, nor of the
    next file's.
    """
    refused(file(tmp_path, {"model": Made(state)}), "checkpoint_format", "no state dict")
    code = b"\x80\x02ctorch.nn.modules\nModule\n" + pickled(state)[2:-1] + b"b."  # put into the class itself
    refused(file(tmp_path, code), "checkpoint_format")
    assert Inert.__setstate__ is vars(Inert)["__setstate__"]
    assert sorted(k for k in vars(Inert) if not k.startswith("__")) == ["state"]
    one = Inert()
    assert not hasattr(one, "__dict__")
    with pytest.raises(AttributeError):
        one.other = 1  # type: ignore[attr-defined]
    tree = module(_parameters={"weight": GOOD})
    assert read(file(tmp_path, {"model": tree})).keys() == {"weight"}


def test_a_network_that_never_ends(tmp_path: Path) -> None:
    deep = module(_parameters={"weight": GOOD})
    for _ in range(70):
        deep = module(_modules={"a": deep})
    refused(file(tmp_path, deep), "checkpoint_format", "too deep")
    # BINPUT keeps a part, BINGET gives it again: each of 30 levels holds the one below twice
    code, kept = b"\x80\x02" + pickled(module(_parameters={"w": GOOD}))[2:-1] + b"q\x00", 0
    for level in range(1, 31):
        head = pickled(Made(None, "Sequential", "torch.nn.modules.container"))[2:-1]
        pair = b"}(X\x01\x00\x00\x00ah" + bytes([kept]) + b"X\x01\x00\x00\x00bh" + bytes([kept]) + b"u"
        code += b"0" + head + b"}X\x08\x00\x00\x00_modules" + pair + b"sbq" + bytes([level])
        kept = level
    refused(file(tmp_path, code + b"."), "checkpoint_format", "too many parts")
    itself = pickled(Made(None))[2:-1] + b"q\x00}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00ssb."
    refused(file(tmp_path, b"\x80\x02" + itself), "checkpoint_format", "holds itself")


@pytest.mark.parametrize(
    "tree",
    [
        module(_parameters=[1, 2]),
        module(_parameters={1: GOOD}),
        module(_modules={"a": 3}),
        module(_buffers=module()),
    ],
    ids=["a list", "a number for a name", "a number for a module", "a module for a table"],
)
def test_what_is_no_network(tmp_path: Path, tree: Any) -> None:
    refused(file(tmp_path, {"model": tree}), "checkpoint_format")


def test_a_state_dict_beside_a_network_is_read_as_before(tmp_path: Path) -> None:
    value = {"model": {"a": GOOD}, "settings": Made({"imgsz": 640}), "names": OrderedDict()}
    assert read(file(tmp_path, value)).keys() == {"a"}
