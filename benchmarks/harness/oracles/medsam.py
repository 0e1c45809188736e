"""MedSAM beside transformers' SAM, with MedSAM's pre- and postprocessing in scipy and torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from scipy import ndimage

from benchmarks.harness.oracles import seeded
from benchmarks.harness.oracles.compare import Row, last, relative
from gsam.inputs.image import open_image
from gsam.models import sam as ours
from gsam.results.masks.low_res import LowResMasks
from gsam.runtime.batch import gather, prepared
from gsam.types import Boxes, Images
from gsam.weights import store

ORACLE = "transformers' SAM at eps 1e-5, between MedSAM's preprocessing and postprocessing in scipy and torch"


def pixels(picture: np.ndarray, side: int) -> np.ndarray:
    """Resize [H, W, 3] uint8 to [1, side, side, 3] in 0..1, one axis after the other."""
    x = picture.astype(np.float64)
    for axis, n in enumerate(picture.shape[:2]):
        x = ndimage.gaussian_filter1d(x, max(0.0, (n / side - 1) / 2), axis, mode="mirror") if n > side else x
    zoom = [side / n for n in picture.shape[:2]]
    x = np.stack([ndimage.zoom(x[..., c], zoom, order=3, mode="mirror", grid_mode=True) for c in range(3)], -1)
    x = np.clip(x, picture.min(), picture.max()).astype(np.uint8)
    return ((x - x.min()) / np.clip(x.max() - x.min(), 1e-8, None)).astype(np.float32)[None]


def compare(model: Any, folder: Path, picture: np.ndarray) -> list[Row]:
    """``picture`` [H, W, 3] uint8; ``model`` as of `seeded.sam`."""
    stage = load(model, folder)
    seen = gather([prepared(open_image(picture), [stage.view])], [stage.view])
    given = pixels(picture, stage.config.image_size)
    mine = np.asarray(stage.pixels(stage.params, seen))
    # Where the spline gives a whole level, its last bit decides between that and the one below.
    levels = np.rint(np.abs(mine - given) * 255)
    rows = [
        Row("pixels that differ by one level", float((levels > 0).mean()), 1e-3, "of all"),
        Row("pixels that differ by more", float((levels > 1).mean()), 0.0, "of all"),
    ]
    with torch.no_grad():
        theirs = model.get_image_embeddings(torch.tensor(mine.transpose(0, 3, 1, 2)))
    features = jax.jit(stage.features)(stage.params, seen)
    rows.append(Row("image embedding", relative(features, last(theirs)), 1e-4))
    return rows + compare_decoder(model, stage, theirs, picture.shape[:2])


def load(model: Any, folder: Path) -> ours.SamSegmenter:
    """The model through the real reader, as MedSAM."""
    loaded = store.load(str(seeded.save(model, folder)), role="segment")
    return ours.build(loaded.config, loaded.params, preprocess="medsam")


def compare_decoder(model: Any, stage: ours.SamSegmenter, features: torch.Tensor, size: tuple[int, int]) -> list[Row]:
    """A box on features [1, D, h, w], to the mask of a picture of ``size``."""
    (h, w), side = size, stage.config.image_size
    box = np.array([0.13 * w, 0.2 * h, 0.81 * w, 0.7 * h])
    scaled = torch.tensor(box / [w, h, w, h] * side, dtype=torch.float32)[None, None]
    with torch.no_grad():
        found = model(image_embeddings=features, input_boxes=scaled, multimask_output=False)
        low = found.pred_masks[0]
        chance = torch.nn.functional.interpolate(torch.sigmoid(low), size, mode="bilinear", align_corners=False)
    images = Images({}, {stage.view.key: jnp.asarray([[side, side]])}, jnp.asarray([size]))
    boxes = Boxes(jnp.asarray(box, jnp.float32)[None, None], jnp.ones((1, 1), bool))
    masks = jax.jit(stage.segment)(stage.params, jnp.asarray(last(features)), images, boxes)
    large = LowResMasks(np.asarray(masks.logits[0]), side, (side, side), size, upsample=stage.upsample)
    ours_chance, theirs_chance = 1 / (1 + np.exp(-large.logits_full()[0])), chance[0, 0].numpy()
    ours_mask, theirs_mask = large.dense()[0], theirs_chance > 0.5
    union = max((ours_mask | theirs_mask).sum(), 1)
    return [
        Row("mask logits, a box", relative(masks.logits[0], low[0]), 1e-3),
        Row("predicted IoU, a box", float(np.abs(masks.iou[0] - found.iou_scores[0, 0].numpy()).max()), 1e-3, "of 1"),
        Row("probabilities at the picture's size", float(np.abs(ours_chance - theirs_chance).max()), 1e-4, "of 1"),
        Row("1 - IoU of the masks", float((ours_mask ^ theirs_mask).sum() / union), 1e-3, "of the union"),
    ]
