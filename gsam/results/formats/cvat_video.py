"""CVAT for video 1.1, an ``annotations.xml`` of tracks, read by `gsam.results.formats.cvat`.

Images are the frames of one video, in order; ``frame_000012`` is frame 12.  CVAT has no tracks of
masks: it keeps their first frame.  So a track of several frames has a polygon in each, whose parts
and holes are joined by slits of no width, which fills to the same mask; one frame keeps its mask.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from gsam.files import atomic_file
from gsam.results.formats import shapes
from gsam.results.formats.cvat import FILE, box_attributes, head, mask_attributes, read, score_text, shortest
from gsam.results.formats.dataset import DataSetWriter, outlines_of
from gsam.results.formats.scene_json import dumps
from gsam.results.masks.polygons import bridged
from gsam.types import Json, JsonMapping

__all__ = ["Writer", "read"]
_FRAME = re.compile(r"(?:.*/)?frame_(\d{1,9})(?:\.\w+)?")
_ROWS = "select track, own, label, box, frame, content from found order by track is null, track, own, label, box, frame"


class _Shape(NamedTuple):
    """A segment in its frame."""

    frame: int
    segment: Json


class Writer(DataSetWriter):
    """Writes ``annotations.xml``, with scores as an attribute of each shape.

    Segments are of one track where their ``track`` and label are the same; one without a track is a
    track of its own.  Shapes wait in a temporary file until the tracks are written.
    """

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._waiting: sqlite3.Connection | None = sqlite3.connect("", check_same_thread=False)  # on disk, unnamed
        self._waiting.execute("create table found (track integer, own integer, label, box integer, frame, content)")
        self._last, self._size, self._own = -1, (0, 0), 0

    def add(self, scene: JsonMapping) -> None:
        assert self._waiting is not None
        for label in scene.get("query_labels") or scene.get("queries", ()):
            if label:
                self.number_of(label)
        self._count_frame(scene)
        rows = list(self._rows(scene["segments"]))
        if not rows:
            self.losses["images without a shape, which are not read"] += 1
        self._waiting.executemany("insert into found values (?, ?, ?, ?, ?, ?)", rows)

    def _count_frame(self, scene: JsonMapping) -> None:
        name = scene["image"] or ""
        match = _FRAME.fullmatch(name)
        self._last = number = max(int(match[1]), self._last + 1) if match else self._last + 1
        if name != f"frame_{number:06d}":
            self.losses["names of images: frames have numbers"] += 1
        size = scene["height"], scene["width"]
        if self._size not in ((0, 0), size):
            self.losses["sizes of images: a video has one, the largest"] += 1
        self._size = max(self._size[0], size[0]), max(self._size[1], size[1])

    def _rows(self, segments: Sequence[JsonMapping]) -> Iterator[tuple[object, ...]]:
        here = set()
        for found in segments:
            label, track = found["label"], found.get("track")
            self.number_of(label)
            score = shapes.count_losses({key: value for key, value in found.items() if key != "track"}, self)
            is_box = found["mask"] is None
            if is_box and not all(map(math.isfinite, found["box"])):
                self.losses["boxes whose numbers are none"] += 1
                continue
            if track is None:
                self.losses["segments without a track are tracks of one frame"] += 1
            elif not isinstance(track, int) or not 0 <= track < 1 << 60:
                self.losses["tracks whose numbers are none"] += 1
                track = None
            elif (track, label, is_box) in here:
                self.losses["segments of a track that is in the frame already are tracks of one frame"] += 1
                track = None
            here.add((track, label, is_box))
            self._own += 1
            own = self._own if track is None else 0
            content = dumps({"box": list(found["box"]), "mask": found["mask"], "score": score})
            yield track, own, label, is_box, self._last, content

    def close(self) -> None:
        if self._waiting is None:
            return
        with contextlib.closing(self._waiting) as waiting:
            self._waiting = None
            (highest,) = waiting.execute("select coalesce(max(track), -1) from found").fetchone()
            fresh, taken = itertools.count(highest + 1), set()
            height, width = self._size
            side = f"<width>{width}</width>\n        <height>{height}</height>\n"
            size = f"      <original_size>\n        {side}      </original_size>\n" * (self._last >= 0)
            with atomic_file(self.folder / FILE) as file:
                file.write(head(self, self._last + 1, "interpolation", size))
                for (track, _, label, is_box), rows in itertools.groupby(waiting.execute(_ROWS), lambda row: row[:4]):
                    if track is not None and track in taken:
                        self.losses["tracks with several labels, or with boxes and masks, are parted"] += 1
                    number = next(fresh) if track is None or track in taken else track
                    taken.add(track)
                    name = quoteattr(shapes.legal(label, self))
                    file.write(f'  <track id="{number}" label={name} source="auto">\n'.encode())
                    found = (_Shape(frame, json.loads(content)) for *_, frame, content in rows)
                    file.writelines(text.encode() for text in self._shapes(found, bool(is_box)))
                    file.write(b"  </track>\n")
                file.write(b"</annotations>\n")

    def _shapes(self, found: Iterator[_Shape], is_box: bool) -> Iterator[str]:
        """The elements of a track, each with one that ends it where the next frame has none."""
        first, second = next(found), next(found, None)
        if second is None and not is_box:
            yield _element("mask", mask_attributes(first.segment["mask"]), first.frame, first.segment["score"])
            return
        some: Iterable[_Shape | None] = itertools.chain([first, second], found, [None])
        for now, after in itertools.pairwise(some):
            if now is None:
                return
            frame, segment = now
            where = box_attributes(segment["box"]) if is_box else _points(segment)
            if where is None:
                self.losses["empty masks of tracks"] += 1
                continue
            tag = "box" if is_box else "polygon"
            yield _element(tag, where, frame, segment["score"])
            if frame < self._last and (after is None or after.frame > frame + 1):
                yield _element(tag, where, frame + 1, segment["score"], outside=True)


def _element(tag: str, where: str, frame: int, score: float | None, *, outside: bool = False) -> str:
    state = f'frame="{frame}" keyframe="1" outside="{int(outside)}" occluded="0"'
    return f'    <{tag} {state} {where} z_order="0">{score_text(score)}</{tag}>\n'


def _points(segment: JsonMapping) -> str | None:
    """The one outline of a mask; None of an empty one."""
    parts = outlines_of(segment)
    if not parts:
        return None
    ring = bridged([bridged(part) for part in parts])
    return 'points="' + ";".join(f"{shortest(x)},{shortest(y)}" for x, y in ring.tolist()) + '"'
