"""The plan of a labelling run: made once, by whoever comes first, and the same for all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Self

from gsam.dataset.label.listing import Entry, parse_entries, write_listing
from gsam.dataset.label.place import Place
from gsam.dataset.manifest import describe_difference
from gsam.errors import OutputError, UsageError
from gsam.types import Json, JsonMapping

FILE = "plan.json"
VERSION = 1
PATIENCE = 20.0
"""Seconds that a plan which another process is writing may be incomplete."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that results depend on."""

    place: Place
    settings: Json
    """Sources, recipe, limits, queries, hashes of weights, form of the parts."""
    listing: str
    """Name of the file of entries, in the place."""
    count: int
    """Entries: images, and shards whose images are not known before they are read."""
    offsets: list[int]
    """Byte of the listing at which each part begins, and the end."""
    shards: int = 0
    """Entries that are shards."""
    made: float | None = None
    """Time the plan was written, by the place's own clock."""

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.offsets) - 1

    @cached_property
    def key(self) -> str:
        """A hash that parts carry, so that those of another plan are not taken for these."""
        text = json.dumps([self.settings, self.listing, self.offsets], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def entries(self, part: int) -> list[Entry]:
        """The images of a part."""
        return parse_entries(self.place.read_range(self.listing, self.offsets[part], self.offsets[part + 1]))

    def check(self) -> None:
        """See that the place still has this plan, before a part is written into it.

        Raises:
            OutputError: Somebody removed or replaced it (``plan_gone``).
        """
        if self.place.modified(FILE) == self.made:
            return
        try:
            same = self._read(self.place, patience=0.0).key == self.key
        except UsageError:
            same = False
        if not same:
            raise OutputError(f"{self.place.path(FILE)} was removed or replaced while this run worked", "plan_gone")

    @classmethod
    def of(cls, place: Place, settings: JsonMapping, entries: Callable[[], Iterable[Entry]], part_size: int) -> Self:
        """Make the plan of a place, or join the one that is there.

        Args:
            place: Where results go; it is made where it is missing.
            settings: What this process would do.
            entries: Lists the images; asked only where there is no plan.
            part_size: Images of a part.

        Raises:
            UsageError: The plan that is there differs (``plan_differs``) or is damaged
                (``plan_unreadable``), the place cannot be written, or there is nothing to be
                labelled.
        """
        asked: Json = json.loads(json.dumps({**settings, "part_size": part_size}))
        place.prepare()
        if not place.exists(FILE):
            _make(place, asked, entries(), part_size)
        plan = cls._read(place)
        if plan.settings != asked:
            why = describe_difference(plan.settings, asked)
            raise UsageError(f"{place} has the results of another plan: {why}. Choose another -o", "plan_differs")
        return plan

    @classmethod
    def _read(cls, place: Place, patience: float = PATIENCE) -> Self:
        until = time.monotonic() + patience
        while True:
            try:
                made = place.modified(FILE)
                value = json.loads(place.read(FILE))
                break
            except (ValueError, OSError) as error:  # another process may be writing it
                if time.monotonic() >= until:
                    raise UsageError(f"{place.path(FILE)} cannot be read: {error}", "plan_unreadable") from None
                time.sleep(0.1)
        try:
            if value["version"] != VERSION:
                raise UsageError(f"{place.path(FILE)} is of another gsam: choose another -o", "plan_unreadable")
            plan = cls(
                place, value["settings"], value["listing"], value["count"], value["offsets"], value["shards"], made
            )
            whole = place.size(plan.listing) == plan.offsets[-1]
        except (LookupError, TypeError, OSError):
            whole = False
        if not whole:
            text = f"{place.path(FILE)} or the list beside it is damaged: choose another -o"
            raise UsageError(text, "plan_unreadable")
        return plan


def _make(place: Place, settings: Json, entries: Iterable[Entry], part_size: int) -> None:
    with place.scratch(".jsonl") as path:
        with path.open("w+b") as file:
            listing = write_listing(entries, file, part_size)
        name = f"listing-{listing.sha256[:16]}.jsonl"
        place.put_file(name, path)
    plan = {
        "version": VERSION,
        "settings": settings,
        "listing": name,
        "count": listing.count,
        "shards": listing.shards,
        "offsets": listing.offsets,
    }
    place.put_once(FILE, json.dumps(plan, indent=1).encode() + b"\n")
