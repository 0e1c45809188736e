"""Count a data set's rows as they go by, and keep some of them that stand for all."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import heapq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gsam.types import Json, JsonMapping

BINS = 20
"""Columns of a histogram of scores, which go from 0 to 1."""
OBJECTS = 80
"""Objects of an image that are kept to be shown: the best of each class, then the best."""
ERRORS = 100
"""Images without a result that are listed."""
LONG = 1000
"""Letters of an id, a label or a message that are shown."""


@dataclasses.dataclass(slots=True)
class ClassCount:
    """Objects of one class."""

    label: str
    objects: int = 0
    images: int = 0
    """Images that have at least one."""
    total: float = 0.0
    """Sum of their scores."""
    histogram: list[int] = dataclasses.field(default_factory=lambda: [0] * BINS)
    """[BINS] objects by score, from 0 to 1."""

    @property
    def mean(self) -> float:
        """The mean score."""
        return self.total / self.objects if self.objects else 0.0


@dataclasses.dataclass(frozen=True)
class Chosen:
    """An image of the sample."""

    index: int
    """Its place among all rows."""
    row: Json
    """With at most `OBJECTS` segments, by falling score."""
    objects: int
    """All of its segments."""


Ranked = tuple[int, int, Chosen]
"""For a heap whose first item is the next to go: minus the hash of the id, minus the place."""


class Survey:
    """Counts and a sample, made in one pass.

    The sample takes images by the hash of their id: equally many for each class as far as there
    are, then any. So it depends on the rows alone, and every class is in it; of more classes than
    images, some are, by the hash of the class.

    Args:
        most: Images of the sample.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.images = 0
        """All rows."""
        self.failed = 0
        """Rows with an error."""
        self.empty = 0
        """Rows with neither an error nor objects."""
        self.objects = 0
        self.pipeline: str | None = None
        self.classes: dict[str, ClassCount] = {}
        self.errors: list[tuple[str, str, str]] = []
        """Id, code and message of the first `ERRORS`."""
        self._any: list[Ranked] = []
        self._by_class: dict[str, list[Ranked]] = {}
        self._ranked: list[tuple[int, str]] = []
        """Classes that have a heap, the next to go first: minus the hash, and the label."""
        self._each = most
        """Images of a class."""

    def add(self, row: JsonMapping) -> None:
        """Count a row, and keep it if it belongs to the sample so far."""
        index = self.images
        self.images += 1
        if row["error"] is not None:
            self.failed += 1
            if len(self.errors) < ERRORS:
                error = row["error"]
                self.errors.append((_cut(row["id"]), _cut(error["code"]), _cut(error["message"])))
            return
        self.pipeline = self.pipeline or row.get("pipeline")
        segments = row["segments"]
        self.objects += len(segments)
        self.empty += not segments
        for segment in segments:
            self._count(segment["label"], float(segment["score"]))
        labels = sorted({segment["label"] for segment in segments})
        for label in labels:
            self.classes[label].images += 1
        if row["width"] and row["height"]:
            self._offer(row, index, labels)

    def sample(self) -> list[Chosen]:
        """Return the images that stand for all, in the order of their rows."""
        found = {chosen.index: chosen for heap in self._by_class.values() for _, _, chosen in heap}
        for _, _, chosen in sorted(self._any, reverse=True):
            if len(found) >= self.most:
                break
            found[chosen.index] = chosen
        return [found[index] for index in sorted(found)]

    def by_count(self) -> list[ClassCount]:
        """Return the classes, the most frequent first."""
        return sorted(self.classes.values(), key=lambda known: (-known.objects, known.label))

    def counts(self) -> collections.Counter[str]:
        """Return the objects of each class."""
        return collections.Counter({known.label: known.objects for known in self.by_count()})

    def _count(self, label: str, score: float) -> None:
        known = self.classes.get(label)
        if known is None:
            known = self.classes[label] = ClassCount(label)
            self._admit(label)
        known.objects += 1
        known.total += score
        known.histogram[min(max(int(score * BINS), 0), BINS - 1)] += 1

    def _admit(self, label: str) -> None:
        """Give a new class its share of the sample, and the others less."""
        if self.most < 1:
            return
        heapq.heappush(self._ranked, (-_hash(label), label))
        self._by_class[label] = []
        if len(self._ranked) > self.most:
            del self._by_class[heapq.heappop(self._ranked)[1]]
        each = self.most // len(self._ranked)
        if each == self._each:
            return
        self._each = each
        for heap in self._by_class.values():
            while len(heap) > each:
                heapq.heappop(heap)

    def _offer(self, row: JsonMapping, index: int, labels: list[str]) -> None:
        if self.most < 1:
            return
        key = (-_hash(row["id"]), -index)
        heaps = [(self._by_class[label], self._each) for label in labels if label in self._by_class]
        wanted = [
            (heap, most) for heap, most in (*heaps, (self._any, self.most)) if len(heap) < most or key > heap[0][:2]
        ]
        if not wanted:
            return
        chosen = Chosen(index, {**row, "segments": _best(row["segments"])}, len(row["segments"]))
        for heap, most in wanted:
            heapq.heappush(heap, (*key, chosen))
            if len(heap) > most:
                heapq.heappop(heap)


def _best(segments: list[Any]) -> list[Any]:
    """The best of each class, then the best of all, by falling score."""
    order = sorted(segments, key=lambda segment: -segment["score"])
    seen: set[str] = set()
    first: list[Any] = []
    rest: list[Any] = []
    for segment in order:
        (rest if segment["label"] in seen else first).append(segment)
        seen.add(segment["label"])
    return sorted((first + rest)[:OBJECTS], key=lambda segment: -segment["score"])


def _cut(text: object) -> str:
    return str(text)[:LONG]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
