"""EfficientSAM beside `tests.parity.reference.efficient_sam`, from a picture of any size to masks of that size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch

from gsam import Predictor, store
from gsam.image import make_view
from gsam.segment import efficient_sam as ours
from tests.parity import oracles
from tests.parity.compare import Row, last, relative
from tests.parity.reference import efficient_sam as reference

ORACLE = "no installable one: our own torch code, tensors as in the official checkpoints"
TINY = reference.Sizes(48, 3, 2, side=128, patch=8, out=32, decoder_heads=4, decoder_mlp=64)


def model(sizes: reference.Sizes) -> reference.EfficientSam:
    """Random weights that keep activations at unit order; positions and their code too."""
    made = oracles.seed(reference.EfficientSam(sizes))
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


def load(model: reference.EfficientSam, folder: Path) -> ours.Stage:
    """The reference's weights in the official layout, wrapped as there, through the real reader."""
    name = {reference.TI: "efficient_sam_vitt", reference.S: "efficient_sam_vits"}.get(model.sizes)
    file = folder / f"{name or 'tiny'}.pt"
    torch.save({"model": model.state_dict()}, file)
    if name:
        loaded = store.load(str(file), role="segment")
        return ours.build(loaded.config, loaded.params)
    from gsam.port.read import read
    from gsam.port.rules import convert
    from gsam.segment.efficient_sam.port import LAYOUTS

    config = config_of(model.sizes)
    return ours.build(config, convert(read(file), ours.spec(config).shapes, LAYOUTS[0], "float32"))


def config_of(sizes: reference.Sizes) -> ours.Config:
    s = dataclasses.asdict(sizes)
    return ours.Config(image_size=s.pop("side"), out_chans=s.pop("out"), **s)


def compare(model: reference.EfficientSam, folder: Path, picture: np.ndarray) -> list[Row]:
    """``picture`` [H, W, 3] uint8, of any size."""
    stage = load(model, folder)
    size = picture.shape[:2]
    given = torch.tensor(picture.transpose(2, 0, 1).copy())[None].float() / 255
    seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    hooks = [
        block.register_forward_hook(lambda _, args, out, i=i: seen.update({i: (args[0].numpy(), out.numpy())}))
        for i, block in enumerate(model.image_encoder.blocks)
    ]
    pixels: list[np.ndarray] = []
    hooks.append(
        model.image_encoder.register_forward_pre_hook(
            lambda _, args: pixels.append(args[0].numpy().transpose(0, 2, 3, 1))
        )
    )
    with torch.no_grad():
        theirs = model.embed(given)
    for hook in hooks:
        hook.remove()
    view = make_view(picture, stage.view).astype(np.float32) / np.float32(255)
    view = (view - np.float32(ours.IMAGENET_MEAN)) / np.float32(ours.IMAGENET_STD)
    rows = [Row("pixels", relative(view, pixels[0][0]), 1e-4)]
    run = jax.jit(lambda p, x, i: stage.spec.bind(p).image_encoder.blocks[i](x), static_argnums=2)
    side, worst = stage.config.grid, 0.0
    for i, (x, y) in seen.items():
        block = run(stage.params, jnp.asarray(x.reshape(1, side, side, -1)), i)
        worst = max(worst, relative(np.asarray(block).reshape(y.shape), y))
    rows.append(Row(f"each of {len(seen)} encoder blocks, worst", worst, 1e-5))
    predictor = Predictor(stage)
    predictor.set_image(picture)
    rows.append(Row("image embedding", relative(predictor.features, last(theirs)), 1e-4))

    predictor.features = jnp.asarray(last(theirs))
    corner = np.array([[size[1], size[0]]], np.float32)
    points, box = np.array([[0.2, 0.3], [0.7, 0.55]]) * corner, np.ravel(np.array([[0.1, 0.2], [0.8, 0.7]]) * corner)
    prompts = {
        "two points": (dict(point_coords=points, point_labels=[1, 1]), points, [1, 1]),
        "a box": (dict(box=box), box.reshape(2, 2), [2, 3]),
        "four points and a box": (
            dict(point_coords=np.tile(points, (2, 1)), point_labels=[1] * 4, box=box),
            np.concatenate([np.tile(points, (2, 1)), box.reshape(2, 2)]), [1, 1, 1, 1, 2, 3],
        ),
    }  # fmt: skip
    for what, (words, xy, labels) in prompts.items():
        given_points = torch.tensor(xy, dtype=torch.float32)[None], torch.tensor([labels])
        with torch.no_grad():
            low, iou = model.prompt(theirs, *given_points, size)
            full = torch.nn.functional.interpolate(low, size, mode="bicubic", align_corners=False)
        masks, quality, logits = predictor.predict(**words, return_logits=True)
        rows.append(Row(f"mask logits, {what}", relative(logits, low[0]), 1e-3))
        rows.append(Row(f"predicted IoU, {what}", relative(quality, iou[0]), 1e-3))
        rows.append(Row(f"mask logits at the picture's size, {what}", relative(masks, full[0]), 1e-3))
        best = int(iou[0].argmax())
        mask, chosen, _ = predictor.predict(**words, multimask_output=False)
        rows.append(Row(f"IoU of the best, {what}", float(abs(chosen[0] - iou[0, best])), 1e-3, "of 1"))
        theirs_mask = full[0, best].numpy() >= 0
        union = max((mask[0] | theirs_mask).sum(), 1)
        rows.append(
            Row(f"1 - IoU of the masks, {what}", float((mask[0] ^ theirs_mask).sum() / union), 1e-3, "of the union")
        )
    return rows
