"""Where the results of a run go: never over an input, in a folder that the run holds alone."""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any, Generic, TypeVar

from gsam.dataset.folder import output_folder, sweep
from gsam.dataset.sources import Item
from gsam.errors import UsageError

Json = dict[str, Any]
"""A JSON object."""
R = TypeVar("R")


class Outputs(abc.ABC, Generic[R]):
    """The files of a run.

    A subclass says which files an item has (`paths`) and writes them (`write`).

    Args:
        folder: Where they go; `held` makes it.
        kinds: Names of formats.
        items: Everything the run reads.

    Raises:
        UsageError: A result would overwrite an input (``output_is_input``).
    """

    def __init__(self, folder: Path, kinds: Sequence[str], items: Sequence[Item]) -> None:
        self.folder, self.kinds, self.items = folder, kinds, items
        inputs = {os.path.realpath(item.path) for item in items}
        for item in items:
            for path in self.paths(item):
                if os.path.realpath(path) in inputs:
                    raise UsageError(f"{path} would overwrite an input: choose another -o", "output_is_input")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder while the block runs; what a killed run left unfinished in it is removed.

        Raises:
            UsageError: The folder cannot be used, see `gsam.dataset.folder.output_folder`.
        """
        with output_folder(self.folder):
            sweep({path.parent for item in self.items for path in self.paths(item)} | {self.folder})
            yield

    def finished(self) -> Set[Item]:
        """Give the items that an earlier run with the same question finished.  Here none."""
        return frozenset()

    @abc.abstractmethod
    def paths(self, item: Item) -> list[Path]:
        """Name the files of an item, whether they are there or not."""

    @abc.abstractmethod
    def write(self, item: Item, result: R) -> list[Path]:
        """Write the files of an item, each whole or not at all, and name them."""

    def close(self) -> Path | None:
        """Write the one file that the run has as a whole, and name it; None if it has none.

        Called at the end, and where a signal ends the run: then the file is about what was done
        until then.
        """
        return None


def formats_of(text: str, known: Sequence[str]) -> list[str]:
    """Read a list of formats as a user writes it.

    Args:
        text: Names separated by commas.
        known: All names there are.

    Returns:
        The names, each once.

    Raises:
        UsageError: A name is not known, or none is given (``format_unknown``).
    """
    kinds = list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if unknown := [k for k in kinds if k not in known]:
        raise UsageError(f"no format {unknown[0]!r}; there are {', '.join(known)}", "format_unknown")
    if not kinds:
        raise UsageError(f"no format is named; there are {', '.join(known)}", "format_unknown")
    return kinds
