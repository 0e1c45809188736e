"""How cost grows, what a start costs, and how far from the floor an accelerator is: gsam alone, without a peer."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import start as starting
from benchmarks.harness.cases import Row
from benchmarks.harness.interleave import Worker
from benchmarks.harness.roofline import floor
from benchmarks.harness.setting import Setting

Table = list[str]


def tables(setting: Setting, full: bool) -> dict[str, Table]:
    """By heading: prompts on SAM's decoder; queries, sides and batches on nano."""
    return {
        "Growth with prompts (SAM decoder)": prompts(setting, (1, 4, 16, 64, 256, *((1024,) if full else ()))),
        **nano(full),
    }


def prompts(setting: Setting, counts: Sequence[int]) -> Table:
    """Milliseconds a prompt, and what the program needs beside its inputs and outputs."""
    worker = Worker("gsam", setting)
    out = ["| prompts | ms | ms a prompt | room the program needs | its output |", "|---|---|---|---|---|"]
    for count in counts:
        built = worker.call("build", name="decoder", case="decoder", options={"prompts": count}, save=None)
        if "failed" in built:
            out.append(f"| {count} | {built['failed']} | | | |")
            continue
        cost = worker.call("cost")
        repeats = 5 if count <= 64 else 1
        seconds = statistics.median(worker.call("time", number=i, inner=1)["seconds"] for i in range(repeats))
        room, output = (f"{cost[k] / 1e6:.0f} MB" for k in ("room", "output"))
        out.append(f"| {count} | {seconds * 1e3:.4g} | {seconds / count * 1e3:.3g} | {room} | {output} |")
    worker.close()
    return out


def nano(full: bool) -> dict[str, Table]:
    """The whole of nano: milliseconds by queries, by the picture's side, and by how many pictures go together."""
    import gsam
    from gsam.nano.names import QUERIES

    pipe = gsam.load("nano", device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    names = [f"{name} {number}" for number in range(8) for name in QUERIES]

    def seconds(work: Any, repeats: int = 5) -> float:
        work()
        each = []
        for _ in range(repeats):
            began = time.perf_counter()
            work()
            each.append(time.perf_counter() - began)
        return statistics.median(each)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nano has no words for most of this
        pipe(picture, names[:1])
        asked = ["| queries | ms on a picture seen before | ms a query | pictures encoded |", "|---|---|---|---|"]
        for count in (1, 5, 20, 80, 300):
            before = pipe.counts["pictures"]
            spent = seconds(lambda count=count: pipe(picture, names[:count]))
            encoded = pipe.counts["pictures"] - before
            asked.append(f"| {count} | {spent * 1e3:.3g} | {spent / count * 1e3:.3g} | {encoded} |")
        sides = ["| side of the picture | ms, another picture each time |", "|---|---|"]
        for side in (256, 512, 1024, 2048, 4096):
            large = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)

            def fresh(large: np.ndarray = large) -> None:
                large[0, 0, 0] += 1
                pipe(large, "dog")

            sides.append(f"| {side} | {seconds(fresh) * 1e3:.3g} |")
        batches = ["| pictures together | ms a picture |", "|---|---|"]
        shown = [np.roll(picture, i, 1) for i in range(32)]
        for size in (1, 4, 16):
            spent = seconds(lambda size=size: list(pipe.stream(shown, "dog", batch_size=size)), 3)
            batches.append(f"| {size} | {spent / len(shown) * 1e3:.3g} |")
    return {
        "Growth with queries (nano)": asked,
        "Growth with the picture's side (nano)": sides,
        "Growth with the batch (nano)": batches,
    }


def start() -> dict[str, Table]:
    """Whole processes: from nothing to nano's first result, by what is there already."""
    runs = starting.starts(3)
    middle = {k: statistics.median(v) for k, v in runs.items()}
    titles = {
        "warm": "`gsam segment` on nano to the first result, programs in the cache (goal: <= 5 s)",
        "cold": "the same, empty cache",
        "help": "`gsam --help`",
    }
    out = ["| start | median | range |", "|---|---|---|"]
    out += [
        f"| {title} | {middle[k]:.2f} s | {min(runs[k]):.2f} to {max(runs[k]):.2f} |" for k, title in titles.items()
    ]
    for title, each in artefact(3).items():
        out.append(f"| {title} | {statistics.median(each):.2f} s | {min(each):.2f} to {max(each):.2f} |")
    return {"Start": out}


def artefact(repeats: int) -> dict[str, list[float]]:
    """Python to nano's first result, from the code of the models and from an exported pipeline, in turns; cache warm."""
    code = "import sys, gsam; print(gsam.load(sys.argv[1])(sys.argv[2], 'dog. pizza'))"
    with tempfile.TemporaryDirectory() as name:
        exported, cache = Path(name) / "nano", {"GSAM_CACHE": str(Path(name) / "cache")}
        command = [sys.executable, "-m", "gsam", "export", "nano", "-o", str(exported)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return {}
        found: dict[str, list[float]] = {}
        for number in range(repeats + 1):
            for title, pipeline in (("`gsam.load(\"nano\")` to the first result, in Python", "nano"),
                                    ("the same from `gsam export nano`, without the models' code", str(exported))):  # fmt: skip
                spent = starting.seconds([sys.executable, "-c", code, pipeline, str(starting.SCENE)], cache)
                if number:  # the first fills the cache
                    found.setdefault(title, []).append(spent)
    return found


def floors(chosen: Sequence[Row], measured: Mapping[str, Any], setting: Setting, worker: Worker) -> Table:
    """Rows of the table of floors: counted operations and bytes against what was measured."""
    out = []
    for row in chosen:
        if "seconds" not in measured[row.name]:
            continue
        built = worker.call("build", name=row.name, case=row.case, options=dict(row.options), save=None)
        cost = worker.call("cost") if "failed" not in built else built
        if "failed" in cost:
            continue
        seconds = measured[row.name]["seconds"]["gsam"]
        least = floor(cost["products"], cost["bytes"])
        rates = f"{cost['products'] / seconds / 1e12:.3g} | {cost['accessed'] / seconds / 1e9:.3g}"
        out.append(
            f"| {row.title} | {cost['products'] / 1e9:.4g} | {cost['bytes'] / 1e9:.3g} | {least * 1e3:.3g} ms | "
            f"{seconds * 1e3:.4g} ms | {least / seconds:.0%} | {rates} |"
        )
    return out
