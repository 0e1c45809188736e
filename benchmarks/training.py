"""Fine-tuning: ``python -m benchmarks.training [--only drawings,torch,sam,kill]``.

Writes ``benchmarks/pages/training.md`` and ``training.json``; with ``--only``, the other sections
stay as they were, each under the command that made it.

- ``drawings`` tunes nano's segmenter on line drawings, decoder and LoRA, and scores others.
- ``torch`` tunes the decoder of a seeded SAM ViT-B in gsam and in PyTorch, on the same batches.
- ``sam`` tunes that decoder by the command, features kept: seconds a step and memory.
- ``kill`` kills the command at random moments, and compares the end with an undisturbed run's.

The scenes are drawn, so Noto Color Emoji is needed; ``torch`` and ``sam`` need the ``test`` extra.
Exits with an error where a loss curve or a resumed run is not as it should be.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, training_page
from benchmarks.harness.dataset_process import Child, Ended, tell, together
from benchmarks.harness.sections import chooser, joined

PAGES = Path(__file__).parent / "pages"
WORKER = "benchmarks.harness.training_worker"
LIMIT = 6 * 3600.0
"""Seconds after which a process hangs."""
TRAIN, HELD_OUT = 40, 20
"""Drawings to learn from, and others."""
FEW = 8
"""Drawings of the sections about SAM."""
PATIENCE = 1800.0
"""Seconds that torch.compile may take."""
RATE = 1e-4
SEED = 19
KILL_SAVES = 5


class Setting:
    """Where things are, and how much is measured.

    Args:
        folder: For everything that is written.
        given: The command's arguments.
    """

    def __init__(self, folder: Path, given: argparse.Namespace) -> None:
        self.folder, self.given = folder, given
        self.cache = folder / "cache"
        self._drawn: dict[str, Path] = {}

    def ask(self, task: str, limit: float = LIMIT, **given: Any) -> Ended:
        """Run a task of the worker in a process of its own, of ``limit`` seconds at most."""
        command = ["-m", WORKER, task, json.dumps(given, default=str)]
        return together([command], self.cache, limit)[0]

    def drawings(self, train: int, held_out: int) -> Path:
        """A folder of drawings with ``train.json`` and ``held_out.json``."""
        folder = self.folder / f"drawings-{train}-{held_out}"
        if not folder.exists():
            tell(f"drawing {train} and {held_out} scenes")
            self.ask("scenes", folder=folder, train=train, held_out=held_out)
        return folder

    def checkpoint(self) -> Path:
        """The folder of the seeded SAM."""
        tell("writing the seeded SAM")
        return Path(self.ask("checkpoint", folder=self.folder / "models", small=self.given.small).answer["folder"])

    def command(self, data: Path, model: str | Path, out: Path, steps: int, *more: str) -> list[str]:
        """Arguments of Python for ``gsam train segmenter``."""
        sides = ["--data", str(data / "train.json"), "--images", str(data), "--held-out", str(data / "held_out.json")]
        command = ["-m", "gsam", "train", "segmenter", *sides, "-m", str(model), "-o", str(out)]
        return [*command, "--steps", str(steps), "--quiet", *more]


def drawings(setting: Setting) -> dict[str, Any]:
    """Tune nano's segmenter on line drawings."""
    given = setting.given
    data = setting.drawings(given.train, given.held_out)
    rows = []
    for what in ("decoder", "lora"):
        tell(f"tuning nano_sam on {given.train} drawings: {what}")
        out = setting.folder / f"drawings-{what}"
        ended = together([setting.command(data, "nano_sam", out, given.steps, "--what", what)], setting.cache, LIMIT)[0]
        results = json.loads((out / "results.json").read_text())
        sizes = [path.stat().st_size for path in (out / "model").rglob("*.safetensors")]
        rows.append({
            "what": what, "means": results["means"], "settings": results["settings"], "seconds": ended.seconds,
            "training": results["seconds"], "peak": ended.peak, "bytes": sum(sizes),
        })  # fmt: skip
    objects = {
        kind: len(json.loads((data / f"{kind}.json").read_text())["annotations"]) for kind in ("train", "held_out")
    }
    return {"rows": rows, "steps": given.steps, "train": given.train, "held_out": given.held_out, "objects": objects}


