"""SAM 2 on images beside transformers, from an image of any size to masks of that size."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from benchmarks.harness.oracles import seeded
from benchmarks.harness.oracles.compare import Row, last, relative
from benchmarks.harness.oracles.reference import sam2_hq
from benchmarks.harness.oracles.sam_family import InMemory
from gsam.inputs.image import open_image
from gsam.models import sam2 as ours
from gsam.models.sam2.hiera import in_rows
from gsam.models.sam2.port import LAYOUTS
from gsam.nn.prompt import ABSENT, PAD
from gsam.results.masks.low_res import LowResMasks
from gsam.runtime.batch import gather, prepared
from gsam.weights import store
from gsam.weights.rules import convert

CHANGE = (
    "none; one dummy point is added where nothing is asked, which the original's pictures do not have, is not compared"
)
SIZES: dict[str, dict[str, Any]] = {
    "padded": dict(embed=16, heads=1, stages=[1, 2, 4, 2], globals=[5], windows=[8, 4, 6, 3], background=[7, 7]),
    "even": dict(embed=16, heads=2, stages=[1, 2, 3, 1], globals=[4], windows=[8, 4, 4, 2], background=[5, 5]),
}
"""Windows of which some do not divide the map, so that it is padded, and windows that all do."""


def model(size: str, video: bool = False) -> Any:
    """``tiny`` at full size, or one of `SIZES`; ``video``: with the memory."""
    values = {} if size == "tiny" else _small(**SIZES[size])
    kind = "Sam2Video" if video else "Sam2"
    config = getattr(transformers, f"{kind}Config")(**values)
    if video:
        config.image_size = config.prompt_encoder_config.image_size
    made = seeded.seed(getattr(transformers, f"{kind}Model")(config))
    with torch.no_grad():
        made.shared_image_embedding.positional_embedding.copy_(
            made.prompt_encoder.shared_embedding.positional_embedding
        )
    return made


def _small(
    embed: int, heads: int, stages: list[int], globals: list[int], windows: list[int], background: list[int]
) -> dict[str, Any]:
    widths, side, width = [embed << i for i in range(4)], 128, 32
    trunk = dict(
        hidden_size=embed, num_attention_heads=heads, image_size=[side, side], blocks_per_stage=stages,
        window_positional_embedding_background_size=background, embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[heads << i for i in range(4)], window_size_per_stage=windows,
        global_attention_blocks=globals,
    )  # fmt: skip
    maps = [[side // 4, side // 4], [side // 8, side // 8], [side // 16, side // 16]]
    return dict(
        vision_config=dict(
            backbone_config=dict(model_type="sam2_hiera_det_model", **trunk), backbone_channel_list=widths[::-1],
            backbone_feature_sizes=maps, fpn_hidden_size=width,
        ),
        prompt_encoder_config=dict(hidden_size=width, image_size=side),
        mask_decoder_config=dict(hidden_size=width, num_attention_heads=4, mlp_dim=64, iou_head_hidden_dim=width),
    )  # fmt: skip


def steady(model: Any, factor: float = 50.0) -> Any:
    """The first mask of every prompt made so sure that `stable` keeps it."""
    with torch.no_grad():
        for p in model.mask_decoder.output_hypernetworks_mlps[0].proj_out.parameters():
            p.mul_(factor)
    return model


def load(model: Any, folder: Path) -> ours.Sam2Segmenter:
    loaded = store.load(str(seeded.save(model, folder)), role="segment")
    return ours.build(loaded.config, loaded.params)


class Programs(NamedTuple):
    """Ours, compiled once for all tests of a size."""

    features: Any
    """Parameters and images -> pixels and features."""
    blocks: Any
    """The blocks of the trunk, each on a map [B, H, W, C] of its own."""
    stages: Any
    """The maps behind each stage, of normalised pixels."""
    answers: Any
    """Two prompts on one image: three masks, one, that of token 0, and three with a mask prompt."""


@functools.cache
def programs(config: ours.Config) -> Programs:
    spec, options = ours.spec(config), {"xla_backend_optimization_level": 0} if config.image_size < 512 else {}
    stage = ours.Sam2Segmenter(config, spec, {})

    def blocks(params: Any, maps: list[jax.Array]) -> list[jax.Array]:
        trunk = spec.bind(params).image_encoder.trunk
        return [in_rows(block(x[:, None])) for block, x in zip(trunk.blocks, maps, strict=True)]

    def stages(params: Any, pixels: jax.Array) -> list[jax.Array]:
        return [in_rows(x) for x in spec.bind(params).image_encoder.trunk(pixels)]

    def answers(params: Any, features: ours.Features, xy: Any, labels: Any, mask: Any) -> list[ours.Answer]:
        m, second = spec.bind(params), jnp.asarray([False, True])
        return [
            m.decode(features, xy, labels, multimask=True),
            m.decode(features, xy, labels, multimask=False),
            m.decode(features, xy, labels, multimask=False, dynamic=False),
            m.decode(features, xy, labels, mask, second, multimask=True),
        ]

    seen = lambda params, images: (ours.pixels(images, config, params), stage.features(params, images))  # noqa: E731
    return Programs(*(jax.jit(f, compiler_options=options) for f in (seen, blocks, stages, answers)))


def compare(model: Any, folder: Path, picture: np.ndarray) -> list[Row]:
    """``picture`` [H, W, 3] uint8, of any size."""
    stage = load(model, folder)
    rows, features = compare_encoder(model, stage, picture)
    return rows + compare_decoder(model, stage, features, picture.shape[:2])


def seen(picture: np.ndarray, side: int) -> torch.Tensor:
    """The picture as the original's transforms make it, [1, 3, S, S]."""
    x = torch.tensor(picture.transpose(2, 0, 1).copy())[None].float() / 255
    x = torch.nn.functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v)[:, None, None] for v in (ours.IMAGENET_MEAN, ours.IMAGENET_STD))
    return (x - mean) / std


