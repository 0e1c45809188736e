"""EfficientSAM beside our own reference in torch, from an image to masks of its size."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.harness.oracles import seeded
from benchmarks.harness.oracles.compare import Row, last, relative
from benchmarks.harness.oracles.reference import efficient_sam as reference
from gsam.inputs.image import open_image
from gsam.models import efficient_sam as ours
from gsam.nn.prompt import ABSENT
from gsam.results.masks.low_res import LowResMasks
from gsam.runtime.batch import gather, prepared
from gsam.weights import store

ORACLE = "no installable one: our own torch code, tensors as in the official checkpoints"
TINY = reference.Sizes(48, 3, 2, side=128, patch=8, out=32, decoder_heads=4, decoder_mlp=64)


def model(sizes: reference.Sizes) -> reference.EfficientSam:
    """Random weights that keep activations at unit order; positions and their code too."""
    made = seeded.seed(reference.EfficientSam(sizes))
    generator = torch.Generator().manual_seed(1)
    matrix = made.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    with torch.no_grad():
        matrix.copy_(torch.randn(matrix.shape, generator=generator))
        for module in made.modules():
            if isinstance(module, torch.nn.ConvTranspose2d):  # [in, out, 2, 2]: a pixel sees one of the four
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) / len(module.weight) ** 0.5)
            if isinstance(module, torch.nn.GroupNorm):
                module.weight.copy_(1 + 0.1 * torch.randn(module.weight.shape, generator=generator))
    return made


def load(model: reference.EfficientSam, folder: Path) -> ours.EfficientSamSegmenter:
    """The reference's weights in the official layout, wrapped as there, through the real reader."""
    name = {reference.TI: "efficient_sam_vitt", reference.S: "efficient_sam_vits"}.get(model.sizes)
    file = folder / f"{name or 'tiny'}.pt"
    torch.save({"model": model.state_dict()}, file)
    if name:
        loaded = store.load(str(file), role="segment")
        return ours.build(loaded.config, loaded.params)
    from gsam.models.efficient_sam.port import LAYOUTS
    from gsam.weights.read import read
    from gsam.weights.rules import convert

    config = config_of(model.sizes)
    return ours.build(config, convert(read(file), ours.spec(config).shapes, LAYOUTS[0], "float32"))


def config_of(sizes: reference.Sizes) -> ours.Config:
    s = dataclasses.asdict(sizes)
    return ours.Config(image_size=s.pop("side"), out_chans=s.pop("out"), **s)


def compare(model: reference.EfficientSam, folder: Path, picture: np.ndarray) -> list[Row]:
    """``picture`` [H, W, 3] uint8, of any size."""
    stage = load(model, folder)
    rows, features = compare_encoder(model, stage, picture)
    return rows + compare_decoder(model, stage, features, picture.shape[:2])


def compare_encoder(
    model: reference.EfficientSam, stage: ours.EfficientSamSegmenter, picture: np.ndarray
) -> tuple[list[Row], torch.Tensor]:
    """Rows, and the reference's features [1, D, h, w]."""
    given = torch.tensor(picture.transpose(2, 0, 1).copy())[None].float() / 255
    seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    pixels: list[np.ndarray] = []
    hooks = [
        block.register_forward_hook(lambda _, args, out, i=i: seen.update({i: (args[0].numpy(), out.numpy())}))
        for i, block in enumerate(model.image_encoder.blocks)
    ]
    hooks.append(model.image_encoder.register_forward_pre_hook(lambda _, args: pixels.append(args[0].numpy())))
    with torch.no_grad():
        theirs = model.embed(given)
    for hook in hooks:
        hook.remove()
    images = gather([prepared(open_image(picture), [stage.view])], [stage.view])
    mine = np.asarray(images.view(stage.view)) / np.float32(255)
    mine = (mine - np.float32(ours.IMAGENET_MEAN)) / np.float32(ours.IMAGENET_STD)
    rows = [Row("pixels", relative(mine.transpose(0, 3, 1, 2), pixels[0]), 1e-4)]

    def block(params: Any, name: str, x: jax.Array) -> jax.Array:
        """One program for all of them, each under the first one's name."""
        own = {k.replace(f"/{name}/", "/0/"): v for k, v in params.items() if f"/blocks/{name}/" in k}
        return stage.spec.bind(params | own).image_encoder.blocks[0](x)

    run, side, worst = jax.jit(block, static_argnums=1), stage.config.grid, 0.0
    for i, (x, y) in seen.items():
        found = np.asarray(run(stage.params, str(i), jnp.asarray(x.reshape(1, side, side, -1))))
        worst = max(worst, relative(found.reshape(y.shape), y))
    rows.append(Row(f"each of {len(seen)} encoder blocks, worst", worst, 1e-5))
    rows.append(Row("image embedding", relative(jax.jit(stage.features)(stage.params, images), last(theirs)), 1e-4))
    return rows, theirs


def compare_decoder(
    model: reference.EfficientSam, stage: ours.EfficientSamSegmenter, features: torch.Tensor, size: tuple[int, int]
) -> list[Row]:
    """Compare three prompts at once, padded to eight rows, with the reference's one by one."""
    corner = np.array([[size[1], size[0]]], np.float32)
    points, box = np.array([[0.2, 0.3], [0.7, 0.55]]) * corner, np.array([[0.1, 0.2], [0.8, 0.7]]) * corner
    prompts: list[tuple[np.ndarray, list[int]]] = [
        (points, [1, 1]),
        (box, [2, 3]),
        (np.concatenate([points, points / 2, box]), [1, 1, 0, 1, 2, 3]),  # one point of the background
    ]
    xy, labels = np.zeros((3, 8, 2), np.float32), np.full((3, 8), ABSENT)
    for i, (some, kinds) in enumerate(prompts):
        xy[i, 8 - len(kinds) :], labels[i, 8 - len(kinds) :] = some * stage.config.image_size / corner, kinds

    @jax.jit
    def run(*given: Any) -> Any:
        return [stage.prompt(*given, multimask=many) for many in (True, False)]

    given = (stage.params, jnp.asarray(last(features)[0]), jnp.asarray(xy), jnp.asarray(labels, jnp.int32))
    (logits, quality), (one, best) = jax.tree.map(np.asarray, run(*given))
    side, found = stage.config.image_size, []
    for i, (some, kinds) in enumerate(prompts):
        with torch.no_grad():
            low, iou = model.prompt(
                features, torch.tensor(some, dtype=torch.float32)[None], torch.tensor([kinds]), size
            )
            full = torch.nn.functional.interpolate(low, size, mode="bicubic", align_corners=False)[0].numpy()
        first = int(iou[0].argmax())
        large = LowResMasks(logits[i], side, (side, side), size, upsample=stage.upsample)
        union = max((large.dense() | (full >= 0)).sum(), 1)
        found.append(
            [
                Row("mask logits", relative(logits[i], low[0]), 1e-3),
                Row("predicted IoU", relative(quality[i], iou[0]), 1e-3),
                Row("mask logits of the best", relative(one[i, 0], low[0, first]), 1e-3),
                Row("predicted IoU of the best", float(abs(best[i, 0] - iou[0, first])), 1e-3, "of 1"),
                Row("mask logits at the picture's size", relative(large.logits_full(), full), 1e-3),
                Row("1 - IoU of the masks", float((large.dense() ^ (full >= 0)).sum() / union), 1e-3, "of the union"),
            ]
        )
    worst = (max(rows, key=lambda row: row.difference) for rows in zip(*found, strict=True))
    return [row._replace(what=f"{row.what}, points and boxes") for row in worst]
