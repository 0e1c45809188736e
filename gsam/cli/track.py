"""``gsam track``: videos and words in; tracks out, with ids that stay."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from gsam.cli import segment
from gsam.cli.progress import Progress
from gsam.errors import GsamError, UsageError
from gsam.results.tracks import TrackedFrame, Tracks

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
FORMATS = ("jsonl", "mp4", "davis", "youtube_vis", "mots")
PIPELINE = "nano"
YOUTUBE_VIS = "youtube_vis.json"


@app.command(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def track(
    videos: Annotated[list[str], Argument(metavar="VIDEO...", help="Video files, or folders of numbered pictures.")],
    query: Annotated[list[str], Option("--query", "-q", help='What to follow: "cat. yellow school bus".')],
    pipeline: Annotated[
        str, Option("--pipeline", "-p", help="A recipe with a tracker, or the path of one.")
    ] = PIPELINE,
    out: Annotated[Path | None, Option("--out", "-o", help="Folder for the results.  [default: out]")] = None,
    formats: Annotated[
        str,
        Option(
            "--format",
            help="Any of jsonl (a line a frame), mp4 (overlay), davis (palette PNG), youtube_vis (one file a run), mots.",
        ),
    ] = "jsonl,mp4",
    every: Annotated[int | None, Option(help="Look for new things on every so manieth frame.  [10]")] = None,
    match: Annotated[float | None, Option(help="A thing is known from this mask IoU on.  [0.5]")] = None,
    patience: Annotated[int | None, Option(help="Frames without being seen after which an id is closed.  [30]")] = None,
    threshold: Annotated[float | None, Option("--threshold", help="Lowest score of a thing.")] = None,
    as_json: Annotated[
        bool, Option("--json", help="Every frame as a line of JSON on stdout; no files without -o.")
    ] = False,
    resume: Annotated[bool, Option("--resume/--overwrite", help="Go on where an earlier run stopped.")] = False,
) -> None:
    """Follow things through videos by their names.

    For a/clip.mp4 this writes out/clip.jsonl, a line a frame, while it works, and then out/clip.mp4, the video with every object
    in a colour of its own.  Exit code 3: a video could not be read to its end; what could be is there.
    """
    kinds = segment.formats_of(formats, FORMATS)
    settings = {"every": every, "match": match, "patience": patience, "threshold": threshold}
    asked = Asked(pipeline, query, {k: v for k, v in settings.items() if v is not None}, kinds, resume)
    folder = out if out is not None or as_json else Path("out")
    run = Run(asked, folder, as_json, _stems(videos))
    for video, stem in _stems(videos).items():
        run.work(video, stem)
    run.close()
    if run.failed:
        raise typer.Exit(3)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a run computes, and writes."""

    pipeline: str
    query: Sequence[str]
    settings: dict[str, Any]
    kinds: Sequence[str]
    resume: bool


