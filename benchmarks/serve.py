"""The server over HTTP: ``python -m benchmarks.serve [--only nano,sam,words] [--quick]``.

Writes ``benchmarks/pages/serve.md`` and ``serve.json``; with ``--only``, the other sections stay as
they were, each under the command that made it.

- ``nano`` clicks in sessions of nano's segmenter: one client, then many, beside the predictor
  itself in the same process.
- ``sam`` does the same with a seeded SAM ViT-B, which needs the ``test`` extra.
- ``words`` asks nano for words by 32 clients, in turns with ``pipe.stream`` in the same process.

Clients are a process of their own on the same machine, with a connection and a thread each that
asks again as soon as it is answered.  Exits with an error where a request was not answered 200.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, serve_page
from benchmarks.harness.dataset_process import KEPT, ROOT, tell, together
from benchmarks.harness.sections import chooser, joined
from benchmarks.harness.serve_clients import percentile

PAGES = Path(__file__).parent / "pages"
SERVER, CLIENTS = "benchmarks.harness.serve_worker", "benchmarks.harness.serve_clients"
LIMIT = 3600.0
SIZE = (768, 1024)
"""Height and width of the image that is clicked on."""
POINTS = [[x, y] for y in (150, 300, 450, 600) for x in (160, 320, 480, 640, 800)]
QUERY = "dog. pizza. apple. umbrella"
WARM = 5
"""Requests of each client that are not counted."""
SEED = 20


class Served:
    """A server in a process of its own.

    Args:
        cache: gsam's cache, in which compiled programs are kept as a user's are.
        settings: Of `gsam.serve.config.ServeConfig`.
    """

    def __init__(self, cache: Path, **settings: Any) -> None:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "GSAM_CACHE": str(cache)}
        self._cache = cache
        self._process = subprocess.Popen(
            [sys.executable, "-m", SERVER, json.dumps(settings)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.address: str = self._answer()["address"]

    def alone(self, task: str, **given: Any) -> dict[str, Any]:
        """Let the process do a task without HTTP."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"task": task, **given}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def clients(self, task: str, **given: Any) -> dict[str, Any]:
        """Let clients ask it, in another process."""
        command = ["-m", CLIENTS, task, json.dumps({"address": self.address, **given})]
        return together([command], self._cache, LIMIT)[0].answer

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"failed": "the server has ended"}
        if "failed" in found:
            raise RuntimeError(found["failed"])
        return found


@contextlib.contextmanager
def served(cache: Path, **settings: Any) -> Iterator[Served]:
    """Serve while the block runs."""
    server = Served(cache, **settings)
    try:
        yield server
    finally:
        server.close()


class Setting:
    """Where things are, and how much is measured.

    Args:
        folder: For everything that is written.
        given: The command's arguments.
    """

    def __init__(self, folder: Path, given: argparse.Namespace) -> None:
        self.folder, self.given = folder, given
        self.cache = given.cache or folder / "cache"

    def image(self) -> Path:
        """The image that is clicked on."""
        from PIL import Image

        from benchmarks.harness.images import draw_image

        path = self.folder / "image.jpg"
        if not path.exists():
            Image.fromarray(draw_image(SIZE, SEED)).save(path, quality=92)
        return path

    def images(self, count: int) -> Path:
        """A folder of images that differ: the shipped scene, shifted."""
        import numpy as np
        from PIL import Image

        folder = self.folder / f"images-{count}"
        if not folder.exists():
            folder.mkdir()
            pixels = np.asarray(Image.open(ROOT / "notebooks" / "scene.png").convert("RGB"))
            for number in range(count):
                shifted = np.roll(pixels, (7 * number, 13 * number), (0, 1))
                Image.fromarray(shifted).save(folder / f"{number:04d}.jpg", quality=92)
        return folder


def nano(setting: Setting) -> dict[str, Any]:
    """Click with nano's segmenter."""
    return _clicked(setting, "nano")


def sam(setting: Setting) -> dict[str, Any]:
    """Click with a seeded SAM ViT-B."""
    from benchmarks.harness.checkpoints import SMOOTH, write

    tell("writing the seeded SAM")
    write(setting.folder, setting.given.small, [f"sam_{SMOOTH}"])
    return _clicked(setting, "sam", predictor=str(setting.folder / f"sam_{SMOOTH}"))


