"""A session without its video as one ``.safetensors`` file, and a session anew from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from gsam.errors import CheckpointError, UsageError
from gsam.inputs.video import Frames
from gsam.tracking.objects import FrameOutput, Points, TrackedObject
from gsam.tracking.session import Session
from gsam.weights import ported
from gsam.weights.read import read

if TYPE_CHECKING:
    from gsam.types import Json

KIND, VERSION = "gsam.session", "1"
PLACES = ("prompted", "propagated", "pending_other", "pending")
"""Where an object's outputs are, as `_places` gives them."""
Arrays = dict[str, NDArray[np.generic]]


def save(session: Session, path: Path, model: str, digest: str) -> None:
    """Write a session, whole or not at all.

    Args:
        session: The session.
        path: The file, ``.safetensors``.
        model: The name of its model, for messages.
        digest: Hash of the model.

    Raises:
        UsageError: The file has another ending (``session_name``), or an id is neither text nor a
            whole number (``session_id``).
    """
    arrays: Arrays = {}
    objects = [_note(n, tracked, arrays) for n, tracked in enumerate(session.objects.values())]
    note = {"kind": KIND, "version": VERSION, "model": model, "fingerprint": digest, "memory": session.memory}
    note |= {"count": json.dumps(session.count), "size": json.dumps([session.height, session.width])}
    ported.write(arrays, _checked(path), note | {"objects": json.dumps(objects)})


def load(path: Path, frames: Frames, model: str, digest: str) -> Session:
    """Make a session of what `save` wrote.

    Args:
        path: The file.
        frames: The video that it is of.
        model: The name of the model that goes on, for messages.
        digest: Its hash.

    Returns:
        The session.

    Raises:
        UsageError: The file is missing (``session_missing``), damaged or of another kind
            (``session_unreadable``), or of another model (``session_other_model``) or video
            (``session_other_video``).
    """
    from safetensors import safe_open

    try:
        tensors = read(_checked(path))
        with safe_open(path, framework="np") as file:
            note = file.metadata() or {}
    except CheckpointError as error:
        code = "session_missing" if error.code == "checkpoint_missing" else "session_unreadable"
        raise UsageError(str(error), code) from None
    if note.get("kind") != KIND or note.get("version") != VERSION:
        raise UsageError(f"{path.name} is no session that this gsam wrote", "session_unreadable")
    if note.get("fingerprint") != digest:
        raise UsageError(f"{path.name} is a session of {note.get('model')!r}, not of {model!r}", "session_other_model")
    try:
        count, size = json.loads(note["count"]), json.loads(note["size"])
        if (count, size) != (frames.count, list(frames.size)):
            told = f"{count} frames of {size[1]} x {size[0]}, this one has {frames.count} of {frames.size[1]} x "
            raise UsageError(f"{path.name} is of a video of {told}{frames.size[0]}", "session_other_video")
        session = Session(frames, "near" if note["memory"] == "near" else "all")
        arrays = {name: np.array(tensor.load()) for name, tensor in tensors.items()}
        for n, told in enumerate(json.loads(note["objects"])):
            session.objects[told["id"]] = _restored(n, told, arrays, session)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, UsageError) and error.code == "session_other_video":
            raise
        raise UsageError(f"{path.name} is a damaged session ({error})", "session_unreadable") from None
    return session


def _note(number: int, tracked: TrackedObject, arrays: Arrays) -> Json:
    """Describe an object, and add its arrays."""
    if isinstance(tracked.id, bool) or not isinstance(tracked.id, str | int | np.integer):
        raise UsageError(f"an id in a file is text or a whole number, not {tracked.id!r}", "session_id")
    identity = tracked.id if isinstance(tracked.id, str) else int(tracked.id)
    note: Json = {"id": identity, "points": sorted(tracked.points), "masks": sorted(tracked.masks)}
    note["visited"] = [[frame, reverse] for frame, reverse in tracked.visited.items()]
    for frame, points in tracked.points.items():
        arrays[f"{number}/points/{frame}/xy"], arrays[f"{number}/points/{frame}/labels"] = points.xy, points.labels
    for frame, mask in tracked.masks.items():
        arrays[f"{number}/masks/{frame}"] = mask
    for name, place in _places(tracked).items():
        note[name] = [[frame, float(output.score), float(output.iou)] for frame, output in place.items()]
        for frame, output in place.items():
            key = f"{number}/{name}/{frame}"
            arrays[f"{key}/pointer"], arrays[f"{key}/logits"] = np.asarray(output.pointer), output.logits
            if output.has_memory:
                arrays[f"{key}/memory"] = output.memory
    return note


def _restored(
    number: int, note: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], session: Session
) -> TrackedObject:
    tracked = TrackedObject(note["id"])
    for frame in note["points"]:
        xy, labels = (arrays[f"{number}/points/{session.check(frame)}/{name}"] for name in ("xy", "labels"))
        if xy.shape != (*labels.shape, 2):
            raise ValueError(f"points {xy.shape} do not go with labels {labels.shape}")
        tracked.points[frame] = Points(xy.astype(np.float32), labels.astype(np.int32))
    for frame in note["masks"]:
        tracked.masks[frame] = arrays[f"{number}/masks/{session.check(frame)}"].astype(bool)
    tracked.visited = {session.check(frame): bool(reverse) for frame, reverse in note["visited"]}
    for name, place in _places(tracked).items():
        for frame, score, iou in note[name]:
            key = f"{number}/{name}/{session.check(frame)}"
            memory = arrays.get(f"{key}/memory")
            place[frame] = FrameOutput(
                session.arrays,
                float(score),
                float(iou),
                arrays[f"{key}/pointer"],
                arrays[f"{key}/logits"],
                None if memory is None else memory.astype(ml_dtypes.bfloat16),
            )
    return tracked


def _places(tracked: TrackedObject) -> dict[str, dict[int, FrameOutput]]:
    pending = tracked.pending
    return dict(zip(PLACES, (tracked.prompted, tracked.propagated, pending[False], pending[True]), strict=True))


def _checked(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise UsageError(f"a session is a .safetensors file, not {path.name!r}", "session_name")
    return path
