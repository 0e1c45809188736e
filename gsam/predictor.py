"""`Predictor`: the vocabulary of segment_anything's SamPredictor, so that people switch by the import.

Same arguments, shapes, coordinates and order of results.  The picture is encoded once by `set_image`; every later call costs
only the decoder.  The number of points and of prompts is padded to a power of two with rows that attention skips, so a new
count rarely compiles and never changes a result.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gsam.build import segmenter
from gsam.formats.lowres import Enlarge
from gsam.image import Source, open_image
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, PAD, TOP_LEFT
from gsam.pipeline.memory import lean
from gsam.pipeline.prepare import gather
from gsam.result import LowResMasks
from gsam.types import Images, Params, View

Masks = NDArray[np.bool_] | NDArray[np.float32]


class Promptable(Protocol):
    """A segmenter that takes points, boxes and masks."""

    @property
    def params(self) -> Params: ...
    @property
    def view(self) -> View: ...
    @property
    def enlarge(self) -> Enlarge: ...
    def features(self, params: Params, images: Images) -> Any: ...
    def prompt(
        self,
        params: Params,
        features: Any,
        points: Any,
        labels: Any,
        mask: Any = None,
        has_mask: Any = None,
        *,
        valid: Any = None,
        multimask: bool = True,
    ) -> tuple[jax.Array, jax.Array]: ...


class Predictor:
    """Segment one picture by points, boxes and earlier masks."""

    mask_threshold: float = 0.0

    def __init__(self, model: str | Promptable, **settings: Any) -> None:
        """``model``: a name as for `gsam.segmenter`, or a segmenter."""
        self.model = cast(Promptable, segmenter(model, **settings)) if isinstance(model, str) else model
        self._params = jax.device_put(self.model.params)
        options = lean(jax.local_devices()[0].platform)
        self._embed = jax.jit(self.model.features, compiler_options=options)
        self._decode = jax.jit(self.model.prompt, static_argnames="multimask", compiler_options=options)
        self.reset_image()

    def reset_image(self) -> None:
        """Forget the picture."""
        self.features: jax.Array | None = None
        self._cut: tuple[jax.Array, jax.Array] | None = None
        self.original_size = self.input_size = (0, 0)

    @property
    def is_image_set(self) -> bool:
        return self.features is not None

    def set_image(self, image: Source, image_format: Literal["RGB", "BGR"] = "RGB") -> None:
        """Encode a picture: uint8 [H, W, 3], or anything else `gsam.image.open_image` opens."""
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format must be 'RGB' or 'BGR', is {image_format!r}")
        if image_format == "BGR":
            image = np.ascontiguousarray(np.asarray(image)[..., ::-1])
        self.reset_image()
        images = gather([open_image(image)], [self.model.view])
        self.features = self._embed(self._params, images)
        height, width = np.asarray(images.size)[0]
        rows, columns = np.asarray(images.content[self.model.view.key])[0]
        self.original_size, self.input_size = (int(height), int(width)), (int(rows), int(columns))

    def get_image_embedding(self) -> jax.Array:
        """The features of the picture, [1, C, h, w] as in the original."""
        return jnp.moveaxis(self._image(), -1, 1)

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Masks, NDArray[np.float32], NDArray[np.float32]]:
        """One prompt.  Coordinates are pixels of the original picture.

        ``point_coords`` [P, 2] x y with ``point_labels`` [P], 1 foreground and 0 background; ``box`` [4] x0 y0 x1 y1;
        ``mask_input`` [1, h, w], the low-resolution logits of an earlier call.  Returns masks [C, H, W] (bool, or float32
        logits), predicted IoU [C] and low-resolution logits [C, h, w]; C is 3, or 1 without ``multimask_output``.
        """
        coords, labels, boxes, mask = (
            None if x is None else np.asarray(x, np.float64)[None]
            for x in (point_coords, point_labels, box, mask_input)
        )
        boxes = None if boxes is None else boxes.reshape(1, -1)
        masks, iou, low = self.predict_batch(coords, labels, boxes, mask, multimask_output, return_logits)
        return masks[0], iou[0], low[0]

    def predict_batch(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Masks, NDArray[np.float32], NDArray[np.float32]]:
        """N prompts on the picture, the original's ``predict_torch``; here too, coordinates are original pixels.

        ``point_coords`` [N, P, 2], ``point_labels`` [N, P], ``boxes`` [N, 4], ``mask_input`` [N, 1, h, w].  Returns masks
        [N, C, H, W], IoU [N, C] and logits [N, C, h, w].
        """
        features = self._own_image()
        points, labels = self._prompts(point_coords, point_labels, boxes, mask_input)
        count = points.shape[0]
        mask = None if mask_input is None else _mask(mask_input, count, 4 * features.shape[0])
        rows = _power_of_two(count)
        points, labels = _pad(points, rows, 0.0), _pad(labels, rows, PAD)
        mask = None if mask is None else _pad(mask, rows, 0.0)
        valid = np.arange(rows) < count
        logits, iou = self._decode(
            self._params, features, points, labels, mask, valid=valid, multimask=multimask_output
        )
        low, quality = np.asarray(logits)[:count], np.asarray(iou)[:count]
        flat = low.reshape(-1, *low.shape[2:])
        side, way = self.model.view.size, self.model.enlarge
        view = LowResMasks(flat, side, self.input_size, self.original_size, self.mask_threshold, way)
        full = view.logits_full() if return_logits else view.dense()
        return full.reshape(count, -1, *self.original_size), quality, low

    @functools.cached_property
    def _first(self) -> Any:
        return jax.jit(lambda features: features[0])

    def _own_image(self) -> jax.Array:
        """The features without their leading axis, cut once a picture."""
        whole = self._image()
        if self._cut is None or self._cut[0] is not whole:
            self._cut = whole, self._first(whole)
        return self._cut[1]

    def _image(self) -> jax.Array:
        if self.features is None:
            raise RuntimeError("set an image first: predictor.set_image(...)")
        return self.features

    def _prompts(
        self, coords: ArrayLike | None, labels: ArrayLike | None, boxes: ArrayLike | None, mask: ArrayLike | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Points then box corners in view pixels [N, P, 2], and their kinds [N, P]."""
        scale = np.array(self.input_size[::-1], np.float64) / np.array(self.original_size[::-1], np.float64)
        found_xy: list[NDArray[np.float64]] = []
        found_kind: list[NDArray[np.int32]] = []
        if (coords is None) != (labels is None):
            raise ValueError("point_coords and point_labels go together: one is missing")
        if coords is not None and labels is not None:
            xy, kind = np.asarray(coords, np.float64), np.asarray(labels)
            if xy.ndim != 3 or xy.shape[-1] != 2 or kind.shape != xy.shape[:2]:
                raise ValueError(
                    f"points [.., P, 2] and labels [.., P] are needed, got {xy.shape[1:]} and {kind.shape[1:]}"
                )
            _finite(xy, "point_coords")
            if not np.isin(kind, (0, 1)).all():
                raise ValueError(f"point labels are 1 (foreground) or 0 (background), got {np.unique(kind).tolist()}")
            outside = (xy < 0) | (xy > np.array(self.original_size[::-1]))
            if outside.any():
                bad = tuple(xy[tuple(np.argwhere(outside)[0][:2])].tolist())
                raise ValueError(
                    f"point {bad} is outside the picture, {self.original_size[1]} x {self.original_size[0]} pixels"
                )
            found_xy.append(xy * scale)
            found_kind.append(kind.astype(np.int32))
        if boxes is None:
            count = found_xy[0].shape[0] if found_xy else 1 if mask is None else len(np.asarray(mask))
            if found_xy:  # the original appends one "not a point" where there is no box
                found_xy.append(np.zeros((count, 1, 2)))
                found_kind.append(np.full((count, 1), PAD, np.int32))
        else:
            corners = np.asarray(boxes, np.float64)
            if corners.ndim != 2 or corners.shape[-1] != 4:
                raise ValueError(f"a box is four numbers x0 y0 x1 y1, got shape {corners.shape}")
            _finite(corners, "box")
            if (corners[:, 2:] < corners[:, :2]).any():
                raise ValueError("a box is x0 y0 x1 y1 with x0 <= x1 and y0 <= y1")
            count = corners.shape[0]
            if found_xy and found_xy[0].shape[0] != count:
                raise ValueError(f"{found_xy[0].shape[0]} sets of points but {count} boxes")
            found_xy.append(corners.reshape(count, 2, 2) * scale)
            found_kind.append(np.tile(np.array([TOP_LEFT, BOTTOM_RIGHT], np.int32), (count, 1)))
        if not found_xy:
            return np.zeros((count, 1, 2), np.float32), np.full((count, 1), ABSENT, np.int32)
        xy, kind = np.concatenate(found_xy, 1), np.concatenate(found_kind, 1)
        spare = _power_of_two(xy.shape[1]) - xy.shape[1]
        xy = np.pad(xy, ((0, 0), (0, spare), (0, 0)))
        return xy.astype(np.float32), np.pad(kind, ((0, 0), (0, spare)), constant_values=ABSENT)


def _finite(values: NDArray[np.float64], what: str) -> None:
    if not np.isfinite(values).all():
        raise ValueError(
            f"{what} holds a number that is not finite, at index {np.argwhere(~np.isfinite(values))[0].tolist()}"
        )


def _mask(mask: ArrayLike, count: int, side: int) -> NDArray[np.float32]:
    given = np.asarray(mask, np.float32)
    if given.shape != (count, 1, side, side):
        raise ValueError(
            f"mask_input must be [1, {side}, {side}] a prompt, low-resolution logits; got {given.shape[1:]}"
        )
    return given[:, 0]


def _pad(rows: NDArray[Any], count: int, value: float) -> NDArray[Any]:
    spare = [(0, count - rows.shape[0])] + [(0, 0)] * (rows.ndim - 1)
    return np.pad(rows, spare, constant_values=value)


@functools.cache
def _power_of_two(count: int) -> int:
    return 1 << max(count - 1, 0).bit_length()
