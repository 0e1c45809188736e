"""Checkpoints of a training run with Orbax: the whole state, so that a killed run goes on as if
nothing happened."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from gsam.errors import CheckpointError, OutputError
from gsam.files import Closing
from gsam.types import Json, JsonMapping

State = TypeVar("State")
REMOVED = "removed"
"""Old checkpoints are moved there and then deleted, so that none is ever half there."""


class Checkpoints(Closing):
    """The latest states of a run, in ``folder``.

    Orbax writes under a temporary name and renames, and removes an old state when a new one is
    whole.

    Args:
        folder: Is made.
        keep: States that stay.
        clean: Remove what a killed process left half written; nobody else may be writing there.
    """

    def __init__(self, folder: Path, *, keep: int = 2, clean: bool = False) -> None:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=True,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=clean,
            todelete_subdir=REMOVED,
        )
        if clean:
            shutil.rmtree(folder / REMOVED, ignore_errors=True)
        self.folder = folder
        self._ocp, self._manager = ocp, ocp.CheckpointManager(folder.resolve(), options=options)

    @property
    def latest(self) -> int | None:
        """The newest step there is, or None."""
        step: int | None = self._manager.latest_step()
        return step

    def save(self, step: int, state: object, notes: JsonMapping, *, replace: bool = False) -> None:
        """Write a state.

        Args:
            step: Its number.
            state: A pytree of arrays.
            notes: Plain values beside it.
            replace: Remove a state of this step first; without it, it is left alone.

        Raises:
            OutputError: It could not be written, as on a full disk; earlier ones are still there.
        """
        if step in self._manager.all_steps():
            if not replace:
                return
            self._manager.delete(step)
        args = self._ocp.args
        state = jax.tree.map(np.asarray, state)  # so that any number of devices takes it up
        try:
            self._manager.save(step, args=args.Composite(state=args.StandardSave(state), notes=args.JsonSave(notes)))
            self._manager.wait_until_finished()
            shutil.rmtree(self.folder / REMOVED, ignore_errors=True)
        except Exception as error:
            for half in self.folder.glob(f"{step}.*"):
                shutil.rmtree(half, ignore_errors=True)  # gives its room back
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()[:30])
            kept = f"that of step {self.latest} is whole" if self.latest is not None else "there is no earlier one"
            raise OutputError(
                f"{self.folder}: the checkpoint of step {step} could not be written ({reason}); {kept}: make room, "
                "and resume the run"
            ) from error

    def restore(self, like: State) -> tuple[State, Json]:
        """Read the newest state.

        Args:
            like: A state of the same structure, shapes and dtypes, or the
                `jax.ShapeDtypeStruct` of its arrays.

        Returns:
            The state, on one device, and its notes.

        Raises:
            FileNotFoundError: There is none.
            CheckpointError: It is damaged, or does not fit ``like`` (``training_unreadable``).
        """
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like)
        found: tuple[State, Json] = self._read(self._ocp.args.StandardRestore(shapes))
        return found

    def restore_any(self) -> tuple[dict[str, Any], Json]:
        """Read the newest state, whatever its structure.

        Returns:
            Nested dictionaries of NumPy arrays, and its notes.

        Raises:
            FileNotFoundError: There is none.
            CheckpointError: It is damaged (``training_unreadable``).
        """
        state, notes = self._read(self._ocp.args.StandardRestore())
        return dict(state), notes

    def close(self) -> None:
        """Let Orbax finish."""
        self._manager.close()

    def _read(self, form: Any) -> tuple[Any, Json]:
        if self.latest is None:
            raise FileNotFoundError(f"no checkpoint in {self._manager.directory}")
        args = self._ocp.args
        try:
            found = self._manager.restore(self.latest, args=args.Composite(state=form, notes=args.JsonRestore()))
        except Exception as error:
            reason = " ".join(str(error).split()[:30])
            raise CheckpointError(
                f"{self.folder / str(self.latest)} cannot be read ({reason}): remove this folder to go on from an "
                "earlier checkpoint",
                "training_unreadable",
            ) from error
        return found["state"], dict(found["notes"])
