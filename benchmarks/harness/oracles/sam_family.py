"""MobileSAM and SAM-HQ beside torch references of our own, part by part.

transformers has no MobileSAM, and its SAM-HQ decodes otherwise than the original; what of it can be
compared is.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from torch import nn

from benchmarks.harness.oracles import seeded
from benchmarks.harness.oracles.compare import Row, last, relative
from benchmarks.harness.oracles.reference import sam as reference
from benchmarks.harness.oracles.reference import tiny_vit as reference_tiny
from benchmarks.harness.oracles.reference.sam_hq import SamHq
from gsam import bind
from gsam.models import mobile_sam, sam_hq
from gsam.nn import sam_vit, tiny_vit
from gsam.nn.sam_vit import SamVit
from gsam.nn.tiny_vit import TinyVit
from gsam.weights import store
from gsam.weights.read import read
from gsam.weights.rules import convert, fit

ORACLE = "a torch reference of our own, whose tensors are the official checkpoint's by name and shape"
TINY_VIT = TinyVit(160, (8, 16, 24, 32), (1, 1, 1, 1), (2, 3, 4), (7, 4, 5), out_chans=32)
"""Windows that need padding twice and once fit."""
VIT = SamVit(32, 3, 4, (1, 2), image_size=80, patch=8, window=4, out_chans=32)
SMALL = {"decoder_heads": 4, "decoder_mlp": 64}
MOBILE = mobile_sam.Config(TINY_VIT, **SMALL)
HQ, LIGHT = sam_hq.Config(VIT, **SMALL), sam_hq.Config(TINY_VIT, **SMALL)


def model(config: mobile_sam.Config | sam_hq.Config) -> Any:
    """The reference of these sizes, on whatever device torch is set to; not seeded."""
    e = config.encoder
    prompts = reference.Prompts(
        e.out_chans, e.grid, e.image_size, config.decoder_heads, config.decoder_mlp, config.mask_chans
    )
    encoder: nn.Module
    if isinstance(e, TinyVit):
        heads, windows = (2, *e.heads), (7, *e.windows)
        sizes = reference_tiny.TinyVit(e.image_size, e.widths, e.depths, heads, windows, e.strides, e.out_chans)
        encoder, early = reference_tiny.ImageEncoder(sizes), e.widths[2]
    else:
        vit = reference.Vit(e.width, e.depth, e.heads, e.global_blocks, e.image_size, e.patch, e.window, e.out_chans)
        encoder, early = reference.ImageEncoder(vit), e.width
    if isinstance(config, sam_hq.Config):
        return SamHq(encoder, prompts, early)
    return reference.Sam(encoder, prompts)


def seed(model: nn.Module, number: int = 0) -> Any:
    """Return random weights by kind of layer: activations of unit order, no part negligible."""
    generator = torch.Generator().manual_seed(number)
    noise = lambda p, scale, shift=0.0: p.copy_(shift + scale * torch.randn(p.shape, generator=generator))  # noqa: E731
    with torch.no_grad():
        for m in model.modules():
            own = dict(m.named_parameters(recurse=False))
            for name, p in own.items():
                if isinstance(m, nn.Linear | nn.Conv2d) and name == "weight":
                    noise(p, p[0].numel() ** -0.5)
                elif isinstance(m, nn.ConvTranspose2d) and name == "weight":
                    noise(p, p.shape[0] ** -0.5)
                elif name == "weight" and not isinstance(m, nn.Embedding):  # norms
                    noise(p, 0.1, 1.0)
                else:
                    noise(p, {"attention_biases": 1.0, "weight": 0.5}.get(name, 0.2))
            if isinstance(m, nn.BatchNorm2d):
                noise(m.running_mean, 0.2)
                m.running_var.copy_(0.5 + torch.rand(m.running_var.shape, generator=generator))
            elif isinstance(m, reference.FourierCode):
                noise(m.positional_encoding_gaussian_matrix, 1.0)
    return model.eval()


def load(model: nn.Module, folder: Path, config: Any = None) -> Any:
    """Load a reference's weights through a file as the original's; ``config`` for other sizes."""
    path = folder / "model.pth"
    torch.save(model.state_dict(), path)
    if config is None:
        loaded = store.load(str(path), role="segment")
        config, params = loaded.config, loaded.params
    else:
        params = _converted(read(path), config)
    return _family(config).build(config, params)


def parameters(model: nn.Module, config: Any) -> Any:
    """The same without a file."""
    return _converted({k: InMemory(v.numpy()) for k, v in model.state_dict().items()}, config)


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A tensor as `gsam.weights.rules.convert` reads them."""

    value: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def load(self) -> np.ndarray:
        return self.value


