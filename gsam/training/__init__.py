"""Training on your own masks: fine-tuning, distillation, and the trainer beneath them.

Needs the extra ``train``.

Example:
    >>> gsam.training.finetune  # doctest: +ELLIPSIS
    <function finetune at ...>
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gsam.training.boxes.finetune import finetune_detector as finetune_detector
    from gsam.training.distillation.run import distil as distil
    from gsam.training.regions.finetune import finetune_classifier as finetune_classifier
    from gsam.training.segmenter.finetune import finetune as finetune

_PUBLIC = {
    "finetune": "gsam.training.segmenter.finetune",
    "finetune_classifier": "gsam.training.regions.finetune",
    "finetune_detector": "gsam.training.boxes.finetune",
    "distil": "gsam.training.distillation.run",
}
"""Public name -> the module that has it, imported when the name is first used."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(_PUBLIC[name])
    except ModuleNotFoundError as error:
        if error.name != "optax":
            raise
        raise ImportError("training needs the package optax: pip install 'gsam-jax[train]'") from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
