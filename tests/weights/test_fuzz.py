"""Files that mean harm, made by chance and by hand, take little time and memory."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from gsam.errors import CheckpointError
from gsam.weights.read import read
from tests.weights import fuzz
from tests.weights.files import archive


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_files(seed: int) -> None:
    fuzz.fuzz(300, seed)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def nested(count: int) -> bytes:
    return b")" + b"\x85" * count


ORDERED = b"ccollections\nOrderedDict\n"
BOMBS: dict[str, bytes] = {
    "a place of the memo that is far away": b"N" + b"r" + struct.pack("<I", 2**32 - 1) + b".",
    "the same in protocol 0": b"Np99999999999999\n.",
    "a text that is not there": b"X" + struct.pack("<I", 2**32 - 1) + b"a.",
    "bytes that are not there": b"\x96" + struct.pack("<Q", 2**40) + b".",
    "a number of a gigabyte": b"\x8b" + struct.pack("<i", 2**30) + b"1.",
    "digits without end": b"I" + b"9" * 100_000 + b"\n.",
    "a frame that is not there": b"\x95" + struct.pack("<Q", 2**60) + b"N.",
    "a key that is deep": b"}" + nested(200_000) + b"Ns.",
    "a key that doubles": b"}" + b")" + b"2\x86" * 60 + b"Ns.",
    "dictionaries of dictionaries": b"ccollections\nOrderedDict\nq\x00]("
    + b"}" * 4
    + b"eq\x01"
    + b"0h\x00h\x01\x85R" * 50_000
    + b".",
    "sizes again and again": b"ctorch\nSize\nq\x00]("
    + b"K\x01" * 20_000
    + b"eq\x01"
    + b"0h\x00h\x01\x85R" * 20_000
    + b".",
    "millions of dictionaries": b"(" + b"}" * 3_000_000 + b"l.",
    "state over methods": b"ccollections\nOrderedDict\n)R}" + text("get") + text("x") + b"s" + text("items") + b"Nsb.",
    "state over a network's": b"ctorch.nn.modules\nModule\n)R}" + text("state") + text("x") + b"sb.",
    "a list in itself": b"]q\x00h\x00a.",
    "a dictionary in itself": b"}q\x00" + text("model") + b"h\x00s.",
    "an unknown extension": b"\x82\x01.",
    "nothing to take": b"0.",
    "no mark": b"t.",
    "an empty one": b"",
}


@pytest.mark.parametrize("what", BOMBS)
@pytest.mark.long
def test_pickles_that_mean_harm(tmp_path: Path, what: str) -> None:
    path = archive(tmp_path / "a.pth", b"\x80\x02" + BOMBS[what])
    refused: list[CheckpointError] = []

    def run(path: Path) -> None:
        with pytest.raises(CheckpointError) as error:
            read(path)
        refused.append(error.value)

    seconds, memory = fuzz.measure(path, run)
    assert seconds < 10  # under tracemalloc, which is slow
    assert memory < 4 * path.stat().st_size + (80 << 20)
    assert len(str(refused[0])) < 400


@pytest.mark.parametrize("member", ["x/data.pkl", "x/byteorder", "weights/x.pt"])
def test_what_is_packed_is_measured(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as file:
        if member == "x/byteorder":
            file.writestr("x/data.pkl", b"\x80\x02N.")
        file.writestr(member, b"PK\x03\x04" + bytes(50 << 20))

    def run(path: Path) -> None:
        with pytest.raises(CheckpointError, match="bytes unpacked") as error:
            read(path)
        assert error.value.code == "checkpoint_unsafe"

    seconds, memory = fuzz.measure(tmp_path / "a.pth", run)
    assert seconds < 2
    assert memory < 1 << 20


@pytest.mark.long
def test_twenty_thousand_tensors_of_a_stranger(tmp_path: Path) -> None:
    import time

    from gsam.weights import store
    from tests.weights.files import entry, safetensors

    header = {f"encoder.stage{i % 7}.block{i}.conv.weight": entry([1], 4 * i, 4 * i + 4) for i in range(20_000)}
    path = safetensors(tmp_path / "a.safetensors", header, bytes(80_000))
    start = time.process_time()
    with pytest.raises(CheckpointError) as error:
        store.load(path, role="segment")
    assert error.value.code == "checkpoint_unknown"
    assert time.process_time() - start < 30
