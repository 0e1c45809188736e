"""What a process of `benchmarks.dataset` does.

``python -m benchmarks.harness.dataset_worker TASK JSON`` prints one line of JSON.  A task
imports only what a script of a user would.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


def scenes(folder: str, count: int, source: str | None) -> Answer:
    """Draw scenes, or copy the images of a folder again and again, each under a name of its own."""
    from PIL import Image

    from gsam.nano import heldout
    from gsam.nano.names import LEAVES

    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    given = sorted(p for p in Path(source).iterdir() if p.suffix in (".jpg", ".png")) if source else []
    sizes = []
    for number in range(count):
        path = out / f"{number:05d}.jpg"
        if given:
            with Image.open(given[number % len(given)]) as image:
                image.convert("RGB").save(path, quality=92)
                sizes.append(image.size)
        else:
            drawn = Image.fromarray(heldout.draw("shipped", number).rgb)
            drawn.save(path, quality=92)
            sizes.append(drawn.size)
    pixels = sum(w * h for w, h in sizes) / max(count, 1)
    return {"query": ". ".join(LEAVES), "names": len(LEAVES), "pixels": pixels}


def light_files(folder: str, count: int) -> Answer:
    """Write the images of the light pipeline."""
    from benchmarks.harness.dataset_light import light_images

    return {"images": len(light_images(Path(folder), count))}


def loop(folder: str, query: str, out: str, ending: str, count: int | None = None) -> Answer:
    """Label with a plain loop: a file for each image, or (``.jsonl``) a line of one file."""
    import gsam

    place = Path(out)
    place.mkdir(parents=True)
    paths = sorted(Path(folder).glob("*.jpg"))[:count]
    pipe = gsam.load("nano")
    if ending == ".jsonl":
        with (place / "results.jsonl").open("w") as file:
            for path in paths:
                file.write(json.dumps(pipe(path, query).to_dict()) + "\n")
    else:
        for path in paths:
            pipe(path, query).save(place / f"{path.stem}{ending}")
    return {"images": len(paths)}


def light(
    source: str,
    out: str,
    milliseconds: float = 0.0,
    part_size: int = 256,
    yolo: str | None = None,
    warm: str | None = None,
) -> Answer:
    """Label with the light pipeline; compile it before by an image ``warm``; with ``yolo``, convert
    afterwards.
    """
    import gsam.dataset.label.engine as engine
    from benchmarks.harness.dataset_light import QUERY, light_pipeline

    pipe = light_pipeline(milliseconds)
    if warm is not None:
        pipe(warm, QUERY)
    began = time.perf_counter()
    found = engine.label(source, QUERY, out, pipe, part_size=part_size)
    ended = time.perf_counter()
    answer = {"images": found.images, "failed": found.failed, "objects": sum(found.counts.values())}
    if yolo is not None:
        from gsam.dataset.convert import convert

        convert(out, yolo, "yolo")
    return {**answer, "seconds": time.perf_counter() - began, "end": time.perf_counter() - ended}


def profiled(source: str, query: str, out: str, part_size: int = 256) -> Answer:
    """Label with nano while its threads are sampled, from when the pipeline is loaded."""
    import gsam
    import gsam.dataset.label.engine as engine
    from benchmarks.harness.dataset_profile import Sampler

    sampler = Sampler()

    def load(*given: Any, **more: Any) -> gsam.Pipeline:
        pipe = gsam.load(*given, **more)
        sampler.start()
        return pipe

    found = engine.label(source, query, out, "nano", part_size=part_size, load=load)
    return {"images": found.images, "failed": found.failed, **sampler.stop()}


def peer(way: str, folder: str, out: str, milliseconds: float) -> Answer:
    """Label as people do now, with the light pipeline."""
    from benchmarks.harness import dataset_peers
    from benchmarks.harness.dataset_light import QUERY, light_pipeline

    pipe = light_pipeline(milliseconds)
    source = Path(folder)

    def model(image: Any) -> Any:
        return pipe(image, QUERY)

    paths = sorted(source.glob("*.jpg"))
    model(str(paths[0]))  # compiles
    began = time.perf_counter()
    if way == "detections":
        found = dataset_peers.by_detections(model, source, ".jpg", Path(out), QUERY.split(". "))
    else:
        found = dataset_peers.by_list(model, paths, Path(out) / "results.jsonl")
    return {**found, "seconds": time.perf_counter() - began}


def compared(lines: str, parts: str) -> Answer:
    """Compare the lines of a loop with the parts of ``gsam label``."""
    rows = {Path(row["image"]).name: row["segments"] for row in map(json.loads, Path(lines).read_text().splitlines())}
    labelled = {}
    for path in sorted(Path(parts).glob("parts/*.*")):
        for row in _rows(path):
            labelled[Path(row["image"]).name] = row["segments"]
    different = sum(rows[name] != labelled.get(name) for name in rows)
    objects = sum(map(len, rows.values()))
    return {"images": len(rows), "labelled": len(labelled), "different": different, "objects": objects}


def _rows(path: Path) -> list[Answer]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    import pyarrow.parquet

    rows: list[Answer] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


def subset(folder: str, out: str, count: int) -> Answer:
    """Copy the first images of a folder."""
    Path(out).mkdir(parents=True)
    for path in sorted(Path(folder).glob("*.jpg"))[:count]:
        shutil.copy(path, out)
    return {"images": count}


TASKS = {task.__name__: task for task in (scenes, light_files, loop, light, profiled, peer, compared, subset)}


def main() -> None:
    """Do what is asked."""
    print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