def _clicked(setting: Setting, name: str, **settings: Any) -> dict[str, Any]:
    """Measure the predictor alone, one client, and many, in rounds."""
    given = setting.given
    shared = {"image": str(setting.image()), "points": POINTS}
    counts = {1: given.clicks, given.clicking: max(given.clicks // given.clicking, 2)}
    runs: list[dict[str, Any]] = []
    with served(setting.cache, pipeline="nano", queue=512, **settings) as server:
        server.alone("clicks", **shared, count=WARM)
        for clients in counts:
            server.clients("click", **shared, clients=clients, count=WARM)
        for number in range(given.repeats):
            tell(f"{name}: clicks, round {number + 1} of {given.repeats}")
            alone = server.alone("clicks", **shared, count=given.clicks)["seconds"]
            run: dict[str, Any] = {"alone": _spread(alone)}
            for clients, count in counts.items():
                answer = server.clients("click", **shared, clients=clients, count=count)
                run[str(clients)] = {
                    **_spread(answer["seconds"]),
                    "each": answer["together"] / max(len(answer["seconds"]), 1),
                    "statuses": answer["statuses"],
                }
            runs.append(run)
        about = server.alone("about")
    return {
        "runs": runs, "about": about, "clients": given.clicking, "clicks": given.clicks, "repeats": given.repeats,
        "size": SIZE, "small": given.small,
    }  # fmt: skip


def words(setting: Setting) -> dict[str, Any]:
    """Ask nano for words."""
    given = setting.given
    folder = setting.images(given.images)
    shared = {"folder": str(folder), "query": QUERY}
    forms: dict[str, Callable[[Served], dict[str, Any]]] = {
        "stream": lambda server: server.alone("words", **shared, written=False),
        "stream, written": lambda server: server.alone("words", **shared, written=True),
        "server": lambda server: server.clients("words", **shared, clients=given.asking),
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in forms}
    with served(setting.cache, pipeline="nano", queue=max(64, 2 * given.asking)) as server:
        few = {"folder": str(setting.images(2 * given.asking)), "query": QUERY}
        server.alone("words", **few, written=True)
        server.clients("words", **few, clients=given.asking)
        for number in range(given.repeats):
            turn = number % len(forms)
            for name in (*list(forms)[turn:], *list(forms)[:turn]):
                tell(f"words: {name}, round {number + 1} of {given.repeats}")
                answer = forms[name](server)
                if name == "server":
                    row = {**_spread(answer["seconds"]), "statuses": answer["statuses"]}
                    row["rate"] = len(answer["seconds"]) / answer["together"]
                else:
                    row = {"rate": answer["images"] / answer["seconds"], "objects": answer["objects"]}
                runs[name].append(row)
        about = server.alone("about")
    return {"runs": runs, "about": about, "clients": given.asking, "images": given.images, "repeats": given.repeats}


def _spread(seconds: list[float]) -> dict[str, Any]:
    return {"p50": statistics.median(seconds), "p99": percentile(seconds, 0.99), "count": len(seconds)}


MEASURE: dict[str, Callable[[Setting], dict[str, Any]]] = {"nano": nano, "sam": sam, "words": words}


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=chooser(MEASURE), default=list(MEASURE), help="sections, by commas")
    parser.add_argument("--clicks", type=int, default=400, help="of one round, of all clients together")
    parser.add_argument("--clicking", type=int, default=16, help="clients that click at once")
    parser.add_argument("--images", type=int, default=256, help="of one round of words")
    parser.add_argument("--asking", type=int, default=32, help="clients that ask for words at once")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--quick", action="store_true", help="a tiny SAM and few requests, to try the script")
    parser.add_argument("--cache", type=Path, help="compiled programs of an earlier run; by default none")
    parser.add_argument("--out", type=Path, default=PAGES)
    given = parser.parse_args()
    given.small = given.quick
    if given.quick:
        given.clicks, given.clicking, given.images, given.asking, given.repeats = 16, 4, 16, 8, 2
    return given


def main() -> None:
    """Measure, print and write; exit with an error where something is not as it should be."""
    given = parsed()
    load, began = machine.load(), time.perf_counter()
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python -m benchmarks.serve", *sys.argv[1:]]),
        "machine": machine.processor(),
        "versions": machine.versions(),
        "load": load,
    }
    with tempfile.TemporaryDirectory(prefix="gsam-benchmark-") as folder:
        setting = Setting(Path(folder), given)
        report |= {name: MEASURE[name](setting) for name in given.only}
    report["took"] = time.perf_counter() - began
    kept = given.out / "serve.json"
    if kept.is_file():
        report = joined(report, json.loads(kept.read_text()), MEASURE)
    text = serve_page.page(report)
    print(text)
    if given.quick and given.out == PAGES:
        tell("a quick run writes no page, but for --out")
    else:
        given.out.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(report, indent=1) + "\n")
        (given.out / "serve.md").write_text(text)
    if wrong := serve_page.wrong({name: report[name] for name in given.only}):
        sys.exit(f"not as it should be: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