def peer(setting: Setting) -> dict[str, Any]:
    """Tune SAM's decoder in gsam and in PyTorch, in turns, on the same batches."""
    given = setting.given
    model, data = setting.checkpoint(), setting.drawings(FEW, 2)
    batches = setting.folder / "batches"
    ours = {
        "model": model, "data": data / "train.json", "images": data, "out": setting.folder / "features",
        "steps": given.curve, "batch": given.batch, "objects": given.objects, "rate": RATE,
    }  # fmt: skip
    tell("making the batches")
    first = setting.ask("ours", **ours, keep=batches)
    forms: dict[str, Callable[[], Ended]] = {
        "gsam": lambda: setting.ask("ours", **ours, keep=None),
        "torch": lambda: setting.ask("peer", model=model, batches=batches, rate=RATE, compiled=False),
        "torch.compile": lambda: setting.ask(
            "peer", given.patience, model=model, batches=batches, rate=RATE, compiled=True
        ),
    }
    absent = {}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in forms}
    for number in range(given.repeats):
        names = [name for name in forms if name not in absent]
        for name in names[number % len(names) :] + names[: number % len(names)]:
            tell(f"{name}, run {number + 1} of {given.repeats}")
            try:
                ended = forms[name]()
            except RuntimeError as error:
                if name != "torch.compile":
                    raise
                hangs = "has not ended" in str(error)
                absent[name] = (
                    f"not ended in {given.patience:.0f} s" if hangs else str(error).strip().splitlines()[-1][:200]
                )
                continue
            runs[name].append({**ended.answer, "peak": ended.peak})
    warm = min(3, given.curve - 1)  # the first steps compile
    rows = [
        {
            "form": name,
            "seconds": [statistics.mean(run["seconds"][warm:]) for run in some],
            "peak": max(run["peak"] for run in some),
            "furthest": max(abs(a - b) for a, b in zip(first.answer["losses"], some[0]["losses"], strict=True)),
            "losses": some[0]["losses"],
        }
        for name, some in runs.items()
        if some
    ]
    return {
        "rows": rows, "absent": absent, "steps": given.curve, "warm": warm, "batch": given.batch, "repeats": given.repeats,
        "objects": given.objects, "rounds": first.answer["rounds"], "small": given.small, "rate": RATE,
    }  # fmt: skip


def sam(setting: Setting) -> dict[str, Any]:
    """Tune SAM's decoder by the command."""
    given = setting.given
    model, data = setting.checkpoint(), setting.drawings(FEW, 2)
    out = setting.folder / "sam-decoder"
    tell(f"tuning SAM's decoder for {given.sam_steps} steps")
    ended = together([setting.command(data, model, out, given.sam_steps)], setting.cache, LIMIT)[0]
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [row for row in log if row["event"] == "step"]
    (first, last), results = (steps[0], steps[-1]), json.loads((out / "results.json").read_text())
    one = (last["seconds"] - first["seconds"]) / max(last["step"] - first["step"], 1)
    kept = sum(path.stat().st_size for path in (out / "features").rglob("*") if path.is_file())
    return {
        "step": one if len(steps) > 1 else last["seconds"] / last["step"], "seconds": ended.seconds, "peak": ended.peak,
        "settings": results["settings"], "steps": given.sam_steps, "kept": kept, "images": FEW + 2, "small": given.small,
    }  # fmt: skip


