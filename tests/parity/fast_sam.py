"""FastSAM beside our own reference in torch: the network part by part, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch

from gsam.fast_sam import FastSAM
from gsam.image import Picture
from gsam.pipeline.prepare import gather
from gsam.port.read import read
from gsam.port.rules import convert
from gsam.segment import fast_sam as ours
from gsam.segment.fast_sam import port
from gsam.segment.fast_sam.blocks import Frame
from gsam.segment.fast_sam.model import Seen
from gsam.types import Params
from tests.parity.compare import Row, last, relative
from tests.parity.reference import fast_sam as reference

CHANGE = "none: the reference is ours, written from the published architecture, its tensors named and shaped as the official ones"


def loaded(model: reference.FastSam, config: ours.Config, folder: Path) -> ours.Stage:
    """Ours with the same weights, through the real reader and port."""
    torch.save(model.state_dict(), folder / "model.pt")
    tensors = read(folder / "model.pt")
    return ours.build(config, convert(tensors, ours.spec(config).shapes, port.LAYOUTS[0], "float32"))


def compare(model: reference.FastSam, config: ours.Config, folder: Path, pixels: np.ndarray) -> list[Row]:
    """Everything below, of one picture: uint8 [H, W, 3]."""
    stage = loaded(model, config, folder)
    return network(model, stage, pixels) + Whole(model, stage).compare(pixels)


def network(model: reference.FastSam, stage: ours.Stage, pixels: np.ndarray) -> list[Row]:
    """Each layer on what the reference's own was given."""
    framed, _ = reference.letterbox(pixels, stage.view.size)
    h, w = framed.shape[:2]
    parts: dict[int, tuple[list[torch.Tensor], torch.Tensor]] = {}
    hooks = [
        m.register_forward_hook(lambda _, args, out, i=i: parts.update({i: (list(args), out)}))
        for i, m in enumerate(model.model)
    ]
    theirs = answers(model, framed)
    for hook in hooks:
        hook.remove()
    frame = Frame(jnp.asarray([h]), jnp.asarray([w]), (h, w))
    layers = {i: p for i, p in parts.items() if i != 22 and list(model.model[i].parameters())}
    given = {i: jnp.asarray(last(args[0])) for i, (args, _) in layers.items()}
    maps = [jnp.asarray(last(m)) for m in parts[22][0][0]]

    def run(params: Params, given: dict[int, jax.Array], maps: list[jax.Array]) -> tuple[dict[int, jax.Array], Seen]:
        bound = stage.spec.bind(params).model
        return {i: bound[i](x, frame) for i, x in given.items()}, bound[22](maps, frame)

    outs, head = jax.jit(run)(stage.params, given, maps)
    worst = max(relative(out, last(layers[i][1])) for i, out in outs.items())
    return [
        Row(f"each of {len(layers)} layers, worst", worst, 1e-5),
        Row("head: coefficients", relative(head.coefficients, theirs[2]), 1e-5),
        Row("head: prototypes", relative(head.prototypes, last(theirs[3])), 1e-5),
    ]


class Whole:
    """From the picture to its masks, on canvases that are larger than what the reference is given."""

    def __init__(self, model: reference.FastSam, stage: ours.Stage) -> None:
        self.model, self.stage, self.sam, self.see = model, stage, FastSAM(stage), jax.jit(stage.see)

    def compare(self, pixels: np.ndarray, conf: float = 0.25) -> list[Row]:
        stage, size = self.stage, (pixels.shape[0], pixels.shape[1])
        framed, _ = reference.letterbox(pixels, stage.view.size)
        h, w = framed.shape[:2]
        images = gather([Picture(pixels)], [stage.view])
        pictured = np.asarray(images.view(stage.view))[0]
        theirs = answers(self.model, framed)
        found = self.see(stage.params, images)
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
        # what is found is compared from one network's answers: scores closer than the arithmetic's noise would swap places
        expected = reference.everything(
            boxes, scores, weights, proto.transpose(2, 0, 1), (h, w), size, conf, overlap=0.7, most=stage.most
        )
        answer = self.sam(pixels, conf=conf)
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