def _converted(tensors: Any, config: Any) -> Any:
    family = _family(config)
    port, shapes = importlib.import_module(f"{family.__name__}.port"), family.spec(config).shapes
    return convert(tensors, shapes, fit(tensors, port.LAYOUTS, shapes), "float32")


def _family(config: Any) -> Any:
    return sam_hq if isinstance(config, sam_hq.Config) else mobile_sam


def _encoder(sizes: Any) -> bind.Spec[Any]:
    kind = tiny_vit.ImageEncoder if isinstance(sizes, TinyVit) else sam_vit.ImageEncoder
    return bind.spec(lambda: kind(sizes))


@functools.cache
def encoder(sizes: Any) -> Any:
    """Ours as one program, its parameters -> pixels -> embedding and early map."""
    run = lambda params, pixels: _encoder(sizes).bind(params).with_early(pixels)  # noqa: E731
    return jax.jit(run, compiler_options=quickly(sizes))


@functools.cache
def decoder(config: Any, only: bool = False) -> Any:
    """Ours as one program: `gsam.models.promptable.PromptableSegmenter.prompt`."""
    kind = sam_hq.SamHqSegmenter if isinstance(config, sam_hq.Config) else mobile_sam.MobileSamSegmenter
    stage = kind(config, _family(config).spec(config), {})
    stage = dataclasses.replace(stage, hq_token_only=True) if only else stage
    return jax.jit(stage.prompt, static_argnames="multimask", compiler_options=quickly(config))


