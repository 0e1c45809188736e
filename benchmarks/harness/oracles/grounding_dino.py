"""Grounding DINO beside the reference in torch.

The first guesses are ranked by score, and what a query becomes depends on its rank.  Two scores
that differ by less than the arithmetic's noise may swap, which changes both queries and a little of
all.  So the ranking is compared as such, and what follows it from the reference's own ranking; the
whole is compared where both ranked alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from benchmarks.harness.letter_tokenizer import LetterTokenizer
from benchmarks.harness.oracles import seeded
from benchmarks.harness.oracles.compare import Row, relative
from gsam.models import grounding_dino as ours
from gsam.models.grounding_dino.enhancer import Phrases
from gsam.text.packed import Captions
from gsam.types import Images
from gsam.weights import store

CHANGE = "inverse sigmoid at eps 1e-3 (the original's; transformers has 1e-5)"


def model(size: str) -> Any:
    """Return the seeded reference.

    Args:
        size: In full ``tiny`` (Swin-T) or ``base`` (Swin-B); reduced ``small`` (as tiny), ``wide``
            (as base, windows of 12) or ``mm`` (MM Grounding DINO).
    """
    kind, extra = (
        ("MMGroundingDino", dict(decoder_bbox_embed_share=False, decoder_cls_embed_share=False))
        if (size == "mm")
        else ("GroundingDino", {})
    )
    window = 12 if size in ("base", "wide") else 7
    if size in ("tiny", "base"):
        swin = dict(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24])
        if size == "base":
            swin = dict(embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32])
        text: dict[str, Any] = {}
    else:
        swin = dict(embed_dim=16, depths=[2, 2, 1, 1], num_heads=[1, 2, 2, 4])
        text = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=1100)
        extra |= dict(
            d_model=64, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
            encoder_attention_heads=4, decoder_attention_heads=4, num_queries=40, max_text_len=64,
        )  # fmt: skip
    backbone = transformers.SwinConfig(**swin, window_size=window, out_indices=[2, 3, 4], image_size=224)
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone, text_config=transformers.BertConfig(**text), **extra
    )
    return seeded.seed(getattr(transformers, f"{kind}ForObjectDetection")(config))


@contextlib.contextmanager
def original_arithmetic() -> Iterator[None]:
    """See `CHANGE`."""
    theirs = torch.special.logit

    def inverse_sigmoid(x: torch.Tensor, eps: float | None = None) -> torch.Tensor:
        x = x.clamp(0, 1)
        return torch.log(x.clamp(min=1e-3) / (1 - x).clamp(min=1e-3))

    torch.special.logit = inverse_sigmoid
    try:
        yield
    finally:
        torch.special.logit = theirs


def batch(pictures: list[np.ndarray], view: Any, shape: tuple[int, int] | None = None) -> Images:
    """Put normalised images [h, w, 3] on canvases of one size, zeros around them."""
    from gsam.inputs.image import canvas

    sizes = [p.shape[:2] for p in pictures]
    shape = shape or canvas(view, sizes)
    out = np.zeros((len(pictures), *shape, 3), np.float32)
    for row, p in zip(out, pictures, strict=True):
        row[: p.shape[0], : p.shape[1]] = p
    at = jnp.asarray(sizes, jnp.int32)
    return Images({view.key: jnp.asarray(out)}, {view.key: at}, at)


def read(stage: ours.GroundingDinoDetector, queries: list[str]) -> Captions[np.ndarray]:
    """The captions of one picture, without a pipeline."""
    return stage.text.pack_text(
        queries, lambda texts: jax.device_get(jax.jit(stage.embed)(stage.params, stage.text.tokenize(texts)))
    )


def theirs(reference: Any, pixels: np.ndarray, caption: str) -> dict[str, np.ndarray]:
    """One picture [h, w, 3] and caption through the reference, unpadded."""
    ids = LetterTokenizer().encode([caption], 256)
    ids = torch.tensor(ids[:, : int((ids > 0).sum())].astype(np.int64))
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        p.register_forward_hook(lambda _, __, out, i=i: seen.update({f"map {i}": out}))
        for i, p in enumerate(reference.model.input_proj_vision)
    ]
    with torch.no_grad(), original_arithmetic():
        out = reference(
            pixel_values=torch.tensor(pixels[None].transpose(0, 3, 1, 2)),
            input_ids=ids,
            token_type_ids=torch.zeros_like(ids),
            attention_mask=torch.ones_like(ids),
        )
    for hook in hooks:
        hook.remove()
    maps = [seen[f"map {i}"].flatten(2).transpose(1, 2) for i in range(len(seen))]
    return {
        "maps": torch.cat(maps, 1).numpy(),
        "picture": out.encoder_last_hidden_state_vision.numpy(),
        "text": out.encoder_last_hidden_state_text.numpy(),
        "first": out.init_reference_points.numpy(),
        "logits": out.logits.numpy()[..., : ids.shape[1]],
        "boxes": out.pred_boxes.numpy(),
    }


def compare(reference: Any, folder: Path, pixels: np.ndarray, queries: list[str]) -> list[Row]:
    """Compare on a normalised image [h, w, 3]; ours is on a padded canvas, with padded text."""
    loaded = store.load(str(seeded.save(reference, folder)), role="detect")
    stage = ours.build(loaded.config, loaded.params, LetterTokenizer())
    expected = theirs(reference, pixels, " . ".join(queries) + " .")
    images = batch([pixels], stage.view)
    text = jax.tree.map(jnp.asarray, read(stage, queries))
    tokens = expected["logits"].shape[-1]

    def run(params: Any, images: Images, text: Any, first: jax.Array) -> tuple[Any, ...]:
        m = stage.spec.bind(params)
        picture = m.picture(images.view(stage.view), images.content[stage.view.key])
        phrases = Phrases(text.features, text.block, text.position)
        enhanced, read = m.fuse(picture, phrases)
        _, own, _ = m.first(enhanced, read)
        alive, start = jnp.ones(first.shape[:2], bool), m.start(first, enhanced.tokens.dtype)
        x, boxes = m.transformer.decoder(start, first, alive, enhanced, read, m.box_heads)
        logits = m.similarity(x, read)
        return picture.tokens, picture.real, enhanced.tokens, read.tokens, own, logits, boxes, m(picture, phrases)

    first = jnp.asarray(expected["first"])

    def of_logits(what: str, logits: Any) -> Row:
        """Random weights make logits that deviate by 16 or so, trained ones by 2."""
        found = np.asarray(logits)[..., :tokens]
        absolute = np.abs(found - expected["logits"]).max()
        return Row(f"logits, {what} (absolute {absolute:.1e})", relative(found, expected["logits"]), 1e-3)

    maps, real, memory, words, own, logits, boxes, whole = jax.jit(run)(loaded.params, images, text, first)
    real = np.asarray(real[0])
    alike = np.abs(np.asarray(own) - expected["first"]).max((0, 2)) < 1e-4
    rows = [
        Row("maps of the neck", relative(maps[:, real], expected["maps"]), 1e-4),
        Row("picture after the enhancer", relative(memory[:, real], expected["picture"]), 1e-4),
        Row("text after the enhancer", relative(words[:, :tokens], expected["text"]), 1e-4),
        Row("first guesses ranked otherwise", float((~alike).mean()), 0.02, "of the queries"),
        of_logits("from the same ranking", logits),
        Row("boxes, from the same ranking", float(np.abs(boxes - expected["boxes"]).max()), 1e-4, "of the side"),
    ]
    if alike.all():
        logits, boxes = whole
        rows += [
            of_logits("the whole", logits),
            Row("boxes, the whole", float(np.abs(boxes - expected["boxes"]).max()), 1e-4, "of the side"),
        ]
    return rows
