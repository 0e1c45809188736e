"""Compile, before a server says that it is ready, what the first request of each kind needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gsam.build.recipes import read_recipe, recipes
from gsam.inputs.image import Picture
from gsam.predictors.automatic.settings import Settings
from gsam.registry import roles_of
from gsam.runtime.shapes import default_batch_size, filled, images_per_call
from gsam.serve.config import ServeConfig
from gsam.text.queries import parse_queries

if TYPE_CHECKING:
    from gsam.pipeline import Pipeline
    from gsam.predictors.image import Predictor

WORDS = "dog. cat"


def most_together(pipe: Pipeline, wanted: int) -> int:
    """Choose how many images of ``wanted`` pay to be computed together.

    On a CPU one per device: more take more memory and no less time.
    """
    on_cpu = all(device.platform == "cpu" for device in pipe.devices)
    wanted = min(wanted, default_batch_size(pipe.devices)) if on_cpu else wanted
    return max(images_per_call(wanted, pipe.whole_views, pipe.devices), 1)


def warm_words(pipe: Pipeline, together: int, shape: tuple[int, int]) -> None:
    """Compile a pipeline for every number of images that batches of up to ``together`` have.

    Args:
        pipe: The pipeline.
        together: The most images.
        shape: Height and width of an image, whose ratio matters to a few detectors.
    """
    one = Picture(np.full((*shape, 3), 127, np.uint8)), parse_queries(WORDS)
    for size in sorted({filled(count, pipe.devices) for count in range(1, together + 1)}):
        pipe.collect(pipe.dispatch([one] * min(size, together), pipe.limits, size))


def warm_clicks(predictor: Predictor, shape: tuple[int, int]) -> None:
    """Compile a predictor for an image, points, a box, and the mask of an earlier answer.

    Args:
        predictor: The predictor; no image is set afterwards.
        shape: Height and width of an image.
    """
    grey = np.full((*shape, 3), 127, np.uint8)
    predictor.set_image(grey)
    kinds, most = predictor.model.prompt_types, predictor.model.max_points or 3
    points = [[20, 20], [40, 40], [60, 60]][:most]
    if "foreground" in kinds:
        _, _, low = predictor.predict(points[:1], [1])
        for some in (points[:1], points):
            for mask in (None, low[:1] if "mask" in kinds else None):
                predictor.predict(some, [1] * len(some), mask_input=mask, multimask_output=False)
    if "box" in kinds:
        predictor.predict(box=[10, 10, 80, 80], multimask_output=False)
    if predictor.close_ups is not None:
        predictor.close_ups.warm(predictor.encode(grey))
    predictor.reset_image()


def looks_again(pipe: Pipeline) -> bool:
    """Tell whether a pipeline takes a second look at small things, so that clicks do too."""
    from gsam.pipeline.refine import SecondLook

    return any(isinstance(step, SecondLook) for step in pipe.steps.values())


def settings_everywhere(config: ServeConfig) -> Mapping[str, Any]:
    """Settings of `gsam.MaskGenerator` for the model that answers clicks.

    Returns:
        Those of a recipe that looks everywhere with this model: of the served one, else of a
        shipped one; none where there is no such recipe.  A file counts as the recipe's own model,
        which it takes the place of.
    """
    served = read_recipe(config.pipeline)
    own = served.get("segment", {}).get("name")
    name = config.predictor or config.given.get("segmenter") or own
    name = name if roles_of(str(name)) else own
    names = {field.name for field in dataclasses.fields(Settings)}
    for recipe in (served, *map(read_recipe, recipes())):
        ground = recipe.get("ground")
        if ground is not None and ground["name"] == (name or ground["name"]):
            return {key: value for key, value in ground.items() if key in names}
    return {}
