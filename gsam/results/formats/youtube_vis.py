"""YouTube-VIS JSON: whole videos, one annotation per track; and its form for results.

An annotation has a mask or null for every frame.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.formats.shapes import check_reach
from gsam.results.masks import rle
from gsam.results.masks.rle import Rle
from gsam.results.tracks import TrackedFrame, Tracks
from gsam.types import Json


class YouTubeVis:
    """A data set that grows video by video.

    Ids count from 1 in the order things are added; categories are the labels, in the order they
    were asked for.  An annotation keeps the object's own id as ``track_id`` and its score as
    ``score``, which other text_caches pass over.
    """

    def __init__(self, categories: Sequence[str] = ()) -> None:
        self.videos: list[Json] = []
        self.annotations: list[Json] = []
        self.categories: dict[str, int] = {}
        for label in categories:
            self._category(label)

    def add(self, tracks: Tracks, file_names: Sequence[str] | None = None) -> int:
        """One video; returns its id.

        ``file_names`` [count]: of its frames, ``<name>/00000.jpg`` ... if it is not given.
        """
        video_id, (height, width) = len(self.videos) + 1, tracks.size
        names = (
            list(file_names) if file_names is not None else [f"{tracks.name}/{i:05d}.jpg" for i in range(tracks.count)]
        )
        if len(names) != tracks.count:
            raise ValueError(f"{len(names)} file names for {tracks.count} frames")
        size = {"width": width, "height": height, "length": tracks.count}
        self.videos.append({"id": video_id, **size, "file_names": names})
        labels, scores = tracks.labels, tracks.scores
        for label in (*tracks.queries, *labels.values()):
            self._category(label)
        for identity in tracks.ids:
            masks = tracks.masks_of(identity)
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "video_id": video_id,
                    "category_id": self._category(labels[identity]),
                    "track_id": identity,
                    "score": round(scores[identity], 5),
                    "iscrowd": 0,
                    "width": width,
                    "height": height,
                    "length": tracks.count,
                    "segmentations": masks,
                    "bboxes": [None if m is None else _xywh(m) for m in masks],
                    "areas": [None if m is None else rle.area(m) for m in masks],
                }
            )
        return video_id

    def to_dict(self) -> Json:
        """``videos``, ``categories`` and ``annotations``; boxes are x y width height.

        Run lengths are numbers, as in the data set's own files: evaluators expect text of results
        only.
        """
        categories = [{"id": i, "name": label, "supercategory": ""} for label, i in self.categories.items()]
        annotations = [
            {**a, "segmentations": [None if m is None else rle.decompress(m) for m in a["segmentations"]]}
            for a in self.annotations
        ]
        return {"videos": self.videos, "categories": categories, "annotations": annotations}

    def results(self) -> list[Json]:
        """Return the submission: ``video_id, category_id, segmentations, score`` per track."""
        keys = ("video_id", "category_id", "segmentations", "score")
        return [{k: a[k] for k in keys} for a in self.annotations]

    def write(self, path: Path, *, results: bool = False) -> None:
        """The file, whole or not at all."""
        with atomic_file(path) as file:
            value: Any = self.results() if results else self.to_dict()
            file.write(json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    def _category(self, label: str) -> int:
        return self.categories.setdefault(label, len(self.categories) + 1)


def read(path: Path) -> list[Tracks]:
    """The videos of a data set.

    Ids are ``track_id``, or where there is none those of the annotations.

    Raises `UsageError` for what is not in this format.
    """
    data: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not {"videos", "annotations", "categories"} <= data.keys():
        raise UsageError(
            f"{os.fsdecode(path)}: has no videos, annotations and categories, it is not in YouTube-VIS's format"
        )
    return _videos(data, data["annotations"], os.fsdecode(path))


def read_results(path: Path, dataset: Path) -> list[Tracks]:
    """Read a submission on the videos and categories of ``dataset``.

    Ids count from 1 in each video, in the order of the file.
    """
    found: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, list):
        raise UsageError(f"{os.fsdecode(path)}: is not a list, as YouTube-VIS's results are")
    counts: dict[int, int] = {}
    numbered = []
    for entry in found:
        counts[entry["video_id"]] = counts.get(entry["video_id"], 0) + 1
        numbered.append({**entry, "track_id": counts[entry["video_id"]]})
    return _videos(json.loads(dataset.read_text(encoding="utf-8")), numbered, os.fsdecode(path))


def _videos(data: Json, annotations: Sequence[Json], file: str) -> list[Tracks]:
    labels = {c["id"]: c["name"] for c in data["categories"]}
    by_video: dict[int, list[Json]] = {v["id"]: [] for v in data["videos"]}
    for entry in annotations:
        if entry["video_id"] not in by_video or entry["category_id"] not in labels:
            raise UsageError(f"{file}: video {entry['video_id']} or category {entry['category_id']} does not exist")
        by_video[entry["video_id"]].append(entry)
    return [_tracks(v, by_video[v["id"]], labels, file) for v in data["videos"]]


def _tracks(video: Json, entries: Sequence[Json], labels: dict[int, str], file: str) -> Tracks:
    size, length = (int(video["height"]), int(video["width"])), int(video["length"])
    rows: list[list[tuple[int, str, float, Rle]]] = [[] for _ in range(length)]
    for entry in entries:
        if len(entry["segmentations"]) != length:
            raise UsageError(
                f"{file}: a track of video {video['id']} has {len(entry['segmentations'])} masks for {length} frames"
            )
        identity = int(entry["track_id"] if "track_id" in entry else entry.get("id", 0))
        for row, mask in zip(rows, entry["segmentations"], strict=True):
            if mask:
                try:
                    counts = _rle(mask, size)
                except ValueError as error:
                    raise UsageError(f"{file}: a mask of video {video['id']}: {error}") from None
                row.append((identity, labels[entry["category_id"]], float(entry.get("score", 1.0)), counts))
    frames = [
        TrackedFrame(
            i,
            size,
            np.array([r[0] for r in row], np.int64),
            [r[1] for r in row],
            np.array([r[2] for r in row], np.float32),
            [r[3] for r in row],
        )
        for i, row in enumerate(rows)
    ]
    name = str(Path(video["file_names"][0]).parent) if video.get("file_names") else f"video {video['id']}"
    return Tracks(frames, size, length, None, name, list(labels.values()))


def _rle(mask: Rle | list[list[float]], size: tuple[int, int]) -> Rle:
    """Run lengths as text; the data set's own files have them as numbers, some as polygons."""
    if isinstance(mask, list):
        from pycocotools import mask as coco

        for polygon in mask:
            check_reach(np.asarray(polygon, np.float64).reshape(-1, 2), size)
        merged = coco.merge(coco.frPyObjects(mask, *size))
        return {"size": list(size), "counts": merged["counts"].decode("ascii")}
    return rle.compress(mask) if isinstance(mask["counts"], list) else mask


def _xywh(mask: Rle) -> list[int]:
    x0, y0, x1, y1 = rle.bounds(mask)
    return [x0, y0, x1 - x0, y1 - y0]
