"""Labelling whole data sets: ``python -m benchmarks.dataset [--scenes 2000] [--only speed,kill]``.

Writes ``benchmarks/pages/dataset.md`` and ``dataset.json``; with ``--only``, the other sections
stay as they were, each under the command that made it.  Needs the font Noto Color Emoji,
because the scenes are drawn, or ``--folder`` with images.  Exits with an error where what was
killed and resumed differs from an undisturbed run.  It takes about 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import dataset_kill, dataset_page, machine
from benchmarks.harness.dataset_page import GOALS
from benchmarks.harness.dataset_process import Ended, in_turns, label_command, median, tell, together, worker
from benchmarks.harness.sections import chooser, joined

PAGES = Path(__file__).parent / "pages"
SECTIONS = ("speed", "memory", "kill", "peers")
FEW = 200
"""Images of the first row of memory and of peers, and files of the light pipeline."""
PART = 256
"""Images of a part by default; of few images, an eighth, so that two processes can share."""
KILL_IMAGES, KILL_PART, KILL_MILLISECONDS = 240, 6, 5.0
STARTS = 3
"""Times that start-up is measured, for each form."""
PEER_MILLISECONDS = 10.0
"""Time of a device at an image, in the comparison of ways of working."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured, and where."""

    folder: Path
    scenes: Path
    query: str
    count: int
    repeats: int
    kills: int

    @property
    def cache(self) -> Path:
        """gsam's cache, empty at first."""
        return self.folder / "cache"

    @property
    def part_size(self) -> int:
        """Images of a part."""
        return min(PART, max(1, self.count // 8))

    @property
    def sizes(self) -> list[int]:
        """Numbers of images that are compared."""
        return sorted({min(FEW, self.count), self.count})

    def first(self, count: int) -> Path:
        """A folder of the first scenes."""
        folder = self.folder / f"first-{count}"
        if count == self.count:
            return self.scenes
        if not folder.exists():
            folder.mkdir()
            for path in sorted(self.scenes.iterdir())[:count]:
                shutil.copy(path, folder)
        return folder

    def new(self, name: str) -> Path:
        """A folder that is not there."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder


def drawn(folder: Path, count: int, source: Path | None) -> dict[str, Any]:
    """Make the scenes; give the query for them, and more about them."""
    tell(f"making {count} scenes")
    (ended,) = together([worker("scenes", folder=folder / "scenes", count=count, source=source)], folder / "cache")
    what = f"images made of those in {source}" if source else "drawn scenes of nano's"
    return {**ended.answer, "what": what}


def measured(commands: list[list[str]], cache: Path, images: int) -> dict[str, Any]:
    """Run the processes of one form at once."""
    busy = sum(machine.busy_seconds())
    ended = together(commands, cache)
    seconds, processor = max(one.seconds for one in ended), sum(one.processor for one in ended)
    others = (sum(machine.busy_seconds()) - busy - processor) / seconds
    peak = max(one.peak for one in ended)
    return {"seconds": seconds, "processor": processor / images, "peak": peak, "others": others, "images": images}


def warm(setting: Setting) -> None:
    """Fill gsam's cache with nano's compiled programs: no run that is measured compiles them."""
    tell("filling the compile cache")
    one = setting.first(1)
    task = worker("loop", folder=one, query=setting.query, out=setting.new("warm-loop"), ending=".json")
    for command in (task, label_command(one, setting.query, setting.new("warm-label"), 1)):
        together([command], setting.cache)


def speed(setting: Setting, about: dict[str, Any]) -> dict[str, Any]:
    """Compare loops with ``gsam label`` by one process and by two."""
    overlays = max(1, setting.count // 4)
    titles = {
        "loop": 'a loop, `pipe(path, query).save("....json")`',
        "lines": "a loop, `pipe(path, query).to_dict()`, a line each",
        "overlay": 'a loop, `pipe(path, query).save("....png")`',
        "label": "`gsam label`, one process",
        "two": "`gsam label`, two processes at once",
    }

    def run(form: str, count: int) -> dict[str, Any]:
        source, out = setting.first(count), setting.new(f"{form}-{count}")
        if form in ("label", "two"):
            size = setting.part_size if count > 2 else 1
            more = ["--no-wait"] if count <= 2 else []
            command = label_command(source, setting.query, out, size, *more)
            return measured([command] * (1 + (form == "two")), setting.cache, count)
        ending = {"loop": ".json", "lines": ".jsonl", "overlay": ".png"}[form]
        task = worker("loop", folder=source, query=setting.query, out=out, ending=ending)
        return measured([task], setting.cache, count)

    def of(form: str, count: int) -> Callable[[], dict[str, Any]]:
        return lambda: run(form, count)

    started = {form: 2 if form == "two" else 1 for form in titles}
    starts = in_turns(
        {form: of(form, count) for form, count in started.items()},
        max(STARTS if setting.count >= FEW else 1, setting.repeats),
    )
    counts = {form: overlays if form == "overlay" else setting.count for form in titles}
    runs = in_turns({form: of(form, count) for form, count in counts.items()}, setting.repeats)
    forms = {}
    for form, title in titles.items():
        seconds, start = median(runs[form], "seconds"), median(starts[form], "seconds")
        left = counts[form] - started[form]
        forms[form] = {
            "title": title,
            "seconds": seconds,
            "start": start,
            "rate": counts[form] / seconds,
            "steady": left / (seconds - start) if left and seconds > start else float("nan"),
            "processor": median(runs[form], "processor"),
            "peak": max(one["peak"] for one in runs[form]),
        }
    same = together(
        [worker("compared", lines=setting.folder / f"lines-{setting.count}" / "results.jsonl",
                parts=setting.folder / f"label-{setting.count}")], setting.cache,
    )[0].answer  # fmt: skip
    ratios = []
    for title, form, to, goal in (
        ("`gsam label` by one process, to README's loop", "label", "loop", GOALS["one"]),
        ("the same, to the loop that writes lines (like for like)", "label", "lines", None),
        ("the same, to the loop that draws overlays", "label", "overlay", None),
        ("two processes, to one", "two", "label", GOALS["two"]),
    ):
        a, b = forms[form], forms[to]
        ratios.append(
            {"title": title, "ratio": a["rate"] / b["rate"], "steady": a["steady"] / b["steady"], "goal": goal}
        )
    every = [one for many in runs.values() for one in many]
    others = sum(max(0.0, one["others"]) * one["seconds"] for one in every) / sum(one["seconds"] for one in every)
    told = ", ".join(f"{forms[form]['start']:.1f} s for {titles[form]}" for form in ("loop", "label", "two"))
    return {
        "forms": forms, "ratios": ratios, "same": same, "images": setting.count, "overlays": overlays, "starts": told,
        "repeats": setting.repeats, "part_size": setting.part_size, "others": others, "runs": runs, "start_runs": starts,
        **{key: about[key] for key in ("what", "pixels", "names")},
    }  # fmt: skip


def profile(setting: Setting) -> dict[str, Any]:
    """Look where a labelling process spends its time."""
    tell("looking where the time goes")
    out = setting.new("profile")
    task = worker("profiled", source=setting.scenes, query=setting.query, out=out, part_size=setting.part_size)
    return {**together([task], setting.cache)[0].answer, "cores": machine.cores()}


def memory(setting: Setting, most: int) -> list[dict[str, Any]]:
    """Measure the peak memory by the number of images."""
    rows = []
    for count in setting.sizes:
        tell(f"memory of nano, {count} images")
        out = setting.new(f"memory-{count}")
        command = label_command(setting.first(count), setting.query, out, PART)
        rows.append({"pipeline": "nano", "images": count, "peak": together([command], setting.cache)[0].peak})
    files = light_files(setting)
    for count in sorted({*setting.sizes, most}):
        tell(f"memory of the light pipeline, {count} images")
        manifest = setting.folder / f"manifest-{count}.jsonl"
        manifest.write_text(
            "".join(json.dumps({"id": f"{n:07d}", "image": str(files[n % len(files)])}) + "\n" for n in range(count))
        )
        ended = together([worker("light", source=manifest, out=setting.new(f"light-{count}"))], setting.cache)[0]
        done = ended.answer["images"] - ended.answer["failed"]
        if done != count:
            raise RuntimeError(f"{done} of {count} images were labelled")
        rows.append({"pipeline": "light", "images": count, "peak": ended.peak, "seconds": ended.answer["seconds"]})
    return rows


def light_files(setting: Setting) -> list[Path]:
    """The images of the light pipeline."""
    folder = setting.folder / "light"
    if not folder.exists():
        together([worker("light_files", folder=folder, count=FEW)], setting.cache)
    return sorted(folder.iterdir())


def kill(setting: Setting) -> dict[str, Any]:
    """Kill labelling processes at random moments."""
    files, folder = light_files(setting), setting.new("kill")
    folder.mkdir()
    manifest = folder / "manifest.jsonl"
    rows = ({"id": f"{n:05d}", "image": str(files[n % len(files)])} for n in range(KILL_IMAGES))
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"milliseconds": KILL_MILLISECONDS, "part_size": KILL_PART}
    found = dataset_kill.measure(folder, manifest, setting.cache, setting.kills, given)
    told = {"asked": setting.kills, "images": KILL_IMAGES, "seed": dataset_kill.SEED, **given}
    return {**told, "rows": [dataclasses.asdict(row) for row in found]}


def peers(setting: Setting) -> dict[str, Any]:
    """Compare ways of working."""
    rows = []
    titles = {
        "detections": "autodistill's way, to YOLO",
        "yolo": "`gsam label`, then `gsam convert --to yolo`",
        "list": "a Hugging Face pipeline's way, to lines of JSON",
        "label": "`gsam label`",
    }
    for count in setting.sizes:
        for way, title in titles.items():
            tell(f"{way}, {count} images")
            source, out = setting.first(count), setting.new(f"peer-{way}-{count}")
            if way in ("detections", "list"):
                task = worker("peer", way=way, folder=source, out=out, milliseconds=PEER_MILLISECONDS)
            else:
                yolo = setting.new(f"peer-converted-{count}") if way == "yolo" else None
                warm = next(source.iterdir())
                task = worker("light", source=source, out=out, milliseconds=PEER_MILLISECONDS, yolo=yolo, warm=warm)
            ended: Ended = together([task], setting.cache)[0]
            answer = ended.answer
            end = answer["end"] if way != "label" else 0.0
            rows.append({
                "title": title, "images": count, "objects": answer["objects"], "rate": count / answer["seconds"],
                "end": end, "peak": ended.peak,
            })  # fmt: skip
        objects = {row["objects"] for row in rows if row["images"] == count}
        if len(objects) != 1:
            raise RuntimeError(f"the ways found {sorted(objects)} objects in the same images")
    return {"rows": rows, "milliseconds": PEER_MILLISECONDS}


def report_of(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the sections that were asked for."""
    load, began = machine.load(), time.perf_counter()
    about = drawn(folder, arguments.scenes, arguments.folder)
    setting = Setting(folder, folder / "scenes", about["query"], arguments.scenes, arguments.repeats, arguments.kills)
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python -m benchmarks.dataset", *sys.argv[1:]]),
        "machine": machine.processor(),
        "versions": machine.versions(),
        "load": load,
    }
    if {"speed", "memory"} & set(arguments.only):
        warm(setting)
    if "speed" in arguments.only:
        report["speed"] = speed(setting, about)
        report["profile"] = profile(setting)
    if "memory" in arguments.only:
        report["memory"] = memory(setting, arguments.most)
    if "kill" in arguments.only:
        report["kill"] = kill(setting)
    if "peers" in arguments.only:
        report["peers"] = peers(setting)
    report["took"] = time.perf_counter() - began
    return report


def main() -> None:
    """Measure, print and write; exit with an error where resuming did not give the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000, help="images of nano; 8 or more")
    parser.add_argument("--most", type=int, default=20_000, help="images of the largest run of the light pipeline")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--only", type=chooser(SECTIONS), default=list(SECTIONS), help="sections, by commas: " + ", ".join(SECTIONS)
    )
    parser.add_argument("--folder", type=Path, help="images to be used again and again in place of drawn scenes")
    parser.add_argument("--out", type=Path, default=PAGES)
    arguments = parser.parse_args()
    if arguments.scenes < 8:
        parser.error("--scenes is 8 or more")
    with tempfile.TemporaryDirectory(prefix="gsam-benchmark-") as folder:
        report = report_of(arguments, Path(folder))
    kept = arguments.out / "dataset.json"
    if len(arguments.only) < len(SECTIONS) and kept.is_file():
        report = joined(report, json.loads(kept.read_text()), dataset_page.SECTIONS)
    text = dataset_page.page(report)
    print(text)
    (arguments.out / "dataset.json").write_text(json.dumps(report, indent=1) + "\n")
    (arguments.out / "dataset.md").write_text(text)
    rows = report.get("kill", {"rows": []})["rows"]
    if any(row["differences"] for row in rows) or sum(row["kills"] for row in rows) < (arguments.kills if rows else 0):
        sys.exit("what was killed and resumed is not as it should be: see the page")


if __name__ == "__main__":
    main()
