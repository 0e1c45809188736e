"""Memory while loading a checkpoint: ``python -m benchmarks.load_memory``.

Writes ``benchmarks/pages/load_memory.md``.  One process with torch writes SAM ViT-H with random
numbers as a ``.pth`` with the original names; another, without torch, loads it with
`gsam.weights.store.load` and reports the peak of its resident memory over what it needed before, by
the bytes of the parameters.  Needs 2.6 GB in the temporary folder and 6 GB of memory.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

PAGES = Path(__file__).parent / "pages"
KEYS = PAGES.parents[1] / "tests" / "keys" / "lists.json.gz"
LIMIT = 1.3

WRITE = """
import gzip, json, sys, torch
keys = json.loads(gzip.decompress(open(sys.argv[1], "rb").read()))[sys.argv[2]]["keys"]
generator = torch.Generator().manual_seed(0)
torch.save({name: torch.randn(shape, generator=generator) for name, shape in keys.items()}, sys.argv[3])
"""

LOAD = """
import json, resource, sys, time
import jax, jax.numpy as jnp
from gsam.weights import store
import gsam.models.sam.port, safetensors
jnp.zeros(3).block_until_ready()
unit = 1 if sys.platform == "darwin" else 1024

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

before = resident()
began = time.perf_counter()
loaded = store.load(sys.argv[1], role="segment")
jax.block_until_ready(loaded.params)
took = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({
    "before": before, "peak": peak, "seconds": took, "name": loaded.name,
    "parameters": sum(x.nbytes for x in loaded.params.values()), "torch": "torch" in sys.modules,
}))
"""


def measure(source: str = "sam_vit_h_4b8939") -> dict[str, float]:
    """Return bytes before and at the peak of loading, bytes of the parameters, and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / f"{source}.pth")
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        subprocess.run([sys.executable, "-c", WRITE, str(KEYS), source, file], check=True, env=environment)
        done = subprocess.run(
            [sys.executable, "-c", LOAD, file], check=True, env=environment, capture_output=True, text=True
        )
    found: dict[str, float] = json.loads(done.stdout)
    expected = json.loads(gzip.decompress(KEYS.read_bytes()))[source]["keys"]
    assert not found["torch"], "gsam imported torch"
    assert found["parameters"] > 4 * 0.99 * sum(_product(s) for s in expected.values())
    return found


def _product(shape: list[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def main() -> None:
    """Measure, print and write; exit with an error above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="sam_vit_h_4b8939", help="a key list of tests/keys, of a SAM")
    args = parser.parse_args()
    found = measure(args.source)
    ratio = (found["peak"] - found["before"]) / found["parameters"]
    page = f"""# Memory while loading

Made by `python -m benchmarks.load_memory` on {datetime.date.today()}: {platform.machine()}, {os.cpu_count()} CPU cores, Python
{platform.python_version()}, CPU backend. {args.source}.pth with random numbers, float32, read without torch in its own process.

| what | value |
|---|---|
| parameters | {found["parameters"] / 1e6:.0f} MB |
| resident after importing jax and gsam, before loading | {found["before"] / 1e6:.0f} MB |
| peak resident while loading | {found["peak"] / 1e6:.0f} MB |
| **(peak - before) / parameters** | **{ratio:.3f}** (limit {LIMIT}) |
| time to load | {found["seconds"]:.1f} s |
"""
    print(page)
    if args.source == "sam_vit_h_4b8939":
        (PAGES / "load_memory.md").write_text(page)
    if ratio > LIMIT:
        sys.exit(f"loading takes {ratio:.2f} times the parameters, more than {LIMIT}")


if __name__ == "__main__":
    main()
