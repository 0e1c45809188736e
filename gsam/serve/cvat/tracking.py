r"""SAM 2 in CVAT by an agent: a tracking function for ``cvat-cli function``.

::

    cvat-cli function create-native gsam --function-module gsam.serve.cvat.tracking \
        -p model=str:sam2.1_hiera_tiny
    cvat-cli function run-agent 4 --function-module gsam.serve.cvat.tracking \
        -p model=str:sam2.1_hiera_tiny
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import DTypeLike
from numpy.typing import NDArray

from gsam.build.devices import devices_of
from gsam.build.stages import by_name
from gsam.inputs.image import open_image
from gsam.serve.cvat import shapes
from gsam.serve.cvat.following import Followed, Follower, Seen

KINDS = frozenset({"mask", "polygon", "rectangle"})


@dataclasses.dataclass
class State:
    """One shape on its way through a video; CVAT's agent holds it between two frames."""

    followed: Followed


class Tracking:
    """A tracking function of ``cvat-cli``: a SAM 2 whose memory is the state."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower

    @property
    def spec(self) -> Any:
        """CVAT's ``TrackingFunctionSpec``: rectangles, polygons and masks."""
        import cvat_sdk.auto_annotation as cvataa

        return cvataa.TrackingFunctionSpec(supported_shape_types=KINDS)

    def preprocess_image(self, context: Any, image: Any) -> Seen:
        """Compute the features of a frame, once for all its shapes."""
        return self.follower.look(open_image(image))

    def init_tracking_state(self, context: Any, pp_image: Seen, shape: Any) -> State:
        """Take a shape up.

        Args:
            context: CVAT's; not looked at.
            pp_image: Of `preprocess_image`.
            shape: CVAT's, with a ``type`` of `KINDS` and ``points``.

        Returns:
            What `track` is given.

        Raises:
            ValueError: The shape is none, or not on the image.
        """
        return State(self.follower.begin(pp_image, prompt_of(shape.type, shape.points, pp_image.size)))

    def track(self, context: Any, pp_image: Seen, state: State) -> Any:
        """Find a shape on the next frame.

        Args:
            context: CVAT's; its ``original_shape_type`` is the type of the answer.
            pp_image: Of `preprocess_image`.
            state: Of `init_tracking_state`; it is brought forward.

        Returns:
            CVAT's ``TrackableShape``; None where the thing is not seen.

        Raises:
            ValueError: The frame is not of the size of those before.
        """
        import cvat_sdk.auto_annotation as cvataa

        (state.followed,) = self.follower.follow(pp_image, [state.followed])
        kind = context.original_shape_type
        points = points_of(kind, self.follower.mask_of(state.followed))
        return None if points is None else cvataa.TrackableShape(type=kind, points=points)


def prompt_of(kind: str, points: Sequence[float], size: tuple[int, int]) -> list[float] | NDArray[np.bool_]:
    """The box or the mask of a shape of CVAT.  Raises `ValueError` where it is none."""
    if kind == "rectangle":
        box = np.asarray(points, np.float64)
        if box.shape != (4,) or not np.isfinite(box).all():
            raise ValueError("a rectangle is x0 y0 x1 y1")
        (x0, x1), (y0, y1) = sorted((box[0], box[2])), sorted((box[1], box[3]))
        return [float(v) for v in (x0, y0, x1, y1)]
    if kind == "polygon":
        return shapes.from_ring(points, size)
    if kind == "mask":
        return shapes.from_run_lengths(points, size)
    raise ValueError(f"shapes are {', '.join(sorted(KINDS))}, not {kind!r}")


def points_of(kind: str, mask: NDArray[np.bool_]) -> list[float] | None:
    """The numbers of a shape of CVAT around a mask; None for nothing."""
    box = shapes.box_of(mask)
    if box is None or kind == "rectangle":
        return box
    return shapes.rings(mask)[0] if kind == "polygon" else [float(v) for v in shapes.run_lengths(mask)]


def create(
    model: str = "sam2.1_hiera_tiny",
    device: str | None = None,
    dtype: DTypeLike | None = None,
    redraw: str | None = None,
    **given: Any,
) -> Tracking:
    """Make the function; ``cvat-cli`` calls this with what ``-p NAME=TYPE:VALUE`` says.

    Args:
        model: Any name of a SAM 2 that `gsam.tracker` takes.
        device: Where it computes; by default the first device.
        dtype: The type that it computes in.
        redraw: A segmenter that draws its masks again, any name that `gsam.segmenter` takes.
        **given: Settings of the tracker.

    Returns:
        The function.

    Raises:
        gsam.errors.UsageError: There is no such model or device, or it is no tracker.
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
    """
    place = devices_of(device)[0]
    again = None if redraw is None else by_name("segment", redraw, place, dtype, {})
    return Tracking(Follower.of(by_name("track", model, place, dtype, given), place, again))
