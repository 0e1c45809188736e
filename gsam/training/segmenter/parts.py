"""Which parameters of a segmenter its image features, and its answers, are made from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.extend.core import Literal as Constant

from gsam.models.promptable import PromptableSegmenter
from gsam.types import Images, Params, PyTree

What = Literal["decoder", "lora", "all"]
BUFFERS = ("positional_encoding_gaussian_matrix", "running_mean", "running_var")
"""Last parts of names of what is in a checkpoint and is no parameter."""
POINTS = 4
"""Rows of a prompt without corrections: two corners, a click and a padding point."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """Names of parameters by what reads them; none of them a buffer."""

    features: frozenset[str]
    """Those that the features of an image are made from."""
    answers: frozenset[str]
    """Those that the answer to a prompt on these features is made from."""

    def trained(self, what: What) -> list[str]:
        """List the parameters that are trained as a whole.

        Args:
            what: ``"decoder"``: those of the answers that no feature needs, so that features can be
                kept; ``"all"``: every parameter that matters; ``"lora"``: none.

        Returns:
            Their names, in order.
        """
        chosen = {"decoder": self.answers - self.features, "all": self.answers | self.features, "lora": set[str]()}
        return sorted(chosen[what])


def parts(stage: PromptableSegmenter) -> Parts:
    """Find out what a segmenter's parameters are for, by tracing it; nothing is computed.

    Args:
        stage: The segmenter.

    Returns:
        The names by what reads them.
    """
    shapes = abstract(stage)
    images = one_image(stage)
    like = jax.eval_shape(stage.features, shapes, images)
    found = read_by(stage.features, shapes, images)
    answers: frozenset[str] = frozenset()
    for multimask in (False, True):
        answers |= read_by(functools.partial(answer, stage, multimask), shapes, like)
    return Parts(_without_buffers(found), _without_buffers(answers))


def answer(stage: PromptableSegmenter, multimask: bool, params: Params, features: PyTree) -> PyTree:
    """Answer two prompts on one image, to see what that needs; pure."""
    own = jax.tree.map(lambda x: x[0], features)
    points, labels = jnp.zeros((2, POINTS, 2), jnp.float32), jnp.ones((2, POINTS), jnp.int32)
    given = (points, labels, multimask)
    model = stage.spec.bind(params)
    if "mask" not in stage.prompt_types:
        return stage.decode(model, own, *given)
    logits, _ = jax.eval_shape(lambda: stage.decode(model, own, *given))
    mask = jnp.zeros((2, *logits.shape[-2:]), jnp.float32)
    return stage.decode(model, own, *given, mask=mask, has_mask=jnp.ones(2, bool))


def abstract(stage: PromptableSegmenter) -> dict[str, jax.ShapeDtypeStruct]:
    """Describe the parameters of a segmenter, all of them float32."""
    return {name: jax.ShapeDtypeStruct(value.shape, jnp.float32) for name, value in stage.params.items()}


def one_image(stage: PromptableSegmenter) -> Images:
    """Describe a batch of one image, as a segmenter sees it."""
    side, pair = stage.view.size, jax.ShapeDtypeStruct((1, 2), jnp.int32)
    pixels: Any = jax.ShapeDtypeStruct((1, side, side, 3), stage.view.dtype)
    return Images({stage.view.key: pixels}, {stage.view.key: pair}, pair)  # type: ignore[dict-item, arg-type]


def read_by(function: Callable[..., PyTree], params: Mapping[str, Any], *rest: PyTree) -> frozenset[str]:
    """Find the parameters that a function's result depends on.

    Args:
        function: Called with ``params`` and ``rest``; it is traced and not run.
        params: Flat parameters, or their shapes.
        *rest: Its other arguments, or their shapes.

    Returns:
        Names among ``params``.
    """
    traced = jax.make_jaxpr(function)(dict(params), *rest).jaxpr
    needed = {v for v in traced.outvars if not isinstance(v, Constant)}
    for equation in reversed(traced.eqns):
        if any(v in needed for v in equation.outvars):
            needed.update(v for v in equation.invars if not isinstance(v, Constant))
    return frozenset(name for name, v in zip(sorted(params), traced.invars, strict=False) if v in needed)


def _without_buffers(names: frozenset[str]) -> frozenset[str]:
    return frozenset(name for name in names if name.rsplit("/", 1)[-1] not in BUFFERS)
