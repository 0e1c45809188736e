"""FastSAM beside our own reference in torch: the network part by part, and what is made of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.harness.oracles.compare import Row, last, relative
from benchmarks.harness.oracles.reference import fast_sam as reference
from gsam.inputs.image import Picture
from gsam.models import fast_sam as ours
from gsam.models.fast_sam import port
from gsam.models.fast_sam.blocks import Frame
from gsam.models.fast_sam.detections import Detections, find
from gsam.models.fast_sam.model import Seen
from gsam.predictors.fast_sam import FastSAM
from gsam.runtime.batch import gather
from gsam.types import Images, Params
from gsam.weights.read import read
from gsam.weights.rules import convert

CHANGE = "none: the reference is ours, written from the published architecture, its tensors named and shaped as the official ones"


def loaded(model: reference.FastSam, config: ours.Config, folder: Path) -> ours.FastSamSegmenter:
    """Ours with the same weights, through the real reader and port."""
    torch.save(model.state_dict(), folder / "model.pt")
    tensors = read(folder / "model.pt")
    return ours.build(config, convert(tensors, ours.spec(config).shapes, port.LAYOUTS[0], "float32"))


def compare(model: reference.FastSam, config: ours.Config, folder: Path, pixels: np.ndarray) -> list[Row]:
    """FastSAMPrompt below, of one picture: uint8 [H, W, 3]."""
    stage = loaded(model, config, folder)
    return network(model, stage, pixels) + Whole(model, stage).compare(pixels)


def network(model: reference.FastSam, stage: ours.FastSamSegmenter, pixels: np.ndarray) -> list[Row]:
    """Each layer on what the reference's own was given, against the reference in float64.

    Of a photograph's million values a layer the worst are near 1e-5 of a deviation in float32,
    torch's own as well: two of them against each other would say little.
    """
    framed, _ = reference.letterbox(pixels, stage.view.size)
    h, w = framed.shape[:2]
    parts: dict[int, tuple[Any, Any]] = {}
    hooks = [
        m.register_forward_hook(lambda _, args, out, i=i: parts.update({i: (args[0], out)}))
        for i, m in enumerate(model.model)
        if list(m.parameters())
    ]
    answers(model, framed)
    for hook in hooks:
        hook.remove()
    frame = Frame(jnp.asarray([h]), jnp.asarray([w]), (h, w))
    given = {i: jax.tree.map(lambda x: jnp.asarray(last(x)), args) for i, (args, _) in parts.items()}

    def run(params: Params, given: dict[int, Any]) -> dict[int, Any]:
        bound = stage.spec.bind(params).model
        return {i: bound[i](x, frame) for i, x in given.items()}

    outs = jax.jit(run)(stage.params, given)
    seen: dict[str, tuple[float, float]] = {}
    for i, (args, theirs) in parts.items():
        with torch.no_grad():
            exact = copy.deepcopy(model.model[i]).double()(jax.tree.map(torch.Tensor.double, args))
        if i < 22:
            found = {"layers": (outs[i], last(theirs), last(exact))}
        else:
            coefficients = (outs[i].coefficients, theirs[2], exact[2].numpy())
            found = {
                "head: coefficients": coefficients,
                "head: prototypes": (outs[i].prototypes, last(theirs[3]), last(exact[3])),
            }
        for what, (mine, torch_s, true) in found.items():
            apart = relative(mine, true), relative(torch_s, true)
            seen[what] = max(seen.get(what, (0.0, 0.0))[0], apart[0]), max(seen.get(what, (0.0, 0.0))[1], apart[1])
    names = {"layers": f"each of {len(parts) - 1} layers, worst"}
    return [
        Row(f"{names.get(what, what)}, from float64 (torch's own float32: {own:.1e})", mine, 1e-5)
        for what, (mine, own) in seen.items()
    ]


class Whole:
    """From the image to its masks, on canvases larger than what the reference is given."""

    def __init__(self, model: reference.FastSam, stage: ours.FastSamSegmenter) -> None:
        self.model, self.stage, self.sam = model, stage, FastSAM(stage)

        def run(params: Params, images: Images, conf: jax.Array) -> tuple[Seen, Detections]:
            seen = stage.see(params, images)
            return seen, find(seen, images, stage.view, conf, jnp.float32(stage.iou), stage.most)

        self.run = jax.jit(run)

    def compare(self, pixels: np.ndarray, conf: float = 0.25) -> list[Row]:
        stage, size = self.stage, (pixels.shape[0], pixels.shape[1])
        framed, _ = reference.letterbox(pixels, stage.view.size)
        h, w = framed.shape[:2]
        images = gather([Picture(pixels)], [stage.view])
        pictured = np.asarray(images.view(stage.view))[0]
        theirs = answers(self.model, framed)
        found, things = self.run(stage.params, images, jnp.float32(conf))
        inside = np.flatnonzero(np.asarray(found.score[0]) >= 0)
        boxes, scores, weights = (np.asarray(x[0])[inside] for x in (found.xyxy, found.score, found.coefficients))
        proto = np.asarray(found.prototypes[0])[: h // 4, : w // 4]
        side = float(stage.view.size)
        rows = [
            Row("letterboxed pixels that differ", float((pictured[:h, :w] != framed).mean()), 0.0, "of all"),
            Row("boxes of every place", float(np.abs(boxes - theirs[0][0].numpy()).max()) / side, 1e-4, "of the side"),
            Row("scores of every place", float(np.abs(scores - theirs[1][0].numpy()).max()), 1e-4, "absolute"),
            Row("mask coefficients", relative(weights, theirs[2][0]), 1e-4),
            Row("prototypes", relative(proto, last(theirs[3])[0]), 1e-4),
        ]
        # From one network's answers: scores closer than the arithmetic's noise would swap ranks.
        expected = reference.everything(
            boxes, scores, weights, proto.transpose(2, 0, 1), (h, w), size, conf, overlap=stage.iou, most=stage.most
        )
        answer = self.sam._to_prompt(Picture(pixels), images, things)
        self.count = len(answer)
        rows.append(Row("number of things found", float(abs(len(answer) - len(expected.scores))), 0.0, "apart"))
        if len(answer) == len(expected.scores):
            retina, plain = answer.everything_prompt().masks, answer.letterboxed()
            rows += [
                Row("their boxes", float(np.abs(answer.xyxy - expected.xyxy).max()) / max(size), 1e-4, "of the side"),
                Row("their scores", float(np.abs(answer.scores - expected.scores).max()), 1e-4, "absolute"),
                Row("1 - IoU of all masks", apart(retina, expected.retina), 1e-3, "of the union"),
                Row("1 - IoU of all masks, letterboxed", apart(plain, expected.plain), 1e-3, "of the union"),
            ]
        return rows


def answers(model: reference.FastSam, framed: np.ndarray) -> tuple[torch.Tensor, ...]:
    """The reference's, of one letterboxed picture."""
    with torch.no_grad():
        return model(torch.tensor(framed.transpose(2, 0, 1)[None] / np.float32(255)))


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """1 - IoU of two stacks of masks."""
    return float(1 - (ours & theirs).sum() / max((ours | theirs).sum(), 1))
