"""A request to follow objects through a video: checked, and what happens while it is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from gsam.inputs.video.part import Part
from gsam.pipeline import Pipeline
from gsam.predictors.prompts import parse_object_prompt
from gsam.predictors.video import Session, VideoPredictor
from gsam.results.masks import rle
from gsam.runtime.settings import LIMITS
from gsam.serve.asked import check_fields, queries_of, settings_of
from gsam.serve.clicks import Click, parse_click
from gsam.serve.config import ServeConfig
from gsam.serve.masks import checked_kind, mask_fields
from gsam.serve.problems import ServeError
from gsam.serve.videos import Video
from gsam.text.queries import Queries
from gsam.tracking.config import SETTINGS, TrackingConfig
from gsam.types import Json, JsonMapping

Direction = Literal["forward", "backward", "both"]
Happening = tuple[str, Json] | None
"""The name of an event and its fields; None where nothing is to be told, but time has passed."""
BOTH = ("masks", "first", "last")
WORDS = ("query", *SETTINGS, *LIMITS, *BOTH)
CLICKS = ("prompts", "direction", "every", *BOTH)
PROMPT = ("frame", "object", "label", "points", "labels", "box")
MOST_OBJECTS = 64
MOST_BYTES = 1 << 30
"""Memory for the masks of one frame, while they are made."""
MOST_LABEL = 200
"""Characters of a label, and of an object's id that is a text."""
LARGEST_ID = 1 << 53
"""Whole numbers up to this are the same in every JSON reader."""


