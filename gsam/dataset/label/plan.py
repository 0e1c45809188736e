"""The plan of a labelling run: made once, by whoever comes first, and the same for all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from gsam.dataset.label.listing import Entry, read_part, write_listing
from gsam.dataset.manifest import describe_difference
from gsam.errors import UsageError
from gsam.types import Json, JsonMapping

FILE = "plan.json"
VERSION = 1
PATIENCE = 20.0
"""Seconds that a plan which another process is writing may be incomplete."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that results depend on."""

    folder: Path
    settings: Json
    """Sources, recipe, limits, queries, hashes of weights, form of the parts."""
    listing: str
    """Name of the file of entries, in the folder."""
    count: int
    """Images."""
    offsets: list[int]
    """Byte of the listing at which each part begins, and the end."""

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.offsets) - 1

    @property
    def key(self) -> str:
        """A hash that parts carry, so that those of another plan are not taken for these."""
        text = json.dumps([self.settings, self.listing, self.offsets], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def entries(self, part: int) -> list[Entry]:
        """The images of a part."""
        return read_part(self.folder / self.listing, self.offsets, part)

    @classmethod
    def of(cls, folder: Path, settings: JsonMapping, entries: Callable[[], Iterable[Entry]], part_size: int) -> Self:
        """Make the plan of a folder, or join the one that is there.

        Args:
            folder: Where results go; it exists.
            settings: What this process would do.
            entries: Lists the images; asked only where there is no plan.
            part_size: Images of a part.

        Raises:
            UsageError: The plan that is there differs (``plan_differs``) or is damaged
                (``plan_unreadable``), or there is nothing to be labelled.
        """
        asked: Json = json.loads(json.dumps({**settings, "part_size": part_size}))
        if not (folder / FILE).exists():
            _make(folder, asked, entries(), part_size)
        plan = cls._read(folder)
        if plan.settings != asked:
            why = describe_difference(plan.settings, asked)
            raise UsageError(f"{folder} has the results of another plan: {why}. Choose another -o", "plan_differs")
        return plan

    @classmethod
    def _read(cls, folder: Path) -> Self:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                value = json.loads((folder / FILE).read_text(encoding="utf-8"))
                break
            except (ValueError, OSError) as error:  # another process may be writing it
                if time.monotonic() > until:
                    raise UsageError(f"{folder / FILE} cannot be read: {error}", "plan_unreadable") from None
                time.sleep(0.1)
        try:
            if value["version"] != VERSION:
                raise UsageError(f"{folder / FILE} is of another gsam: choose another -o", "plan_unreadable")
            plan = cls(folder, value["settings"], value["listing"], value["count"], value["offsets"])
            whole = (folder / plan.listing).stat().st_size == plan.offsets[-1]
        except (LookupError, TypeError, OSError):
            whole = False
        if not whole:
            raise UsageError(f"{folder / FILE} or the list beside it is damaged: choose another -o", "plan_unreadable")
        return plan


def _make(folder: Path, settings: Json, entries: Iterable[Entry], part_size: int) -> None:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".gsam-", delete=False) as file:
        try:
            listing = write_listing(entries, file, part_size)
            os.fsync(file.fileno())
            name = f"listing-{listing.sha256[:16]}.jsonl"
            os.replace(file.name, folder / name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise
    plan = {
        "version": VERSION,
        "settings": settings,
        "listing": name,
        "count": listing.count,
        "offsets": listing.offsets,
    }
    appear_once(folder / FILE, json.dumps(plan, indent=1).encode() + b"\n")


def appear_once(path: Path, content: bytes) -> bool:
    """Write a file that nobody else has written; False where somebody was first.

    Of several processes that try it at once, on any machines of a shared file system, one does it.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".gsam-", delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(file.name, path)  # whole at once, and never over another
        return True
    except FileExistsError:
        return False
    except OSError:  # a file system without links: a reader may see half of it for a moment
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as out:
            out.write(content)
        return True
    finally:
        os.unlink(file.name)
