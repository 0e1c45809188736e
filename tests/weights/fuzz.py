"""Mutate checkpoint files and read them: numbers or a `CheckpointError`, soon and in little memory.

``python -m tests.weights.fuzz 10000`` tries ten thousand (about ten minutes); the tests try a few.
Each file may take 2 seconds, and four times its size and what reading any file takes.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import struct
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gsam.errors import CheckpointError
from gsam.weights.read import read
from tests.weights import files

SECONDS = 2.0
BESIDE = 24 << 20
"""Bytes that reading may take beside four times the file: what a zip or a pickle may always become.
"""


def seeds(folder: Path) -> list[bytes]:
    """A state dict, a training file, a network, a zip of one, and safetensors."""
    rng = np.random.default_rng(0)
    tensors = {f"layer.{i}.weight": rng.normal(size=(7, 5 + i)).astype(np.float32) for i in range(12)}
    made = [files.state_dict(folder / "a.pth", tensors).read_bytes()]
    made.append(files.state_dict(folder / "b.pth", tensors, "state_dict").read_bytes())
    tree = files.Call("torch.nn.modules.conv", "Conv2d", state={
        "_parameters": {"weight": files.tensor("float32", "0", 4, (2, 2), (2, 1))}, "_buffers": {}, "_modules": {},
        "args": files.Call("argparse", "Namespace", state={"lr": 0.1, "names": ["a", (1, 2**70)]}),
    })  # fmt: skip
    made.append(files.archive(folder / "c.pt", {"model": tree, "epoch": 3}, {"0": bytes(16)}).read_bytes())
    import zipfile

    with zipfile.ZipFile(folder / "d.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.pt", made[0])
    made.append((folder / "d.zip").read_bytes())
    from safetensors.numpy import save

    return [*made, save(tensors)]


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """A file with a few bytes, numbers or blocks changed."""
    raw = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(raw))
        kind = rng.randrange(7)
        if kind == 0:
            raw[at] = rng.randrange(256)
        elif kind == 1:
            raw[at] ^= 1 << rng.randrange(8)
        elif kind == 2:  # a size
            form = rng.choice(("<H", "<I", "<Q"))
            value = rng.choice((0, 1, 0x7F, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63))
            number = struct.pack(form, value % (1 << 8 * struct.calcsize(form)))
            raw[at : at + len(number)] = number
        elif kind == 3:
            del raw[at : at + rng.randrange(1, 64)]
        elif kind == 4:
            raw[at:at] = raw[max(at - rng.randrange(1, 200), 0) : at]
        elif kind == 5:  # an instruction of a pickle
            raw[at] = rng.choice(
                b"\x80\x81\x85\x86\x8a\x8b\x8c\x8d\x8e\x8f\x90\x92\x93\x94\x95\x96()0123KMJXcRbQqrhjtu}]esa.l d"
            )
        else:
            del raw[at:]
        if not raw:
            return bytes(seed[:1])
    return bytes(raw)


def attempt(path: Path) -> None:
    """Read a file and all its numbers, as far as it can be read."""
    with contextlib.suppress(CheckpointError):
        for tensor in read(path).values():
            tensor.load()


def measure(path: Path, run: Callable[[Path], None]) -> tuple[float, int]:
    """Seconds of processor time, and the most bytes of Python's and NumPy's memory."""
    tracemalloc.start()
    start = time.process_time()
    try:
        run(path)
        return time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def fuzz(count: int, seed: int) -> tuple[float, int]:
    """Read mutated files; the longest time and the most memory.

    Raises:
        AssertionError: A file took too long or too much, or gave another error.
    """
    rng = random.Random(seed)
    slowest, largest = 0.0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals = seeds(folder)
        for number in range(count):
            raw = mutated(rng.choice(originals), rng)
            path = folder / f"fuzz{rng.choice(('.pth', '.pt', '.safetensors', '.ckpt', ''))}"
            path.write_bytes(raw)
            try:
                seconds, memory = measure(path, attempt)
            except Exception as error:
                raise AssertionError(f"file {number} of seed {seed}: {error!r}") from error
            assert seconds < SECONDS, f"file {number} of seed {seed} took {seconds:.1f} s"
            assert memory < 4 * len(raw) + BESIDE, f"file {number} of seed {seed} took {memory:,} bytes"
            slowest, largest = max(slowest, seconds), max(largest, memory)
            path.unlink()
    return slowest, largest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seconds, memory = fuzz(options.count, options.seed)
    print(f"{options.count} files: at most {seconds:.2f} s and {memory / 1e6:.1f} MB")