@dataclasses.dataclass(frozen=True)
class Prompt:
    """Clicks on an object on a frame."""

    frame: int
    object: int | str
    click: Click


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request, checked: words, or clicks."""

    kind: str
    """The kind of masks, see `gsam.serve.masks.mask_fields`."""
    first: int
    """The first frame that may be gone over."""
    stop: int
    """The frame after the last."""
    queries: Queries | None = None
    """The words; None for clicks."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """For `gsam.Pipeline.track`, of words."""
    prompts: Sequence[Prompt] = ()
    labels: Mapping[int | str, str] = dataclasses.field(default_factory=dict)
    """By object, of clicks."""
    direction: Direction = "forward"


def parse(fields: JsonMapping, video: Video, config: ServeConfig) -> Asked:
    """Check a request; in a thread, a long query takes a while.

    Args:
        fields: The JSON object.
        video: Of which it speaks.
        config: The limits.

    Raises:
        ServeError: 422; the code says which field is wrong.
        gsam.errors.QueryError: The words ask for nothing, or for too much.
        gsam.errors.UsageError: A setting is out of its range.
    """
    words = fields.get("query") is not None
    if words == (fields.get("prompts") is not None):
        raise ServeError(422, "nothing_asked", "either query or prompts is needed")
    fields = {name: value for name, value in fields.items() if value is not None}
    check_fields(fields, WORDS if words else CLICKS)
    kind = checked_kind(fields.get("masks"))
    first = frame_number(fields.get("first", 0), 0, video.count, "first")
    stop = frame_number(fields.get("last", video.count - 1), first, video.count, "last") + 1
    tracking = {name: fields[name] for name in SETTINGS if name in fields}
    TrackingConfig(**tracking)
    if words:
        tracking["most"] = min(tracking.get("most", MOST_OBJECTS), _room(video, 2))
        return Asked(kind, first, stop, queries_of(fields["query"], config), {**settings_of(fields), **tracking})
    prompts, labels = _prompts(fields["prompts"], video, range(first, stop), config)
    direction = fields.get("direction", "forward")
    if direction not in get_args(Direction):
        raise ServeError(422, "direction_unknown", f"direction is one of {', '.join(get_args(Direction))}")
    return Asked(kind, first, stop, prompts=prompts, labels=labels, direction=direction)


def by_words(pipe: Pipeline, video: Video, asked: Asked) -> Iterator[Happening]:
    """Follow what words name; in a thread.

    Args:
        pipe: Finds it, and has a tracker.
        video: The video.
        asked: The request.

    Returns:
        An iterator over ``start`` and every ``frame`` when it is done.

    Raises:
        gsam.errors.UsageError: The pipeline has no tracker, before ``start``.
        gsam.errors.VideoError: The rest of the video cannot be read.
    """
    assert asked.queries is not None
    found = pipe.track(Part(video.frames, asked.first, asked.stop), asked.queries, **asked.settings)
    yield "start", _start(asked, asked.stop - asked.first)
    for frame in found:
        objects = [
            _object(number, label, score, mask, asked.kind)
            for number, label, score, mask in zip(
                frame.ids.tolist(), frame.labels, frame.scores.tolist(), frame.rles, strict=True
            )
        ]
        yield "frame", _frame_fields(asked.first + frame.index, frame.time, objects)


def by_clicks(predictor_of: Callable[[], VideoPredictor], video: Video, asked: Asked) -> Iterator[Happening]:
    """Follow what was clicked on; in a thread.

    Args:
        predictor_of: Gives the predictor, which may have to be built.
        video: The video.
        asked: The request.

    Returns:
        As of `by_words`; going backward, the numbers of the frames fall.

    Raises:
        ServeError: 422 ``prompt_invalid``, before ``start``.
        gsam.errors.VideoError: The rest of the video cannot be read.
    """
    predictor = predictor_of()
    for prompt in asked.prompts:  # complain before anything is sent
        try:
            parse_object_prompt(*_arguments(prompt.click), video.size, 1024)
        except ValueError as error:
            raise ServeError(422, "prompt_invalid", str(error)) from None
    state = predictor.init_state(Part(video.frames, asked.first, asked.stop), memory="near")
    begin = [prompt.frame - asked.first for prompt in asked.prompts]
    forward = asked.stop - asked.first - min(begin)
    count = {"forward": forward, "backward": max(begin) + 1, "both": asked.stop - asked.first}[asked.direction]
    yield "start", _start(asked, count)
    for prompt in asked.prompts:
        points, labels, box = _arguments(prompt.click)
        predictor.add_new_points_or_box(state, prompt.frame - asked.first, prompt.object, points, labels, box=box)
        yield None
    yield from _propagated(predictor, state, begin, asked)


def _propagated(predictor: VideoPredictor, state: Session, begin: Sequence[int], asked: Asked) -> Iterator[Happening]:
    if asked.direction == "backward" and max(begin) > 0:
        passes = [predictor.propagate_in_video(state, max(begin), reverse=True)]
    elif asked.direction == "backward":  # from the first frame there is no way back
        passes = [predictor.propagate_in_video(state, 0, 0)]
    else:
        passes = [predictor.propagate_in_video(state, min(begin))]
    if asked.direction == "both":
        passes.append(predictor.propagate_in_video(state, min(begin), reverse=True))
    for turn, frames in enumerate(passes):
        for number, ids, logits in frames:
            if turn and number == min(begin):
                continue  # it was told going forward
            objects = []
            for key, mask, output in zip(ids, logits, state.outputs(number), strict=True):
                if output is None or not output.present:
                    continue
                packed = rle.encode(mask[0] > 0)
                if rle.area(packed):
                    score = float(np.clip(np.nan_to_num(output.iou), 0, 1))
                    objects.append(_object(key, asked.labels.get(key, ""), score, packed, asked.kind))
            last = state.last
            time = float(last.time) if last is not None and last.index == number and last.time is not None else None
            yield "frame", _frame_fields(asked.first + number, time, objects)


def _start(asked: Asked, count: int) -> Json:
    return {"first": asked.first, "last": asked.stop - 1, "frames": count}


def _frame_fields(index: int, time: float | None, objects: list[Json]) -> Json:
    return {"index": index, "time": None if time is None else round(time, 6), "objects": objects}


def _object(key: int | str, label: str, score: float, mask: rle.Rle, kind: str) -> Json:
    return {
        "id": key,
        "label": label,
        "score": round(score, 5),
        "box": list(rle.bounds(mask)),
        "area": rle.area(mask),
        **mask_fields(mask, kind),
    }


def _prompts(given: Any, video: Video, within: range, config: ServeConfig) -> tuple[list[Prompt], dict[int | str, str]]:
    if not isinstance(given, list) or not given:
        raise ServeError(422, "prompts_invalid", "prompts has to be a list of objects, at least one")
    if len(given) > config.max_prompts:
        raise ServeError(422, "too_many_prompts", f"{len(given)} prompts; at most {config.max_prompts} are taken")
    prompts: list[Prompt] = []
    labels: dict[int | str, str] = {}
    for entry in given:
        if not isinstance(entry, dict):
            raise ServeError(422, "prompts_invalid", "a prompt is an object with frame, object and points or a box")
        check_fields(entry, PROMPT)
        frame = frame_number(entry.get("frame", within.start), within.start, within.stop, "frame")
        key = object_key(entry.get("object", 1))
        label = entry.get("label")
        if label is not None and (not isinstance(label, str) or len(label) > MOST_LABEL):
            raise ServeError(422, "label_invalid", f"a label is a text of at most {MOST_LABEL} characters")
        clicked = {name: entry[name] for name in ("points", "labels", "box") if name in entry}
        prompts.append(Prompt(frame, key, parse_click(clicked, video.size, config.max_prompts)))
        labels[key] = label or labels.get(key, "")
    if len({(prompt.frame, prompt.object) for prompt in prompts}) < len(prompts):
        raise ServeError(422, "prompt_twice", "one prompt says all about an object on a frame: join their points")
    if len(labels) > (most := _room(video, 5)):
        raise ServeError(422, "too_many_objects", f"{len(labels)} objects; at most {most} are followed in this video")
    return prompts, labels


def _arguments(click: Click) -> tuple[Any, Any, Any]:
    return click.points, click.labels, click.box


def object_key(value: Any) -> int | str:
    """Check the id of an object.  Raises `ServeError` 422 ``object_invalid``."""
    if isinstance(value, str) and 0 < len(value) <= MOST_LABEL:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_ID:
        return value
    raise ServeError(422, "object_invalid", f"object is a whole number, or a text of 1 to {MOST_LABEL} characters")


def frame_number(value: Any, first: int, stop: int, name: str) -> int:
    """Check the number of a frame, ``first`` to ``stop`` - 1, which a request calls ``name``.

    Raises:
        ServeError: 422 ``frame_invalid``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not first <= value < stop:
        raise ServeError(422, "frame_invalid", f"{name} is the number of a frame, here {first} to {stop - 1}")
    return value


def _room(video: Video, each: int) -> int:
    """Objects that are followed at most, where a pixel of each mask takes so many bytes."""
    return min(MOST_OBJECTS, max(1, MOST_BYTES // (each * video.size[0] * video.size[1])))
