"""Automatic mask generation, in the words of segment_anything's SamAutomaticMaskGenerator.

The model is prompted with each point of a grid by itself; masks of low predicted IoU or stability
and duplicates are dropped. Options, order and records are the original's, with SAM 2's additions.

The image (or crop) is encoded once, and points go through the decoder in batches of one size. Only
masks that pass the predicted IoU are made as large as the crop, a band at a time on a CPU's threads
or a tile at a time on an accelerator, and only run lengths are kept: memory does not grow with the
number of points, and no program depends on the size of an image.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gsam.build.devices import devices_of
from gsam.build.stages import by_name
from gsam.inputs.image import Picture, Source, open_image
from gsam.models.promptable import PromptableSegmenter, needs_points
from gsam.nn.prompt import FOREGROUND, PAD
from gsam.ops.grid import Crop, crops
from gsam.predictors.automatic.candidates import (
    Candidates,
    Record,
    cut_off,
    nms,
    prefer_small_crops,
    records,
    without_small_regions,
)
from gsam.predictors.automatic.device import OnDevice
from gsam.predictors.automatic.measure import Frame, Measured, measure, run_lengths
from gsam.predictors.automatic.settings import OutputMode, Settings
from gsam.predictors.pretrained import Pretrained
from gsam.runtime.batch import gather
from gsam.runtime.program import Program
from gsam.runtime.rebuild import Rebuildable
from gsam.types import Images, Params, PyTree

CLAMP = 32.0
"""SAM 2 cuts logits at this before they become a prompt."""


class MaskGenerator(Pretrained, Rebuildable):
    """Generate masks for everything in an image.

    The differences to the original, all where it fails or has no say: crops without a pixel are
    left out, points go to the model in float32, and ``point_grids`` says how it must look. SAM 2's
    options do what they do there, but ``min_mask_region_area`` cleans masks at the size of the
    image, in its pixels, as SAM's does (SAM 2 cleans them at low resolution, and without its CUDA
    extension not at all); boxes stay whole numbers.

    Source: ``segment_anything/automatic_mask_generator.py`` and
    ``sam2/automatic_mask_generator.py``.

    Args:
        model: Any name of a model that `gsam.segmenter` takes, or a segmenter that takes points.
        points_per_side: Points of the grid along each axis; None with ``point_grids``.
        points_per_batch: Points decoded together.
        pred_iou_thresh: Keep masks of a predicted IoU above this; by default 0.88, and 0.8 for SAM
            2, as in their repositories. 0 or less keeps everything.
        stability_score_thresh: Keep masks whose stability is at least this: the IoU of the mask cut
            ``stability_score_offset`` above and below ``mask_threshold``. 0 or less keeps
            everything.
        stability_score_offset: How far above and below, in logits.
        box_nms_thresh: Of two masks whose boxes have a larger IoU, keep the better.
        crop_n_layers: Layer i looks at 2^i by 2^i crops of the image too; 0 for no crops.
        crop_nms_thresh: Of duplicates among crops, by the IoU of boxes, keep that of the smaller
            crop.
        crop_overlap_ratio: How much crops overlap, as a share of the image's side.
        crop_n_points_downscale_factor: Points per side are divided by this from layer to layer.
        point_grids: [P, 2] x y in 0..1 for every layer of crops, in place of ``points_per_side``.
        min_mask_region_area: Remove holes and islands smaller than so many pixels; 0 removes none.
        output_mode: ``"binary_mask"``, ``"uncompressed_rle"`` or ``"coco_rle"``.
        mask_threshold: Logits above this are mask.
        use_m2m: Whether every mask is predicted once more with itself as mask prompt (SAM 2).
        multimask_output: Whether all masks of a point are candidates, or one.
        progress: Whether a bar is shown on a terminal, after two seconds.
        device: Where it computes, as in `gsam.load`: the first, if that is several.
        dtype: The type that it computes in, as in `gsam.load`, for a model by name only.
        **settings: Settings of the segmenter, for a model by name only.

    Raises:
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
        gsam.errors.UsageError: There is no such model or device, it takes no points, or a setting
            is out of range.
        TypeError: ``dtype`` or ``settings`` are given for a model that is built already.

    Example:
        >>> loose = dict(pred_iou_thresh=0.5, stability_score_thresh=0.5)
        >>> generator = gsam.MaskGenerator("nano_sam", points_per_side=8, **loose)
        >>> records = generator.generate("notebooks/scene.png")
        >>> sorted(records[0])[:3], records[0]["segmentation"].shape
        (['area', 'bbox', 'crop_box'], (512, 512))
    """

    def __init__(
        self,
        model: str | PromptableSegmenter,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[ArrayLike] | None = None,
        min_mask_region_area: int = 0,
        output_mode: OutputMode = "binary_mask",
        *,
        mask_threshold: float = 0.0,
        use_m2m: bool = False,
        multimask_output: bool = True,
        progress: bool = True,
        device: str | jax.Device | None = None,
        dtype: DTypeLike | None = None,
        **settings: Any,
    ) -> None:
        chosen = Settings(
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            pred_iou_thresh=PromptableSegmenter.default_iou_thresh if pred_iou_thresh is None else pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            point_grids=point_grids,
            min_mask_region_area=min_mask_region_area,
            output_mode=output_mode,
            mask_threshold=mask_threshold,
            use_m2m=use_m2m,
            multimask_output=multimask_output,
        )
        place = devices_of(device)[0]
        self.model: PromptableSegmenter = by_name("segment", model, place, dtype, settings)
        self.name = model if isinstance(model, str) else type(model).__name__
        sure = self.model.default_iou_thresh if pred_iou_thresh is None else pred_iou_thresh
        self.settings = dataclasses.replace(chosen, pred_iou_thresh=sure)
        needs_points(self.model, model if isinstance(model, str) else type(model).__name__, masks=use_m2m)
        self.progress = progress
        self.device = place
        self._params = jax.device_put(self.model.params, place)
        self._embed = Program(self._features, place.platform, owner=self.model)
        read = self.model, self.settings.mask_threshold
        self._decode = Program(self._answers, place.platform, static=["multimask", "again"], owner=read)
        self._on_device = None if place.platform == "cpu" else OnDevice(place.platform)

    def __repr__(self) -> str:
        side = self.settings.points_per_side
        points = "points of its own" if side is None else f"{side} x {side} points"
        return f"<{type(self).__name__} {self.name}: {points}>"

    def generate(self, image: Source, *, stretch: bool = False, max_pixels: int | None = None) -> list[Record]:
        """Generate masks for everything in an image.

        Args:
            image: uint8 RGB [H, W, 3], the path of a file, a PIL image, the bytes of a file, or
                whatever else `gsam.inputs.image.open_image` opens.
            stretch: Map the range of values to 0..255, see `gsam.inputs.image.open_image`.
            max_pixels: The largest number of pixels; by default 100 million.

        Returns:
            One dictionary per mask, best first: ``segmentation`` (by ``output_mode``), ``area`` in
            pixels, ``bbox`` (x y width height from the first to the last pixel, so that a single
            pixel has no extent), ``predicted_iou``, ``point_coords``, ``stability_score`` and
            ``crop_box``.

        Raises:
            gsam.errors.ImageError: The image cannot be read.
        """
        picture = open_image(image, stretch=stretch, max_pixels=max_pixels)
        return records(self.find(picture.pixels), _size(picture.pixels), self.settings.output_mode)

    def find(self, pixels: NDArray[np.uint8]) -> Candidates:
        """Find the masks of an image without making records of them.

        Args:
            pixels: [H, W, 3] uint8 RGB.

        Returns:
            The masks as run lengths with their boxes and scores.
        """
        settings, size = self.settings, _size(pixels)
        places = crops(size, settings.crop_n_layers, settings.crop_overlap_ratio)
        total = sum(len(settings.grids[crop.layer]) for crop in places)
        with _Bar(total, self.progress) as bar, concurrent.futures.ThreadPoolExecutor(_cores(), "gsam-mask") as pool:
            found = Candidates.of([self._crop(pixels, crop, bar, pool) for crop in places])
        if len(places) > 1:
            found = prefer_small_crops(found, settings.crop_nms_thresh)
        if settings.min_mask_region_area > 0:
            overlap = max(settings.box_nms_thresh, settings.crop_nms_thresh)
            found = without_small_regions(found, size, settings.min_mask_region_area, overlap)
        return found

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        look = self._on_device.look.compilations if self._on_device else 0
        return self._embed.compilations + self._decode.compilations + look

    def _crop(self, pixels: NDArray[np.uint8], crop: Crop, bar: _Bar, pool: concurrent.futures.Executor) -> Candidates:
        settings, (x0, y0, x1, y1) = self.settings, crop.xyxy
        picture = Picture(np.ascontiguousarray(pixels[y0:y1, x0:x1]))
        height, width = _size(picture.pixels)
        points = settings.grids[crop.layer] * np.array([width, height])
        frame, parts = None, []
        for some, logits, iou in self._batches(picture, points):
            frame = frame or self._frame(picture, logits.shape[2:])
            flat = iou.reshape(-1)
            index = np.arange(flat.size)
            if settings.pred_iou_thresh > 0:
                index = index[flat > settings.pred_iou_thresh]
            asked = some[index // iou.shape[1]]
            parts.append(self._measured(logits, flat, index, asked, frame, crop, _size(pixels), pool))
            bar.step(len(some))
        found = Candidates.of(parts)
        return found[nms(found.boxes, found.iou, settings.box_nms_thresh)]

    def _batches(
        self, picture: Picture, points: NDArray[np.float64]
    ) -> Iterator[tuple[NDArray[np.float64], jax.Array, NDArray[np.float32]]]:
        """Points of a crop [P, 2], logits [N, M, h, w] of which the first P count, and predicted
        IoU [P, M].

        The device works on a batch while the one before is measured.
        """
        images = gather([picture], [self.model.view])
        features = self._embed(self._params, images)
        scaled = points * _scale(self.model.view, images)
        together = self.settings.points_per_batch
        how = {"multimask": self.settings.multimask_output, "again": self.settings.use_m2m}
        begun: collections.deque[Any] = collections.deque()
        for start in range(0, len(points), together):
            some = scaled[start : start + together]
            count = len(some)
            xy = np.zeros((together, 2, 2), np.float32)
            xy[:count, 0] = some
            valid = np.arange(together) < count
            begun.append((points[start : start + count], *self._decode(self._params, features, xy, valid, **how)))
            if len(begun) > 1:
                yield _arrived(*begun.popleft())
        while begun:
            yield _arrived(*begun.popleft())

    def _measured(
        self,
        logits: jax.Array,
        iou: NDArray[np.float32],
        index: NDArray[np.int64],
        points: NDArray[np.float64],
        frame: Frame,
        crop: Crop,
        size: tuple[int, int],
        pool: concurrent.futures.Executor,
    ) -> Candidates:
        """Keep what is stable and does not end at the crop's edge, of the masks ``index`` of logits
        [N, M, h, w].
        """
        least, (x0, y0, _, _) = self.settings.stability_score_thresh, crop.xyxy

        def keep(one: Measured) -> tuple[Any, np.float32, NDArray[np.int64]] | None:
            stability = one.stability
            if least > 0 and not stability >= least:
                return None
            box = one.box()
            box = (box[0] + x0, box[1] + y0, box[2] + x0, box[3] + y0)
            if cut_off(box, crop.xyxy, size):
                return None
            return box, stability, run_lengths(one.part, (one.corner[0] + y0, one.corner[1] + x0), size)

        if self._on_device is None:
            flat = np.asarray(logits).reshape(-1, *logits.shape[2:])
            kept = list(pool.map(lambda i: keep(measure(flat[i], frame)), index))
        else:
            kept = list(pool.map(keep, self._on_device(logits, index, frame)))
        rows = [i for i, one in enumerate(kept) if one is not None]
        good = [one for one in kept if one is not None]
        return Candidates(
            np.array([box for box, _, _ in good], np.int64).reshape(-1, 4),
            iou[index[rows]],
            np.array([stability for _, stability, _ in good], np.float32),
            points[rows].reshape(-1, 2) + np.array([x0, y0]),
            np.tile(np.array(crop.xyxy, np.int64), (len(rows), 1)),
            [counts for _, _, counts in good],
        )

    def _frame(self, picture: Picture, source: Sequence[int]) -> Frame:
        from gsam.inputs.image import content

        view, settings, size = self.model.view, self.settings, _size(picture.pixels)
        cut, offset = settings.mask_threshold, settings.stability_score_offset
        cuts = (cut - offset, cut, cut + offset)
        return Frame((source[0], source[1]), view.size, content(view, size), size, self.model.upsample, cuts)

    def _features(self, params: Params, images: Images) -> PyTree:
        """Pure: what the decoder needs of one picture, without a leading axis: features, and what
        prompts without a mask share.
        """
        features = self.model.features(params, images)
        return jax.tree.map(lambda x: x[0], (features, self.model.project(params, features)))

    def _answers(
        self, params: Params, features: PyTree, points: jax.Array, valid: jax.Array, *, multimask: bool, again: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Pure: points [N, 2, 2] of which each second one is padding -> logits [N, M, h, w] and
        predicted IoU [N, M].

        ``again``: every mask is the prompt of a second round.
        """
        kinds = jnp.broadcast_to(jnp.asarray([FOREGROUND, PAD]), points.shape[:2])
        embedding, projected = features
        ask = functools.partial(self.model.prompt, params, embedding, points, kinds, valid=valid, projected=projected)
        logits, iou = ask(multimask=multimask)
        if again:
            known = jnp.clip(logits, -CLAMP, CLAMP)
            refined = [ask(mask=known[:, m], has_mask=valid, multimask=False) for m in range(logits.shape[1])]
            logits, iou = (jnp.concatenate(parts, 1) for parts in zip(*refined, strict=True))
        return self.model.postprocess(
            logits, self.settings.mask_threshold
        ) if self.model.has_postprocess else logits, iou


class _Bar:
    """A progress bar of points, on a terminal, where it takes long."""

    def __init__(self, total: int, wanted: bool) -> None:
        from tqdm import tqdm

        off = not (wanted and sys.stderr.isatty())
        self.bar: Any = tqdm(total=total, unit="point", file=sys.stderr, leave=False, delay=2, disable=off)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def step(self, points: int) -> None:
        self.bar.update(points)


def _arrived(points: NDArray[np.float64], logits: jax.Array, iou: jax.Array) -> tuple[Any, jax.Array, Any]:
    return points, logits, np.asarray(iou)[: len(points)]


def _scale(view: Any, images: Images) -> NDArray[np.float64]:
    """View pixels per picture pixel, x y."""
    height, width = (int(v) for v in np.asarray(images.size)[0])
    if view.fit == "square":
        return np.full(2, view.size / max(height, width))
    rows, columns = np.asarray(images.content[view.key])[0]
    return np.array([columns / width, rows / height])


def _size(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
