r"""Words in CVAT by its command line: a detection function for ``cvat-cli task auto-annotate``.

::

    cvat-cli task auto-annotate 12 --function-module gsam.serve.cvat.detection \
        -p pipeline=str:grounded_sam -p query=str:"cat. dog" --allow-unmatched-labels
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from gsam.build.pipelines import DEFAULT, load
from gsam.errors import QueryError
from gsam.pipeline import Pipeline
from gsam.results.result import Result
from gsam.serve.cvat import shapes
from gsam.text.queries import Queries, parse_queries
from gsam.types import Json


class Detection:
    """A detection function of ``cvat-cli``: a pipeline and its words."""

    def __init__(self, pipe: Pipeline, queries: Queries, shape: str = "mask") -> None:
        """Find words by a pipeline.

        Args:
            pipe: The pipeline.
            queries: The words; their labels are those of CVAT.
            shape: ``"mask"``, ``"polygon"`` or ``"rectangle"``.

        Raises:
            gsam.errors.UsageError: There is no such shape (``cvat_shape``).
        """
        self.pipe, self.queries, self.shape = pipe, queries, shapes.checked_kind(shape)
        self._groups = itertools.count(1)

    @property
    def spec(self) -> Any:
        """The labels, as CVAT's ``DetectionFunctionSpec``."""
        import cvat_sdk.auto_annotation as cvataa

        labels = [cvataa.label_spec(name, i, type=self.shape) for i, name in enumerate(self.queries.categories)]
        return cvataa.DetectionFunctionSpec(labels=labels)

    def detect(self, context: Any, image: Any) -> list[Any]:
        """Find the words in an image.

        Args:
            context: CVAT's: its ``conf_threshold`` is the least score, the pipeline's own threshold
                where it is None; its ``conv_mask_to_poly`` asks for polygons instead of masks.
            image: A PIL image.

        Returns:
            CVAT's shapes, best first; a mask of several parts becomes polygons of one group.
        """
        import cvat_sdk.auto_annotation as cvataa

        shape = "polygon" if self.shape == "mask" and context.conv_mask_to_poly else self.shape
        found = find(self.pipe, image, self.queries, context.conf_threshold)
        make = getattr(cvataa, shape)
        return [make(number, points, **more) for number, points, more in self._shapes(found, shape)]

    def _shapes(self, found: Result, shape: str) -> list[tuple[int, list[float], Json]]:
        numbers = {name: i for i, name in enumerate(self.queries.categories)}
        made: list[tuple[int, list[float], Json]] = []
        for i, label in enumerate(found.labels):
            number = numbers[label]
            if shape == "rectangle":
                made.append((number, [float(v) for v in found.xyxy[i]], {}))
                continue
            mask = found.mask(i)
            if not mask.any():
                continue
            if shape == "mask":
                made.append((number, list(map(float, shapes.run_lengths(mask))), {}))
                continue
            parts = shapes.rings(mask)
            more = {"group": next(self._groups)} if len(parts) > 1 else {}
            made += [(number, part, more) for part in parts]
        return made


def find(pipe: Pipeline, image: Any, queries: Queries, least: float | None) -> Result:
    """Find words in an image, with scores from ``least`` on; None for the pipeline's threshold."""
    return from_score(pipe(image, queries, threshold=threshold_for(pipe, least)), least)


def threshold_for(pipe: Pipeline, least: float | None) -> float:
    """The threshold of a call, which nothing with a score from ``least`` on may be lost to.

    A pipeline cuts by its detector's scores, a classifier may raise them afterwards.
    """
    own = pipe.limits.threshold
    return own if least is None else min(own, float(least))


def from_score(found: Result, least: float | None) -> Result:
    """Keep the objects with scores from ``least`` on."""
    return found if least is None else found[found.scores >= least]


def words(query: str) -> Queries:
    """The words of a query: a text, or a JSON list or object ``{query: label}`` as text.

    Raises:
        gsam.errors.QueryError: Nothing is asked for, or the JSON is none.
    """
    if not query.lstrip().startswith(("{", "[")):
        return parse_queries(query)
    try:
        given = json.loads(query)
    except (ValueError, RecursionError):
        raise QueryError("a query that begins with { or [ has to be JSON", "query_json") from None
    if isinstance(given, Mapping | list):
        return parse_queries(given)
    raise QueryError("a query is a text, a list, or {query: label}", "query_json")


def create(query: str, pipeline: str = DEFAULT, shape: str = "mask", **given: Any) -> Detection:
    """Make the function; ``cvat-cli`` calls this with what ``-p NAME=TYPE:VALUE`` says.

    Args:
        query: The words, as ``gsam segment -q`` takes them, or a JSON object of words and labels.
        pipeline: The recipe.
        shape: ``"mask"``, ``"polygon"`` or ``"rectangle"``.
        **given: Further arguments of `gsam.load`: ``threshold=float:0.4``, ``device=str:gpu``.

    Returns:
        The function.

    Raises:
        gsam.errors.QueryError: Nothing, or too much, is asked for.
        gsam.errors.UsageError: There is no such recipe, shape or argument.
        gsam.errors.CheckpointError: A model cannot be found, trusted or understood.
    """
    queries, kind = words(query), shapes.checked_kind(shape)
    return Detection(load(pipeline, **given), queries, kind)