def compare_encoder(model: Any, stage: ours.Sam2Segmenter, picture: np.ndarray) -> tuple[list[Row], list[torch.Tensor]]:
    """Rows, and the reference's features [1, D, h, w], the finest first."""
    side = stage.config.image_size
    given = seen(picture, side)
    trunk = model.vision_encoder.backbone
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    hooks = [
        block.register_forward_hook(lambda _, args, out, i=i: found.update({i: (args[0].numpy(), out.numpy())}))
        for i, block in enumerate(trunk.blocks)
    ]
    with torch.no_grad():
        theirs = model.get_image_embeddings(given)
    for hook in hooks:
        hook.remove()
    images = gather([prepared(open_image(picture), [stage.view])], [stage.view])
    run = programs(stage.config)
    mine, features = run.features(stage.params, images)
    rows = [Row("pixels", relative(mine, last(given)), 1e-4)]
    blocks = run.blocks(stage.params, [jnp.asarray(x) for x, _ in found.values()])
    worst = max(relative(x, y) for x, (_, y) in zip(blocks, found.values(), strict=True))
    rows.append(Row(f"each of {len(found)} encoder blocks, worst", worst, 1e-5))
    ends = run.stages(stage.params, jnp.asarray(last(given)))
    worst = max(relative(x, found[i][1]) for x, i in zip(ends, trunk.stage_ends, strict=True))
    rows.append(Row("what comes out of each stage, worst", worst, 1e-4))
    names = ("features of stride 4", "features of stride 8", "image embedding")
    for name, x, y in zip(names, features, theirs, strict=True):
        rows.append(Row(name, relative(x, last(y)), 1e-4))
    return rows, theirs


