"""A finished scene on the device -> what the user holds."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from gsam.image import Picture
from gsam.result import LowResMasks, Result
from gsam.text import Queries
from gsam.types import Scene, View


def finish(
    scene: Scene, pictures: Sequence[Picture], queries: Queries, pipeline: str, view: View | None, mask_threshold: float
) -> list[Result]:
    """One result a picture, best score first.  Only what was found leaves the device as masks, at low resolution."""
    found = jax.device_get((scene.boxes, scene.labels))
    boxes, labels = found
    masks = scene.masks
    content = None if view is None else np.asarray(scene.images.content[view.key])
    results = []
    for i, picture in enumerate(pictures):
        order = np.flatnonzero(boxes.valid[i])
        order = order[np.argsort(-labels.score[i][order], kind="stable")]
        low_res, quality = None, np.zeros(len(order), np.float32)
        if masks is not None and view is not None and content is not None:
            height, width = picture.pixels.shape[:2]
            rows, columns = content[i]
            low_res = LowResMasks(
                np.asarray(masks.logits[i])[order].astype(np.float32, copy=False),
                view.size,
                (int(rows), int(columns)),
                (height, width),
                mask_threshold,
            )
            quality = np.asarray(masks.iou[i], np.float32)[order]
        ids = labels.index[i][order]
        results.append(
            Result(
                image=picture.name,
                pixels=picture.pixels,
                queries=list(queries.names),
                pipeline=pipeline,
                xyxy=np.asarray(boxes.xyxy[i][order], np.float32),
                label_ids=ids.astype(np.int64),
                labels=[queries.labels[k] for k in ids],
                scores=np.asarray(labels.score[i][order], np.float32),
                mask_scores=quality,
                low_res=low_res,
            )
        )
    return results
