"""Ours beside the reference, part by part: each function returns (what, difference, limit) rows.

``difference`` is the largest absolute one, divided by the standard deviation of the reference where
the limit says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.harness.oracles import seeded
from gsam.models import clip as our_clip
from gsam.models import owl_vit as our_owl
from gsam.models import sam as our_sam
from gsam.models import siglip as our_siglip
from gsam.weights import store


class Row(NamedTuple):
    what: str
    difference: float
    limit: float
    unit: str = "of the reference's deviation"


def relative(ours: Any, theirs: torch.Tensor | np.ndarray) -> float:
    """Largest difference in standard deviations of the reference."""
    reference = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    return float(np.abs(np.asarray(ours) - reference).max() / max(float(reference.std()), 1e-12))


def last(x: torch.Tensor) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


def compare_sam(model: Any, folder: Path, pixels: np.ndarray) -> list[Row]:
    """``pixels`` [1, S, S, 3], normalised."""
    loaded = store.load(str(seeded.save(model, folder)), role="segment")
    stage = our_sam.build(loaded.config, loaded.params)
    rows: list[Row] = []
    seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    hooks = [
        layer.register_forward_hook(
            lambda _, args, out, i=i: seen.update(
                {i: (args[0].numpy(), (out[0] if isinstance(out, tuple) else out).numpy())}
            )
        )
        for i, layer in enumerate(model.vision_encoder.layers)
    ]
    with torch.no_grad():
        theirs = model.get_image_embeddings(torch.tensor(pixels.transpose(0, 3, 1, 2)))
    for hook in hooks:
        hook.remove()
    worst = 0.0
    for i, (x, y) in seen.items():
        block = jax.jit(lambda p, x, i=i: stage.spec.bind(p).image_encoder.blocks[i](x))(stage.params, jnp.asarray(x))
        worst = max(worst, relative(block, y))
    rows.append(Row(f"each of {len(seen)} encoder blocks, worst", worst, 1e-5))
    ours = jax.jit(lambda p, x: stage.spec.bind(p).image_encoder(x))(stage.params, jnp.asarray(pixels))
    rows.append(Row("image embedding", relative(ours, last(theirs)), 1e-4))

    side = loaded.config.image_size
    prompt = jax.jit(stage.prompt, static_argnames="multimask")
    points, labels = np.array([[0.2, 0.3], [0.7, 0.55]], np.float32) * side, np.array([1, 0])
    box = np.array([0.1, 0.2, 0.8, 0.7], np.float32) * side
    with torch.no_grad():
        common = dict(image_embeddings=theirs)
        by_points = model(
            **common, input_points=torch.tensor(points)[None, None], input_labels=torch.tensor(labels)[None, None]
        )
        by_box = model(**common, input_boxes=torch.tensor(box)[None, None], multimask_output=False)
        mask = by_points.pred_masks[:, 0, :1]
        by_mask = model(**common, input_boxes=torch.tensor(box)[None, None], input_masks=mask, multimask_output=False)
    features = jnp.asarray(last(theirs)[0])
    padded = np.zeros((1, 4, 2), np.float32)
    padded[0, :2] = points
    logits, iou = prompt(stage.params, features, padded, np.array([[1, 0, -1, -2]]))
    rows.append(Row("mask logits, two points", relative(logits[0], by_points.pred_masks[0, 0]), 1e-3))
    rows.append(Row("predicted IoU, two points", relative(iou[0], by_points.iou_scores[0, 0]), 1e-3))
    ours_mask, their_mask = np.asarray(logits[0]) > 0, by_points.pred_masks[0, 0].numpy() > 0
    iou_of_masks = (ours_mask & their_mask).sum() / max((ours_mask | their_mask).sum(), 1)
    rows.append(Row("1 - IoU of the masks", float(1 - iou_of_masks), 1e-3, "of the union"))
    corners = np.array([[2, 3]])
    logits, _ = prompt(stage.params, features, box.reshape(1, 2, 2), corners, multimask=False)
    rows.append(Row("mask logits, a box", relative(logits[0], by_box.pred_masks[0, 0]), 1e-3))
    logits, _ = prompt(stage.params, features, box.reshape(1, 2, 2), corners, mask.numpy()[0], multimask=False)
    rows.append(Row("mask logits, a box and a mask", relative(logits[0], by_mask.pred_masks[0, 0]), 1e-3))
    return rows


def compare_owl(model: Any, folder: Path, pixels: np.ndarray, ids: np.ndarray) -> list[Row]:
    """``pixels`` [B, S, S, 3], normalised; ``ids`` [C, T]."""
    loaded = store.load(str(seeded.save(model, folder)), role="detect")
    spec = our_owl.spec(loaded.config)
    with torch.no_grad():
        theirs = model(
            input_ids=torch.tensor(np.tile(ids, (len(pixels), 1)).astype(np.int64)),
            pixel_values=torch.tensor(pixels.transpose(0, 3, 1, 2)),
        )

    def run(params: Any, pixels: jax.Array, ids: jax.Array) -> tuple[jax.Array, ...]:
        m = spec.bind(params)
        tokens, queries = m.image(pixels), m.text(ids)
        seen = m.objectness(tokens) if loaded.config.objectness else jnp.zeros(())
        return tokens, queries, m.logits(tokens, queries), m.boxes(tokens), seen

    tokens, queries, logits, boxes, objectness = jax.jit(run)(loaded.params, jnp.asarray(pixels), jnp.asarray(ids))
    image = theirs.image_embeds
    rows = [
        Row("image tokens", relative(tokens, image.reshape(len(pixels), -1, image.shape[-1])), 1e-4),
        Row("text embeddings", relative(queries, theirs.text_embeds[0]), 1e-4),
        Row("logits", relative(logits, theirs.logits), 1e-3),
        Row("boxes", float(np.abs(boxes - theirs.pred_boxes.numpy()).max()), 1e-4, "of the side"),
    ]
    if loaded.config.objectness:
        rows.append(Row("objectness", relative(objectness, theirs.objectness_logits), 1e-3))
    return rows


def compare_clip(model: Any, folder: Path, pixels: np.ndarray, ids: np.ndarray) -> list[Row]:
    """``pixels`` [B, S, S, 3], normalised; ``ids`` [C, T]."""
    loaded = store.load(str(seeded.save(model, folder)), role="classify")
    spec = our_clip.spec(loaded.config)
    with torch.no_grad():
        theirs = model(
            input_ids=torch.tensor(ids.astype(np.int64)), pixel_values=torch.tensor(pixels.transpose(0, 3, 1, 2))
        )

    def run(params: Any, pixels: jax.Array, ids: jax.Array) -> tuple[jax.Array, ...]:
        m = spec.bind(params)
        image, text = m.image(pixels), m.text(ids)
        return image, text, jnp.exp(params["logit_scale"]) * image @ text.T

    image, text, logits = jax.jit(run)(loaded.params, jnp.asarray(pixels), jnp.asarray(ids))
    return [
        Row("image embeddings", relative(image, theirs.image_embeds), 1e-4),
        Row("text embeddings", relative(text, theirs.text_embeds), 1e-4),
        Row("logits per image", relative(logits, theirs.logits_per_image), 1e-3),
    ]


def compare_siglip(model: Any, folder: Path, pixels: np.ndarray, ids: np.ndarray) -> list[Row]:
    """``pixels`` [B, S, S, 3], normalised; ``ids`` [C, T]."""
    loaded = store.load(str(seeded.save(model, folder)), role="classify")
    spec = our_siglip.spec(loaded.config)
    with torch.no_grad():
        theirs = model(
            input_ids=torch.tensor(ids.astype(np.int64)), pixel_values=torch.tensor(pixels.transpose(0, 3, 1, 2))
        )

    def run(params: Any, pixels: jax.Array, ids: jax.Array) -> tuple[jax.Array, ...]:
        m = spec.bind(params)
        image, text = m.image(pixels), m.text(ids)
        return image, text, m.logits(image @ text.T)

    image, text, logits = jax.jit(run)(loaded.params, jnp.asarray(pixels), jnp.asarray(ids))
    probability = torch.sigmoid(theirs.logits_per_image)
    return [
        Row("image embeddings", relative(image, theirs.image_embeds), 1e-4),
        Row("text embeddings", relative(text, theirs.text_embeds), 1e-4),
        Row("logits per image", relative(logits, theirs.logits_per_image), 1e-3),
        Row("probabilities", relative(jax.nn.sigmoid(logits), probability), 1e-3),
    ]
