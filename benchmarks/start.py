"""Time and size of a first use: ``python -m benchmarks.start``.

Writes ``benchmarks/pages/start.md``.  Whole processes, timed from outside, alternating and
repeated; the median is reported.  Measures the cold start of ``gsam segment`` on nano with an empty
and with a warm compile cache, ``gsam --help``, the number of programs compiled for 50 images of
mixed sizes and 10 queries, and the size of an installation.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PAGES = Path(__file__).parent / "pages"
SCENE = PAGES.parents[1] / "notebooks" / "scene.png"


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return how long a command runs; it must succeed."""
    began = time.perf_counter()
    subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
    return time.perf_counter() - began


def starts(repeats: int) -> dict[str, list[float]]:
    """Time ``gsam --help``, and ``gsam segment`` cold and warm; return seconds by name."""
    found: dict[str, list[float]] = {"help": [], "cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats):
            cache = {"GSAM_CACHE": str(Path(folder) / str(i))}
            out = str(Path(folder) / f"out{i}")
            segment = [
                sys.executable,
                "-m",
                "gsam",
                "segment",
                "-p",
                "nano",
                str(SCENE),
                "-q",
                "dog. pizza",
                "-o",
                out,
                "--overwrite",
            ]
            found["cold"].append(seconds(segment, cache))
            found["warm"].append(seconds(segment, cache))
            found["help"].append(seconds([sys.executable, "-m", "gsam", "--help"], cache))
    return found


def compilations() -> int:
    """Count the programs that one nano pipeline compiles for 50 sizes of images and 10 queries."""
    import gsam

    pipe = gsam.load("nano")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*rng.integers(60, 900, 2), 3), dtype=np.uint8) for _ in range(50)]
    words = ["dog", "cat", "red apple", "banana", "a pizza", "key", "tree", "fish", "horse", "clock"]
    queries = [words[: i + 1] for i in range(10)]
    for i, image in enumerate(images):
        pipe(image, queries[i % 10])
    list(pipe.stream(images, queries[3], batch_size=8))
    return pipe.compilations


def installed() -> tuple[float, int]:
    """Return MB on disk and number of the distributions that ``gsam-jax`` needs without extras."""
    sizes: dict[str, int] = {}
    waiting = ["gsam-jax"]
    while waiting:
        name = waiting.pop()
        if name in sizes:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a requirement of another platform
        files = distribution.files or []
        sizes[name] = sum(f.size or 0 for f in files)
        for requirement in distribution.requires or []:
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[\s<>=!~;\[(]", requirement, maxsplit=1)[0].lower().replace("_", "-"))
    return sum(sizes.values()) / 1e6, len(sizes)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    runs = starts(args.repeats)
    middle = {k: statistics.median(v) for k, v in runs.items()}
    spread = {k: f"{min(v):.2f} to {max(v):.2f}" for k, v in runs.items()}
    programs, (size, packages) = compilations(), installed()
    page = f"""# First use

Made by `python -m benchmarks.start` on {datetime.date.today()}: {platform.machine()}, {os.cpu_count()} CPU cores, Python
{platform.python_version()}, jax {importlib.metadata.version("jax")}. Whole processes, median of {args.repeats} alternating runs.

| what | median | range |
|---|---|---|
| `gsam segment scene.png -q "dog. pizza" -p nano`, warm compile cache | {middle["warm"]:.2f} s | {spread["warm"]} |
| the same with an empty compile cache | {middle["cold"]:.2f} s | {spread["cold"]} |
| `gsam --help` | {middle["help"]:.2f} s | {spread["help"]} |
| programs compiled for 50 images of 50 sizes, 10 query lists, one by one and in batches | {programs} | |
| installed size without extras, {packages} packages | {size:.0f} MB | |
"""
    (PAGES / "start.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
