"""Rows 60: models and names that cannot be trained as a detector or classifier."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gsam.training import finetune_classifier, finetune_detector
from gsam.weights.folders import data_folder
from tests.bad.table import Row, Run, error
from tests.helpers.shapes import write


def tuned(
    function: Callable[..., Any], model: str, names: dict[str, str] | None = None, **more: Any
) -> Callable[[Path], Run]:
    """Tune a model on two images, some classes called otherwise."""

    def make(folder: Path) -> Run:
        file = write(folder, 2)
        content = json.loads(file.read_text())
        for category in content["categories"]:
            category["name"] = (names or {}).get(category["name"], category["name"])
        file.write_text(json.dumps(content, ensure_ascii=False))
        given = {key: str(value).format(folder) if isinstance(value, str) else value for key, value in more.items()}
        return lambda: function(file, model=model, out=folder / "run", quiet=True, **given)

    return make


def one_class(folder: Path) -> Run:
    file = write(folder, 2)
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    content["categories"] = content["categories"][:1]
    file.write_text(json.dumps(content))
    return lambda: finetune_classifier(file, model="nano_clip", out=folder / "run", quiet=True)


def alone(folder: Path) -> Run:
    (folder / "weights").mkdir()
    shutil.copy(data_folder("nano") / "detector.safetensors", folder / "weights" / "nano_owl.safetensors")
    return tuned(finetune_detector, f"{folder}/weights/nano_owl.safetensors")(folder)


KOREAN = {"red circle": "빨간 원", "red square": "빨간 네모"}
ROWS: list[Row] = [
    error("60q", "train detector: a segmenter", tuned(finetune_detector, "nano_sam"), "UsageError train_family",
          "it is a model to segment", 2, None),
    error("60r", "train classifier: a detector", tuned(finetune_classifier, "nano_owl"), "UsageError train_family",
          "CLIP and SigLIP can", 2, None),
    error("60s", "train detector: class names in Korean, of a model that knows few words",
          tuned(finetune_detector, "nano_owl", KOREAN), "UsageError names_alike", "as the same text", 2, None),
    error("60w", "train detector: weights without a tokenizer", alone, "CheckpointError tokenizer_missing",
          "copy tokenizer.json", 1, None),
    error("60t", "train classifier: one class", one_class, "UsageError one_class", "two classes or more", 2, None),
    error("60u", "train detector: patience, and nothing held out",
          tuned(finetune_detector, "nano_owl", held_out=0.0, patience=2), "UsageError held_out_missing",
          "needs held-out images", 2, None),
    error("60v", "train classifier: a part that is none", tuned(finetune_classifier, "nano_clip", what="decoder"),
          "UsageError train_what", "head or lora", 2, None),
]  # fmt: skip