class Run:
    """Videos, one after the other, through one pipeline."""

    def __init__(self, asked: Asked, folder: Path | None, as_json: bool, stems: dict[str, str]) -> None:
        from gsam.text.queries import parse_queries

        self.asked, self.folder, self.as_json = asked, folder, as_json
        self.queries = parse_queries([n for part in asked.query for n in parse_queries(part).names])
        self.failed = False
        self.pipe: Any = None
        self.all: dict[str, Tracks] = {}

    def work(self, video: str, stem: str) -> None:
        """One video.  What goes wrong with it is said, and the next one is begun."""
        from gsam.inputs.video import open_frames

        try:
            with open_frames(video) as frames:
                self._work(video, stem, frames)
        except UsageError:
            raise
        except GsamError as error:
            self.failed = True
            print(f"gsam: {error} [{error.code}]", file=sys.stderr)

    def close(self) -> None:
        """What all videos have together."""
        if self.folder is not None and "youtube_vis" in self.asked.kinds and self.all:
            from gsam.results.formats.youtube_vis import YouTubeVis

            data = YouTubeVis(self.queries.labels)
            for tracks in self.all.values():
                data.add(tracks)
            data.write(self.folder / YOUTUBE_VIS)

    def _work(self, video: str, stem: str, frames: Any) -> None:
        from gsam.results.formats import tracks_jsonl

        began = time.monotonic()
        head = tracks_jsonl.Head(frames.size, Path(video).name, frames.rate, frames.count, tuple(self.queries.labels))
        done: list[TrackedFrame] = []
        if self.folder is None:
            self._follow(frames, head, None, done, stem)
            return
        path = self.folder / f"{stem}.jsonl"
        if path.exists() and not self.asked.resume:
            path.unlink()
        broken: GsamError | None = None
        with tracks_jsonl.TracksWriter(path, head) as writer:
            before = len(writer.complete)
            try:
                self._follow(frames, head, writer, done, stem)
            except GsamError as error:  # of the video: what was followed is good
                if isinstance(error, UsageError) or not writer.complete:
                    raise
                broken = error
            new = len(writer.complete) - before
        seconds = time.monotonic() - began
        tracks = tracks_jsonl.read(path)
        self.all[stem] = tracks
        written = [path, *self._write(tracks, stem, frames)]
        self._say(video, tracks, new, seconds, written)
        if broken is not None:
            raise broken

    def _follow(self, frames: Any, head: Any, writer: Any, done: list[TrackedFrame], stem: str) -> None:
        """Frame by frame, from where an earlier run stopped."""
        start, next_id = _stopped(writer) if writer is not None else (None, 1)
        if start is not None and start.index + 1 == frames.count:
            return
        progress = Progress((frames.count or 0) - (start.index + 1 if start else 0), unit="frame")
        try:
            for frame in self._tracked(frames, start, next_id):
                if writer is not None:
                    writer.add(frame)
                if self.as_json:
                    from gsam.results.formats.tracks_jsonl import frame_dict

                    print(json.dumps({"video": head.video, **frame_dict(frame)}, ensure_ascii=False), flush=True)
                progress.step()
        finally:
            progress.close()

    def _tracked(self, frames: Any, start: TrackedFrame | None, next_id: int) -> Iterator[TrackedFrame]:
        import gsam

        if self.pipe is None:
            self.pipe = gsam.load(self.asked.pipeline)
        return self.pipe.track(frames, self.queries.names, start=start, next_id=next_id, **self.asked.settings)

    def _write(self, tracks: Tracks, stem: str, frames: Any) -> list[Path]:
        """The other formats of a video that is done."""
        from gsam.results.formats import davis, mots

        assert self.folder is not None
        written = []
        if "davis" in self.asked.kinds:
            davis.write(tracks, self.folder / stem)
            written.append(self.folder / stem)
        if "mots" in self.asked.kinds:
            mots.write_txt(tracks, self.folder / f"{stem}_mots.txt")
            written.append(self.folder / f"{stem}_mots.txt")
        if "mp4" in self.asked.kinds:
            written.append(self._overlay(tracks, self.folder / f"{stem}.mp4", frames))
        return written

    def _overlay(self, tracks: Tracks, path: Path, frames: Any) -> Path:
        from gsam.results.formats.overlay_video import OverlayVideo

        by_index = {frame.index: frame for frame in tracks}
        last = max(by_index, default=-1)
        with OverlayVideo(path, frames.rate) as video:
            for frame in frames.walk():
                if frame.index > last:
                    break
                video.add(frame.pixels, by_index.get(frame.index), frame.time)
                if frame.index == last:  # beyond it a damaged video would complain once more
                    break
        return path

    def _say(self, video: str, tracks: Tracks, new: int, seconds: float, written: Sequence[Path]) -> None:
        if self.as_json:
            return
        labels = list(tracks.labels.values())
        found = ", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels)) or "nothing"
        rate = f", {new / seconds:.1f} frames a second" if new else ""
        places = ", ".join(map(segment.shown, written))
        print(f"{segment.shown(Path(video))}: {found} in {len(tracks)} frames{rate} -> {places}")


def _stopped(writer: Any) -> tuple[TrackedFrame | None, int]:
    """The last frame of an earlier run, and the first id that it did not give."""
    from gsam.results.formats import tracks_jsonl

    if not writer.complete:
        return None, 1
    last, highest = None, 0
    for frame in tracks_jsonl.frames(writer.path):
        last = frame if last is None or frame.index > last.index else last
        highest = max(highest, *frame.ids.tolist(), 0)
    return last, highest + 1


def _stems(videos: Sequence[str]) -> dict[str, str]:
    """A name for the results of each video; raises `UsageError` where two would be called the same."""
    found: dict[str, str] = {}
    for video in videos:
        stem = Path(video).stem if not Path(video).is_dir() else Path(video).resolve().name
        if stem in found.values():
            raise UsageError(f"two videos are called {stem}: their results would overwrite each other, run them apart")
        found[video] = stem
    return found
