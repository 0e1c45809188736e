"""The real X-AnyLabeling beside ``gsam serve``: ``python -m benchmarks.x_anylabeling``.

Installs X-AnyLabeling from the package index into a virtual environment of its own, starts
``gsam serve --x-anylabeling``, and does in the program's own window, without a screen, what people
do: opens an image, chooses the remote server, types words, clicks, and the same for a folder of
frames, which it runs.  Prints a row for each; the exit code is 1 where one is wrong.  ``--folder``
keeps the environment for the next time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness.live import Api, Rows, check, ended, free_port, installed, plain, start_gsam
from gsam.inputs.video import open_frames
from gsam.results.masks.polygons import filled

SCENE = Path(__file__).parents[1] / "notebooks" / "scene.png"
CLIP, FRAMES = SCENE.with_name("clip.mp4"), 6
DRIVER = Path(__file__).parent / "harness" / "x_anylabeling_window.py"
VERSION = "4.2.1"
INSIDE = {"dog": (415, 225), "pizza": (80, 275), "AUTOLABEL_OBJECT": (40, 100)}
"""A point of the scene on each object; the last is the guitar that is clicked on."""
TYPING = {"edit_text", "button_send", "edit_conf", "toggle_preserve_existing_annotations", "mask_fineness_slider"}
CLICKING = {
    "button_add_point", "button_remove_point", "button_add_rect", "button_clear", "button_finish_object",
    "mask_fineness_slider",
}  # fmt: skip


def main() -> int:
    """Run all steps; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the environment is kept; by default it is not")
    parser.add_argument("--version", default=VERSION, help="of X-AnyLabeling")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ended([]) as running:
        return run(args.folder or Path(name), Path(name), args.version, running)


def run(home: Path, work: Path, version: str, running: list[subprocess.Popen[bytes]]) -> int:
    """Start the server, and use the window; returns the exit code."""
    rows = Rows()
    print(f"X-AnyLabeling {version} and gsam\n\n| step | what happened | time |\n|---|---|--:|")
    package = f"x-anylabeling-cvhub=={version}"
    program = rows("install X-AnyLabeling in an environment of its own", lambda: installed(home / "venv", package))
    gsam = Api(f"http://127.0.0.1:{free_port()}")
    started = rows("start gsam serve", lambda: start_gsam(gsam, ["--x-anylabeling"], {}, work, running))
    if program is None or started is None:
        return 1
    steps = rows("open its window, use it", lambda: used(program, gsam, work)) or {}
    for step, (title, labels, controls) in {
        "models": ("the controls of the first model", set(), TYPING),
        "words": ("words typed, and sent", {"dog", "pizza"}, TYPING),
        "click": ("a click of the other model", {"dog", "pizza", "AUTOLABEL_OBJECT"}, CLICKING),
        "clicks": ("a second click, not here", {"dog", "pizza", "AUTOLABEL_OBJECT"}, CLICKING),
    }.items():
        rows(title, lambda step=step, labels=labels, controls=controls: seen(steps[step], labels, controls))
    rows("words for a frame, run over all", lambda: run_over(steps["words of a video"], "cow"))
    rows("a click on a frame, run over all", lambda: run_over(steps["a click of a video"], "AUTOLABEL_OBJECT"))
    rows("what gsam's status says", lambda: told(gsam))
    return 1 if rows.failed else 0


def used(python: Path, gsam: Api, work: Path) -> tuple[str, dict[str, Any]]:
    """Let the window do its steps; what could be seen after each."""
    settings, image = work / "settings.yaml", work / SCENE.name
    settings.write_text(f"remote_server_settings:\n  server_url: {gsam.url}\n")
    shutil.copy(SCENE, image)
    frames = work / "frames"
    frames.mkdir()
    for frame in itertools.islice(open_frames(CLIP), FRAMES):
        Image.fromarray(frame.pixels).save(frames / f"{frame.index:03}.png")
    command = [str(python), str(DRIVER), str(settings), str(image), str(frames)]
    done = subprocess.run(
        command, env={**plain(), "HOME": str(work)}, capture_output=True, text=True, timeout=600, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
    check(done.returncode == 0, f"after {len(lines)} steps: {done.stderr[-300:]}")
    return f"{len(lines)} steps", {line["step"]: line for line in lines}


def seen(step: dict[str, Any], labels: set[str], controls: set[str]) -> tuple[str, Any]:
    """Check the shapes and the controls of a step."""
    check(step["models"] == ["gsam-words", "gsam-clicks", "gsam-video"], f"the models are {step['models']}")
    check(set(step["seen"]) == controls, f"the controls are {step['seen']}")
    shapes = step["shapes"]
    check({one["label"] for one in shapes} == labels, f"the labels are {[one['label'] for one in shapes]}")
    for label in labels:
        mask = drawn([one["points"] for one in shapes if one["label"] == label])
        x, y = INSIDE[label]
        check(bool(mask[y, x]), f"{label} is elsewhere")
    sizes = ", ".join(f"{one['label']} of {len(one['points'])} points" for one in shapes)
    return f"{len(step['seen'])} controls; {sizes or 'no shapes'}", step


def run_over(step: dict[str, Any], label: str) -> tuple[str, Any]:
    """Check the controls of videos, and the label on every frame but the open one."""
    check(set(step["seen"]) == TYPING | CLICKING - {"button_add_rect"}, f"the controls are {step['seen']}")
    frames = step["frames"]
    check(len(frames) == FRAMES - 1, f"only {list(frames)} are saved")
    for name, shapes in frames.items():
        check(label in {one["label"] for one in shapes}, f"{name} has no {label}")
    return f"{sum(map(len, frames.values()))} shapes on {len(frames)} frames", step


def drawn(parts: Sequence[Sequence[Sequence[float]]]) -> np.ndarray:
    """The pixels of an object's outlines."""
    return filled([[np.asarray(part, float)] for part in parts], (512, 512))


def told(gsam: Api) -> tuple[str, Any]:
    """The state that the page shows."""
    answer = gsam("/v1/integrations")["x_anylabeling"]
    check(answer["state"] == "ok", f"{answer['state']}: {answer['message']}")
    return f"{answer['state']}: {answer['message']}", answer


if __name__ == "__main__":
    sys.exit(main())
