"""Rows 63: fine-tuning of segmenters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gsam.training.finetuned import Finetuned
from gsam.training.segmenter.finetune import finetune
from tests.bad.table import Row, Run, error
from tests.helpers.drawings import write_drawings
from tests.helpers.tiny_sam import write_tiny_sam


def tuned(model: str | None = None, count: int = 2, names: str = "", **settings: Any) -> Callable[[Path], Run]:
    """Fine-tune a small SAM, or another model, on drawings."""

    def make(folder: Path) -> Run:
        data = write_drawings(folder, count, size=(24, 36))
        data.write_text(data.read_text().replace("ring", names or "ring"), encoding="utf-8")
        base = model or str(write_tiny_sam(folder / "sam"))
        quick = {"steps": 1, "batch_size": 1, "objects": 1, "prompts": ["box"], "corrections": 0, "quiet": True}
        return lambda: finetune(data, model=base, out=folder / "run", **(quick | settings))

    return make


def alone(found: Finetuned) -> None:
    assert (found.before, found.scores, found.model.is_dir()) == ({}, (), True)


def korean(found: Finetuned) -> None:
    assert "고리" in {score.label for score in found.scores}
    assert "고리" in found.page.read_text(encoding="utf-8")


ROWS: list[Row] = [
    error("59s", "training a segmenter that is a detector", tuned("owlv2_base_patch16"), "UsageError train_family",
          "a model to detect; SAM, SAM-HQ, MedSAM", 2, None),
    error("59t", "training FastSAM", tuned("fast_sam_s"), "UsageError train_family", "answers no prompts", 2, None),
    error("59u", "training by a kind of prompts that there is not", tuned(prompts=["text"]),
          "UsageError prompts_unknown", "there are box, click, both", 2, None),
    error("59v", "LoRA on kernels that the model does not have", tuned(what="lora", lora_on="^backbone/"),
          "UsageError lora_targets", "no kernel of this model fits", 2, None),
    error("59w", "an early stop where nothing is held out", tuned(patience=1, held_out=0.0),
          "UsageError held_out_missing", "needs held-out images", 2, None),
    Row("59x", "training on a data set of one image: nothing is held out", tuned(count=1), check=alone, http=None),
    Row("59y", "training on classes with Korean names", tuned(names="고리", held_out=0.5), check=korean, http=None),
]  # fmt: skip
