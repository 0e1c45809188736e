"""Points, boxes and masks of a request: checked, given to the predictor, and its answer written."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gsam.results.masks import rle
from gsam.serve.masks import checked_kind, mask_fields
from gsam.serve.problems import ServeError

if TYPE_CHECKING:
    from gsam.inputs.image import Picture
    from gsam.predictors.decode import Prediction
    from gsam.predictors.embedding import Embedding
    from gsam.predictors.image import Predictor
    from gsam.types import Json

FIELDS = ("points", "labels", "box", "mask", "multimask", "masks")
LARGEST = 1e9
"""Coordinates beyond this are no pixels of anything."""


@dataclasses.dataclass(frozen=True)
class Click:
    """A request's question about an image."""

    points: list[list[float]] | None
    """x y in pixels."""
    labels: list[int] | None
    """1 for foreground, 0 for background, one a point."""
    box: list[float] | None
    """x0 y0 x1 y1 in pixels."""
    mask: str | None
    """The id of an earlier answer."""
    multimask: bool
    """Whether all masks of the model are wanted, or one."""
    kind: str
    """See `gsam.serve.masks.mask_fields`."""


def parse_click(fields: Json, size: tuple[int, int], most: int) -> Click:
    """Check what a request asks.

    Args:
        fields: The JSON object of the request.
        size: Height and width of the image.
        most: Points, at most.

    Returns:
        The prompt; all masks are wanted by default where a lone point is all there is.

    Raises:
        ServeError: 422; the code says which field is wrong.
    """
    for name in fields:
        if name not in FIELDS:
            raise ServeError(422, "field_unknown", f"{name[:40]!r} is no field of a click: {', '.join(FIELDS)} are")
    points, labels = _points(fields.get("points"), fields.get("labels"), size, most)
    box, mask, multimask = _box(fields.get("box"), size), fields.get("mask"), fields.get("multimask")
    if mask is not None and not isinstance(mask, str):
        raise ServeError(422, "mask_invalid", "mask has to be the id of an earlier answer, a text")
    if multimask is not None and not isinstance(multimask, bool):
        raise ServeError(422, "multimask_invalid", "multimask has to be true or false")
    if points is None and box is None and mask is None:
        raise ServeError(422, "nothing_asked", "points, box or mask are needed")
    if multimask is None:
        multimask = points is not None and len(points) == 1 and box is None and mask is None
    return Click(points, labels, box, mask, multimask, checked_kind(fields.get("masks")))


def encode(predictor: Predictor, picture: Picture) -> Embedding:
    """Encode an image, and wait until it is; in a thread of the predictor."""
    import jax

    embedding = predictor.encode(picture)
    jax.block_until_ready((embedding.features, embedding.projected))
    return embedding


def predict(predictor: Predictor, embedding: Embedding, click: Click, logits: NDArray[np.float32] | None) -> Prediction:
    """Decode a click; in the thread of the predictor.

    Args:
        predictor: The one that encoded the image.
        embedding: The image.
        click: The prompt.
        logits: [1, h, w] of ``click.mask``, where there is one.

    Returns:
        The masks [C, H, W], the best first.

    Raises:
        ServeError: 422 ``prompt_invalid``, the model does not take such a prompt.
    """
    with predictor.using(embedding):
        try:
            found = predictor.predict(click.points, click.labels, click.box, logits, click.multimask)
        except ValueError as error:  # a model that takes boxes only, for instance
            raise ServeError(422, "prompt_invalid", str(error)) from None
    order = np.argsort(-found.iou, kind="stable")
    return found._replace(masks=found.masks[order], iou=found.iou[order], low_res=found.low_res[order])


def written(found: Prediction, kind: str) -> list[Json]:
    """The objects of an answer, without their ids."""
    return [_written(mask, score, kind) for mask, score in zip(found.masks, found.iou, strict=True)]


def _written(mask: NDArray[np.bool_], score: np.float32, kind: str) -> Json:
    packed = rle.encode(mask)
    return {
        "score": round(min(max(float(np.nan_to_num(score)), 0.0), 1.0), 6),
        "box": list(rle.bounds(packed)),
        "area": rle.area(packed),
        **mask_fields(packed, kind, mask),
    }


def _points(
    points: Any, labels: Any, size: tuple[int, int], most: int
) -> tuple[list[list[float]], list[int]] | tuple[None, None]:
    if points is None and labels is None:
        return None, None
    if not isinstance(points, list):
        raise ServeError(422, "points_invalid", "points has to be a list of [x, y]")
    if not isinstance(labels, list) or len(labels) != len(points):
        raise ServeError(422, "labels_invalid", "labels has to be a list with one number for each point")
    if len(points) > most:
        raise ServeError(422, "too_many_points", f"{len(points)} points; at most {most} are taken")
    found = [_numbers(point, 2, "points_invalid", "a point is [x, y] in pixels") for point in points]
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, int | float) or label not in (0, 1):
            raise ServeError(422, "labels_invalid", "a label is 1 (foreground) or 0 (background)")
    height, width = size
    for x, y in found:
        if not (0 <= x <= width and 0 <= y <= height):
            raise ServeError(422, "point_outside", f"point ({x:g}, {y:g}) is outside the image, {width} x {height}")
    return (found, [int(label) for label in labels]) if found else (None, None)


def _box(box: Any, size: tuple[int, int]) -> list[float] | None:
    if box is None:
        return None
    x0, y0, x1, y1 = found = _numbers(box, 4, "box_invalid", "a box is [x0, y0, x1, y1] in pixels")
    if x1 < x0 or y1 < y0:
        raise ServeError(422, "box_invalid", "a box is [x0, y0, x1, y1] with x0 <= x1 and y0 <= y1")
    height, width = size
    axes = (x0, x1, width), (y0, y1, height)
    if any(high < 0 or low > side or low < high == 0 or side == low < high for low, high, side in axes):
        raise ServeError(422, "box_outside", f"the box has no pixel of the image, {width} x {height}")
    return found


def _numbers(value: Any, count: int, code: str, says: str) -> list[float]:
    """A list of so many finite numbers, no booleans and no texts."""
    if not isinstance(value, list) or len(value) != count:
        raise ServeError(422, code, says)
    return [_number(one, code, says) for one in value]


def _number(value: Any, code: str, says: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ServeError(422, code, f"{says}: numbers, without quotes")
    if not abs(value) <= LARGEST:  # nor is NaN
        raise ServeError(422, code, f"{says}: finite numbers up to {LARGEST:g}")
    return float(value)