@functools.cache
def each(sizes: Any) -> Any:
    """Blocks of our encoder by their names, each on its own input, as one program."""

    def run(params: Any, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        m = _encoder(sizes).bind(params)
        return {name: part(m, name)(x) for name, x in inputs.items()}

    return jax.jit(run, compiler_options=quickly(sizes))


def quickly(sizes: Any) -> dict[str, Any]:
    """Small models take longer to compile than to run."""
    return {"xla_backend_optimization_level": 0} if sizes.image_size < 512 else {}


def below(params: Any) -> Any:
    """The image encoder's."""
    return {k.removeprefix("image_encoder/"): v for k, v in params.items() if k.startswith("image_encoder/")}


def blocks(encoder: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Name, module and whether it is channels first, of all that is compared one by one."""
    if isinstance(encoder, reference_tiny.ImageEncoder):
        yield "patch_embed", encoder.patch_embed["seq"], True
    kinds = (reference.Block, reference_tiny.MBConv, reference_tiny.Block, reference_tiny.PatchMerging)
    for name, m in encoder.named_modules():
        if isinstance(m, kinds):
            yield name, m, not isinstance(m, reference.Block)


def part(module: Any, name: str) -> Any:
    """What the dotted ``name`` is of our module."""
    for step in name.split("."):
        module = operator.itemgetter(int(step))(module) if step.isdigit() else getattr(module, step)
    return module


def compare_encoder(model: Any, stage: Any, pixels: np.ndarray) -> tuple[list[Row], torch.Tensor, torch.Tensor]:
    """Rows, and the reference's embedding [B, D, h, w] and early map, channels last."""
    seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def keep(name: str, first: bool) -> Any:
        order = last if first else lambda x: x.detach().numpy()
        return lambda _, args, out: seen.update({name: (order(args[0]), order(out))})

    hooks = [m.register_forward_hook(keep(name, first)) for name, m, first in blocks(model.image_encoder)]
    with torch.no_grad():
        image, early = model.image_encoder(torch.tensor(pixels.transpose(0, 3, 1, 2)))
    for hook in hooks:
        hook.remove()
    ours = each(stage.config.encoder)(below(stage.params), {name: jnp.asarray(x) for name, (x, _) in seen.items()})
    worst = max(relative(ours[name], y) for name, (_, y) in seen.items())
    rows = [Row(f"each of {len(seen)} encoder blocks, worst", worst, 1e-5)]
    ours_image, ours_early = encoder(stage.config.encoder)(below(stage.params), jnp.asarray(pixels))
    rows.append(Row("image embedding", relative(ours_image, last(image)), 1e-4))
    if isinstance(model, SamHq):
        rows.append(Row("early map", relative(ours_early, early), 1e-4))
    return rows, image, early


def compare_features(model: Any, stage: Any, pixels: np.ndarray) -> tuple[list[Row], torch.Tensor, torch.Tensor]:
    """Of a SAM-HQ: rows, and the reference's embedding and finer features, channels first."""
    rows, image, early = compare_encoder(model, stage, pixels)
    with torch.no_grad():
        hq = model.mask_decoder.finer_features(image, early)
    finer = jax.jit(lambda p, *x: stage.spec.bind(p).mask_decoder.features(*x))
    ours = finer(stage.params, jnp.asarray(last(image)), jnp.asarray(early.numpy()))
    return [*rows, Row("finer features", relative(ours.hq, last(hq)), 1e-4)], image, hq


def prompts(side: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two points, their labels and a box on a square of ``side``."""
    points = torch.tensor([[0.2, 0.3], [0.7, 0.55]]) * side
    return points, torch.tensor([1, 0]), torch.tensor([0.1, 0.2, 0.8, 0.7]) * side


def answers(
    config: Any, params: Any, features: Any, multimask: bool, mask: np.ndarray | None = None, *, only: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Decode the padded points if ``multimask``, else the box: logits [M, h, w], IoU [M]."""
    points, _, box = (x.numpy() for x in prompts(config.image_size))
    xy, kinds = np.zeros((1, 4, 2), np.float32), np.array([[1, 0, -1, -2]])
    xy[0, :2] = points
    if not multimask:
        xy, kinds = box.reshape(1, 2, 2), np.array([[2, 3]])
    logits, iou = decoder(config, only)(params, features, xy, kinds, mask, multimask=multimask)
    return np.asarray(logits[0]), np.asarray(iou[0])


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """1 - IoU of what is above 0."""
    a, b = ours > 0, theirs > 0
    return float(1 - (a & b).sum() / max((a | b).sum(), 1))


def compare_mobile_sam(model: Any, folder: Path, pixels: np.ndarray, config: Any = None) -> list[Row]:
    """``pixels`` [1, S, S, 3], normalised; ``config`` where the sizes are no variant's."""
    stage = load(model, folder, config)
    rows, image, _ = compare_encoder(model, stage, pixels)
    points, labels, box = prompts(stage.config.image_size)
    ours = functools.partial(answers, stage.config, stage.params, jnp.asarray(last(image)[0]))
    with torch.no_grad():
        three, iou = model.decode(image[0], True, points=points, labels=labels)
        refined, _ = model.decode(image[0], False, box=box, mask=three[:1])
    logits, quality = ours(True)
    rows.append(Row("mask logits, two points", relative(logits, three), 1e-3))
    rows.append(Row("predicted IoU, two points", relative(quality, iou), 1e-3))
    rows.append(Row("1 - IoU of the masks", apart(logits, three.numpy()), 1e-3, "of the union"))
    rows.append(Row("mask logits, a box and a mask", relative(ours(False, three[:1].numpy())[0], refined), 1e-3))
    return rows


def compare_sam_hq(model: Any, folder: Path, pixels: np.ndarray, config: Any = None) -> list[Row]:
    """``pixels`` [1, S, S, 3], normalised; ``config`` where the sizes are no variant's."""
    stage = load(model, folder, config)
    rows, image, hq = compare_features(model, stage, pixels)
    return rows + compare_hq_masks(model, stage, image, hq)


def compare_light_sam_hq(model: Any, folder: Path, pixels: np.ndarray, config: Any = None) -> list[Row]:
    """Compare encoder and features as `compare_sam_hq`; the decoder is that of any SAM-HQ."""
    return compare_features(model, load(model, folder, config), pixels)[0]


def compare_hq_masks(model: Any, stage: Any, image: torch.Tensor, hq: torch.Tensor) -> list[Row]:
    """The decoder on the reference's features, channels first."""
    features = jax.tree.map(lambda x: x[0], sam_hq.Features(*(jnp.asarray(last(x)) for x in (image, hq))))
    ours = functools.partial(answers, stage.config, stage.params, features)
    theirs = functools.partial(model.decode_hq, image[0], hq[0])
    points, labels, box = prompts(stage.config.image_size)
    rows: list[Row] = []
    for only in (False, True):
        what = ", fine alone" if only else ""
        with torch.no_grad():
            best, iou = theirs(True, only, points=points, labels=labels)
        logits, quality = ours(True, only=only)
        rows.append(Row(f"mask logits, two points{what}", relative(logits, best), 1e-3))
        rows.append(Row(f"1 - IoU of the masks{what}", apart(logits, best.numpy()), 1e-3, "of the union"))
        off = float(np.abs(quality - iou.numpy()).max())
        rows.append(Row(f"predicted IoU, two points{what}", off, 1e-4, "absolute"))
    with torch.no_grad():
        refined, _ = theirs(False, False, box=box, mask=best)
    rows.append(Row("mask logits, a box and a mask", relative(ours(False, best.numpy())[0], refined), 1e-3))
    return rows


def compare_hugging_face(folder: Path, pixels: np.ndarray) -> list[Row]:
    """Compare what transformers' SAM-HQ has of the original: encoder, features, fine mask, IoU.

    ``pixels`` [1, 80, 80, 3], normalised.
    """
    e = VIT
    vision = dict(
        hidden_size=e.width, num_hidden_layers=e.depth, num_attention_heads=e.heads, image_size=e.image_size,
        global_attn_indexes=list(e.global_blocks), patch_size=e.patch, window_size=e.window, output_channels=e.out_chans,
        mlp_dim=4 * e.width, num_pos_feats=e.out_chans // 2,
    )  # fmt: skip
    prompt = dict(hidden_size=e.out_chans, image_size=e.image_size, patch_size=e.patch, image_embedding_size=e.grid)
    decoder = dict(
        hidden_size=e.out_chans, num_attention_heads=4, mlp_dim=64, iou_head_hidden_dim=e.out_chans,
        layer_norm_eps=1e-5, vit_dim=e.width,
    )  # fmt: skip
    config = transformers.SamHQConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    model = seeded.seed(transformers.SamHQModel(config))
    loaded = store.load(str(seeded.save(model, folder)), role="segment")
    assert loaded.config == HQ
    stage = sam_hq.build(loaded.config, loaded.params)
    seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    names = ("encoder_conv2", "compress_vit_conv2", "mask_conv1", "mask_conv2", "hq_mask_mlp")
    for name in names:
        hook = lambda _, args, out, name=name: seen.update({name: (args[0].numpy(), out.numpy())})  # noqa: E731
        getattr(model.mask_decoder, name).register_forward_hook(hook)
    points, labels, _ = prompts(e.image_size)
    with torch.no_grad():
        image, early = model.get_image_embeddings(torch.tensor(pixels.transpose(0, 3, 1, 2)))
        theirs = model(
            image_embeddings=image, intermediate_embeddings=early, input_points=points[None, None],
            input_labels=labels[None, None], multimask_output=True,
        )  # fmt: skip

    def run(params: Any, pixels: jax.Array, upscaled: jax.Array, along: jax.Array) -> Any:
        m = stage.spec.bind(params)
        return m.features(pixels), m.mask_decoder.embedding_maskfeature(upscaled, along)

    first = lambda x: jnp.asarray(x.transpose(0, 2, 3, 1))  # noqa: E731
    along = seen["hq_mask_mlp"][1].reshape(1, -1)
    ours, fine = jax.jit(run)(stage.params, jnp.asarray(pixels), first(seen["mask_conv1"][0]), jnp.asarray(along))
    hq = seen["encoder_conv2"][1] + seen["compress_vit_conv2"][1]
    _, iou = answers(HQ, stage.params, jax.tree.map(lambda x: x[0], ours), True)
    highest = theirs.iou_scores.max().item()
    return [
        Row("image embedding", relative(ours.image, last(image)), 1e-4),
        Row("finer features", relative(ours.hq, first(hq)), 1e-4),
        Row("the fine mask's layers", relative(fine, np.einsum("nchw,nc->nhw", seen["mask_conv2"][1], along)), 1e-4),
        Row("predicted IoU, two points", abs(float(iou[0]) - highest), 1e-4, "absolute"),
    ]
