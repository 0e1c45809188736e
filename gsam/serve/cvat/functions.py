"""The functions that CVAT's server sees: words, clicks, and SAM 2, each as its gateway tells them.

Everything here is host work between JSON and arrays; `gateway` calls it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.results.result import Result
from gsam.serve.cvat import shapes
from gsam.serve.problems import ServeError
from gsam.text.queries import Queries
from gsam.types import Json

WORDS, CLICKS, TRACK = "gsam-words", "gsam-clicks", "gsam-track"
LARGEST = 1e9
"""Coordinates beyond this are no pixels of anything."""


def described(name: str, annotations: Json, description: str, ready: bool) -> Json:
    """A function as nuclio's dashboard tells it: all texts, labels as JSON in a text."""
    return {
        "metadata": {
            "name": name,
            "namespace": "nuclio",
            "labels": {"nuclio.io/project-name": "cvat"},
            "annotations": {"framework": "jax", "version": "2", "animated_gif": "", **annotations},
        },
        "spec": {"description": description},
        "status": {"state": "ready" if ready else "building"},
    }


def detector(name: str, queries: Queries, ready: bool) -> Json:
    """The function that finds words: its labels are theirs."""
    spec = [{"id": i, "name": label, "type": "mask"} for i, label in enumerate(queries.categories)]
    annotations = {"name": f"gsam: {name}", "type": "detector", "spec": json.dumps(spec)}
    return described(WORDS, annotations, "Words to labelled masks", ready)


def interactor(name: str, prompt_types: frozenset[str], ready: bool) -> Json:
    """The function that answers clicks."""
    points, boxes = "foreground" in prompt_types, "box" in prompt_types
    annotations = {
        "name": f"gsam: {name}",
        "type": "interactor",
        "spec": "",
        "min_pos_points": "1" if points else "0",
        "min_neg_points": "0" if "background" in prompt_types else "-1",
        **({"startswith_box_optional" if points else "startswith_box": "true"} if boxes else {}),
        "help_message": "Click on the thing, right-click beside it, or begin with a box around it.",
    }
    return described(CLICKS, annotations, "Points and a box to a mask", ready)


def tracker(name: str, ready: bool) -> Json:
    """The function that follows rectangles."""
    annotations = {"name": f"gsam: {name}", "type": "tracker", "spec": ""}
    return described(TRACK, annotations, "Rectangles through a video, by SAM 2", ready)


# answers


def found_objects(result: Result) -> bytes:
    """The answer of the detector, as JSON: masks over their bounds, and their outlines.

    CVAT takes the outline, one polygon an object, where it is asked for polygons.
    """
    rows = []
    for i, label in enumerate(result.labels):
        mask = result.mask(i)
        bounds = shapes.bounds(mask)
        if bounds is None:
            continue
        left, top, right, bottom = bounds
        score = f"{min(max(float(np.nan_to_num(result.scores[i])), 0.0), 1.0):.5f}"
        head = {"confidence": score, "label": label, "type": "mask", "points": shapes.ring(mask)}
        flat = digits(mask[top : bottom + 1, left : right + 1].reshape(1, -1))[2:-2]
        bounded = ",".join(map(str, bounds)).encode()
        rows.append(json.dumps(head)[:-1].encode() + b', "mask": [' + flat + b"," + bounded + b"]}")
    return b"[" + b",".join(rows) + b"]"


def one_mask(mask: NDArray[np.bool_]) -> bytes:
    """The answer of the interactor, as JSON: every pixel of the image, and the outline."""
    points = json.dumps(shapes.outline(mask)).encode()
    return b'{"mask": ' + digits(mask) + b', "points": ' + points + b"}"


def digits(mask: NDArray[np.bool_]) -> bytes:
    """``[[0,1,...],...]`` of a mask [H, W], as JSON; millions of them in milliseconds."""
    height, width = mask.shape
    text = np.full((height, 2 * width + 2), ord(","), np.uint8)
    text[:, 0] = ord("[")
    text[:, 1:-1:2] = mask.astype(np.uint8) + ord("0")
    text[:, -2] = ord("]")
    return b"[" + text.tobytes()[:-1] + b"]"


# requests


def clicked(fields: Json) -> Json:
    """The points and the box of a request to the interactor, as `gsam.serve.clicks` takes them.

    Raises:
        ServeError: 422 ``points_invalid``.
    """
    inside, outside = _list(fields, "pos_points"), _list(fields, "neg_points")
    box = fields.get("obj_bbox") or None
    if isinstance(box, list) and len(box) == 2 and all(isinstance(corner, list) for corner in box):
        box = [*box[0], *box[1]]
    if isinstance(box, list) and len(box) == 4 and all(_is_number(v) for v in box):
        box = [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]
    if not inside and box is None:
        raise ServeError(422, "nothing_asked", "a point on the thing, or a box, is needed")
    points = [*inside, *outside]
    labels = [1] * len(inside) + [0] * len(outside)
    return {"points": points, "labels": labels, **({} if box is None else {"box": box})}


def threshold_of(fields: Json) -> float | None:
    """The least score of a request to the detector; None for the pipeline's threshold.

    Raises:
        ServeError: 422 ``threshold_invalid``.
    """
    value = fields.get("threshold")
    if value is None:
        return None
    if not _is_number(value) or not 0 <= value <= 1:
        raise ServeError(422, "threshold_invalid", "threshold has to be a number from 0 to 1")
    return float(value)


def tracked(fields: Json, most: int) -> list[tuple[list[float] | None, Any]]:
    """The rectangles of a request to the tracker, each with its state, or None.

    Args:
        fields: Of the request; a shape is ``[x0, y0, x1, y1]``, or more corners, whose bounds
            count.
        most: Rectangles, at most.

    Raises:
        ServeError: 422 ``shapes_invalid``.
    """
    given, states = _list(fields, "shapes"), _list(fields, "states")
    if given and states and len(given) != len(states):
        raise ServeError(422, "shapes_invalid", f"{len(given)} shapes, but {len(states)} states")
    if max(len(given), len(states)) > most:
        raise ServeError(422, "shapes_invalid", f"at most {most} shapes are followed together")
    boxes = [None if shape is None else _box(shape) for shape in given] or [None] * len(states)
    pairs = list(zip(boxes, states or [None] * len(boxes), strict=True))
    if any(box is None and state is None for box, state in pairs):
        raise ServeError(422, "shapes_invalid", "a shape without numbers has no state either")
    return pairs


def _box(shape: Any) -> list[float]:
    points = shape.get("points") if isinstance(shape, dict) else shape
    if not isinstance(points, list) or len(points) < 4 or len(points) % 2 or len(points) > 1 << 16:
        raise ServeError(422, "shapes_invalid", "a shape is [x0, y0, x1, y1, ...] in pixels")
    if not all(_is_number(value) for value in points):
        raise ServeError(422, "shapes_invalid", f"a shape is finite numbers up to {LARGEST:g}")
    x, y = points[::2], points[1::2]
    return [float(v) for v in (min(x), min(y), max(x), max(y))]


def _list(fields: Json, name: str) -> Sequence[Any]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        code = "shapes_invalid" if name in ("shapes", "states") else "points_invalid"
        raise ServeError(422, code, f"{name} has to be a list")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
