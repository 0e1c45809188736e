"""A finished scene on the device -> what the user holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gsam.inputs.image import Picture
from gsam.pipeline.limits import Limits
from gsam.results.result import BoxClippedMasks, LowResMasks, Result, WindowedMasks
from gsam.roles import Stage, UpsamplesMasks
from gsam.text.captions import CaptionPacker
from gsam.text.queries import Queries
from gsam.types import Masks, Scene


@dataclasses.dataclass(frozen=True)
class InFlight:
    """A batch that a device works on."""

    scene: Scene
    """Boxes, labels and masks to come; more rows than images where it was filled up."""
    pictures: Sequence[Picture]
    """Its images."""
    queries: Sequence[Queries]
    """The queries of each image."""
    limits: Limits
    """Those of the call."""


def to_results(
    scene: Scene,
    pictures: Sequence[Picture],
    queries: Sequence[Queries],
    pipeline: str,
    masking: Stage | None,
    captions: CaptionPacker | None,
    limits: Limits,
) -> list[Result]:
    """Bring a finished batch to the host; of the masks only those of objects, at low resolution.

    Args:
        scene: What `gsam.Pipeline.apply` returned.
        pictures: The images; the rows of ``scene`` after them are padding.
        queries: What each image was asked for.
        pipeline: The name of the pipeline.
        masking: The stage that made the masks, if there is one.
        captions: What made captions of the queries, if anything did.
        limits: Those of the call.

    Returns:
        One result per image, its objects best score first.
    """
    view = masking.view if masking else None
    upsample: Any = masking.upsample if isinstance(masking, UpsamplesMasks) else "view"
    found = jax.device_get((scene.boxes, scene.labels))
    boxes, labels = found
    masks = _found(scene.masks, 1 + int(np.flatnonzero(boxes.valid.any(0)).max(initial=-1)))
    boxed = scene.masks is not None and scene.masks.within is not None
    within = jax.device_get((scene.masks.content, scene.masks.within)) if boxed else None  # type: ignore[union-attr]
    windows = jax.device_get(scene.masks.window) if scene.masks is not None else None
    content = None if view is None else np.asarray(scene.images.content[view.key])
    results = []
    for i, (picture, asked) in enumerate(zip(pictures, queries, strict=True)):
        order = np.flatnonzero(boxes.valid[i])
        order = order[np.argsort(-labels.score[i][order], kind="stable")][: limits.boxes]
        low_res: LowResMasks | BoxClippedMasks | WindowedMasks | None = None
        quality = np.zeros(len(order), np.float32)
        if masks is not None and within is not None:
            logits = masks[0][i][order].astype(np.float32, copy=False)
            rows, columns = within[0][i][0].astype(int).tolist()
            size = picture.pixels.shape[:2]
            low_res = BoxClippedMasks.of(logits, (rows, columns), size, within[1][i][order], limits.mask_threshold)
            quality = masks[1][i][order].astype(np.float32, copy=False)
        elif masks is not None and view is not None and content is not None:
            height, width = picture.pixels.shape[:2]
            rows, columns = content[i]
            low_res = LowResMasks(
                masks[0][i][order].astype(np.float32, copy=False),
                view.size,
                (int(rows), int(columns)),
                (height, width),
                limits.mask_threshold,
                upsample,
            )
            if windows is not None:
                low_res = WindowedMasks(low_res, windows[i][order])
            quality = masks[1][i][order].astype(np.float32, copy=False)
        ids = labels.index[i][order]
        names = [asked.labels[k] for k in ids]
        words, tokens = [], np.zeros((len(order), 0), np.float32)
        if captions and labels.tokens is not None:
            caption = captions.caption(asked.prompts)
            k, t = caption.shape  # a batch is padded to its longest
            tokens = np.asarray(labels.tokens[i][order][:, :k, :t], np.float32).reshape(len(order), k * t)
            words = caption.words
            if captions.labels == "phrases":
                names = [caption.phrase(row, limits.text_threshold) for row in tokens]
        results.append(
            Result(
                image=picture.name,
                pixels=picture.pixels,
                queries=list(asked.names),
                query_labels=list(asked.labels),
                pipeline=pipeline,
                xyxy=np.asarray(boxes.xyxy[i][order], np.float32),
                label_ids=ids.astype(np.int64),
                labels=names,
                scores=np.asarray(labels.score[i][order], np.float32),
                mask_scores=quality,
                low_res=low_res,
                tokens=words,
                token_scores=tokens,
            )
        )
    return results


def _found(masks: Masks | None, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Logits and IoU on the host, the first ``count`` rows at least: few counts, so that few slices
    are compiled.
    """
    if masks is None:
        return None
    if all(d.platform == "cpu" for d in masks.logits.devices()):  # nothing is copied
        return np.asarray(masks.logits), np.asarray(masks.iou)
    rows = min(1 << max(count - 1, 0).bit_length(), masks.logits.shape[1])
    logits, iou = jax.device_get((masks.logits[:, :rows], masks.iou[:, :rows]))
    return logits, iou
