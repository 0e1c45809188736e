"""What gsam trained goes back into PyTorch: strict loading, and the same outputs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from safetensors.torch import load_file

from benchmarks.harness.oracles import compare, seeded
from benchmarks.harness.oracles.compare import Row, last, relative
from benchmarks.harness.oracles.reference import sam as reference
from gsam.models import sam
from gsam.training.lora import Lora
from gsam.training.model_folder import load_base, write_model
from gsam.weights import folders, pth_layout, store

pytestmark = pytest.mark.long


def check(rows: list[Row]) -> None:
    assert not [row for row in rows if not row.difference <= row.limit]


def tuned(base: Any) -> tuple[Lora, dict[str, Any]]:
    """Adapters that change every one of their kernels."""
    lora = Lora(rank=2, alpha=4)
    rng = np.random.default_rng(1)
    drawn = {k: rng.normal(size=v.shape).astype(np.float32) for k, v in lora.init(base.params, 0).items()}
    return lora, {k: 0.15 * v for k, v in drawn.items()}


def pixels(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, side, side, 3)).astype(np.float32)


def test_sam_in_the_original_layout(tmp_path: Path) -> None:
    """Adapters on nano's SAM, merged into a file that the original's modules take."""
    base = load_base("nano_sam")
    lora, adapters = tuned(base)
    write_model(tmp_path / "run" / "model", base, adapters=adapters, lora=lora, what="lora")
    pth_layout.write(tmp_path / "run", tmp_path / "merged.safetensors")
    c = base.config
    vit = reference.Vit(c.width, c.depth, c.heads, c.global_blocks, c.image_size, c.patch, c.window, c.out_chans)
    prompts = reference.Prompts(c.out_chans, c.grid, c.image_size, c.decoder_heads, c.decoder_mlp, c.mask_chans)
    theirs = reference.Sam(reference.ImageEncoder(vit), prompts)
    before = pixels(1, c.image_size)
    theirs.load_state_dict(load_file(tmp_path / "merged.safetensors"), strict=True)
    theirs.eval()

    loaded = store.load(tmp_path / "run", role="segment")
    stage = sam.build(loaded.config, loaded.params)
    box = np.array([[0.2, 0.3], [0.7, 0.6]], np.float32) * c.image_size

    @jax.jit
    def run(params: Any, x: jax.Array) -> Any:
        image = stage.spec.bind(params).image_encoder(x)
        return image, *stage.prompt(params, image[0], jnp.asarray(box)[None], jnp.array([[2, 3]]), multimask=True)

    image, logits, iou = run(loaded.params, jnp.asarray(before))
    with torch.no_grad():
        seen, _ = theirs.image_encoder(torch.tensor(before.transpose(0, 3, 1, 2)))
        masks, quality = theirs.decode(seen[0], True, box=torch.tensor(box.reshape(-1)))
    check(
        [
            Row("embedding", relative(image, last(seen)), 1e-4),
            Row("masks", relative(logits[0], masks), 1e-3),
            Row("predicted IoU", relative(iou[0], quality), 1e-3),
        ]
    )
    plain, _, _ = run({k: jnp.asarray(v) for k, v in base.params.items()}, jnp.asarray(before))
    assert relative(plain, last(seen)) > 0.05  # the adapters matter


def test_sam_in_the_layout_of_transformers(tmp_path: Path) -> None:
    first = seeded.sam("tiny")
    base = load_base(seeded.save(first, tmp_path / "base"))
    lora, adapters = tuned(base)
    write_model(tmp_path / "run" / "model", base, adapters=adapters, lora=lora, what="lora")
    pth_layout.write(tmp_path / "run", tmp_path / "merged.safetensors", kind="hugging_face")
    again = transformers.SamModel(first.config)
    again.load_state_dict(load_file(tmp_path / "merged.safetensors"), strict=True)
    for layer in (*again.mask_decoder.transformer.layers, again.mask_decoder.transformer):
        for module in layer.children():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-5  # the original's
    check(compare.compare_sam(again.eval(), tmp_path / "theirs", pixels(1, 128)))
    theirs, ours = store.load(tmp_path / "theirs", role="segment"), store.load(tmp_path / "run", role="segment")
    assert all(np.array_equal(ours.params[k], v) for k, v in theirs.params.items())
    kernel = "image_encoder/blocks/0/attn/qkv/kernel"
    assert not np.allclose(ours.params[kernel], base.params[kernel], atol=0.02)


def test_a_whole_folder_of_clip_is_one_for_transformers(tmp_path: Path) -> None:
    source = seeded.save(seeded.clip("tiny"), tmp_path / "base")
    shutil.copy(folders.data_folder("nano") / "tokenizer.json", source)
    base = load_base(source, "classify")
    lora, adapters = tuned(base)
    folder = write_model(tmp_path / "run" / "model", base, lora.merge(base.params, adapters), what="all")
    assert (folder / "config.json").is_file()
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    ids = seeded.token_ids(3, 16, 100)
    check(compare.compare_clip(model, tmp_path / "theirs", pixels(2, 64), ids))
    theirs, ours = store.load(tmp_path / "theirs", role="classify"), store.load(tmp_path / "run", role="classify")
    assert all(np.array_equal(ours.params[k], v) for k, v in theirs.params.items())
    assert ours.tokenizer == folder
    kernel = "vision_model/encoder/layers/0/mlp/fc1/kernel"
    assert not np.allclose(ours.params[kernel], base.params[kernel], atol=0.02)
