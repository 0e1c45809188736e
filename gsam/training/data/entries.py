"""Images with their objects, as training takes them, read one by one from a file."""

from __future__ import annotations

import array
import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, overload

import numpy as np
from numpy.typing import NDArray

from gsam.errors import ImageError, UsageError
from gsam.files import sha256
from gsam.inputs.image import open_image
from gsam.results.masks.rle import Rle, decode
from gsam.types import Json

READERS = 4
"""Files that are hashed at a time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Object:
    """An object of an image."""

    label: int
    """Index into `DataSet.names`."""
    box: tuple[float, float, float, float]
    """x0 y0 x1 y1 in pixels of the upright image, exclusive right and bottom; of a mask its
    bounds."""
    rle: Rle | None = None
    """The mask as COCO's run lengths; None of a box."""
    crowd: bool = False
    """It is a region with many objects, which training does not learn from."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image of a data set."""

    id: str
    """Its name in the data set, which no other image has."""
    path: Path
    """Its file."""
    width: int
    """Width of the upright image, in pixels."""
    height: int
    """Height of the upright image, in pixels."""
    objects: tuple[Object, ...]
    """The objects in it."""

    def open(self) -> NDArray[np.uint8]:
        """Read the pixels, upright.

        Returns:
            [H, W, 3] uint8 RGB.

        Raises:
            ImageError: The file cannot be read, or has another size than the data set says
                (``image_size``).
        """
        pixels = open_image(self.path).pixels
        if pixels.shape[:2] != (self.height, self.width):
            told = f"is {pixels.shape[1]} x {pixels.shape[0]}, its masks are {self.width} x {self.height}"
            raise ImageError(f"{self.path}: {told}", "image_size")
        return pixels

    def masks(self, indices: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """Decode masks.

        Args:
            indices: Places of the objects; by default all.

        Returns:
            [N, H, W] bool.

        Raises:
            ValueError: One of them has no mask.
        """
        chosen = range(len(self.objects)) if indices is None else indices
        out = np.zeros((len(chosen), self.height, self.width), bool)
        for row, index in enumerate(chosen):
            mask = self.objects[index].rle
            if mask is None:
                raise ValueError(f"{self.id}: object {index} has a box and no mask")
            out[row] = decode(mask)
        return out

    @property
    def boxes(self) -> NDArray[np.float32]:
        """The boxes [N, 4] float32 x0 y0 x1 y1 of all objects."""
        return np.array([one.box for one in self.objects], np.float32).reshape(-1, 4)

    @property
    def labels(self) -> NDArray[np.int32]:
        """The labels [N] int32 of all objects."""
        return np.array([one.label for one in self.objects], np.int32)


class EntryFile:
    """Entries in an unnamed file; memory holds where each begins.  Reading is safe in threads."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._starts = array.array("q", [0])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def add(self, entry: Entry) -> bytes:
        """Append an entry; returns the line that was written, without the image's folder."""
        objects = [
            [one.label, one.box, None if one.rle is None else one.rle["counts"], int(one.crowd)]
            for one in entry.objects
        ]
        path = os.fspath(entry.path)
        content = [entry.id, entry.width, entry.height, objects]
        line = json.dumps(content, ensure_ascii=True).encode()
        whole = line + b"\n" + json.dumps(path).encode() + b"\n"
        self._file.write(whole)
        self._starts.append(self._starts[-1] + len(whole))
        return line

    def finish(self) -> None:
        """Make what was added readable."""
        self._file.flush()

    def id_of(self, index: int) -> str:
        """Read the id of an entry only."""
        return str(json.JSONDecoder().raw_decode(self._lines(index)[0].decode("ascii"), 1)[0])

    def path_of(self, index: int) -> Path:
        """Read the path of an entry only."""
        return Path(json.loads(self._lines(index)[1]))

    def entry(self, index: int) -> Entry:
        """Read an entry."""
        line, path = self._lines(index)
        name, width, height, objects = json.loads(line)
        size = [height, width]
        made = (
            Object(label, tuple(box), None if counts is None else {"size": size, "counts": counts}, bool(crowd))
            for label, box, counts, crowd in objects
        )
        return Entry(name, Path(json.loads(path)), width, height, tuple(made))

    def _lines(self, index: int) -> list[bytes]:
        start, end = self._starts[index], self._starts[index + 1]
        return os.pread(self._file.fileno(), end - start, start).splitlines()


class Entries(Sequence[Entry]):
    """Entries of a file, some or all, each read when it is asked for."""

    def __init__(self, file: EntryFile, rows: NDArray[np.int64]) -> None:
        self.file = file
        self.rows = rows
        """[N] places in the file."""

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Entries: ...
    def __getitem__(self, index: int | slice) -> Entry | Entries:
        if isinstance(index, slice):
            return Entries(self.file, self.rows[index])
        return self.file.entry(int(self.rows[index]))

    def __iter__(self) -> Iterator[Entry]:
        return (self.file.entry(int(row)) for row in self.rows)


@dataclasses.dataclass(frozen=True, eq=False)
class DataSet:
    """A data set for training: entries that can be used, in the order of the annotations.

    Example:
        >>> from gsam.training.data import read
        >>> train, held_out = read("train.json", "images").split(0.1)  # doctest: +SKIP
    """

    names: tuple[str, ...]
    """The classes, in the user's words; `Object.label` is an index into them."""
    images: Entries
    """The entries; each is read from a file when it is asked for, in any thread."""
    counts: NDArray[np.int32]
    """[N] objects of each image that are no crowd."""
    _annotations: str = ""
    """Hash of names and entries."""
    _hashes: dict[int, str] = dataclasses.field(default_factory=dict)
    """Hashes of image files that are known, by place in the file."""

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of the annotations and of each image's content.

        It does not depend on folders, nor on the times of files. Image files are read for it the
        first time, if a check has not done so.

        Raises:
            ImageError: An image is gone (``image_missing``).
        """
        todo = [row for row in self.images.rows.tolist() if row not in self._hashes]
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            for row, found in zip(todo, pool.map(_hash_of, map(self.images.file.path_of, todo)), strict=True):
                self._hashes[row] = found
        whole = hashlib.sha256(self._annotations.encode())
        for row in self.images.rows.tolist():
            whole.update(f"\n{row} {self._hashes[row]}".encode())
        return whole.hexdigest()

    def split(self, fraction: float = 0.1, seed: int = 0) -> tuple[DataSet, DataSet]:
        """Hold some images out, by the hash of their ids.

        An image stays on its side when others come or go. From two images on, no side is empty;
        from two images with objects on, each has one of these.

        Args:
            fraction: The share that is held out, at least 0 and below 1; 0 holds out nothing.
            seed: Another one gives another choice.

        Returns:
            The images for training, and those held out.

        Raises:
            UsageError: The share is no such number (``held_out_invalid``).
        """
        if not 0 <= fraction < 1:
            raise UsageError(f"a share of held-out images is from 0 to below 1, not {fraction}", "held_out_invalid")
        shares = np.array([_share(self.images.file.id_of(row), seed) for row in self.images.rows.tolist()], float)
        held = shares < fraction
        for some in (np.arange(len(shares)), np.flatnonzero(self.counts > 0)):
            if fraction == 0 or len(some) < 2:
                continue
            if held[some].all():
                held[some[np.argmax(shares[some])]] = False
            if not held[some].any():
                held[some[np.argmin(shares[some])]] = True
        return self.where(~held), self.where(held)

    def labelled(self) -> DataSet:
        """Leave out images that have no object, or crowds only.

        Returns:
            The data set of the others.
        """
        return self.where(self.counts > 0)

    def where(self, chosen: NDArray[np.bool_]) -> DataSet:
        """Choose images.

        Args:
            chosen: [N] bool.

        Returns:
            The data set of those that are chosen, with the same classes.
        """
        images = Entries(self.images.file, self.images.rows[chosen])
        return DataSet(self.names, images, self.counts[chosen], self._annotations, self._hashes)

    def class_counts(self) -> dict[str, int]:
        """Count the objects of each class, crowds left out.

        Returns:
            Name -> number, for every class.
        """
        found = collections.Counter(one.label for entry in self.images for one in entry.objects if not one.crowd)
        return {name: found[index] for index, name in enumerate(self.names)}


class DataSetBuilder:
    """Puts a `DataSet` together, image by image.

    Args:
        names: Classes that have the first numbers, found or not.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._labels = {name: index for index, name in enumerate(dict.fromkeys(names))}
        self._file = EntryFile()
        self._hash = hashlib.sha256()
        self._counts: list[int] = []
        self._hashes: dict[int, str] = {}

    def add(self, name: str, path: Path, size: tuple[int, int], segments: Sequence[Json], digest: str | None) -> None:
        """Add an image.

        Args:
            name: Its id.
            path: Its file.
            size: Height and width.
            segments: Its objects, as `gsam.results.formats.dataset` describes them.
            digest: The SHA-256 of the file, if it is known.
        """
        objects = tuple(
            Object(
                self._labels.setdefault(one["label"], len(self._labels)),
                (one["box"][0], one["box"][1], one["box"][2], one["box"][3]),
                one["mask"],
                bool(one.get("crowd", False)),
            )
            for one in segments
        )
        if digest is not None:
            self._hashes[len(self._file)] = digest
        self._hash.update(self._file.add(Entry(name, path, size[1], size[0], objects)) + b"\n")
        self._counts.append(sum(not one.crowd for one in objects))

    def data_set(self) -> DataSet:
        """Return the data set."""
        self._file.finish()
        self._hash.update(json.dumps(list(self._labels)).encode())
        images = Entries(self._file, np.arange(len(self._file), dtype=np.int64))
        counts = np.array(self._counts, np.int32)
        return DataSet(tuple(self._labels), images, counts, self._hash.hexdigest(), self._hashes)


def _share(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _hash_of(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}", "image_missing") from None