def kill(setting: Setting) -> dict[str, Any]:
    """Kill the command at random moments, and compare what is there in the end."""
    given = setting.given
    data = setting.drawings(FEW, 2)
    moments = random.Random(SEED)
    whole, parts = setting.folder / "undisturbed", setting.folder / "killed"
    more = ("--save-every", str(KILL_SAVES), "--evaluate-every", "10")
    tell("an undisturbed run")
    together([setting.command(data, "nano_sam", whole, given.kill_steps, *more)], setting.cache, LIMIT)
    tell("and again, with its programs in the cache")
    again = setting.folder / "again"
    undisturbed = together([setting.command(data, "nano_sam", again, given.kill_steps, *more)], setting.cache, LIMIT)[0]
    command = setting.command(data, "nano_sam", parts, given.kill_steps, *more)
    at = []
    for number in range(given.kills):
        child = Child(command, setting.cache)
        until = child.began + undisturbed.seconds * moments.uniform(0.2, 0.95)
        while (ended := child.poll()) is None and time.perf_counter() < until:
            time.sleep(0.01)
        if ended is not None:
            break
        child.kill()
        at.append(_steps(parts))
        tell(f"kill {number + 1} of {given.kills}, after step {at[-1]}")
    together([command], setting.cache, LIMIT)
    return {
        "kills": len(at), "asked": given.kills, "at": at, "steps": given.kill_steps, "seconds": undisturbed.seconds, "seed": SEED,
        "saves": KILL_SAVES, "differences": _differences(whole, parts), "again": _differences(whole, again),
    }  # fmt: skip


def _steps(run: Path) -> int:
    """The last step in a run's log."""
    log = run / "log.jsonl"
    found = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")] if log.exists() else []
    return max((row["step"] for row in found), default=0)


def _differences(wanted: Path, found: Path) -> list[str]:
    """Say in which weights, curves and scores a run differs from another."""
    different = []
    for path in sorted((wanted / "model").rglob("*.safetensors")):
        if (found / path.relative_to(wanted)).read_bytes() != path.read_bytes():
            different.append(str(path.relative_to(wanted)))
    curves = []
    for run in (wanted, found):
        rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        curves.append([{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows])
    if curves[0] != curves[1]:
        different.append("log.jsonl")
    scores = [json.loads((run / "results.json").read_text())["scores"] for run in (wanted, found)]
    return different + ["results.json"] * (scores[0] != scores[1])


MEASURE: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "drawings": drawings,
    "torch": peer,
    "sam": sam,
    "kill": kill,
}


def main() -> None:
    """Measure, print and write; exit with an error where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=chooser(MEASURE), default=list(MEASURE), help="sections, by commas")
    parser.add_argument("--steps", type=int, default=500, help="of nano on drawings")
    parser.add_argument("--train", type=int, default=TRAIN, help="drawings to learn from")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="drawings that are scored")
    parser.add_argument("--curve", type=int, default=20, help="steps of the comparison with PyTorch")
    parser.add_argument("--batch", type=int, default=2, help="images of a batch of it")
    parser.add_argument("--objects", type=int, default=4, help="prompts per image of it")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each form of it")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds that a run of torch.compile may take")
    parser.add_argument("--sam-steps", type=int, default=20, help="of SAM by the command")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--kill-steps", type=int, default=60, help="of the runs that are killed")
    parser.add_argument("--small", action="store_true", help="a tiny SAM, to try the script")
    parser.add_argument("--out", type=Path, default=PAGES)
    arguments = parser.parse_args()
    load, began = machine.load(), time.perf_counter()
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python -m benchmarks.training", *sys.argv[1:]]),
        "machine": machine.processor(),
        "versions": machine.versions(),
        "load": load,
    }
    with tempfile.TemporaryDirectory(prefix="gsam-benchmark-") as folder:
        setting = Setting(Path(folder), arguments)
        report |= {name: MEASURE[name](setting) for name in arguments.only}
    report["took"] = time.perf_counter() - began
    kept = arguments.out / "training.json"
    if kept.is_file():
        report = joined(report, json.loads(kept.read_text()), MEASURE)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = training_page.page(report)
    print(text)
    kept.write_text(json.dumps(report, indent=1) + "\n")
    (arguments.out / "training.md").write_text(text)
    if wrong := training_page.wrong({name: report[name] for name in arguments.only}):
        sys.exit(f"not as it should be: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
