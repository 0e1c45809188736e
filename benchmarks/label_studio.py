"""A real Label Studio beside ``gsam serve``: ``python -m benchmarks.label_studio [--folder DIR]``.

Installs Label Studio from the package index into a virtual environment of its own (800 MB), starts
it and ``gsam serve --label-studio`` on this machine, and does what a person does: connects them,
lets tasks be labelled, clicks, writes a word, saves, hears of it by a webhook, exports, and reads
the exports with ``gsam convert``.  Prints a row for each; the exit code is 1 where one is wrong.
Takes some minutes.  ``--folder`` keeps the environment for the next time.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.live import Api, Rows, check, ended, free_port, installed, plain, start_gsam, wait
from gsam.results.masks import brush

SCENE = Path(__file__).parents[1] / "notebooks" / "scene.png"
VERSION = "1.23.2"
USER, PASSWORD = "someone@example.com", "a long password"
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <TextArea name="words" toName="image" editable="true" maxSubmissions="1" placeholder="dog, pizza"/>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="dog"/><Label value="pizza"/></KeyPointLabels>
  <RectangleLabels name="box" toName="image"><Label value="dog"/><Label value="pizza"/></RectangleLabels>
  <BrushLabels name="brush" toName="image"><Label value="dog"/><Label value="pizza"/></BrushLabels>
  <PolygonLabels name="outline" toName="image"><Label value="dog"/><Label value="pizza"/></PolygonLabels>
</View>"""
DOG = (415.0, 225.0)
"""A point on the scene's dog."""


