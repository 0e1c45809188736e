"""Results as answers: JSON as ``gsam segment`` writes it, or a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from gsam.results.formats.scene_json import dumps
from gsam.results.pictures import label_png, overlay_png
from gsam.results.result import Result
from gsam.serve.masks import mask_fields
from gsam.types import Json, JsonMapping

if TYPE_CHECKING:
    from gsam.predictors.automatic.candidates import Candidates


def scene(result: Result, kind: str) -> Json:
    """Describe a result as ``gsam segment`` does, its masks in the kind that was asked for.

    Args:
        result: What was found.
        kind: As `gsam.serve.masks.mask_fields` takes it.

    Returns:
        The dictionary of `gsam.results.formats.scene_json`, ``image`` None: files of clients have
        no names here.
    """
    whole = {**result.to_dict(), "image": None}
    if kind != "rle":
        for segment in whole["segments"]:
            segment.update(mask_fields(segment.pop("mask"), kind))
    return whole


def everything(found: Candidates, size: tuple[int, int], kind: str) -> Json:
    """Describe the masks of everything in an image, best first.

    Args:
        found: The masks.
        size: Height and width of the image.
        kind: As `gsam.serve.masks.mask_fields` takes it.

    Returns:
        ``width``, ``height`` and ``segments`` with ``score`` (the predicted IoU), ``stability``,
        ``box`` (x0 y0 x1 y1, exclusive right and bottom), ``area`` and the mask.
    """
    from gsam.results.masks import rle

    segments = []
    for i, counts in enumerate(found.counts):
        mask = rle.compress({"size": [*size], "counts": [int(n) for n in counts]})
        segments.append(
            {
                "score": round(float(found.iou[i]), 5),
                "stability": round(float(found.stability[i]), 5),
                "box": [float(v) for v in rle.bounds(mask)],
                "area": rle.area(mask),
                **mask_fields(mask, kind),
            }
        )
    return {"width": size[1], "height": size[0], "segments": segments}


def rendered(result: Result, kind: str, form: str) -> Response:
    """Make the answer to a request for words; in a thread, masks take a while.

    Args:
        result: What was found.
        kind: Of the masks, for JSON.
        form: ``json``, ``overlay`` or ``labels``.
    """
    if form == "overlay":
        return Response(overlay_png(result), media_type="image/png")
    if form == "labels":
        return Response(label_png(result), media_type="image/png")
    return as_json(scene(result, kind))


def as_json(value: JsonMapping) -> Response:
    """Write plain values as the body of an answer; any script is written as it is."""
    return Response(dumps(value), media_type="application/json")
