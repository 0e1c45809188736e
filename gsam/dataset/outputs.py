"""Where the results of a run go: over nothing but its own, in a folder that it holds alone."""

from __future__ import annotations

import abc
import collections
import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from gsam.dataset.fingerprint import Fingerprint
from gsam.dataset.folder import output_folder, sweep
from gsam.dataset.manifest import Done, Manifest
from gsam.dataset.sources import Item
from gsam.errors import UsageError
from gsam.files import kept_by

if TYPE_CHECKING:
    from gsam.types import Json

R = TypeVar("R")
OF_ONE_FILE = frozenset(
    {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
)
"""Errors of the system that are about one file, not about the disk."""


class Outputs(abc.ABC, Generic[R]):
    """The files of a run.

    A subclass says which files an item has (`paths`) and writes them (`write`), each format in an
    `attempt`.  While the folder is held, every file that appears in it goes by its manifest
    (`gsam.dataset.manifest`).

    Args:
        folder: Where they go; `held` makes it.
        kinds: Names of formats.
        items: Everything the run reads.
        settings: Gives what results depend on besides their inputs, see `gsam.dataset.settings`;
            called when it is needed.
        overwrite: Whether files in the folder may be replaced that gsam did not write.

    Raises:
        UsageError: A result would overwrite an input (``output_is_input``).
    """

    command: ClassVar[str] = "run"
    """The name of the command whose results these are."""

    def __init__(
        self,
        folder: Path,
        kinds: Sequence[str],
        items: Sequence[Item],
        settings: Callable[[], Json] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self.folder, self.kinds, self.items, self.overwrite = folder, kinds, items, overwrite
        self.trouble: list[Exception] = []
        self.outdated: collections.Counter[str] = collections.Counter()
        self._settings = settings or dict
        self._manifest: Manifest | None = None
        self._began = time.time_ns()
        inputs = {os.path.realpath(item.path) for item in items}
        for item in items:
            for path in self.paths(item):
                if os.path.realpath(path) in inputs:
                    raise UsageError(f"{path} would overwrite an input: choose another -o", "output_is_input")

    @property
    def manifest(self) -> Manifest:
        """The manifest of the folder, while it is held."""
        assert self._manifest is not None, "the folder is not held"
        return self._manifest

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder while the block runs; what a killed run left unfinished in it is removed.

        Raises:
            UsageError: The folder cannot be used, see `gsam.dataset.folder.output_folder`.
        """
        with output_folder(self.folder):
            places = [path for item in self.items for path in self.paths(item)]
            sweep({path.parent for path in places} | {path for path in places if path.is_dir()} | {self.folder})
            inputs = [item.path for item in self.items]
            with (
                Manifest(self.folder, self.command, inputs, overwrite=self.overwrite) as self._manifest,
                kept_by(self.folder, self._manifest),
            ):
                yield

    def finished(self) -> Set[Item]:
        """Give the items that an earlier run finished, with the same settings and the same input.

        What was finished otherwise is counted in `outdated`, by what differs.
        """
        known = [(item, done) for item in self.items if (done := self.manifest.done(item.stem)) is not None]
        settings = self._settings() if known else {}
        found = set()
        for item, done in known:
            if why := self.difference(item, done, settings):
                self.outdated[why] += 1
            elif self.is_whole(item, done):
                found.add(item)
        return found

    def difference(self, item: Item, done: Done, settings: Json) -> str | None:
        """Say why an item that was finished is to be done again; None if it is not."""
        if why := self.manifest.difference(done, settings):
            return why
        if done.number != self.number_of(item):
            return f"the {self.noun} has another number among all"
        return None if done.source is not None and done.source.fits(item.path) else f"the {self.noun} changed"

    noun: ClassVar[str] = "image"
    """The word for an input in messages."""

    def is_whole(self, item: Item, done: Done) -> bool:
        """Tell whether all results of an item are there as they were written."""
        written = set(self.manifest.files_of(done))
        return all(path in written and self._is_intact(path) for path in self.paths(item))

    def claim(self, items: Iterable[Item]) -> None:
        """Make sure that the results of items may be written, before anything is computed.

        Raises:
            UsageError: They would replace what is not this command's, see
                `gsam.dataset.manifest.Manifest.check`; or results of another input
                (``output_of_another``).
        """
        if (whole := self.whole_path()) is not None:
            self._claim_whole(whole)
        for item in items:
            folders = self.folders(item)
            paths = [path for path in self.claimed(item) if path not in folders or not path.is_dir()]
            for path in paths:
                self.manifest.check(path, thorough=False)
            done = self.manifest.done(item.stem)
            if done is None or self.overwrite or done.path == os.path.realpath(item.path):
                continue
            if any(path.exists() for path in paths) and not (done.source and done.source.fits(item.path)):
                text = f"{self.folder / item.stem}.* are results of {done.path}"
                raise UsageError(f"{text}: choose another -o, or replace them with --overwrite", "output_of_another")

    @abc.abstractmethod
    def paths(self, item: Item) -> list[Path]:
        """Name the files of an item, whether they are there or not."""

    def claimed(self, item: Item) -> list[Path]:
        """Name those of `paths` that are going to be written: here all."""
        return self.paths(item)

    def number_of(self, item: Item) -> int | None:
        """Give an item's place among all, where a result says it.  Here None."""
        return None

    def folders(self, item: Item) -> list[Path]:
        """Name those of `paths` that are folders of files.  Here none."""
        return []

    @abc.abstractmethod
    def write(self, item: Item, result: R) -> list[Path]:
        """Write the files of an item, each whole or not at all, and name them."""

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Write one format in the block; what is wrong with it alone is kept in `trouble`.

        Raises:
            OSError: No other file could be written either: a full disk, for instance.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in OF_ONE_FILE:
                raise
            self.trouble.append(error)
        except Exception as error:
            self.trouble.append(error)

    def finish(self, item: Item, written: Sequence[Path]) -> None:
        """Note that an item has all its results."""
        if self._manifest is None:
            return
        source = Fingerprint.of(item.path)
        if source is not None and max(source.mtime, source.ctime) > self._began:  # it may not be what was read
            source = None
        self._manifest.finish(item.stem, item.path, source, written, self._settings(), self.number_of(item))

    def whole_path(self) -> Path | None:
        """Name the one file that the run has as a whole; None if it has none."""
        return None

    def close(self) -> Path | None:
        """Write the one file that the run has as a whole, and name it; None if it has none.

        Called at the end, and where a signal ends the run: then the file is about what was done
        until then.
        """
        path = self.whole_path()
        if path is None or not self.write_whole(path):
            return None
        if self._manifest is not None:
            self._manifest.finish(f"/{path.name}", self.folder, None, [path], {"inputs": sorted(self._inputs())})
        return path

    def write_whole(self, path: Path) -> bool:
        """Write the one file that the run has as a whole; False where there is nothing for it."""
        return False

    def _inputs(self) -> set[str]:
        """Short names of the inputs, alike in all runs."""
        return {hashlib.sha256(os.fsencode(os.path.realpath(item.path))).hexdigest()[:8] for item in self.items}

    def _claim_whole(self, path: Path) -> None:
        """Make sure that the file of the run may be written.

        Raises:
            UsageError: It is not this command's, or says something of inputs that this run does not
                have.
        """
        self.manifest.check(path, thorough=False)
        before = self.manifest.settings_of(f"/{path.name}")
        if path.exists() and not self.overwrite and set(before.get("inputs", ())) - self._inputs():
            text = f"{path} is about other {self.noun}s too, of an earlier run"
            raise UsageError(f"{text}: choose another -o, or replace it with --overwrite", "output_of_another")

    def _is_intact(self, path: Path) -> bool:
        if path.is_dir():
            inside = self.manifest.in_folder(path)
            return bool(inside) and all(self.manifest.wrote(file, thorough=False) for file in inside)
        return self.manifest.wrote(path, thorough=False) is not None


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
