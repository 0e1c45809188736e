r"""Clicks in CVAT by an agent: an interaction function for ``cvat-cli function``.

::

    cvat-cli function create-native gsam --function-module gsam.serve.cvat.interaction \
        -p model=str:sam_vit_b
    cvat-cli function run-agent 3 --function-module gsam.serve.cvat.interaction \
        -p model=str:sam_vit_b
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.predictors.embedding import Embedding
from gsam.predictors.image import Predictor
from gsam.serve.cvat import shapes


class Interaction:
    """An interaction function of ``cvat-cli``: a predictor."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @property
    def spec(self) -> Any:
        """CVAT's ``InteractionFunctionSpec``: points and a box, none of which has to be."""
        import cvat_sdk.auto_annotation as cvataa

        return cvataa.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def preprocess_image(self, context: Any, image: Any) -> Embedding:
        """Encode an image, which CVAT's agent keeps for the next clicks."""
        return self.predictor.encode(image)

    def detect(self, context: Any, pp_image: Embedding, prompts: Any) -> list[Any]:
        """Segment what points and a box mean.

        Args:
            context: CVAT's, empty.
            pp_image: Of `preprocess_image`.
            prompts: CVAT's: ``pos_points``, ``neg_points``, ``bounding_box``.

        Returns:
            A shape of type ``mask`` with its confidence; none where there is nothing.
        """
        import cvat_sdk.auto_annotation as cvataa
        from cvat_sdk import models

        box = prompts.bounding_box
        corners = None if box is None else [*box[0], *box[1]]
        found = segment(self.predictor, pp_image, prompts.pos_points, prompts.neg_points, corners)
        if found is None or not found[0].any():
            return []
        confidence = models.AttributeValRequest(
            spec_id=int(cvataa.InteractionResultAttributes.CONFIDENCE), value=f"{min(max(found[1], 0.0), 1.0):.3f}"
        )
        return [
            cvataa.InteractionResultShape(type="mask", points=shapes.run_lengths(found[0]), attributes=[confidence])
        ]


def segment(
    predictor: Predictor, image: Embedding, inside: Any, outside: Any, box: Any
) -> tuple[NDArray[np.bool_], float] | None:
    """Segment one thing by points and a box.

    One point alone is ambiguous: of its three masks the one with the best predicted IoU is taken.

    Args:
        predictor: Of a segmenter that takes points and boxes.
        image: The image, encoded by it.
        inside: Points ``[x, y]`` on the thing.
        outside: Points beside it.
        box: x0 y0 x1 y1, or None.

    Returns:
        The mask [H, W] and its predicted IoU; None where neither a point on it nor a box is given.

    Raises:
        ValueError: A number is not finite, or outside the image.
    """
    points = [tuple(map(float, point)) for point in [*inside, *outside]]
    if box is None and not len(inside):
        return None
    labels = [1] * len(inside) + [0] * len(outside)
    with predictor.using(image):
        masks, iou, _ = predictor.predict(
            np.array(points, np.float64).reshape(-1, 2) if points else None,
            labels if points else None,
            None if box is None else np.asarray(box, np.float64),
            multimask_output=len(points) == 1 and box is None,
        )
    best = int(iou.argmax())
    return np.asarray(masks[best], np.bool_), float(iou[best])


def create(model: str = "sam_vit_b", **given: Any) -> Interaction:
    """Make the function; ``cvat-cli`` calls this with what ``-p NAME=TYPE:VALUE`` says.

    Args:
        model: Any name that `gsam.Predictor` takes.
        **given: Further arguments of it: ``device=str:gpu``, ``dtype=str:bfloat16``.

    Returns:
        The function.

    Raises:
        gsam.errors.UsageError: There is no such model or device, or it answers no prompts.
        gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
    """
    return Interaction(Predictor(model, **given))
