"""The files of tracks: JSON lines while a video is followed, the other formats once it is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.dataset.manifest import OWN
from gsam.dataset.outputs import Outputs
from gsam.dataset.report import tell
from gsam.dataset.signals import check
from gsam.dataset.sources import Item
from gsam.errors import UsageError, VideoError

if TYPE_CHECKING:
    from gsam.inputs.video import Frames
    from gsam.results.formats.tracks_jsonl import Head, TracksWriter
    from gsam.results.tracks import Tracks
    from gsam.tracking.state import TrackingState
    from gsam.types import Json

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


@dataclasses.dataclass(frozen=True, eq=False)
class Resumption:
    """Where an earlier run of a video stopped."""

    state: TrackingState | None = None
    """The state to go on from; None for the beginning of the video."""
    done: bool = False
    """Whether every frame was tracked."""


class TrackFiles(Outputs[TrackedVideo]):
    """``clip.jsonl``; ``clip.mp4``, ``clip/`` (DAVIS), ``clip_mots.txt``, ``youtube_vis.json`` if
    wanted.

    While a video is tracked, what the tracker knows lies beside the JSON lines in a hidden file,
    for a run that goes on from there.

    Args:
        folder: Where they go.
        kinds: Some of `FORMATS`; JSON lines are always written.
        items: The videos.
        labels: What is followed, in the user's words.
        resume: Whether to go on with JSON lines that are there.
        settings: Gives what results depend on besides their inputs.
        overwrite: Whether files in the folder may be replaced that gsam did not write.
    """

    command = "track"
    noun = "video"

    def __init__(
        self,
        folder: Path,
        kinds: Sequence[str],
        items: Sequence[Item],
        labels: Sequence[str],
        resume: bool,
        settings: Callable[[], Json] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        super().__init__(folder, kinds, items, settings, overwrite=overwrite)
        self.labels, self.resume = list(labels), resume
        self._tracked: set[str] = set()
        self._adopted: set[str] = set()

    def paths(self, item: Item) -> list[Path]:
        names = {"mots": f"{item.stem}_mots.txt", "mp4": f"{item.stem}.mp4"}
        return [
            self.jsonl_path(item),
            *self.folders(item),
            *(self.folder / name for kind, name in names.items() if kind in self.kinds),
        ]

    def folders(self, item: Item) -> list[Path]:
        return [self.folder / item.stem] if "davis" in self.kinds else []

    def jsonl_path(self, item: Item) -> Path:
        """Name the JSON lines of a video."""
        return self.folder / f"{item.stem}.jsonl"

    def state_path(self, item: Item) -> Path:
        """Name the file of what the tracker knows of a video that is not finished."""
        return self.folder / f"{OWN}{item.stem}.state.npz"

    def finished(self) -> Set[Item]:
        """Give the videos that an earlier run finished.

        Raises:
            UsageError: Tracks are there that were made with other settings (``resume_differs``).
        """
        found = super().finished()
        if self.outdated and not self.overwrite:
            text = "; ".join(f"of {count} of {len(self.items)}, {why}" for why, count in self.outdated.items())
            remedy = "go on with the same, choose another -o, or start anew without --resume"
            raise UsageError(f"{self.folder} holds tracks that were made otherwise: {text}: {remedy}", "resume_differs")
        self._tracked |= {item.stem for item in found}
        return found

    def claim(self, items: Iterable[Item]) -> None:
        items = list(items)
        self._adopted = {item.stem for item in items if self.resume and self._adopts(item)}
        super().claim(items)

    def claim_frames(self, item: Item, count: int) -> None:
        """Make sure that the DAVIS images of a video may be written.

        Raises:
            UsageError: Another program's image has the name of one of them.
        """
        from gsam.results.formats import davis

        for folder in self.folders(item):
            for index in range(count if folder.is_dir() else 0):
                self.manifest.check(folder / davis.name(index), thorough=False)

    def claimed(self, item: Item) -> list[Path]:
        return [path for path in self.paths(item) if path != self.jsonl_path(item) or item.stem not in self._adopted]

    def resumption(self, item: Item, head: Head) -> Resumption:
        """Find where an earlier run stopped.

        Args:
            item: The video.
            head: What its JSON lines begin with.

        Returns:
            Where to go on.

        Raises:
            VideoError: The JSON lines are of another video or other queries.
        """
        from gsam.results.formats import tracks_jsonl

        path = self.jsonl_path(item)
        if not self.resume or not path.is_file():
            return Resumption()
        done = self.manifest.done(item.stem)
        if done is None and item.stem not in self._adopted:
            return Resumption()
        if not tracks_jsonl.head_of(path).fits(head):
            text = f"{path} holds tracks of another video or other queries: choose another -o"
            raise VideoError(text, "tracks_of_another")
        frames = tracks_jsonl.complete(path)
        if done is not None and path in self.manifest.files_of(done):
            return Resumption(done=True)
        if head.count is not None and frames == list(range(head.count)):
            if item.stem not in self._adopted:
                tracks_jsonl.TracksWriter(path, head).close()  # cuts off a line that was torn
            return Resumption(done=True)
        state = self._read_state(item)
        if state is None or frames[: state.frame + 1] != list(range(state.frame + 1)):
            return Resumption()
        return Resumption(state)

    def writer(self, item: Item, head: Head, state: TrackingState | None = None) -> TracksWriter:
        """Open the JSON lines of a video, to go on after a state or anew."""
        from gsam.results.formats.tracks_jsonl import TracksWriter, first_line

        path = self.jsonl_path(item)
        if state is not None:
            return TracksWriter(path, head, last=state.frame)
        self.manifest.check(path)
        self.state_path(item).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        self.manifest.note_growing(path, first_line(head))
        self.finish(item, [])
        return TracksWriter(path, head)

    def write(self, item: Item, result: TrackedVideo) -> list[Path]:
        """Write the other formats of a video whose JSON lines are written."""
        from gsam.results.formats import mots

        tracks = result.tracks
        self._tracked.add(item.stem)
        if "davis" in self.kinds:
            with self.attempt():
                self._write_davis(item, tracks)
        if "mots" in self.kinds:
            with self.attempt():
                path = self.folder / f"{item.stem}_mots.txt"
                classes = mots.write_txt(tracks, path)
                ids = mots.ids_of(tracks, classes)
                self._tell_numbers(path, {i: number % mots.INSTANCES for i, number in ids.items()}, "MOTS")
        if "mp4" in self.kinds:
            with self.attempt():
                write_overlay(tracks, self.folder / f"{item.stem}.mp4", result.frames)
        return self.paths(item)

    def finish(self, item: Item, written: Sequence[Path]) -> None:
        """Note that a video was begun, or has all its results; then its tracker's state goes."""
        if item.stem in self._adopted:
            return
        if written:
            self.manifest.note(self.jsonl_path(item), self.jsonl_path(item))
        super().finish(item, written)
        if written:
            self.state_path(item).unlink(missing_ok=True)

    def whole_path(self) -> Path | None:
        return self.folder / YOUTUBE_VIS if "youtube_vis" in self.kinds else None

    def write_whole(self, path: Path) -> bool:
        if not self._tracked:
            return False
        from gsam.results.formats import tracks_jsonl
        from gsam.results.formats.youtube_vis import YouTubeVis

        data = YouTubeVis(self.labels)
        for item in self.items:
            if item.stem in self._tracked:
                data.add(tracks_jsonl.read(self.jsonl_path(item)))
        data.write(path)
        return True

    def _write_davis(self, item: Item, tracks: Tracks) -> None:
        """Write the folder of images, and delete those of an earlier run that have no successor."""
        from gsam.results.formats import davis

        (folder,) = self.folders(item)
        self._tell_numbers(folder, davis.write(tracks, folder), "DAVIS")
        wanted = {davis.name(index) for index in range(tracks.count)}
        for path in self.manifest.in_folder(folder):
            if path.name not in wanted:
                self.manifest.delete(path)

    def _tell_numbers(self, path: Path, numbers: Mapping[int, int], format: str) -> None:
        """Say that objects are numbered otherwise than in the JSON lines."""
        if changed := [f"{i} is {n}" for i, n in numbers.items() if i != n]:
            some = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
            tell(f"gsam: {path}: objects are numbered anew, ids so high do not fit {format}: {some}")

    def _adopts(self, item: Item) -> bool:
        """Whether JSON lines that are not in the manifest are whole: they are only read then.

        Raises:
            UsageError: They are of other queries (``tracks_of_another``), or not whole and made
                nobody knows how (``resume_unknown``).
        """
        from gsam.results.formats import tracks_jsonl

        path = self.jsonl_path(item)
        if not path.is_file() or self.manifest.wrote(path, thorough=False) or self.overwrite:
            return False
        head = tracks_jsonl.head_of(path)
        if list(head.queries) != self.labels:
            text = f"{path}: holds tracks of other queries: choose another -o, or replace them with --overwrite"
            raise UsageError(text, "tracks_of_another")
        if head.count is None or tracks_jsonl.complete(path) != list(range(head.count)):
            text = f"{path}: is not finished, and nothing says with which settings it was made"
            raise UsageError(f"{text}: choose another -o, or replace it with --overwrite", "resume_unknown")
        tell(f"gsam: {path}: nothing says with which settings it was made; it is taken as it is")
        return True

    def _read_state(self, item: Item) -> TrackingState | None:
        from gsam.tracking.state import TrackingState

        try:
            return TrackingState.read(self.state_path(item))
        except UsageError:
            return None


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
    sound = getattr(frames, "source", None) if frames.has_sound else None
    with OverlayVideo(path, frames.rate, pixel_shape=frames.pixel_shape, sound=sound) as video:
        for frame in frames.walk():
            if frame.index > last:
                break
            video.add(frame.pixels, by_index.get(frame.index), frame.time)
            check()
            if frame.index == last:  # beyond it a damaged video would complain once more
                break
