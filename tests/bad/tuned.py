"""Rows 61: folders of trained models, LoRA's settings, and weights written for PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from gsam.training.lora import Lora
from gsam.training.model_folder import load_base, write_model
from gsam.weights import pth_layout, store
from tests.bad.table import Run, error
from tests.weights.files import nano_sam, state_dict

TARGET = r"iou_prediction_head/layers/2/kernel"


def run(folder: Path) -> tuple[Path, Path]:
    """A run with adapters, and the file of its base."""
    source = state_dict(folder / "base.pth", nano_sam()[1])
    base, lora = load_base(source), Lora(rank=1, targets=TARGET)
    write_model(folder / "run" / "model", base, adapters=lora.init(base.params, 0), lora=lora, what="lora")
    return folder / "run", source


def moved(folder: Path) -> Run:
    made, source = run(folder)
    source.unlink()
    return lambda: store.load(made)


def another(folder: Path) -> Run:
    made, source = run(folder)
    tensors = dict(nano_sam()[1])
    tensors["mask_decoder.iou_token.weight"] = tensors["mask_decoder.iou_token.weight"] + np.float32(1)
    state_dict(source, tensors)
    return lambda: store.load(made)


def damaged(folder: Path) -> Run:
    made, _ = run(folder)
    (made / "model" / "gsam.json").write_text('{"trained": 1}')
    return lambda: store.load(made)


def unfinished(folder: Path) -> Run:
    (folder / "run" / "checkpoints").mkdir(parents=True)
    (folder / "run" / "run.json").write_text("{}")
    return lambda: store.load(folder / "run")


def written(name: str, target: str, kind: pth_layout.Kind = "original") -> Callable[[Path], Run]:
    return lambda folder: lambda: pth_layout.write(name, folder / target, kind=kind)


def kernels(targets: str) -> Callable[[Path], Run]:
    shapes = {name: np.zeros(value.shape) for name, value in nano_sam()[0].items()}
    return lambda folder: lambda: Lora(targets=targets).kernels(shapes)


ROWS = [
    error("59k", "adapters whose base went away", moved, "CheckpointError checkpoint_base", "cannot be loaded", 1),
    error("59l", "adapters whose base is another", another, "CheckpointError checkpoint_base", "from another", 1),
    error("59m", "a trained model with a damaged note", damaged, "CheckpointError checkpoint_format", "describe", 1),
    error(
        "59n", "a training run without a model yet", unfinished, "CheckpointError checkpoint_missing", "go on with", 1
    ),
    error(
        "59o", "LoRA of rank 0", lambda folder: lambda: Lora(rank=0), "UsageError lora_rank", "at least 1", 2, http=None
    ),
    error(
        "59p",
        "a LoRA pattern that no kernel fits",
        kernels("nothing"),
        "UsageError lora_targets",
        "no kernel",
        2,
        http=None,
    ),
    error("59q", "a LoRA pattern that is none", kernels("("), "UsageError lora_targets", "expression", 2, http=None),
    error(
        "59r",
        "weights for PyTorch as .pth",
        written("nano_sam", "x.pth"),
        "UsageError output_suffix",
        "end in",
        2,
        http=None,
    ),
]
