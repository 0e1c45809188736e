"""The manifest of an output folder: which files gsam wrote there, and what finished them.

It is the file `NAME`, lines of JSON that are only appended to.  A file that is not in it, or was
changed since, is somebody else's: no run replaces or deletes it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gsam.dataset.fingerprint import Fingerprint
from gsam.errors import UsageError
from gsam.files import Closing, atomic_file, sha256

if TYPE_CHECKING:
    from gsam.types import Json, JsonMapping

OWN = ".gsam."
"""Names that begin like this are gsam's own: the lock, the manifest, the states of trackers."""
NAME = f"{OWN}manifest.jsonl"
SPARE = 1000
"""Lines that count no more and are still left in the file."""


@dataclasses.dataclass(frozen=True)
class Written:
    """A file that a command wrote, as it then was."""

    command: str
    size: int
    mtime: int
    """When it was written, in nanoseconds."""
    sha256: str
    """Hash of its contents, or of its first line while it grows."""
    growing: bool = False
    """Whether lines are still added to it."""

    def is_at(self, path: Path, *, thorough: bool = True) -> bool:
        """Tell whether the file at ``path`` is this one.

        Args:
            path: The file, which may be missing.
            thorough: Whether it is read even where size and time are as they were.
        """
        try:
            if path.is_symlink() or not path.is_file():
                return False
            if self.growing:
                if not path.stat().st_size:  # before its first line
                    return True
                with path.open("rb") as file:
                    return hashlib.sha256(file.readline()).hexdigest() == self.sha256
            found = path.stat()
            if found.st_size != self.size:
                return False
            return (not thorough and found.st_mtime_ns == self.mtime) or sha256(path) == self.sha256
        except OSError:
            return False


@dataclasses.dataclass(frozen=True)
class Done:
    """An item that a run finished."""

    settings: str
    """Key of the settings it was made with."""
    path: str
    """Where the input was."""
    source: Fingerprint | None
    """The input."""
    files: tuple[str, ...]
    """Its results, from the output folder on."""
    number: int | None = None
    """Its place among the inputs, where a result says it."""


