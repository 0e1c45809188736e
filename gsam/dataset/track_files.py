"""The files of tracks: JSON lines while a video is followed, the other formats once it is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.dataset.outputs import Outputs
from gsam.dataset.signals import check
from gsam.dataset.sources import Item

if TYPE_CHECKING:
    from gsam.inputs.video import Frames
    from gsam.results.formats.tracks_jsonl import Head, TracksWriter
    from gsam.results.tracks import TrackedFrame, Tracks

FORMATS = ("jsonl", "mp4", "davis", "youtube_vis", "mots")
YOUTUBE_VIS = "youtube_vis.json"


@dataclasses.dataclass(frozen=True, eq=False)
class TrackedVideo:
    """One video and its tracks."""

    frames: Frames
    tracks: Tracks
    new: int
    """Frames that this run followed; earlier runs did the others."""
    seconds: float
    """Time that took."""

    def __len__(self) -> int:
        """Number of objects it has."""
        return len(self.tracks.labels)


class TrackFiles(Outputs[TrackedVideo]):
    """``clip.jsonl``; ``clip.mp4``, ``clip/`` (DAVIS), ``clip_mots.txt``, ``youtube_vis.json`` if
    wanted.

    Args:
        folder: Where they go.
        kinds: Some of `FORMATS`; JSON lines are always written.
        items: The videos.
        labels: What is followed, in the user's words.
        resume: Whether to go on with JSON lines that are there.
    """

    def __init__(
        self, folder: Path, kinds: Sequence[str], items: Sequence[Item], labels: Sequence[str], resume: bool
    ) -> None:
        super().__init__(folder, kinds, items)
        self.labels, self.resume = list(labels), resume
        self._tracks: list[Tracks] = []

    def paths(self, item: Item) -> list[Path]:
        names = {"davis": item.stem, "mots": f"{item.stem}_mots.txt", "mp4": f"{item.stem}.mp4"}
        return [self.jsonl_path(item), *(self.folder / name for kind, name in names.items() if kind in self.kinds)]

    def jsonl_path(self, item: Item) -> Path:
        """Name the JSON lines of a video."""
        return self.folder / f"{item.stem}.jsonl"

    def writer(self, item: Item, head: Head) -> TracksWriter:
        """Open the JSON lines of a video, to go on with or anew.

        Raises:
            UsageError: They are there and of another video or other queries.
        """
        from gsam.results.formats.tracks_jsonl import TracksWriter

        if not self.resume:
            self.jsonl_path(item).unlink(missing_ok=True)
        return TracksWriter(self.jsonl_path(item), head)

    def write(self, item: Item, result: TrackedVideo) -> list[Path]:
        """Write the other formats of a video whose JSON lines are written."""
        from gsam.results.formats import davis, mots

        self._tracks.append(result.tracks)
        if "davis" in self.kinds:
            davis.write(result.tracks, self.folder / item.stem)
        if "mots" in self.kinds:
            mots.write_txt(result.tracks, self.folder / f"{item.stem}_mots.txt")
        if "mp4" in self.kinds:
            write_overlay(result.tracks, self.folder / f"{item.stem}.mp4", result.frames)
        return self.paths(item)

    def close(self) -> Path | None:
        if "youtube_vis" not in self.kinds or not self._tracks:
            return None
        from gsam.results.formats.youtube_vis import YouTubeVis

        data = YouTubeVis(self.labels)
        for tracks in self._tracks:
            data.add(tracks)
        data.write(self.folder / YOUTUBE_VIS)
        return self.folder / YOUTUBE_VIS


def write_overlay(tracks: Tracks, path: Path, frames: Frames) -> None:
    """Write a video with every object in a colour of its own, up to the last frame tracked.

    Args:
        tracks: Of the video.
        path: The file to write, whole or not at all.
        frames: The video.
    """
    from gsam.results.formats.overlay_video import OverlayVideo

    by_index = {frame.index: frame for frame in tracks}
    last = max(by_index, default=-1)
    with OverlayVideo(path, frames.rate) as video:
        for frame in frames.walk():
            if frame.index > last:
                break
            video.add(frame.pixels, by_index.get(frame.index), frame.time)
            check()
            if frame.index == last:  # beyond it a damaged video would complain once more
                break


def resume_point(writer: TracksWriter) -> tuple[TrackedFrame | None, int]:
    """Find where an earlier run stopped.

    Args:
        writer: Of the video's JSON lines.

    Returns:
        The last frame that was finished, None for a new file, and the first id that no object has
        yet.
    """
    from gsam.results.formats import tracks_jsonl

    if not writer.complete:
        return None, 1
    last, highest = None, 0
    for frame in tracks_jsonl.frames(writer.path):
        last = frame if last is None or frame.index > last.index else last
        highest = max(highest, *frame.ids.tolist(), 0)
    return last, highest + 1
