"""Rows 59d to 59j: a teacher, a student and images that do not go together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bad.table import Row, Run, error
from tests.training.distillation import tiny


def taught(count: int = 2, broken: bool = False, **change: Any) -> Callable[[Path], Run]:
    """Teach with nano's segmenter, on so many images."""

    def make(folder: Path) -> Run:
        pytest.importorskip("optax")
        from gsam.training.distillation.run import distil

        tiny.images(folder / "photos", 0 if broken else count)
        for i in range(count if broken else 0):
            (folder / "photos" / f"{i}.png").write_bytes(b"not an image %d" % i)
        models = {"teacher": tiny.model(folder, "sam", 1), "student": tiny.model(folder, "mobile_sam"), **change}
        return lambda: distil(folder / "photos", out=folder / "run", steps=1, quiet=True, **models)

    return make


ROWS: list[Row] = [
    error("59d", "distil: a folder without images", taught(0), "UsageError distil_no_images",
          "no image that can be read", exit=2, http=None),
    error("59j", "distil: images none of which can be read", taught(3, broken=True), "UsageError distil_no_images",
          "no image that can be read", exit=2, http=None),
    error("59e", "distil: one image", taught(1), "UsageError distil_one_image",
          "some to learn from and another to be measured on", exit=2, http=None),
    error("59f", "distil: SAM 2 as a teacher", taught(teacher="sam2.1_hiera_tiny"), "UsageError distil_family",
          "SAM, MedSAM, MobileSAM and EfficientSAM", exit=2, http=None),
    error("59g", "distil: a model as its own teacher", taught(teacher="mobile_sam", student="mobile_sam"),
          "UsageError distil_same", "would teach itself", exit=2, http=None),
    error("59h", "distil: embeddings of different shapes", taught(teacher="nano_sam"), "UsageError distil_shapes",
          "is 20 x 20 x 64 and that of .* is 8 x 8 x 16", exit=2, http=None),
    error("59i", "distil: a student that begins with weights of another family", taught(init="nano_sam"),
          "UsageError distil_init", "or from scratch", exit=2, http=None),
]  # fmt: skip
"""The rows of distillation."""
