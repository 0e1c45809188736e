"""Images whose features somebody holds, however many others a pipeline sees in between."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax

from gsam.inputs.image import Picture
from gsam.pipeline.finish import InFlight
from gsam.pipeline.limits import Limits
from gsam.runtime.process import check_process
from gsam.runtime.shard import replicate, shard_batch
from gsam.text.queries import Queries
from gsam.types import Images, PyTree

if TYPE_CHECKING:
    from gsam.pipeline import Pipeline
    from gsam.results.result import Result


@dataclasses.dataclass(frozen=True, eq=False)
class HeldImage:
    """An image on the devices, and all that a pipeline computes of it before it knows the words."""

    picture: Picture
    images: Images
    features: dict[str, PyTree]

    @property
    def bytes(self) -> int:
        """Memory of the arrays on the devices."""
        return sum(int(array.nbytes) for array in jax.tree.leaves((self.images, self.features)))


def hold(pipe: Pipeline, picture: Picture) -> HeldImage:
    """Encode an image for any number of queries.

    Args:
        pipe: The pipeline, whose ``counts`` then has one more.
        picture: The image.

    Returns:
        The image with its features; `ask` takes it.
    """
    check_process()
    with pipe._lock:
        images, features = pipe._features([picture], False)
    return HeldImage(dataclasses.replace(picture, views={}), images, features)


def ask(pipe: Pipeline, held: HeldImage, queries: Queries, limits: Limits) -> Result:
    """Find what a query names in an image that is held: the pipeline's own answer, to the bit.

    Args:
        pipe: The pipeline that encoded it.
        held: The image.
        queries: What is asked.
        limits: Those of the call; the image is not looked at in tiles.

    Returns:
        The objects, best first.

    Raises:
        gsam.errors.QueryError: Too much is asked for.
    """
    check_process()
    with pipe._lock:
        text = shard_batch(pipe._text([queries]), pipe.devices)
        thresholds = replicate(limits.thresholds, pipe.devices)
        scene = pipe._decode(pipe.params, held.images, text, held.features, thresholds)
    return pipe.collect(InFlight(scene, [held.picture], [queries], limits))[0]
