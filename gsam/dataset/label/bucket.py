"""A bucket, or any other store that fsspec knows, as the place of results."""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from gsam.dataset.label.local import Place
from gsam.dataset.label.stores import TRIES, StoreError, located, steady
from gsam.errors import GsamError, OutputError, UsageError
from gsam.files import PREFIX

FIRST = 10.0
"""Seconds that a try of the first contact may take, where the store's client can be told so."""
CLOCK = 600.0
"""Seconds for which a look at the store's clock is good."""
TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
"""Names under which file systems give the time that a file was written."""

T = TypeVar("T")
_one_thread = threading.Lock()


class BucketPlace(Place):
    """A prefix in a bucket.

    Claims and parts are put by conditional requests, which S3, GCS and Azure decide themselves.  Of
    other stores fsspec asks first and writes then: there two processes may do the same part at
    once, which costs time and changes no byte.
    """

    beat, dead = 60.0, 300.0

    def __init__(self, url: str) -> None:
        """Name the prefix; nothing is asked yet.

        Raises:
            UsageError: fsspec does not know such a URL (``store_unknown``), or the package for it
                is missing (``extra_missing``).
        """
        self.url = url.rstrip("/")
        self._fs, root = located(url)
        self._root = root.rstrip("/")
        if "::" in url:
            text = f"{url}: a chain of file systems cannot be written to by several processes"
            raise UsageError(text, "store_unknown")
        self._alone = contextlib.nullcontext() if self._is_far() else _one_thread
        self._clock: tuple[float, float] | None = None  # the store's, and the monotonic one of that moment

    def path(self, name: str = "") -> str:
        return f"{self.url}/{name}" if name else self.url

    def prepare(self) -> None:
        try:
            self._look_at_clock(FIRST)
        except FileNotFoundError:
            raise UsageError(f"cannot write to {self.url}: there is no such bucket", "output_not_writable") from None
        except OutputError as error:
            raise UsageError(str(error), error.code) from None

    def read(self, name: str) -> bytes:
        return bytes(self._try(name, lambda: self._fs.cat_file(self._at(name))))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        if stop <= start:  # a request cannot ask for nothing
            return b""
        return bytes(self._try(name, lambda: self._fs.cat_file(self._at(name), start=start, end=stop)))

    def open(self, name: str) -> IO[bytes]:
        with self.scratch() as file:  # as a whole, for reading from afar cannot be tried again
            self._try(name, lambda: self._fs.get_file(self._at(name), str(file)))
            return file.open("rb")

    def size(self, name: str) -> int:
        return int(self._info(name)["size"])

    def modified(self, name: str) -> float | None:
        try:
            return _time(self._info(name))
        except FileNotFoundError:
            return None

    def now(self) -> float:
        clock = self._clock
        if clock is None or time.monotonic() - clock[1] > CLOCK:
            clock = self._look_at_clock()
        return clock[0] + time.monotonic() - clock[1]

    def listing(self, folder: str) -> dict[str, float]:
        def ask() -> list[Mapping[str, Any]]:
            self._fs.invalidate_cache()
            found: list[Mapping[str, Any]] = self._fs.ls(self._at(folder), detail=True)
            return found

        try:
            found = self._try(folder, ask)
        except FileNotFoundError:
            return {}
        files = ((str(info["name"]).rpartition("/")[2], info) for info in found if info["type"] == "file")
        return {name: _time(info) for name, info in files if name and not name.startswith(".")}

    def put_once(self, name: str, content: bytes) -> bool:
        try:
            with self._alone:
                self._try(name, lambda: self._fs.pipe_file(self._at(name), content, mode="create"))
            return True
        except FileExistsError:
            try:  # a try whose answer was lost may have been ours
                return self.read(name) == content
            except FileNotFoundError:
                return False

    def put(self, name: str, content: bytes) -> None:
        self._try(name, lambda: self._fs.pipe_file(self._at(name), content))

    def put_file(self, name: str, file: Path, once: bool = False) -> bool:
        how = {"mode": "create"} if once else {}
        try:
            with self._alone:
                self._try(name, lambda: self._fs.put_file(str(file), self._at(name), **how))
        except FileExistsError:
            return False
        finally:
            file.unlink(missing_ok=True)
        return True

    @contextlib.contextmanager
    def scratch(self, suffix: str = "") -> Iterator[Path]:
        try:
            handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=suffix)
        except OSError as error:
            raise OutputError(f"cannot write to {tempfile.gettempdir()}: {error.strerror}") from None
        os.close(handle)
        try:
            yield Path(name)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(name)

    @contextlib.contextmanager
    def filling(self, name: str) -> Iterator[Path]:
        with self.scratch(Path(name).suffix) as file:
            yield file
            self.put_file(name, file, once=True)

    def touch(self, name: str, content: bytes) -> None:
        self._try(name, lambda: self._fs.pipe_file(self._at(name), content), tries=1)

    def remove(self, name: str) -> None:
        with contextlib.suppress(OSError, GsamError):
            self._try(name, lambda: self._fs.rm_file(self._at(name)))

    def _is_far(self) -> bool:
        return bool(getattr(self._fs, "async_impl", False))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _info(self, name: str) -> Mapping[str, Any]:
        def ask() -> Mapping[str, Any]:
            self._fs.invalidate_cache()
            info: Mapping[str, Any] = self._fs.info(self._at(name))
            return info

        return self._try(name, ask)

    def _look_at_clock(self, limit: float | None = None) -> tuple[float, float]:
        probe = f"{PREFIX}now-{uuid.uuid4().hex}"
        how = {"timeout": limit} if limit and self._is_far() else {}
        self._try("", lambda: self._fs.pipe_file(self._at(probe), b"gsam", **how))
        then = time.monotonic()
        try:
            self._clock = (_time(self._info(probe)), then)
        finally:
            self.remove(probe)
        return self._clock

    def _try(self, name: str, action: Callable[[], T], tries: int = TRIES) -> T:
        """Do something with the store, again where the network or the store's load was in the way.

        Raises:
            FileNotFoundError: There is no such file.
            FileExistsError: A conditional request was refused.
            OutputError: The store cannot be reached (``store_unreachable``) or does not let us
                (``store_denied``).
        """
        try:
            return steady(action, self.path(name), tries)
        except StoreError as error:
            raise OutputError(str(error), error.code) from None


def _time(info: Mapping[str, Any]) -> float:
    for key in TIMES:
        value = info.get(key)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = datetime.datetime.fromisoformat(value)
        if isinstance(value, datetime.datetime):
            return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0
