"""LoRA: a few small matrices beside a model's kernels are trained, the kernels stay as they are.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from gsam.errors import UsageError
from gsam.types import Params
from gsam.weights import adapters as pairs

TARGETS = (
    r"^(image_encoder|vision_model|backbone)/(.*/)?"
    r"((attn|self_attn)/(qkv|proj|query|key|value|[qkv]_proj|out_proj)|mlp/(lin\d|fc\d|layers/\d))/kernel$"
)
"""Kernels that get adapters by default: attention and MLPs of the image encoder."""


@dataclasses.dataclass(frozen=True)
class Lora:
    """Which kernels get adapters, and of what size.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"image_encoder/blocks/0/attn/qkv/kernel": jnp.ones((8, 24))}
        >>> lora = Lora(rank=2)
        >>> adapters = lora.init(params, seed=0)
        >>> {name.rsplit("/", 1)[-1]: value.shape for name, value in adapters.items()}
        {'lora_a': (8, 2), 'lora_b': (2, 24)}
        >>> merged = lora.merge(params, adapters)["image_encoder/blocks/0/attn/qkv/kernel"]
        >>> bool((merged == 1).all())
        True
    """

    rank: int = 8
    """Columns of the first matrix of a pair, rows of the second."""
    alpha: float | None = None
    """Numerator of the scale of what is added, ``alpha / rank``; None for ``rank``."""
    targets: str = TARGETS
    """Regular expression that is searched for in the names of the kernels, such as
    ``image_encoder/blocks/0/attn/qkv/kernel``.
    """

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UsageError(f"the rank of LoRA must be at least 1, is {self.rank}", "lora_rank")
        if self.alpha is not None and not 0.0 < self.alpha < float("inf"):
            raise UsageError(f"alpha of LoRA must be a number above 0, is {self.alpha}", "lora_rank")
        try:
            re.compile(self.targets)
        except re.error as error:
            text = f"{self.targets!r} is no regular expression for the names of kernels: {error}"
            raise UsageError(text, "lora_targets") from None

    @property
    def scale(self) -> float:
        """The factor of what the adapters add."""
        return (self.rank if self.alpha is None else self.alpha) / self.rank

    def kernels(self, params: Mapping[str, Any]) -> list[str]:
        """List the kernels that get adapters.

        Args:
            params: Flat parameters of a model, or their shapes.

        Returns:
            Their names, in order.

        Raises:
            UsageError: ``targets`` fits no kernel.
        """
        every = sorted(name for name, value in params.items() if _is_kernel(name, value))
        found = [name for name in every if re.search(self.targets, name)]
        if not found:
            some = ", ".join(every[:: max(1, len(every) // 4)][:4]) or "none at all"
            text = f"no kernel of this model fits the LoRA pattern {self.targets!r}: it has {some}, ..."
            raise UsageError(text, "lora_targets")
        return found

    def init(self, params: Mapping[str, Any], seed: int) -> Params:
        """Draw adapters that change nothing yet.

        Args:
            params: Flat parameters of a model, or their shapes.
            seed: Seed of the random numbers; a kernel's depend on its name, not on the others.

        Returns:
            For each kernel ``<kernel>/lora_a`` [in, rank] float32, normal with a deviation of
            1 / sqrt(in), and ``<kernel>/lora_b`` [rank, out] float32 zeros.

        Raises:
            UsageError: ``targets`` fits no kernel.
        """
        adapters: Params = {}
        for name in self.kernels(params):
            *rows, columns = params[name].shape
            size = int(np.prod(rows))
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            left = rng.normal(size=(size, self.rank)) / size**0.5
            adapters[f"{name}/{pairs.LEFT}"] = jnp.asarray(left.astype(np.float32))
            adapters[f"{name}/{pairs.RIGHT}"] = jnp.zeros((self.rank, columns), jnp.float32)
        return adapters

    def merge(self, params: Mapping[str, Any], adapters: Mapping[str, Any]) -> Params:
        """Add the adapters to their kernels.  Pure, so it may be compiled and differentiated.

        Args:
            params: Flat parameters of the model, of any floating-point type.
            adapters: What `init` made, as trained since.

        Returns:
            All of ``params``, each kernel with adapters as W + alpha / rank · A · B in its dtype.

        Raises:
            ValueError: An adapter fits no kernel of ``params``.
        """
        return pairs.merge(params, adapters, self.scale)


def _is_kernel(name: str, value: Any) -> bool:
    return name.endswith("/kernel") and len(value.shape) >= 2
