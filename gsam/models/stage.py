"""The frame of every stage: a model's configuration, module and parameters in one static value."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, ClassVar, Generic, Self, TypeVar

from flax import nnx

from gsam import bind
from gsam.text.tokenizer import Tokenizer
from gsam.types import Params

M = TypeVar("M", bound=nnx.Module)


@dataclasses.dataclass(frozen=True, eq=False)
class ModelStage(Generic[M]):
    """A model in one role of a pipeline (`gsam.roles`): static, so that any jit can hold it.

    A family says which module it runs (`module`), and adds the methods of its role.
    """

    config: Any
    """The family's sizes."""
    spec: bind.Spec[M]
    """The model without its parameters."""
    params: Params
    """The parameters by name, passed to the methods separately."""

    module: ClassVar[type[nnx.Module]]
    """The module's class, called with ``config``."""

    def __init_subclass__(cls, **settings: Any) -> None:
        """Keep `__repr__` from `dataclasses.dataclass`, which would print every parameter."""
        super().__init_subclass__(**settings)
        cls.__repr__ = ModelStage.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        count = sum(math.prod(value.shape) for value in self.params.values())
        return f"<{type(self).__name__}: {count:,} parameters>"

    @classmethod
    def spec_of(cls, config: Any) -> bind.Spec[M]:
        """Describe the model of this size without its parameters."""
        return _spec(cls.module, config)

    @classmethod
    def from_params(cls, config: Any, params: Params, tokenizer: Tokenizer | None = None, **settings: Any) -> Self:
        """Make a stage from the parameters of a model.

        Args:
            config: The family's sizes.
            params: Flat parameters, which must fit ``config``.
            tokenizer: The checkpoint's, for a stage that reads text; others ignore it.
            **settings: Fields of the stage.

        Returns:
            The stage, holding ``params`` as they are.

        Raises:
            gsam.bind.MismatchError: ``params`` do not fit ``config``.
            TypeError: A setting that the stage does not have.
            ValueError: A setting with a value that it does not take.
        """
        return cls(config, cls._spec_for(config, params), params, **settings)

    @classmethod
    def _spec_for(cls, config: Any, params: Params) -> bind.Spec[M]:
        spec = cls.spec_of(config)
        spec.check(params)
        return spec


@functools.lru_cache(maxsize=64)
def _spec(module: Any, config: Any) -> Any:
    """Build a spec once: it is asked for to identify, to port and to check a model."""
    return bind.spec(lambda: module(config))


@dataclasses.dataclass(frozen=True, eq=False)
class TextStage(ModelStage[M]):
    """A model with a text encoder."""

    tokenizer: Tokenizer | None = None
    """The checkpoint's tokenizer; None for a stage that is given text features made elsewhere."""

    @classmethod
    def from_params(cls, config: Any, params: Params, tokenizer: Tokenizer | None = None, **settings: Any) -> Self:
        """Make a stage as `ModelStage.from_params` does, with the tokenizer."""
        return cls(config, cls._spec_for(config, params), params, tokenizer, **settings)
