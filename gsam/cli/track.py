"""``gsam track``: videos and words in; tracks out, with ids that stay."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from gsam.cli.options import HELP, Out, command_app, output_folder_of, queries_of
from gsam.dataset import signals
from gsam.dataset.outputs import formats_of
from gsam.dataset.report import count_labels, display_path
from gsam.dataset.run import Run
from gsam.dataset.sources import Item
from gsam.dataset.track_files import FORMATS, TrackedVideo, TrackFiles, resume_point
from gsam.errors import GsamError, ImageError, UsageError, VideoError

if TYPE_CHECKING:
    from gsam.inputs.video import Frames
    from gsam.pipeline import Pipeline
    from gsam.results.formats.tracks_jsonl import TracksWriter
    from gsam.results.tracks import TrackedFrame
    from gsam.text.queries import Queries

app = command_app()
PIPELINE = "nano"


@app.command(no_args_is_help=True, context_settings=HELP)
def track(
    videos: Annotated[list[str], Argument(metavar="VIDEO...", help="Video files, or folders of numbered images.")],
    query: Annotated[list[str], Option("--query", "-q", help='What to track: "cat. yellow school bus".')],
    pipeline: Annotated[
        str, Option("--pipeline", "-p", help="A recipe with a tracker, or the path of one.")
    ] = PIPELINE,
    out: Out = None,
    formats: Annotated[
        str,
        Option(
            "--format",
            help="Any of jsonl (a line per frame), mp4 (overlay), davis (palette PNG), "
            "youtube_vis (one file per run), mots.",
        ),
    ] = "jsonl,mp4",
    every: Annotated[int | None, Option(help="Run the detector on every n-th frame.  [10]")] = None,
    match: Annotated[
        float | None, Option(help="Lowest mask IoU at which a detection is a tracked object.  [0.5]")
    ] = None,
    patience: Annotated[
        int | None, Option(help="Frames without a detection after which an object's id is closed.  [30]")
    ] = None,
    threshold: Annotated[float | None, Option("--threshold", help="Lowest score of a detection.")] = None,
    as_json: Annotated[
        bool, Option("--json", help="One line of JSON per frame on stdout; no files without -o.")
    ] = False,
    resume: Annotated[bool, Option("--resume/--overwrite", help="Go on where an earlier run stopped.")] = False,
) -> None:
    """Track objects through videos by their names.

    For a/clip.mp4 this writes out/clip.jsonl, a line per frame, while it works, and then
    out/clip.mp4, the video with every object in a colour of its own.  Exit code 3: a video could
    not be read to its end; what could be is there.
    """
    kinds = formats_of(formats, FORMATS)
    settings = {"every": every, "match": match, "patience": patience, "threshold": threshold}
    items = _videos(videos)
    config = RunConfig(
        pipeline, queries_of(query), {k: v for k, v in settings.items() if v is not None}, as_json=as_json
    )
    folder = output_folder_of(out, as_json)
    files = TrackFiles(folder, kinds, items, config.queries.categories, resume) if folder is not None else None
    with Run(items, files, _nothing if as_json else _summary, as_json=as_json, noun="video") as run:
        tracking = Tracking(config, run, files)
        for item in run.todo:
            try:
                tracking.follow(item)
            except (ImageError, VideoError) as error:
                run.record_failure(item, error)
        run.finish()
    if run.exit_code:
        raise typer.Exit(run.exit_code)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The settings of a run."""

    pipeline: str
    """A recipe's name or path."""
    queries: Queries
    settings: Mapping[str, float]
    """Settings of `gsam.Pipeline.track`."""
    as_json: bool
    """Whether frames are printed as JSON."""


class Tracking:
    """Videos, one after the other, through one pipeline.

    Args:
        config: What to compute.
        run: Which reports it.
        files: Where it goes; None for stdout only.
    """

    def __init__(self, config: RunConfig, run: Run[TrackedVideo], files: TrackFiles | None) -> None:
        self.config, self.run, self.files = config, run, files

    @functools.cached_property
    def pipe(self) -> Pipeline:
        """The pipeline, loaded when the first frame needs it."""
        import gsam

        return gsam.load(self.config.pipeline)

    def follow(self, item: Item) -> None:
        """Track one video, write its files and report it.

        Raises:
            VideoError: It cannot be read to its end; the tracks until there are written.
        """
        from gsam.inputs.video import open_frames
        from gsam.results.formats.tracks_jsonl import Head, read

        with open_frames(item.path) as frames:
            if self.files is None:
                self.run.count(len(self._frames(item, frames, None)))
                return
            began = time.monotonic()
            head = Head(frames.size, item.name, frames.rate, frames.count, tuple(self.config.queries.categories))
            broken: GsamError | None = None
            with self.files.writer(item, head) as writer:
                before = len(writer.complete)
                try:
                    self._frames(item, frames, writer)
                except (ImageError, VideoError) as error:  # what was tracked until here is good
                    if not writer.complete:
                        raise
                    broken = error
                new = len(writer.complete) - before
            seconds = time.monotonic() - began
            video = TrackedVideo(frames, read(writer.path), new, seconds)
            with self.run.guarded():
                written = self.files.write(item, video)
            self.run.report(item, video, written, complete=broken is None)
            if broken is not None:
                raise broken

    def _frames(self, item: Item, frames: Frames, writer: TracksWriter | None) -> set[int]:
        """Track frame by frame, from where an earlier run stopped; give the ids seen."""
        start, next_id = resume_point(writer) if writer is not None else (None, 1)
        first = start.index + 1 if start is not None else 0
        ids: set[int] = set()
        if start is not None and first == frames.count:
            return ids
        config = self.config
        tracked = self.pipe.track(frames, config.queries, start=start, next_id=next_id, **config.settings)
        with self.run.guarded(), self.run.progress((frames.count or 0) - first, "frame") as bar:
            for frame in tracked:
                ids.update(frame.ids.tolist())
                if writer is not None:
                    writer.add(frame)
                if config.as_json:
                    self.run.print(_json(item, frame))
                bar.step()
                signals.check()
        return ids


def _json(item: Item, frame: TrackedFrame) -> str:
    from gsam.results.formats.tracks_jsonl import frame_dict

    return json.dumps({"video": item.name, **frame_dict(frame)}, ensure_ascii=False)


def _nothing(item: Item, video: TrackedVideo, written: Sequence[Path]) -> None:
    """The frames were printed as they came."""


def _summary(item: Item, video: TrackedVideo, written: Sequence[Path]) -> str:
    labels = list(video.tracks.labels.values())
    rate = f", {video.new / video.seconds:.1f} frames a second" if video.new else ""
    places = ", ".join(map(display_path, written))
    return f"{display_path(item.path)}: {count_labels(labels)} in {len(video.tracks)} frames{rate} -> {places}"


def _videos(paths: Sequence[str]) -> list[Item]:
    """Name the results of each video.

    Raises:
        UsageError: Two would be called the same.
    """
    items: dict[str, Item] = {}
    for path in map(Path, paths):
        stem = path.resolve().name if path.is_dir() else path.stem
        if stem in items:
            raise UsageError(f"two videos are called {stem}: their results would overwrite each other, run them apart")
        items[stem] = Item(path, path.name, stem)
    return list(items.values())
