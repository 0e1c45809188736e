"""Predictors by the name of a model, in the original's words."""

from __future__ import annotations

from typing import Any, Self


class Pretrained:
    """A class whose first argument may be the name of a model."""

    @classmethod
    def from_pretrained(cls, model_id: str, **settings: Any) -> Self:
        """Build it by the name of a model, as calling the class with that name does.

        Args:
            model_id: Any name that the class takes for its model, a hub id for instance.
            **settings: The other arguments of the class.

        Returns:
            A new one.

        Raises:
            gsam.errors.CheckpointError: The model cannot be found, trusted or understood.
            gsam.errors.UsageError: There is no such model or setting, or it cannot be used so.
        """
        return cls(model_id, **settings)  # type: ignore[call-arg]
