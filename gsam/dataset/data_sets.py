"""The data sets that a run writes beside its results, each in a folder called by its format."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.dataset.manifest import OWN, Manifest
from gsam.dataset.report import tell
from gsam.errors import UsageError

if TYPE_CHECKING:
    from gsam.types import Json

REMEDY = "choose another -o, or replace it with --overwrite"


class DataSets:
    """Data sets as `gsam.dataset.convert` writes them, whole or not at all.

    Args:
        folder: The output folder of the run.
        kinds: Names of `gsam.results.formats.names.FORMATS`.

    Attributes:
        losses: Of each data set that is written, the properties that it cannot hold, and how often.

    Raises:
        UsageError: A package that one needs is not installed (``extra_missing``).
    """

    def __init__(self, folder: Path, kinds: Sequence[str]) -> None:
        self.folder, self.kinds = folder, kinds
        self.losses: dict[str, collections.Counter[str]] = {}
        if kinds:
            from gsam.results.formats.known import writer_of

            for kind in kinds:
                writer_of(kind)

    def place(self, kind: str) -> Path:
        """Name the folder of a data set."""
        return self.folder / kind

    def claim(self, manifest: Manifest, inputs: Set[str]) -> None:
        """Make sure that the data sets may be written; half ones of a killed run are removed.

        Args:
            manifest: That of the output folder.
            inputs: Short names of the inputs of this run.

        Raises:
            UsageError: One would replace what gsam did not write there, or was changed since
                (``output_exists``, ``output_changed``), or is about inputs that this run does not
                have (``output_of_another``).
        """
        for kind in self.kinds:
            place = self.place(kind)
            shutil.rmtree(self._partial(kind), ignore_errors=True)
            if not os.path.lexists(place):
                continue
            if place.is_symlink() or not place.is_dir():
                text = f"{place} is no folder, a data set should be there: choose another -o"
                raise UsageError(text, "output_exists")
            known = [path for path in manifest.below(place) if os.path.lexists(path)]
            for path in known:
                manifest.check(path, thorough=False)
            if manifest.overwrite:
                continue
            if not known and any(place.iterdir()):
                raise UsageError(f"{place} exists, and is nothing that gsam wrote there: {REMEDY}", "output_exists")
            if known and set(manifest.settings_of(f"/{kind}").get("inputs", ())) - inputs:
                text = f"{place} is about other images too, of an earlier run: {REMEDY}"
                raise UsageError(text, "output_of_another")

    def write(self, kind: str, scenes: Iterable[Json], manifest: Manifest, inputs: Set[str]) -> None:
        """Write a data set in place of the one before; without a scene nothing is written.

        Files in its folder that gsam did not write stay.

        Args:
            kind: Name of its format.
            scenes: Its images in order, as `gsam.results.formats.scene_json` describes them.
            manifest: That of the output folder.
            inputs: Short names of the inputs of this run.

        Raises:
            UsageError: It would replace a file that gsam did not write.
            OSError: It cannot be written.
        """
        from gsam.results.formats.known import writer_of

        every = iter(scenes)
        first = next(every, None)
        if first is None:
            return
        labels = [label for label in first.get("query_labels") or first["queries"] if label]
        place, partial = self.place(kind), self._partial(kind)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            with writer_of(kind)(partial, labels) as writer:
                for scene in itertools.chain([first], every):
                    writer.add(scene)
            self._move(partial, place, manifest)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        manifest.finish(f"/{kind}", self.folder, None, [], {"inputs": sorted(inputs)})
        self.losses[kind] = writer.losses

    def _move(self, partial: Path, place: Path, manifest: Manifest) -> None:
        """Put a finished data set where the one before was: at once where nothing else is there."""
        files = sorted(path.relative_to(partial) for path in partial.rglob("*") if not path.is_dir())
        for file in files:
            manifest.check(place / file)
        for old in manifest.below(place):
            manifest.delete(old)
        for folder, _, _ in os.walk(place, topdown=False):
            with contextlib.suppress(OSError):  # others' files are in it
                os.rmdir(folder)
        whole = not place.exists()
        for file in files:
            manifest.note(place / file, partial / file)
            if not whole:
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(partial / file, place / file)
        if whole:
            os.rename(partial, place)

    def _partial(self, kind: str) -> Path:
        return self.folder / f"{OWN}{kind}.partial"


def tell_losses(kind: str, losses: Mapping[str, int]) -> None:
    """Say on stderr what a format cannot hold of a data set, and how often."""
    for what, count in sorted(losses.items()):
        tell(f"gsam: {kind} cannot hold: {what} ({count})")