class Manifest(Closing):
    """The manifest of one folder, held by one run.

    Args:
        folder: The output folder.
        command: The run's command: files of another one are not its to replace.
        inputs: Files and folders that the run reads, which nothing may replace.
        overwrite: Whether files may be replaced that gsam did not write.
    """

    def __init__(self, folder: Path, command: str, inputs: Iterable[Path] = (), *, overwrite: bool = False) -> None:
        self.folder, self.command, self.overwrite = folder, command, overwrite
        self.path = folder / NAME
        self._root = Path(os.path.realpath(folder))
        real = [Path(os.path.realpath(path)) for path in inputs]
        self._inputs, self._input_folders = set(real), {path for path in real if path.is_dir()}
        self._files: dict[str, list[Written]] = {}
        self._done: dict[tuple[str, str], Done] = {}
        self._item_of: dict[str, tuple[str, str]] = {}
        self._settings: dict[str, Json] = {}
        self._lines, self._lock = 0, threading.Lock()
        self._file: IO[bytes] | None = None
        self._load()

    def check(self, path: Path, *, thorough: bool = True) -> None:
        """Make sure that a file may be written.

        Args:
            path: The file, in the folder or below it.
            thorough: Whether a file that is there is read even where size and time say that it is
                what gsam wrote.

        Raises:
            UsageError: It is an input (``output_is_input``), a folder or a file that gsam did not
                write (``output_exists``), was changed since (``output_changed``), or is a result of
                another command (``output_of_another``).
        """
        real = Path(os.path.realpath(path))
        if real in self._inputs:
            raise UsageError(f"{path} would overwrite an input: choose another -o", "output_is_input")
        if not os.path.lexists(path) or self._is_own(path):
            return
        if path.is_dir() and not path.is_symlink():
            raise UsageError(f"{path} is a folder, a result should be there: choose another -o", "output_exists")
        ours = self.wrote(path, thorough=thorough)
        if not ours and any(folder in self._input_folders for folder in real.parents):
            raise UsageError(f"{path} would overwrite an input: choose another -o", "output_is_input")
        if (ours and ours.command == self.command) or self.overwrite:
            return
        remedy = "choose another -o, or replace it with --overwrite"
        if ours:
            raise UsageError(f"{path} is a result of `gsam {ours.command}`: {remedy}", "output_of_another")
        if self._key(path) in self._files:
            raise UsageError(f"{path} was changed since gsam wrote it: {remedy}", "output_changed")
        raise UsageError(f"{path} exists, and is nothing that gsam wrote there: {remedy}", "output_exists")

    def wrote(self, path: Path, *, thorough: bool = True) -> Written | None:
        """Find out who wrote a file: None unless it is there, unchanged, and gsam's."""
        known = reversed(self._files.get(self._key(path), []))
        return next((w for w in known if w.is_at(path, thorough=thorough)), None)

    def note(self, path: Path, content: Path) -> None:
        """Note that a finished file is about to appear as ``path``, or that ``path`` is finished.

        Args:
            path: The file, in the folder or below it.
            content: The file that is about to be renamed, or ``path`` itself.
        """
        if not self._is_own(path):
            found = content.stat()
            self._note(path, Written(self.command, found.st_size, found.st_mtime_ns, sha256(content)))

    def note_growing(self, path: Path, first_line: bytes) -> None:
        """Note that a file begins with this line and that others will follow."""
        self._note(path, Written(self.command, 0, 0, hashlib.sha256(first_line).hexdigest(), growing=True))

    def delete(self, path: Path) -> None:
        """Delete a file that this command wrote; any other one stays."""
        ours = self.wrote(path)
        if ours is not None and ours.command == self.command:
            path.unlink(missing_ok=True)

    def finish(
        self,
        stem: str,
        path: Path,
        source: Fingerprint | None,
        files: Sequence[Path],
        settings: JsonMapping,
        number: int | None = None,
    ) -> None:
        """Note that an item has all its results.

        Args:
            stem: Names its results.
            path: The input.
            source: The input as it was when it was read.
            files: Its results.
            settings: What they depend on besides the input.
            number: The input's place among all, where a result says it.
        """
        key = _key_of(settings)
        with self._lock:
            if key not in self._settings:
                self._settings[key] = dict(settings)
                self._append({"settings": key, "are": self._settings[key]})
            done = Done(key, os.path.realpath(path), source, tuple(self._key(file) for file in files), number)
            self._keep_done((self.command, stem), done)
            self._append(_done_line(self.command, stem, done))

    def done(self, stem: str) -> Done | None:
        """Find out how this command finished an item last; None if it never did."""
        return self._done.get((self.command, stem))

    def difference(self, done: Done, settings: JsonMapping) -> str | None:
        """Say in what an item's settings differ from those of this run; None if they do not."""
        if done.settings == _key_of(settings):
            return None
        return describe_difference(self._settings.get(done.settings, {}), json.loads(_canonical(settings)))

    def settings_of(self, stem: str) -> Json:
        """Give the settings that an item was finished with; empty if it never was."""
        done = self.done(stem)
        return {} if done is None else self._settings.get(done.settings, {})

    def files_of(self, done: Done) -> list[Path]:
        """Name the results of an item."""
        return [self.folder / name for name in done.files]

    def in_folder(self, folder: Path) -> list[Path]:
        """Name the files that gsam wrote right in a folder, whether they are still there or not."""
        prefix = self._key(folder) + "/"
        return [
            self.folder / name for name in self._files if name.startswith(prefix) and "/" not in name[len(prefix) :]
        ]

    def below(self, folder: Path) -> list[Path]:
        """Name the files that gsam wrote below a folder and that are the result of no input."""
        prefix = self._key(folder) + "/"
        return [self.folder / name for name in self._files if name.startswith(prefix) and name not in self._item_of]

    def close(self) -> None:
        """Write what is left, in short if much of it counts no more."""
        if self._file is None:
            return
        self._file.flush()
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        lines = list(self._current())
        if self._lines > 2 * len(lines) + SPARE:
            with atomic_file(self.path) as file:
                file.writelines(json.dumps(line).encode() + b"\n" for line in lines)

    def _note(self, path: Path, written: Written) -> None:
        key = self._key(path)
        with self._lock:
            self._keep_file(key, written)
            self._append({"file": key, **dataclasses.asdict(written)})

    def _keep_file(self, key: str, written: Written) -> None:
        before = [w for w in self._files.get(key, ()) if w != written and not w.growing]
        self._files[key] = [*before[-1:], written]  # until it is renamed, the one before may still be there
        item = self._item_of.pop(key, None)
        if item in self._done and key in self._done[item].files:  # written anew: it is not finished as it was
            del self._done[item]

    def _keep_done(self, key: tuple[str, str], done: Done) -> None:
        self._done[key] = done
        self._item_of |= dict.fromkeys(done.files, key)

    def _is_own(self, path: Path) -> bool:
        return any(part.startswith(OWN) for part in self._key(path).split("/"))

    def _key(self, path: Path) -> str:
        return os.path.relpath(os.path.join(os.path.realpath(path.parent), path.name), self._root).replace(os.sep, "/")

    def _append(self, line: JsonMapping) -> None:
        if self._file is None:
            self._file = self.path.open("ab")
            if self._file.tell() and not _ends_a_line(self.path):
                self._file.write(b"\n")
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        self._lines += 1

    def _load(self) -> None:
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for raw in file:
                self._lines += 1
                with contextlib.suppress(ValueError, LookupError, TypeError):  # a line that was torn off
                    self._read(json.loads(raw))

    def _read(self, line: Json) -> None:
        if "file" in line:
            key = line.pop("file")
            self._keep_file(key, Written(**line))
        elif "item" in line:
            source = Fingerprint.parse(line["source"])
            done = Done(line["with"], line["path"], source, tuple(line["files"]), line.get("number"))
            self._keep_done((line["command"], line["item"]), done)
        elif "settings" in line:
            self._settings[line["settings"]] = line["are"]

    def _current(self) -> Iterator[Json]:
        used = {done.settings for done in self._done.values()}
        yield from ({"settings": key, "are": value} for key, value in self._settings.items() if key in used)
        yield from ({"file": key, **dataclasses.asdict(w)} for key, several in self._files.items() for w in several)
        yield from (_done_line(command, stem, done) for (command, stem), done in self._done.items())


def describe_difference(before: JsonMapping, now: JsonMapping) -> str:
    """Say in one line in what two settings differ.

    Args:
        before: The earlier ones.
        now: The others.

    Returns:
        ``"limits.threshold was 0.3, is 0.99"``, at most three of them.
    """
    one, two = dict(_flat(before)), dict(_flat(now))
    keys = [k for k in {**one, **two} if one.get(k) != two.get(k)]
    told = [f"{k} was {_short(one.get(k))}, is {_short(two.get(k))}" for k in keys[:3]]
    return "; ".join(told) + (f"; and {len(keys) - 3} more" if len(keys) > 3 else "")


def _flat(value: JsonMapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _short(value: object) -> str:
    text = "not given" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _done_line(command: str, stem: str, done: Done) -> Json:
    source = None if done.source is None else done.source.to_dict()
    line: Json = {"item": stem, "command": command, "path": done.path, "source": source, "with": done.settings}
    return {**line, "files": list(done.files), "number": done.number}


def _canonical(settings: JsonMapping) -> str:
    return json.dumps(settings, sort_keys=True)


def _key_of(settings: JsonMapping) -> str:
    return hashlib.sha256(_canonical(settings).encode()).hexdigest()[:16]


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