def compare_decoder(
    model: Any, stage: ours.Sam2Segmenter, features: list[torch.Tensor], size: tuple[int, int]
) -> list[Row]:
    """From the reference's features, prompts in rows of padded length."""
    side = stage.config.image_size
    points, box = np.array([[0.2, 0.3], [0.7, 0.55]], np.float32) * side, np.array([0.1, 0.2, 0.8, 0.7]) * side
    box = box.astype(np.float32)
    both = torch.tensor(points)[None, None], torch.tensor([1, 0])[None, None]
    tokens: list[torch.Tensor] = []
    hook = model.mask_decoder.register_forward_hook(lambda _, args, out: tokens.append(out[2]))
    dynamic = model.mask_decoder

    def ask(**given: Any) -> Any:
        with torch.no_grad():
            return model(image_embeddings=list(features), **given), tokens.pop()

    by_points = ask(input_points=both[0], input_labels=both[1])
    single = ask(input_points=both[0], input_labels=both[1], multimask_output=False)
    by_box = ask(input_boxes=torch.tensor(box)[None, None], multimask_output=False)
    mask = by_points[0].pred_masks[:, 0, :1]
    by_mask = ask(input_boxes=torch.tensor(box)[None, None], input_masks=mask)
    dynamic.dynamic_multimask_via_stability = False
    plain = ask(input_points=both[0], input_labels=both[1], multimask_output=False)
    dynamic.dynamic_multimask_via_stability = True
    hook.remove()

    own = ours.Features(*(jnp.asarray(last(x)[0]) for x in features))
    xy = np.zeros((2, 4, 2), np.float32)
    xy[0, :2], xy[1, :2] = points, box.reshape(2, 2)
    labels = np.array([[1, 0, PAD, ABSENT], [2, 3, PAD, ABSENT]], np.int32)
    known = np.stack([np.zeros(mask.shape[-2:], np.float32), mask[0, 0].numpy()])
    many, one, off, more = programs(stage.config).answers(stage.params, own, xy, labels, known)

    cases = (
        ("two points", many, 0, by_points),
        ("two points, one mask", one, 0, single),
        ("two points, one mask, never another", off, 0, plain),
        ("a box, one mask", one, 1, by_box),
        ("two points beside a mask", more, 0, by_points),
        ("a box and a mask", more, 1, by_mask),
    )
    found = []
    for name, answer, row, (theirs, token) in cases:
        got = jax.tree.map(lambda x, row=row: x[row], answer)
        iou, score = theirs.iou_scores[0, 0].numpy(), float(theirs.object_score_logits[0, 0, 0])
        found.append(
            [
                Row(f"mask logits, {name}", relative(got.logits, theirs.pred_masks[0, 0]), 1e-3),
                Row(f"predicted IoU, {name}", float(np.abs(got.iou - iou).max()), 1e-4, "of 1"),
                Row(f"mask tokens, {name}", relative(got.tokens, token[0, 0]), 1e-3),
                Row(f"object score, {name}", abs(float(got.object_score) - score), 1e-4, "of a logit"),
            ]
        )
    worst = [max(kind, key=lambda row: row.difference) for kind in zip(*found, strict=True)]
    rows = [row._replace(what=f"{row.what} (the worst of {len(cases)} prompts)") for row in worst]
    full = torch.nn.functional.interpolate(by_points[0].pred_masks[0], size, mode="bilinear", align_corners=False)[
        0
    ].numpy()
    large = LowResMasks(np.asarray(many.logits[0]), side, (side, side), size, upsample=stage.upsample)
    union = max((large.dense() | (full > 0)).sum(), 1)
    rows.append(Row("mask logits at the picture's size", relative(large.logits_full(), full), 1e-3))
    rows.append(Row("1 - IoU of the masks", float((large.dense() ^ (full > 0)).sum() / union), 1e-3, "of the union"))
    return rows


def compare_hq(model: Any, finer: sam2_hq.Finer, stage: ours.Sam2Segmenter, features: list[torch.Tensor]) -> list[Row]:
    """HQ-SAM 2's masks of two points, from the reference's features."""
    points, labels = torch.tensor([[0.2, 0.3], [0.7, 0.55]]) * stage.config.image_size, torch.tensor([1, 0])
    own = ours.Features(*(jnp.asarray(last(x)[0]) for x in features))
    xy, kinds = jnp.pad(jnp.asarray(points.numpy())[None], ((0, 0), (0, 1), (0, 0))), jnp.asarray([[1, 0, PAD]])
    cases, rows = ((True, False), (False, False), (False, True)), []
    run = jax.jit(
        lambda *given: [
            dataclasses.replace(stage, hq_token_only=only).prompt(*given, multimask=many) for many, only in cases
        ],
        compiler_options={"xla_backend_optimization_level": 0},
    )
    answers = run(stage.params, own, xy, kinds)
    for (multimask, only), (logits, quality) in zip(cases, answers, strict=True):
        with torch.no_grad():
            low, iou = sam2_hq.decode(model, finer, features, points, labels, multimask=multimask, hq_token_only=only)
        name = f"{'three masks' if multimask else 'one mask'}{', the finer alone' * only}"
        rows.append(Row(f"mask logits of HQ-SAM 2, {name}", relative(logits[0], low), 1e-3))
        rows.append(
            Row(f"predicted IoU of HQ-SAM 2, {name}", float(np.abs(quality[0] - iou.numpy()).max()), 1e-4, "of 1")
        )
    return rows


def with_finer(stage: ours.Sam2Segmenter, finer: sam2_hq.Finer) -> ours.Sam2Segmenter:
    """The stage as HQ-SAM 2, its tensors read by their official names."""
    config = dataclasses.replace(stage.config, hq=True)
    shapes = {k: v for k, v in ours.spec(config).shapes.items() if k not in stage.params}
    tensors = {f"sam_mask_decoder.{k}": InMemory(v.numpy()) for k, v in finer.state_dict().items()}
    return ours.build(config, stage.params | convert(tensors, shapes, LAYOUTS[0], "float32"))
