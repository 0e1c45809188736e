"""The frame of every stage of a model: its configuration, its module and its parameters in one static value."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Generic, Self, TypeVar

from flax import nnx

from gsam import bind
from gsam.text.tokenizer import Tokenizer
from gsam.types import Params

M = TypeVar("M", bound=nnx.Module)


@dataclasses.dataclass(frozen=True, eq=False)
class ModelStage(Generic[M]):
    """A model in one role of a pipeline (`gsam.roles`): static, so that any jit can hold it.

    A family says which module it runs (`module`) and what the role asks for.
    """

    config: Any
    """The family's sizes."""
    spec: bind.Spec[M]
    params: Params

    module: ClassVar[type[nnx.Module]]
    """Made from ``config``."""

    @classmethod
    def spec_of(cls, config: Any) -> bind.Spec[M]:
        """The model of this size without its numbers."""
        make: Any = cls.module
        return bind.spec(lambda: make(config))

    @classmethod
    def from_params(cls, config: Any, params: Params, tokenizer: Tokenizer | None = None, **settings: Any) -> Self:
        """A stage from the parameters of a model.

        Args:
            config: The family's sizes.
            params: Flat parameters, which must fit ``config``.
            tokenizer: Of the checkpoint, for a stage that reads text; others have no use for it.
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


@dataclasses.dataclass(frozen=True, eq=False)
class TextStage(ModelStage[M]):
    """A model with a text encoder."""

    tokenizer: Tokenizer | None = None
    """None for one that is given features of text made elsewhere; it cannot read text."""

    @classmethod
    def from_params(cls, config: Any, params: Params, tokenizer: Tokenizer | None = None, **settings: Any) -> Self:
        """As `ModelStage.from_params`, with the tokenizer."""
        return cls(config, cls._spec_for(config, params), params, tokenizer, **settings)
