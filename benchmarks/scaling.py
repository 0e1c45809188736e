"""How gsam's time grows, and what a start costs: ``python -m benchmarks.scaling``.

Time and memory by prompts on SAM's decoder; by queries, image side and batch on nano; whole
processes from nothing to nano's first result.  gsam alone, without a peer, on a CPU.  Writes
``benchmarks/pages/scaling.md``; with ``--only`` or ``--small`` it prints, and writes to ``--out``
only.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import start
from benchmarks.harness import machine
from benchmarks.harness.setting import Setting
from benchmarks.harness.worker import Worker

PAGES = Path(__file__).parent / "pages"
Table = list[str]


def growth(setting: Setting, full: bool) -> dict[str, Table]:
    """Measure growth with prompts, queries, image side and batch; return tables by heading."""
    counts = (1, 4, 16, 64, 256, *((1024,) if full else ()))
    return {"Growth with prompts (SAM decoder)": by_prompts(setting, counts), **on_nano()}


def by_prompts(setting: Setting, counts: Sequence[int]) -> Table:
    """Measure milliseconds per prompt, and the program's memory beside inputs and outputs."""
    worker = Worker("gsam", setting)
    out = ["| prompts | ms | ms per prompt | temporary memory | its output |", "|---|---|---|---|---|"]
    for count in counts:
        built = worker.call("build", method="decoder", options={"prompts": count}, save=None)
        if "failed" in built:
            out.append(f"| {count} | {built['failed']} | | | |")
            continue
        cost = worker.call("cost")
        repeats = 5 if count <= 64 else 1
        seconds = statistics.median(worker.call("time", number=i, inner=1)["seconds"] for i in range(repeats))
        temporary, output = (f"{cost[k] / 1e6:.0f} MB" for k in ("temporary", "output"))
        out.append(f"| {count} | {seconds * 1e3:.4g} | {seconds / count * 1e3:.3g} | {temporary} | {output} |")
    worker.close()
    return out


def on_nano() -> dict[str, Table]:
    """Measure the whole of nano: milliseconds by queries, by image side and by images per batch."""
    import gsam
    from gsam.nano.names import QUERIES

    pipe = gsam.load("nano", device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    names = [f"{name} {number}" for number in range(8) for name in QUERIES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nano has no words for most of these queries
        return {
            "Growth with queries (nano)": _by_queries(pipe, image, names),
            "Growth with the image's side (nano)": _by_side(pipe),
            "Growth with the batch (nano)": _by_batch(pipe, image),
        }


def _by_queries(pipe: Any, image: np.ndarray, names: Sequence[str]) -> Table:
    pipe(image, names[:1])
    out = ["| queries | ms on an image seen before | ms per query | images encoded |", "|---|---|---|---|"]
    for count in (1, 5, 20, 80, 300):
        before = pipe.counts["pictures"]
        seconds = _median(lambda count=count: pipe(image, names[:count]))
        encoded = pipe.counts["pictures"] - before
        out.append(f"| {count} | {seconds * 1e3:.3g} | {seconds / count * 1e3:.3g} | {encoded} |")
    return out


def _by_side(pipe: Any) -> Table:
    out = ["| side of the image | ms, another image each time |", "|---|---|"]
    for side in (256, 512, 1024, 2048, 4096):
        large = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)

        def fresh(large: np.ndarray = large) -> None:
            large[0, 0, 0] += 1
            pipe(large, "dog")

        out.append(f"| {side} | {_median(fresh) * 1e3:.3g} |")
    return out


def _by_batch(pipe: Any, image: np.ndarray) -> Table:
    out = ["| images per batch | ms per image |", "|---|---|"]
    images = [np.roll(image, i, 1) for i in range(32)]
    for size in (1, 4, 16):
        seconds = _median(lambda size=size: list(pipe.stream(images, "dog", batch_size=size)), 3)
        out.append(f"| {size} | {seconds / len(images) * 1e3:.3g} |")
    return out


def _median(work: Callable[[], Any], repeats: int = 5) -> float:
    """Return the median seconds of several calls, after one that warms up."""
    work()
    each = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        each.append(time.perf_counter() - began)
    return statistics.median(each)


def starts() -> dict[str, Table]:
    """Time Python from nothing to nano's first result; return the table by its heading.

    The command's start is `benchmarks.start`'s.
    """
    measured = from_artefact(3)
    out = ["| start | median | range |", "|---|---|---|"]
    for title, each in measured.items():
        out.append(f"| {title} | {statistics.median(each):.2f} s | {min(each):.2f} to {max(each):.2f} |")
    return {"Start": out}


def from_artefact(repeats: int) -> dict[str, list[float]]:
    """Time Python to nano's first result, from code and from an exported pipeline, in turns.

    The cache of compiled programs is warm.  Empty if nano cannot be exported here.
    """
    code = "import sys, gsam; print(gsam.load(sys.argv[1])(sys.argv[2], 'dog. pizza'))"
    with tempfile.TemporaryDirectory() as name:
        exported, cache = Path(name) / "nano", {"GSAM_CACHE": str(Path(name) / "cache")}
        command = [sys.executable, "-m", "gsam", "export", "nano", "-o", str(exported)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return {}
        pipelines = {
            '`gsam.load("nano")` to the first result, in Python': "nano",
            "the same from `gsam export nano`, without the models' code": str(exported),
        }
        found: dict[str, list[float]] = {title: [] for title in pipelines}
        for number in range(repeats + 1):
            for title, pipeline in pipelines.items():
                seconds = start.seconds([sys.executable, "-c", code, pipeline, str(start.SCENE)], cache)
                if number:  # the first fills the cache
                    found[title].append(seconds)
    return found


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("growth", "start"))
    parser.add_argument("--full", action="store_true", help="1024 prompts too")
    parser.add_argument("--small", action="store_true", help="a reduced SAM, to try the script")
    parser.add_argument("--out", type=Path, help="folder of the page")
    args = parser.parse_args()
    tables: dict[str, Table] = {}
    with tempfile.TemporaryDirectory() as name:  # no checkpoint lies there: the SAM is random
        if args.only != "start":
            tables |= growth(Setting(Path(name), args.small), args.full)
    if args.only != "growth":
        tables |= starts()
    lines = ["# How gsam's time grows, and what a start costs", ""]
    lines += [f"Made by `python -m benchmarks.scaling` on {datetime.date.today()}: {machine.processor()}."]
    for heading, table in tables.items():
        lines += ["", f"## {heading}", "", *table]
    text = "\n".join([*lines, ""])
    print(text)
    out = args.out or (None if args.only or args.small else PAGES)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "scaling.md").write_text(text)


if __name__ == "__main__":
    main()