def main() -> int:
    """Run all steps; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the environment is kept; by default it is not")
    parser.add_argument("--version", default=VERSION, help="of Label Studio")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        home = args.folder or work
        with ended([]) as running:
            return run(home, work, args.version, running)


def run(home: Path, work: Path, version: str, running: list[subprocess.Popen[bytes]]) -> int:
    """Start both, and use them.

    Args:
        home: Where the environment is, or goes.
        work: A folder for the data.
        version: Of Label Studio.
        running: Gets the processes that are started.

    Returns:
        The exit code.
    """
    rows = Rows()
    print(f"Label Studio {version} and gsam\n\n| step | what happened | time |\n|---|---|--:|")
    program = rows(
        "install Label Studio in an environment of its own",
        lambda: installed(home / "venv", f"label-studio=={version}"),
    )
    if program is None:
        return 1
    studio = Api(f"http://127.0.0.1:{free_port()}", secrets.token_hex(20))
    if rows("start Label Studio", lambda: start_studio(program, studio, work, running)) is None:
        return 1
    token = rows("make a personal access token, as newer servers want", lambda: personal(studio))
    gsam = Api(f"http://127.0.0.1:{free_port()}")
    if rows("start gsam serve", lambda: start(gsam, studio, token or str(studio.token), work, running)) is None:
        return 1
    use(rows, studio, gsam, work)
    wrong = Api(f"http://127.0.0.1:{free_port()}")
    rows("start gsam serve with a wrong token", lambda: start(wrong, studio, "0" * 40, work, running))
    rows("what its status says", lambda: told(wrong, "problem"))
    return 1 if rows.failed else 0


def use(rows: Rows, studio: Api, gsam: Api, work: Path) -> None:
    """Connect, label, click, save, export, convert."""
    project = rows("make a project", lambda: made(studio))
    task = rows("upload a picture", lambda: uploaded(studio, project))
    back_end = rows("connect gsam", lambda: connected(studio, gsam, project))
    found = rows("label the tasks", lambda: labelled(studio, project, task))
    rows("click on the dog", lambda: clicked(studio, back_end, task))
    rows("click again", lambda: clicked(studio, back_end, task))
    rows("write a word", lambda: asked(studio, back_end, task, "pizza"))
    rows("hook gsam to events, and save an annotation", lambda: saved(studio, gsam, project, task, found))
    export = work / "export.json"
    rows("export JSON", lambda: exported(studio, project, "JSON", export))
    rows("export BRUSH_TO_COCO", lambda: exported(studio, project, "BRUSH_TO_COCO", work / "coco.zip"))
    rows("gsam convert of the JSON", lambda: converted(export, work / "coco", found))
    rows("what the status says", lambda: told(gsam, "ok"))


# Steps


def start_studio(python: Path, studio: Api, work: Path, running: list[subprocess.Popen[bytes]]) -> tuple[str, bool]:
    """Start it with what a back end on the same machine needs, and wait."""
    settings = {
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_USERNAME": USER,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": str(studio.token),
        "LABEL_STUDIO_BASE_DATA_DIR": str(work / "studio"),
        "COLLECT_ANALYTICS": "false",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
    }
    environment = {**plain(), **settings}
    command = [python, "-m", "label_studio.server", "start", "--no-browser", "--internal-host", "127.0.0.1"]
    command += ["--port", studio.url.rpartition(":")[2], "--data-dir", str(work / "studio")]
    with (work / "studio.log").open("wb") as log:
        running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=work))
    wait(running[-1], lambda: studio("/api/version"), work / "studio.log")
    return f"version {studio('/api/version')['release']}", True


def start(gsam: Api, studio: Api, token: str, work: Path, running: list[subprocess.Popen[bytes]]) -> tuple[str, bool]:
    """Start the server with the two variables, and wait."""
    variables = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": token}
    return start_gsam(gsam, ["--label-studio"], variables, work, running)


def personal(studio: Api) -> tuple[str, str]:
    """A personal access token, which is exchanged for short-lived ones."""
    studio("/api/jwt/settings", {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True})
    token = studio("/api/token/", {})["token"]
    check(token.count(".") == 2, "it is no JWT")
    return "a JWT", str(token)


def made(studio: Api) -> tuple[str, int]:
    project = studio("/api/projects", {"title": "gsam and Label Studio", "label_config": CONFIG})
    return f"project {project['id']}", int(project["id"])


def uploaded(studio: Api, project: int) -> tuple[str, int]:
    studio.upload(f"/api/projects/{project}/import", SCENE)
    (task,) = studio(f"/api/tasks?project={project}&fields=all")["tasks"]
    return f"task {task['id']} of {task['data']['image']}", int(task["id"])


def connected(studio: Api, gsam: Api, project: int) -> tuple[str, int]:
    settings = {"url": gsam.url, "project": project, "title": "gsam", "is_interactive": True}
    answer = studio("/api/ml", settings)
    check(answer.get("state") == "CO", f"its state is {answer.get('state')}: {answer.get('error_message')}")
    return f"connected, {answer['model_version']}", int(answer["id"])


def labelled(studio: Api, project: int, task: int) -> tuple[str, list[Any]]:
    action = f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}"
    studio(action, {"selectedItems": {"all": True, "excluded": []}})
    (prediction,) = studio(f"/api/predictions?task={task}")
    kinds = {one["type"] for one in prediction["result"]}
    check(kinds == {"rectanglelabels", "brushlabels", "polygonlabels"}, f"it has {kinds}")
    labels = {one["value"][one["type"]][0] for one in prediction["result"]}
    check(labels == {"dog", "pizza"}, f"its labels are {labels}")
    text = f"{len(prediction['result'])} regions, score {prediction['score']:.2f}, {prediction['model_version']}"
    return text, prediction["result"]


def clicked(studio: Api, back_end: int, task: int) -> tuple[str, Any]:
    x, y = (v / 5.12 for v in DOG)
    prompt = {
        "id": "click",
        "type": "keypointlabels",
        "from_name": "point",
        "to_name": "image",
        "is_positive": 1,
        "original_width": 512,
        "original_height": 512,
        "image_rotation": 0,
        "value": {"x": x, "y": y, "width": 0.3, "keypointlabels": ["dog"]},
    }
    (one,) = interactive(studio, back_end, task, prompt)
    mask = brush.unpack(bytes(one["value"]["rle"]), (one["original_height"], one["original_width"]))
    check(bool(mask[round(DOG[1]), round(DOG[0])]), "the mask is elsewhere")
    return f"a {one['type']} of {int(mask.sum())} pixels, {one['value']['brushlabels'][0]}", one


def asked(studio: Api, back_end: int, task: int, word: str) -> tuple[str, Any]:
    value = {"text": [word]}
    prompt = {"id": "word", "type": "textarea", "from_name": "words", "to_name": "image", "value": value}
    found = interactive(studio, back_end, task, prompt)
    check(bool(found) and all(one["value"]["brushlabels"] == [word] for one in found), "other labels")
    return f"{len(found)} brushes, {word}", found


def interactive(studio: Api, back_end: int, task: int, prompt: Any) -> Any:
    answer = studio(f"/api/ml/{back_end}/interactive-annotating", {"task": task, "context": {"result": [prompt]}})
    check(not answer.get("errors"), str(answer.get("errors")))
    return answer["data"]["result"]


def saved(studio: Api, gsam: Api, project: int, task: int, result: Any) -> tuple[str, Any]:
    hook = {"url": f"{gsam.url}/webhook", "project": project, "send_payload": True, "send_for_all_actions": True}
    studio("/api/webhooks/", hook)
    studio(f"/api/tasks/{task}/annotations/", {"result": result, "lead_time": 1.0})
    until = time.monotonic() + 30
    while not (events := gsam("/v1/integrations")["label_studio"]["counts"].get("events", 0)):
        check(time.monotonic() < until, "no event has come")
        time.sleep(0.3)
    return f"{events} event has come", events


def exported(studio: Api, project: int, kind: str, path: Path) -> tuple[str, Path]:
    path.write_bytes(studio(f"/api/projects/{project}/export?exportType={kind}", raw=True))
    return f"{path.stat().st_size:,} bytes", path


def converted(export: Path, folder: Path, result: Any) -> tuple[str, Any]:
    command = [sys.executable, "-m", "gsam", "convert", str(export), str(folder), "--to", "coco"]
    done = subprocess.run(command, capture_output=True, text=True)
    check(done.returncode in (0, 3), done.stderr[-300:])
    (file,) = folder.rglob("*.json")
    found = json.loads(file.read_text())
    names = {one["id"]: one["name"] for one in found["categories"]}
    areas = sorted(int(one["area"]) for one in found["annotations"] if isinstance(one["segmentation"], dict))
    drawn = [bytes(one["value"]["rle"]) for one in result if "rle" in one["value"]]
    wanted = sorted(int(np.count_nonzero(brush.unpack(rle, (512, 512)))) for rle in drawn)
    missing = [area for area in wanted if area not in areas]
    check(not missing, f"brushes of {missing} pixels are not among {areas}")
    labels = ", ".join(sorted({names[one["category_id"]] for one in found["annotations"]}))
    return f"{len(found['annotations'])} objects, {labels}; all {len(wanted)} brushes with every pixel", found


def told(gsam: Api, state: str) -> tuple[str, Any]:
    answer = gsam("/v1/integrations")["label_studio"]
    check(answer["state"] == state, f"{answer['state']}: {answer['message']}")
    return f"{answer['state']}: {answer['message']}", answer


if __name__ == "__main__":
    sys.exit(main())
