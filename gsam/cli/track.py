"""``gsam track``: videos and words in; tracks out, with ids that stay."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from gsam.cli.options import (
    HELP,
    TRACKING,
    Boxes,
    Classes,
    Classifier,
    Detector,
    Device,
    DType,
    MaxPixels,
    Nms,
    Out,
    Overwrite,
    Query,
    Quiet,
    Recipe,
    Reject,
    Segmenter,
    Stretch,
    Threshold,
    Tracker,
    WeightsDir,
    command_app,
    given_of,
    output_folder_of,
    queries_of,
    refuse_all_bad,
)
from gsam.dataset import signals
from gsam.dataset.outputs import formats_of
from gsam.dataset.progress import saying
from gsam.dataset.report import count_labels, display_path, hush, tell
from gsam.dataset.run import FIRST, Run
from gsam.dataset.sources import Item
from gsam.dataset.stream import NOT_OF_AN_IMAGE
from gsam.dataset.track_files import FORMATS, TrackedVideo, TrackFiles
from gsam.dataset.track_lines import Lines
from gsam.errors import OutputError, UsageError, VideoError
from gsam.runtime.settings import LIMITS, check_numbers

if TYPE_CHECKING:
    from gsam.inputs.video import Frames
    from gsam.pipeline import Pipeline
    from gsam.results.tracks import TrackedFrame
    from gsam.text.queries import Queries
    from gsam.types import Json

app = command_app()
NOT_OF_A_VIDEO = (*NOT_OF_AN_IMAGE, OutputError)
"""Errors that every other video would meet too."""


@app.command(no_args_is_help=True, context_settings=HELP)
def track(
    videos: Annotated[list[str], Argument(metavar="VIDEO...", help="Video files, or folders of numbered images.")],
    query: Query = None,
    classes: Classes = None,
    pipeline: Recipe = TRACKING,
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
    renew: Annotated[
        float | None,
        Option(help="A matched detection of a higher score than this corrects the object's mask; 1 never.  [1]"),
    ] = None,
    doubt: Annotated[
        int | None,
        Option(help="Hide an object that so many detections in a row did not find, until one does; 0 never.  [0]"),
    ] = None,
    redraw: Annotated[
        bool | None,
        Option(
            "--redraw/--no-redraw",
            help="The segmenter draws the tracker's masks again (docs/video.md).  [default: the recipe's]",
        ),
    ] = None,
    threshold: Threshold = None,
    boxes: Boxes = None,
    nms: Nms = None,
    reject: Reject = None,
    detector: Detector = None,
    segmenter: Segmenter = None,
    classifier: Classifier = None,
    tracker: Tracker = None,
    device: Device = None,
    dtype: DType = None,
    weights_dir: WeightsDir = None,
    as_json: Annotated[
        bool, Option("--json", help="One line of JSON per frame on stdout; no files without -o.")
    ] = False,
    stretch: Stretch = False,
    max_pixels: MaxPixels = None,
    resume: Annotated[bool, Option("--resume", help="Go on where an earlier run stopped, as if it had not.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Track objects through videos by their names.

    For a/clip.mp4 this writes out/clip.jsonl, a line per frame, while it works, and then
    out/clip.mp4, the video with every object in a colour of its own.  Exit code 3: a video could
    not be read to its end; what could be is there.
    """
    kinds = formats_of(formats, FORMATS)
    queries = queries_of(query, classes)
    limits = given_of(threshold=threshold, boxes=boxes, nms=nms, reject=reject)
    check_numbers(limits, LIMITS, "--")
    models = given_of(detector=detector, segmenter=segmenter, classifier=classifier, tracker=tracker)
    given = {**limits, **models, **given_of(device=device, dtype=dtype)}
    items = _videos(videos)
    refuse_all_bad(items, "video")
    tracking = given_of(every=every, match=match, patience=patience, renew=renew, doubt=doubt, redraw=redraw)
    config = RunConfig(pipeline, queries, given, tracking, as_json, stretch, max_pixels, quiet)
    folder = output_folder_of(out, as_json)
    files = None
    if folder is not None:
        files = TrackFiles(
            folder, kinds, items, config.queries.categories, resume, lambda: config.recorded, overwrite=overwrite
        )
    say = _nothing if as_json or quiet else _summary
    with Run(items, files, say, resume=resume, as_json=as_json, noun="video", quiet=quiet) as run:
        follower = Tracking(config, run, files)
        for item in run.todo:
            try:
                follower.follow(item)
            except NOT_OF_A_VIDEO:
                raise
            except Exception as error:
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
    given: Mapping[str, Any]
    """Arguments of `gsam.load`."""
    tracking: Mapping[str, float]
    """Settings of the tracking of `gsam.Pipeline.track`."""
    as_json: bool
    """Whether frames are printed as JSON."""
    stretch: bool = False
    """Whether ranges are stretched, see `gsam.inputs.video.open_frames`."""
    max_pixels: int | None = None
    """The largest number of pixels, see `gsam.inputs.video.open_frames`."""
    quiet: bool = False
    """Whether only errors are printed on stderr."""

    @property
    def recorded(self) -> Json:
        """All that tracks depend on besides the videos, for the manifest of the output folder."""
        from gsam.dataset.settings import pipeline_settings, plain

        found = {"tracking": plain(self.tracking), "stretch": self.stretch}
        return {**pipeline_settings(self.pipeline, self.queries, self.given), **found}


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

        with saying(f"loading {self.config.pipeline}", hush if self.config.quiet else tell):
            return gsam.load(self.config.pipeline, **self.config.given)

    def follow(self, item: Item) -> None:
        """Track one video, write its files and report it.

        Raises:
            VideoError: It cannot be read to its end; the tracks until there are written.
        """
        from gsam.inputs.video import open_frames
        from gsam.results.formats.tracks_jsonl import Head, read

        config = self.config
        with open_frames(item.path, stretch=config.stretch, max_pixels=config.max_pixels) as frames:
            if self.files is None:
                self.run.count(len(self._frames(item, frames, None)))
                return
            began = time.monotonic()
            head = Head(frames.size, item.name, frames.rate, frames.count, tuple(self.config.queries.categories))
            if not self._may_be_written(item, frames):
                return
            resumption = self.files.resumption(item, head)
            lines = Lines(self.files, item, head, resumption.state)
            broken: Exception | None = None
            if not resumption.done:
                try:
                    self._frames(item, frames, lines)
                except NOT_OF_A_VIDEO:
                    raise
                except Exception as error:  # what was tracked until here is good
                    if not lines.complete:
                        raise
                    broken = error
                finally:
                    lines.close()
            seconds = time.monotonic() - began
            video = TrackedVideo(frames, read(self.files.jsonl_path(item)), lines.new, seconds)
            with self.run.guarded():
                self.run.keep(item, video, complete=broken is None)
            if broken is not None:
                raise broken

    def _may_be_written(self, item: Item, frames: Frames) -> bool:
        assert self.files is not None
        try:
            self.files.claim_frames(item, frames.count or 0)
        except UsageError as error:
            self.run.record_failure(item, error)
            return False
        return True

    def _frames(self, item: Item, frames: Frames, lines: Lines | None) -> set[int]:
        """Track frame by frame, from where an earlier run stopped; give the ids seen."""
        start = lines.state if lines is not None else None
        first = start.frame + 1 if start is not None else 0
        ids: set[int] = set()
        config = self.config
        settings: Any = config.tracking
        tracked = self.pipe.track(frames, config.queries, start=start, **settings)
        with (
            self.run.guarded(),
            self.run.progress((frames.count or 0) - first, "frame") as bar,
            bar.waiting(FIRST) as come,
        ):
            for frame in _read(tracked, item):
                come()
                ids.update(frame.ids.tolist())
                if lines is not None:
                    lines.add(frame, tracked.state)
                if config.as_json:
                    self.run.print(_json(item, frame))
                bar.step()
                signals.check()
        return ids


def _read(tracked: Iterator[TrackedFrame], item: Item) -> Iterator[TrackedFrame]:
    """Give the frames; an error of the system is about the video that is read."""
    try:
        yield from tracked
    except OSError as error:
        raise VideoError(f"{item.path}: {error.strerror or error}", "video_unreadable") from error


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
    for text in paths:
        if "://" in text:
            raise UsageError(f"{text}: videos are not fetched, download it first")
        path = Path(text)
        stem = path.resolve().name if path.is_dir() else path.stem
        if stem in items:
            raise UsageError(f"two videos are called {stem}: their results would overwrite each other, run them apart")
        items[stem] = Item(path, path.name, stem)
    return list(items.values())
