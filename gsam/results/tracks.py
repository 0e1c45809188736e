"""The objects that were tracked through a video, as the user holds them. numpy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gsam.results.masks.rle import Rle

if TYPE_CHECKING:
    from PIL import Image


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrackedFrame:
    """The N objects seen in one frame.

    An object that is not seen is left out, or has an empty mask: both mean the same.
    """

    index: int
    """Number of the frame in its video, from 0."""
    size: tuple[int, int]
    """Height and width of the frame in pixels."""
    ids: NDArray[np.int64]
    """[N] int64 identities, the same in all frames."""
    labels: list[str]
    """[N], the user's words."""
    scores: NDArray[np.float32]
    """[N] in 0..1."""
    rles: list[Rle]
    """[N] masks as COCO run lengths (`gsam.results.masks.rle`)."""
    time: float | None = None
    """Seconds from the first frame, if known."""

    def __post_init__(self) -> None:
        n = len(self.ids)
        counts = {"labels": len(self.labels), "scores": len(self.scores), "rles": len(self.rles)}
        if any(c != n for c in counts.values()):
            raise ValueError(f"frame {self.index}: {n} ids do not go with {counts}")
        if len(set(self.ids.tolist())) != n:
            raise ValueError(f"frame {self.index}: an id stands for two objects, {self.ids.tolist()}")
        for i, rle in zip(self.ids.tolist(), self.rles, strict=True):
            if tuple(rle["size"]) != self.size:
                raise ValueError(f"frame {self.index}: the mask of object {i} is {rle['size']}, the frame {self.size}")

    @classmethod
    def of(
        cls,
        index: int,
        masks: NDArray[np.bool_],
        ids: Sequence[int] | np.ndarray,
        labels: Sequence[str] | None = None,
        scores: Sequence[float] | np.ndarray | None = None,
        time: float | None = None,
    ) -> TrackedFrame:
        """Make a frame from masks.

        Args:
            index: Number of the frame in its video, from 0.
            masks: [N, H, W] bool.
            ids: [N] int identities.
            labels: [N] labels; by default ``""`` each.
            scores: [N] float in 0..1; by default 1 each.
            time: Seconds from the first frame; None if not known.

        Returns:
            The frame, with its masks as run lengths.
        """
        from gsam.results.masks.rle import encode

        n = len(masks)
        return cls(
            index,
            (int(masks.shape[1]), int(masks.shape[2])),
            np.asarray(ids, np.int64).reshape(-1),
            list(labels) if labels is not None else [""] * n,
            np.asarray(scores, np.float32).reshape(-1) if scores is not None else np.ones(n, np.float32),
            [encode(np.asarray(m, bool)) for m in masks],
            time,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        things = ", ".join(_named(i, label) for i, label in zip(self.ids.tolist(), self.labels, strict=True))
        return f"<TrackedFrame {self.index}, {self.size[1]} x {self.size[0]}: {things or 'nothing'}>"

    def _repr_html_(self) -> str:
        from gsam.results.draw.html import page
        from gsam.results.draw.tracks_picture import frame_picture

        columns = (self.ids.tolist(), self.labels, self.scores, self.xyxy, self.areas)
        rows = [
            (i, label, f"{score:.2f}", " ".join(str(int(v)) for v in box), area)
            for i, label, score, box, area in zip(*columns, strict=True)
        ]
        picture = frame_picture(self.size, self.ids.tolist(), self.labels, self.rles)
        return page(repr(self)[1:-1], picture, ("id", "label", "score", "box", "area"), rows)

    def mask(self, i: int) -> NDArray[np.bool_]:
        """Make the mask of one object.

        Args:
            i: The row of the object, not its id.

        Returns:
            [H, W] bool.
        """
        from gsam.results.masks.rle import decode

        return decode(self.rles[i])

    @property
    def masks(self) -> NDArray[np.bool_]:
        """[N, H, W] bool, made anew each time."""
        masks = np.zeros((len(self), *self.size), bool)
        for i in range(len(self)):
            masks[i] = self.mask(i)
        return masks

    @property
    def areas(self) -> NDArray[np.int64]:
        """[N] pixels of each mask."""
        from gsam.results.masks.rle import area

        return np.array([area(rle) for rle in self.rles], np.int64)

    @property
    def xyxy(self) -> NDArray[np.float32]:
        """[N, 4] float32 boxes in pixels, tight around the masks; zeros for an empty one."""
        from gsam.results.masks.rle import bounds

        return np.array([bounds(rle) for rle in self.rles], np.float32).reshape(-1, 4)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Tracks:
    """The frames of one video in order, none of them twice."""

    frames: list[TrackedFrame]
    """The frames, by ascending index."""
    size: tuple[int, int]
    """Height and width of every frame in pixels."""
    count: int
    """Number of frames of the video: ``frames`` may hold fewer, the others have no object."""
    rate: Fraction | None = None
    """Frames per second, if known."""
    name: str = "video"
    """The name of the video."""
    queries: list[str] = dataclasses.field(default_factory=list)
    """The queries, in the user's words."""

    def __post_init__(self) -> None:
        at = [f.index for f in self.frames]
        if at != sorted(set(at)) or (at and not 0 <= at[0] <= at[-1] < self.count):
            raise ValueError(f"the frames of {self.count} are not in order or not within: {at[:10]}")
        odd = next((f for f in self.frames if f.size != self.size), None)
        if odd is not None:
            raise ValueError(f"frame {odd.index} is {odd.size}, the video {self.size}")

    @classmethod
    def of(
        cls,
        frames: Iterable[TrackedFrame],
        *,
        count: int | None = None,
        rate: Fraction | None = None,
        name: str = "video",
        queries: Sequence[str] = (),
    ) -> Tracks:
        """Collect frames given in any order.

        Args:
            frames: Frames of one video.
            count: How many frames the video has; by default one more than the last index.
            rate: Frames per second; None if not known.
            name: The name of the video.
            queries: The queries, in the user's words.

        Returns:
            The frames in order.

        Raises:
            ValueError: There is no frame, so that nothing says how large the video is.
        """
        ordered = sorted(frames, key=lambda f: f.index)
        if not ordered:
            raise ValueError("tracks of no frame at all")
        count = ordered[-1].index + 1 if count is None else count
        return cls(ordered, ordered[0].size, count, rate, name, list(queries))

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        things = ", ".join(_named(i, label) for i, label in self.labels.items())
        return f"<Tracks {self.name}, {self.count} frames of {self.size[1]} x {self.size[0]}: {things or 'nothing'}>"

    def _repr_html_(self) -> str:
        from gsam.results.draw.html import page
        from gsam.results.draw.tracks_picture import sheet

        seen: dict[int, list[int]] = {}
        for frame in self.frames:
            for i, area in zip(frame.ids.tolist(), frame.areas.tolist(), strict=True):
                if area:
                    seen.setdefault(i, []).append(frame.index)
        labels, scores = self.labels, self.scores
        rows = [
            (i, labels[i], f"{scores[i]:.2f}", f"{min(at)} to {max(at)}", len(at)) for i, at in sorted(seen.items())
        ]
        picture = sheet([f.index for f in self.frames], lambda place: self._drawn(self.frames[place]))
        return page(repr(self)[1:-1], picture, ("id", "label", "score", "frames", "seen in"), rows)

    def __iter__(self) -> Iterator[TrackedFrame]:
        return iter(self.frames)

    @property
    def ids(self) -> list[int]:
        """All identities, ascending."""
        return sorted({i for f in self.frames for i in f.ids.tolist()})

    @property
    def labels(self) -> dict[int, str]:
        """Label of each identity: its most frequent one, weighted by score; the first of equals."""
        weight: dict[int, dict[str, float]] = {}
        for frame in self.frames:
            for i, label, score in zip(frame.ids.tolist(), frame.labels, frame.scores.tolist(), strict=True):
                of = weight.setdefault(i, {})
                of[label] = of.get(label, 0.0) + score
        return {i: max(of, key=lambda label: of[label]) for i, of in sorted(weight.items())}

    @property
    def scores(self) -> dict[int, float]:
        """The mean score of each identity over the frames it is listed in."""
        found: dict[int, list[float]] = {}
        for frame in self.frames:
            for i, score in zip(frame.ids.tolist(), frame.scores.tolist(), strict=True):
                found.setdefault(i, []).append(score)
        return {i: float(np.mean(s)) for i, s in sorted(found.items())}

    def masks_of(self, identity: int) -> list[Rle | None]:
        """Collect the masks of one object.

        Args:
            identity: The object's id.

        Returns:
            [count] COCO run lengths, None for a frame where the object is not seen.
        """
        from gsam.results.masks.rle import area

        out: list[Rle | None] = [None] * self.count
        for frame in self.frames:
            for i in np.flatnonzero(frame.ids == identity):
                out[frame.index] = frame.rles[i] if area(frame.rles[i]) else None
        return out

    def _drawn(self, frame: TrackedFrame) -> NDArray[np.int64]:
        """The number of the colour in each pixel of a frame [H, W], 0 for none."""
        drawn = np.zeros(self.size, np.int64)
        for i, identity in enumerate(frame.ids.tolist()):
            drawn[frame.mask(i)] = identity + (identity >= 255)  # 255 is what is not judged
        return drawn

    def plot(
        self, frames: Sequence[NDArray[np.uint8]], *, columns: int = 8, zoom: int = 1, title: str = ""
    ) -> Image.Image:
        """Draw a contact sheet: every frame under its number, every object in the colour of its id.

        Args:
            frames: All ``count`` frames of the video, [H, W, 3] uint8 RGB each.
            columns: Frames per row.
            zoom: By how much frames are enlarged.
            title: A line above the sheet.

        Returns:
            An RGB image.
        """
        from gsam.results.draw import contact_sheet

        pixels = np.asarray(frames)
        drawn = np.zeros((self.count, *self.size), np.int64)
        for frame in self.frames:
            drawn[frame.index] = self._drawn(frame)
        labels = self.labels
        names = [labels.get(k, "") for k in range(1, max(labels, default=0) + 1)]
        return contact_sheet.draw(
            pixels, drawn, names=names, columns=columns, zoom=zoom, title=title, numbers=range(len(pixels))
        )


def _named(identity: int, label: str) -> str:
    return f"{label} #{identity}" if label else f"#{identity}"
