"""Checkpoints of a training run with Orbax: the whole state, so that a killed run goes on as if
nothing happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from gsam.files import Closing

State = TypeVar("State")
Notes = dict[str, float]
"""Numbers beside a state, by name."""


class Checkpoints(Closing):
    """The latest states of a run, in ``folder``.

    Orbax writes under a temporary name and renames.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=False)
        self._ocp, self._manager = ocp, ocp.CheckpointManager(folder.resolve(), options=options)

    @property
    def latest(self) -> int | None:
        """The newest step there is, or None."""
        step: int | None = self._manager.latest_step()
        return step

    def save(self, step: int, state: object, notes: Notes) -> None:
        """Write ``state`` (a pytree of arrays) and ``notes``; a step that is already there is left
        alone.
        """
        if step in self._manager.all_steps():
            return
        args = self._ocp.args
        state = jax.tree.map(np.asarray, state)  # so that any number of devices takes it up
        self._manager.save(step, args=args.Composite(state=args.StandardSave(state), notes=args.JsonSave(notes)))
        self._manager.wait_until_finished()

    def restore(self, like: State) -> tuple[State, Notes]:
        """The newest state, with the structure, shapes and dtypes of ``like``, and its notes.

        Raises `FileNotFoundError` where there is none, and Orbax's `ValueError` where it does not
        fit ``like``.
        """
        if self.latest is None:
            raise FileNotFoundError(f"no checkpoint in {self._manager.directory}")
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like)
        args = self._ocp.args
        found = self._manager.restore(
            self.latest, args=args.Composite(state=args.StandardRestore(shapes), notes=args.JsonRestore())
        )
        return found["state"], dict(found["notes"])

    def restore_any(self) -> tuple[dict[str, Any], Notes]:
        """The newest state as nested dictionaries of NumPy arrays, whatever its structure, and its
        notes.
        """
        if self.latest is None:
            raise FileNotFoundError(f"no checkpoint in {self._manager.directory}")
        args = self._ocp.args
        found = self._manager.restore(
            self.latest, args=args.Composite(state=args.StandardRestore(), notes=args.JsonRestore())
        )
        return dict(found["state"]), dict(found["notes"])

    def close(self) -> None:
        """Let Orbax finish."""
        self._manager.close()
