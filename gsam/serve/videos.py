"""Videos that clients uploaded: on disk, within limits of number, length and age."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gsam.errors import UsageError, VideoError
from gsam.inputs.video import Frames, open_frames
from gsam.inputs.video.folder import Pictures
from gsam.results import jpeg
from gsam.serve.config import ServeConfig
from gsam.serve.problems import ServeError
from gsam.serve.video_folder import VideoFolder, remove
from gsam.types import Json

MOST_PICTURES = 32 << 20
"""Bytes of frames as JPEG that are kept, of all videos together."""
UNKNOWN = "this video is not known, or was forgotten because it was not used: upload it again"


@dataclasses.dataclass(eq=False)
class Video:
    """A video that was uploaded."""

    id: str = dataclasses.field(repr=False)
    place: Path = dataclasses.field(repr=False)
    """Its file, or the folder of its pictures."""
    frames: Frames
    count: int
    """Number of its frames, as it was when it came: decoding may find fewer."""
    used: float
    """When it was last used, on the clock of `Videos`."""
    users: int = 0
    """Requests that use it now."""
    reading: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock, repr=False)
    """Held while a frame is sought, which one thread does at a time."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.frames.size


class Videos:
    """The videos of a server; to be used in its event loop only, but for `probe` and `picture`.

    The one that was not used for longest goes first; one that is in use never does.
    """

    def __init__(self, config: ServeConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._known: collections.OrderedDict[str, Video] = collections.OrderedDict()  # the oldest use first
        self._pictures: collections.OrderedDict[tuple[str, int], bytes] = collections.OrderedDict()
        self._folder = VideoFolder()
        self._arriving = 0

    def __len__(self) -> int:
        return len(self._known)

    @contextlib.contextmanager
    def arriving(self) -> Iterator[Path]:
        """Give the path for a video that is on its way; what is there is removed unless added.

        Raises:
            ServeError: 503 ``busy`` where too many are on their way already.
        """
        if self._arriving >= self._config.max_videos:
            raise ServeError(503, "busy", "too many videos are being uploaded: try again", {"Retry-After": "5"})
        self.forget_old()
        place = self._folder.file()
        self._arriving += 1
        try:
            yield place
        finally:
            self._arriving -= 1
            if not any(video.place == place for video in self._known.values()):
                remove(place)

    def add(self, place: Path, frames: Frames, count: int) -> Video:
        """Keep a video.  Raises `ServeError` 503 ``videos_full`` where all others are in use."""
        idle = (video for video in list(self._known.values()) if not video.users)
        while len(self._known) >= self._config.max_videos:
            oldest = next(idle, None)
            if oldest is None:
                raise ServeError(503, "videos_full", "every video is in use: try again", {"Retry-After": "5"})
            self._forget(oldest)
        video = Video(secrets.token_urlsafe(24), place, frames, count, self._clock())
        self._known[video.id] = video
        return video

    def find(self, key: str) -> Video:
        """A video, which is used by that.  Raises `ServeError` 404 ``video_unknown``."""
        self.forget_old()
        if key not in self._known:
            raise ServeError(404, "video_unknown", UNKNOWN)
        video = self._known[key]
        self._touch(video)
        return video

    def hold(self, video: Video) -> Callable[[], None]:
        """Begin to use a video: it is not forgotten until what this gives is called."""
        video.users += 1

        def let_go() -> None:
            video.users -= 1
            self._touch(video)

        return let_go

    def delete(self, video: Video) -> None:
        """Forget a video that nothing uses any more, and remove its files."""
        if self._known.get(video.id) is video:
            self._forget(video)

    def expires_in(self, video: Video) -> float:
        """Seconds until it is forgotten, if nobody uses it."""
        left = self._config.session_age - (0.0 if video.users else self._clock() - video.used)
        return round(max(left, 0.0), 1)

    def forget_old(self) -> None:
        """Forget those that were not used for longer than their age."""
        before = self._clock() - self._config.session_age
        for video in [v for v in self._known.values() if not v.users and v.used <= before]:
            self._forget(video)

    async def watch(self) -> None:
        """Forget old ones for ever, without a request that asks for it."""
        while True:
            await asyncio.sleep(min(max(self._config.session_age / 8, 0.02), 30.0))
            self.forget_old()

    def close(self) -> None:
        """Forget all, and remove their folder."""
        for video in list(self._known.values()):
            self._forget(video)
        self._folder.close()

    # Frames

    def kept_picture(self, video: Video, number: int) -> bytes | None:
        """A frame as JPEG, if it was asked for not long ago."""
        found = self._pictures.get((video.id, number))
        if found is not None:
            self._pictures.move_to_end((video.id, number))
        return found

    def keep_picture(self, video: Video, number: int, data: bytes) -> None:
        """Keep a frame as JPEG, in place of those that were asked for longest ago."""
        if self._known.get(video.id) is not video:
            return
        self._pictures[video.id, number] = data
        total = sum(map(len, self._pictures.values()))
        while total > MOST_PICTURES:
            total -= len(self._pictures.popitem(last=False)[1])

    def _touch(self, video: Video) -> None:
        video.used = self._clock()
        if video.id in self._known:
            self._known.move_to_end(video.id)

    def _forget(self, video: Video) -> None:
        del self._known[video.id]
        for key in [key for key in self._pictures if key[0] == video.id]:
            del self._pictures[key]
        video.frames.close()
        remove(video.place)


def probe(place: Path, config: ServeConfig) -> tuple[Frames, int]:
    """Open an uploaded video and count its frames, within the limits; in a thread.

    Raises:
        VideoError: It is no video, cannot be read, or is too large.
        ServeError: 413 ``video_too_long``, or 503 ``extra_missing`` where PyAV is.
    """
    try:
        frames = open_frames(place, name="the video", max_pixels=config.max_pixels)
        count = len(frames)
    except VideoError as error:  # its text names the file, which is the server's own
        told = str(error).replace(str(place), "the video").replace(place.name, "the video")
        raise VideoError(told, error.code) from None
    except UsageError as error:
        raise ServeError(503, error.code, "this server reads no videos: pip install 'gsam-jax[serve,video]'") from None
    if isinstance(frames, Pictures):
        raise VideoError("this is an image, no video: images are sent to /v1/segment or /v1/sessions", "video_is_image")
    if count > config.max_frames:
        frames.close()
        raise ServeError(413, "video_too_long", f"a video of {count} frames, at most {config.max_frames} are served")
    return frames, count


def picture(video: Video, number: int) -> bytes:
    """A frame as JPEG; in a thread.  Raises `VideoError` where it cannot be decoded."""
    return jpeg.pack(video.frames[number].pixels)


def described(video: Video, expires_in: float) -> Json:
    """Describe a video to its client."""
    rate = video.frames.rate
    return {
        "video": video.id,
        "frames": video.count,
        "fps": None if rate is None else round(float(rate), 6),
        "width": video.size[1],
        "height": video.size[0],
        "expires_in": expires_in,
    }
