"""Check prompts as SamPredictor and SAM2ImagePredictor take them, and pad them for a decoder.

Several prompts are rows of arrays, or lists with one entry per prompt, which may be None and may
differ in their number of points.  The padding is `ABSENT`, which attention skips, so that each
prompt gets what it would get alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gsam.inputs.image import content, make_view
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, PAD, TOP_LEFT
from gsam.runtime.shapes import power_of_two
from gsam.tracking.objects import Points
from gsam.types import View

PerPrompt = ArrayLike | Sequence[ArrayLike | None]
"""One entry per prompt: an array's rows, or a list."""
PromptArrays = tuple[list[Any] | None, list[Any] | None, list[Any] | None, list[Any] | None]
"""Points, labels, boxes and masks, each with one entry per prompt."""
WORDS = {"foreground": "foreground clicks", "background": "background clicks", "box": "boxes", "mask": "masks"}
NAMES = ("sets of points", "sets of labels", "boxes", "masks")


@dataclasses.dataclass(frozen=True)
class CoordinateSpace:
    """The units of coordinates, the pixels of the view they become, and what the model takes."""

    size: tuple[float, float]
    """Height and width of the image, in the units of the coordinates."""
    content: tuple[int, int]
    """Rows and columns of the view that are image."""
    prompt_types: frozenset[str]
    """See `gsam.models.promptable.PromptableSegmenter.prompt_types`."""
    mask_size: Callable[[], tuple[int, int]]
    """Rows and columns of a mask prompt."""
    max_points: int | None = None
    """See `gsam.models.promptable.PromptableSegmenter.max_points`."""
    pads_boxes: bool = False
    """See `gsam.models.promptable.PromptableSegmenter.pads_boxes`."""

    @property
    def scale(self) -> NDArray[np.float64]:
        """Pixels of the view per unit, x and y."""
        return np.array(self.content[::-1], np.float64) / np.array(self.size[::-1], np.float64)


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One prompt, checked, in pixels of the view."""

    xy: NDArray[np.float32]
    """[P, 2]: points, then the corners of the box."""
    kinds: NDArray[np.int32]
    """[P] as in `gsam.nn.prompt`."""
    mask: NDArray[np.float32] | None
    """[h, w]."""


@dataclasses.dataclass(frozen=True)
class PaddedShape:
    """The shapes of a decoder's program."""

    rows: int
    """Prompts."""
    points: int
    """Points of each."""
    mask: tuple[int, int] | None
    """Rows and columns of mask prompts, None without."""

    @classmethod
    def of(cls, images: Sequence[Sequence[Prompt]], limit: int) -> PaddedShape:
        """Choose the shape for the prompts of several images, ``limit`` rows at most.

        Counts are powers of two, so that programs are few.
        """
        rows = max((len(own) for own in images), default=1)
        points = max((len(p.kinds) for own in images for p in own), default=1)
        mask = next((p.mask for own in images for p in own if p.mask is not None), None)
        mask_size = None if mask is None else (mask.shape[0], mask.shape[1])
        return cls(min(power_of_two(rows), limit), power_of_two(points), mask_size)

    def pack(self, some: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Pad prompts to the arguments of `gsam.models.promptable.PromptableSegmenter.prompt`."""
        xy = np.zeros((self.rows, self.points, 2), np.float32)
        kinds = np.full((self.rows, self.points), ABSENT, np.int32)
        for i, prompt in enumerate(some):
            xy[i, : len(prompt.xy)], kinds[i, : len(prompt.kinds)] = prompt.xy, prompt.kinds
        packed: dict[str, np.ndarray] = {"points": xy, "labels": kinds, "valid": np.arange(self.rows) < len(some)}
        if self.mask is not None:
            packed["mask"] = np.zeros((self.rows, *self.mask), np.float32)
            packed["has_mask"] = np.zeros(self.rows, bool)
            for i, prompt in enumerate(some):
                if prompt.mask is not None:
                    packed["mask"][i], packed["has_mask"][i] = prompt.mask, True
        return packed


def parse_single_or_batch(coords: Any, labels: Any, boxes: Any, masks: Any) -> PromptArrays:
    """Split the arguments of one prompt, [P, 2] [P] [4] [1, h, w], or of N with N in front."""
    return (
        _entries(coords, 2, "point_coords", "[P, 2], or [N, P, 2]"),
        _entries(labels, 1, "point_labels", "[P], or [N, P]"),
        _entries(boxes, 1, "box", "[4], or [N, 4]"),
        _entries(masks, 3, "mask_input", "[1, h, w], or [N, 1, h, w]"),
    )


def parse_per_prompt(coords: Any, labels: Any, boxes: Any, masks: Any) -> PromptArrays:
    """Split the arguments of N prompts, which have one entry per prompt."""
    names = ("point_coords", "point_labels", "boxes", "mask_input")
    found: list[list[Any] | None] = []
    for value, name in zip((coords, labels, boxes, masks), names, strict=True):
        try:
            value = np.asarray(value) if hasattr(value, "__array__") else value
            found.append(None if value is None else list(value))
        except TypeError:
            raise ValueError(f"{name} needs one entry a prompt, it is {value!r}") from None
    return found[0], found[1], found[2], found[3]


def check_prompts(given: PromptArrays, space: CoordinateSpace) -> list[Prompt]:
    """Check every prompt; without any argument there is one that is empty, as in the original.

    Raises `ValueError`: numbers that do not go together or are not finite, points outside the
    image, labels other than 0 and 1, corners of a box in the wrong order, a mask of the wrong size,
    and what the model does not take.
    """
    if (given[0] is None) != (given[1] is None):
        raise ValueError("point_coords and point_labels go together: one is missing")
    counts = [(len(rows), name) for rows, name in zip(given, NAMES, strict=True) if rows is not None]
    count, first = counts[0] if counts else (1, "")
    for other, name in counts[1:]:
        if other != count:
            raise ValueError(f"{count} {first} but {other} {name}")
    found = []
    for i in range(count):
        try:
            coords, labels, box, mask = (None if rows is None else rows[i] for rows in given)
            found.append(_prompt(coords, labels, box, mask, space))
        except ValueError as error:
            if count == 1:
                raise
            raise ValueError(f"prompt {i}: {error}") from None
    return found


def _prompt(coords: Any, labels: Any, box: Any, mask: Any, space: CoordinateSpace) -> Prompt:
    if (coords is None) != (labels is None):
        raise ValueError("point_coords and point_labels go together: one is missing")
    if coords is None and box is None and mask is None and "mask" not in space.prompt_types:
        raise ValueError(f"nothing is asked: this model takes {_words(space.prompt_types)}")
    xy, kinds = [], []
    if coords is not None:
        at, kind = _points(coords, labels, space)
        xy, kinds = [at], [kind]
    if box is not None:
        xy.append(_corners(box, space))
        kinds.append(np.array([TOP_LEFT, BOTTOM_RIGHT]))
    if xy and (box is None or space.pads_boxes):  # the original adds one "not a point"
        xy.append(np.zeros((1, 2)))
        kinds.append(np.array([PAD]))
    if not xy:
        xy, kinds = [np.zeros((0, 2))], [np.zeros(0)]
    count = int((np.concatenate(kinds) != PAD).sum())
    if space.max_points is not None and count > space.max_points:
        raise ValueError(
            f"this model takes {space.max_points} points a prompt, of which a box is two; these are {count}"
        )
    scaled = np.concatenate(xy) * space.scale
    return Prompt(scaled.astype(np.float32), np.concatenate(kinds).astype(np.int32), _mask(mask, space))


def _points(coords: Any, labels: Any, space: CoordinateSpace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    xy, kind = _numbers(coords, "point_coords"), _numbers(labels, "point_labels")
    xy = xy.reshape(0, 2) if xy.size == 0 else xy
    if xy.ndim != 2 or xy.shape[1] != 2 or kind.shape != xy.shape[:1]:
        raise ValueError(f"points [P, 2] and labels [P] are needed, got {xy.shape} and {kind.shape}")
    if not np.isin(kind, (0, 1)).all():
        raise ValueError(f"point labels are 1 (foreground) or 0 (background), got {np.unique(kind).tolist()}")
    for label, word in ((1, "foreground"), (0, "background")):
        if word not in space.prompt_types and (kind == label).any():
            raise _unknown(word, space)
    _finite(xy, "point_coords")
    outside = ((xy < 0) | (xy > np.array(space.size[::-1]) + 1e-6)).any(1)
    if outside.any():
        bad = tuple(xy[outside.argmax()].tolist())
        raise ValueError(f"point {bad} is outside the picture, {space.size[1]} x {space.size[0]}")
    return xy, kind


def _corners(box: Any, space: CoordinateSpace) -> NDArray[np.float64]:
    if "box" not in space.prompt_types:
        raise _unknown("box", space)
    corners = _numbers(box, "box")
    if corners.shape not in ((4,), (1, 4), (2, 2)):
        raise ValueError(f"a box is four numbers x0 y0 x1 y1, got shape {corners.shape}")
    corners = corners.reshape(4)
    _finite(corners, "box")
    if corners[2] < corners[0] or corners[3] < corners[1]:
        raise ValueError("a box is x0 y0 x1 y1 with x0 <= x1 and y0 <= y1")
    low, high, size = corners[:2], corners[2:], np.array(space.size[::-1])
    before, behind = (high < 0) | ((high == 0) & (low < 0)), (low > size) | ((low == size) & (high > size))
    if (before | behind).any():
        raise ValueError(f"box {corners.tolist()} has no pixel of the picture, {size[0]:g} x {size[1]:g}")
    return corners.reshape(2, 2)


def _mask(mask: Any, space: CoordinateSpace) -> NDArray[np.float32] | None:
    if mask is None:
        return None
    if "mask" not in space.prompt_types:
        raise _unknown("mask", space)
    rows, columns = space.mask_size()
    if _is_mask(_numbers(mask, "mask_input", None)):
        raise ValueError(
            "mask_input is logits, above 0 inside, and this is a mask (bool, 0 and 1, or 0 to 255): "
            "give the low-resolution logits of an earlier answer, or numpy.where(mask, 10.0, -10.0)"
        )
    given = _numbers(mask, "mask_input", np.float32)
    if given.shape != (1, rows, columns):
        raise ValueError(
            f"mask_input must be [1, {rows}, {columns}] a prompt, low-resolution logits; got {list(given.shape)}"
        )
    _finite(given, "mask_input")
    return given[0]


def _is_mask(values: NDArray[Any]) -> bool:
    """Whether numbers are bool, unsigned, or go from 0 to exactly 1 or 255, as logits do not."""
    if values.dtype.kind in "bu" or not values.size:
        return values.dtype.kind in "bu"
    return float(values.min()) == 0 and float(values.max()) in (1.0, 255.0)


def _entries(value: Any, axes: int, name: str, shapes: str) -> list[Any] | None:
    if value is None:
        return None
    array = _numbers(value, name, None)
    if array.size == 0 and array.ndim <= axes:
        return [] if name == "box" else [array]
    if array.ndim not in (axes, axes + 1):
        raise ValueError(f"{name} must be {shapes}, it is {list(array.shape)}")
    return [array] if array.ndim == axes else list(array)


def _numbers(value: Any, name: str, dtype: DTypeLike | None = np.float64) -> np.ndarray:
    try:
        found = np.asarray(value, dtype)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, in rows of one length (predict_many takes others)") from None
    if found.dtype == object:
        raise ValueError(f"{name} must be numbers, it holds something else")
    return found


def _finite(values: np.ndarray, name: str) -> None:
    known = np.isfinite(values)
    if not known.all():
        raise ValueError(f"{name} holds a number that is not finite, at index {np.argwhere(~known)[0].tolist()}")


def _unknown(word: str, space: CoordinateSpace) -> ValueError:
    return ValueError(f"this model takes {_words(space.prompt_types)}, not {WORDS[word]}")


def _words(prompt_types: frozenset[str]) -> str:
    *some, last = [text for word, text in WORDS.items() if word in prompt_types] or ["nothing"]
    return f"{', '.join(some)} and {last}" if some else last


@dataclasses.dataclass(frozen=True)
class Transform:
    """The map from pixels of an image to pixels of the view: ``ResizeLongestSide``, for any fit.

    Source: ``segment_anything/utils/transforms.py``.
    """

    view: View
    """The form in which the model takes an image."""

    @property
    def target_length(self) -> int:
        """The side of the view in pixels."""
        return self.view.size

    def apply_image(self, image: NDArray[np.uint8]) -> np.ndarray:
        """Scale an image as the model sees it, without padding.

        Args:
            image: [H, W, 3] uint8 RGB.

        Returns:
            [h, w, 3], the rows and columns of the view that are image.
        """
        rows, columns = content(self.view, (image.shape[0], image.shape[1]))
        return make_view(np.ascontiguousarray(image), self.view)[:rows, :columns]

    def apply_coords(self, coords: ArrayLike, original_size: tuple[int, int]) -> NDArray[np.float64]:
        """Scale points.

        Args:
            coords: [..., 2] x y in pixels of the image.
            original_size: Height and width of the image.

        Returns:
            [..., 2] float64 in pixels of the view.
        """
        rows, columns = content(self.view, original_size)
        height, width = original_size
        return np.asarray(coords, np.float64) * np.array([columns / width, rows / height])

    def apply_boxes(self, boxes: ArrayLike, original_size: tuple[int, int]) -> NDArray[np.float64]:
        """Scale boxes.

        Args:
            boxes: [..., 4] x0 y0 x1 y1 in pixels of the image.
            original_size: Height and width of the image.

        Returns:
            [N, 4] float64 in pixels of the view.
        """
        return self.apply_coords(np.asarray(boxes, np.float64).reshape(-1, 2, 2), original_size).reshape(-1, 4)

    apply_coords_torch, apply_boxes_torch = apply_coords, apply_boxes


def parse_object_prompt(points: Any, labels: Any, box: Any, size: tuple[float, float], side: int) -> Points:
    """Check the points and the box of one object, and bring them to pixels of a square view.

    ``size`` is the height and width that coordinates are in, ``side`` that of the view; corners of
    the box come first.
    """
    space = CoordinateSpace(size, (side, side), frozenset({"foreground", "background", "box"}), lambda: (0, 0))
    given: PromptArrays = (
        None if points is None else [np.asarray(points).reshape(-1, 2)],
        None if labels is None else [np.asarray(labels).reshape(-1)],
        None if box is None else [np.asarray(box)],
        None,
    )
    (found,) = check_prompts(given, space)
    order = np.argsort(found.kinds < 2, kind="stable")
    order = order[found.kinds[order] >= 0]
    return Points(found.xy[order], found.kinds[order])
