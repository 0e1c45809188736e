"""gsam: text query in, labelled masks out.

    text + image -> boxes -> masks -> labels, in pure JAX and Flax

``pipe = gsam.load("nano"); result = pipe("street.jpg", "cat. yellow school bus")``.  Importing gsam
loads neither JAX nor Flax; the names below are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gsam.version import __version__ as __version__

if TYPE_CHECKING:
    from gsam import training as training
    from gsam.build.pipelines import load as load
    from gsam.build.recipes import recipes as recipes
    from gsam.build.stages import classifier as classifier
    from gsam.build.stages import detector as detector
    from gsam.build.stages import segmenter as segmenter
    from gsam.build.stages import tracker as tracker
    from gsam.dataset import geo as geo
    from gsam.dataset import ray as ray
    from gsam.dataset.label.engine import label as label
    from gsam.errors import GsamError as GsamError
    from gsam.inputs import medical as medical
    from gsam.inputs.image import open_image as open_image
    from gsam.pipeline import Pipeline as Pipeline
    from gsam.pipeline.grid import GridProposer as GridProposer
    from gsam.pipeline.limits import Limits as Limits
    from gsam.pipeline.refine import SecondLook as SecondLook
    from gsam.predictors.automatic.generator import MaskGenerator as MaskGenerator
    from gsam.predictors.fast_sam import FastSAM as FastSAM
    from gsam.predictors.image import Predictor as Predictor
    from gsam.predictors.video import VideoPredictor as VideoPredictor
    from gsam.results.result import Result as Result
    from gsam.text.processor import QueryFeatures as QueryFeatures
    from gsam.types import Boxes as Boxes
    from gsam.types import Images as Images
    from gsam.types import Labels as Labels
    from gsam.types import Masks as Masks
    from gsam.types import Scene as Scene
    from gsam.types import View as View

_HOME = {
    "gsam.build.pipelines": ("load",),
    "gsam.build.recipes": ("recipes",),
    "gsam.build.stages": ("classifier", "detector", "segmenter", "tracker"),
    "gsam.dataset.label.engine": ("label",),
    "gsam.errors": ("GsamError",),
    "gsam.inputs.image": ("open_image",),
    "gsam.predictors.fast_sam": ("FastSAM",),
    "gsam.predictors.automatic.generator": ("MaskGenerator",),
    "gsam.pipeline": ("Pipeline",),
    "gsam.pipeline.grid": ("GridProposer",),
    "gsam.pipeline.limits": ("Limits",),
    "gsam.pipeline.refine": ("SecondLook",),
    "gsam.predictors.image": ("Predictor",),
    "gsam.results.result": ("Result",),
    "gsam.text.processor": ("QueryFeatures",),
    "gsam.types": ("Boxes", "Images", "Labels", "Masks", "Scene", "View"),
    "gsam.predictors.video": ("VideoPredictor",),
}
_PUBLIC = {name: module for module, names in _HOME.items() for name in names}
_MODULES = {
    "medical": "gsam.inputs.medical",
    "ray": "gsam.dataset.ray",
    "geo": "gsam.dataset.geo",
    "training": "gsam.training",
}
"""Modules that are public as such."""
_MOVED = {"Everything": "gsam.GridProposer"}
"""Public names of earlier versions, and what they are called now."""
__all__ = ["__version__", *sorted([*_PUBLIC, *_MODULES])]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _PUBLIC:
        moved = f": it is now {_MOVED[name]}" if name in _MOVED else ""
        raise AttributeError(f"module 'gsam' has no attribute {name!r}{moved}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_MODULES})
