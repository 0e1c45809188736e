"""The server of `benchmarks.serve`, in a process of its own.

``python -m benchmarks.harness.serve_worker JSON`` serves on a free port and prints its address.
Each line of JSON on stdin is then a task that it does without HTTP, in the same process, with the
same models; its answer is a line on stdout.  It ends when stdin ends.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

Answer = dict[str, Any]


def clicks(app: Any, image: str, points: list[list[float]], count: int) -> Answer:
    """Predict ``count`` times from one point, without a server: seconds of each."""
    from gsam.inputs.image import open_image
    from gsam.serve.clicks import parse_click, predict

    predictor = app.state.engine.predictor
    embedding = predictor.encode(open_image(image))
    seconds = []
    for number in range(count):
        click = parse_click({"points": [points[number % len(points)]], "labels": [1]}, embedding.size, 1)
        began = time.perf_counter()
        predict(predictor, embedding, click, None)
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


def words(app: Any, folder: str, query: str, written: bool) -> Answer:
    """Stream a folder through the pipeline, without a server: seconds in all.

    With ``written``, the JSON of each result is made too, as the server's answers have it.
    """
    from gsam.serve.answers import rendered

    engine = app.state.engine
    paths = sorted(Path(folder).iterdir())
    began = time.perf_counter()
    found = 0
    for result in engine.pipe.stream(paths, query, batch_size=engine.together):
        found += len(result)
        if written:
            rendered(result, "rle", "json")
    return {"seconds": time.perf_counter() - began, "images": len(paths), "objects": found}


def about(app: Any) -> Answer:
    """Tell what is served, how many programs were compiled, and the most memory so far."""
    from benchmarks.harness.machine import peak_memory

    engine = app.state.engine
    return {
        "pipeline": engine.pipe.name,
        "predictor": engine.predictor.name,
        "together": engine.together,
        "compilations": engine.compilations,
        "peak": peak_memory(),
    }


TASKS = {task.__name__: task for task in (clicks, words, about)}


def main() -> None:
    """Serve until stdin ends."""
    import uvicorn

    from gsam.runtime.compilation_cache import enable_compilation_cache
    from gsam.serve import connections
    from gsam.serve.app import create_app
    from gsam.serve.config import ServeConfig
    from gsam.serve.running import address_of, listen_on

    enable_compilation_cache()
    out, sys.stdout = sys.stdout, sys.stderr
    config = ServeConfig(**json.loads(sys.argv[1]))
    app = create_app(config)
    listening = listen_on("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, **connections.settings(config)))
    control = threading.Thread(target=_obey, args=(app, server, address_of(listening), out), daemon=True)
    control.start()
    server.run([listening])
    control.join(5)


def _obey(app: Any, server: Any, address: str, out: TextIO) -> None:
    engine = app.state.engine
    while not engine.ready and engine.failure is None:
        time.sleep(0.05)
    _say(out, {"address": address} if engine.ready else {"failed": engine.failure})
    for line in sys.stdin:
        given = json.loads(line)
        try:
            _say(out, TASKS[given.pop("task")](app, **given))
        except Exception as error:
            _say(out, {"failed": f"{type(error).__name__}: {error}"})
    server.should_exit = True


def _say(out: TextIO, answer: Answer) -> None:
    print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
