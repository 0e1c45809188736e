"""Clips to measure tracking on: never trained on, the same on every machine that has the font.

``python -m gsam.nano.heldout_clips FOLDER --set test --clips 30 --frames 24`` writes them as DAVIS
does (``JPEGImages/00/00000.jpg``, ``Annotations/00/00000.png``), the names of the objects in
``clips.json``, with ``--sheets`` a sheet of each, and with ``--videos`` a video file.  The shipped
ones: ``python -m gsam.nano.heldout_clips tests/data/clips --set shipped --clips 3 --frames 12``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from gsam.nano.backdrops import backdrop
from gsam.nano.moving import PAN, Clip, draw_clip
from gsam.results.draw import contact_sheet
from gsam.results.formats import davis
from gsam.results.formats.overlay_video import OverlayVideo
from gsam.results.tracks import TrackedFrame, Tracks

SETS: dict[str, tuple[int, int, int]] = {
    "validation": (7101, 160, 320),
    "test": (9101, 160, 320),
    "shipped": (5101, 128, 160),
}
"""Set -> first half of its seeds, and the shortest and longest its longer side may be.  Every
second clip has a background that training never saw."""
RATE = 12
"""Frames a second that a clip is meant to have."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A clip and what it is called."""

    name: str
    clip: Clip

    def tracks(self) -> Tracks:
        """The truth: object k has id k + 1; what is not judged is left out."""
        clip = self.clip
        frames = []
        for t, here in enumerate(clip.present):
            rows = np.flatnonzero(here)
            masks = clip.instances[t][None] == (rows + 1)[:, None, None]
            labels = [clip.names[k] for k in rows]
            frames.append(TrackedFrame.of(t, masks, rows + 1, labels, time=t / RATE))
        return Tracks.of(frames, name=self.name, queries=sorted(set(clip.names)))

    def sheet(self, columns: int = 8) -> Image.Image:
        """All frames with their masks."""
        clip = self.clip
        return contact_sheet.draw(
            clip.rgb,
            clip.instances,
            names=clip.names,
            columns=columns,
            title=self.name,
            numbers=range(len(clip.rgb)),
        )


def draw(chosen: str, number: int, frames: int = 24) -> Clip:
    """Clip ``number`` of a set, upright or wide up to 5 : 3."""
    family, least, longest = SETS[chosen]
    rng = np.random.default_rng((family, number, frames))
    side = int(rng.integers(least, longest + 1))
    short = round(side * float(rng.uniform(0.6, 1.0)))
    h, w = (side, short) if rng.random() < 0.5 else (short, side)
    behind = backdrop(rng, round(h * (1 + PAN)), round(w * (1 + PAN))) if number % 2 else None
    return draw_clip(rng, (h, w), frames, behind=behind)


def examples(chosen: str, count: int, frames: int = 24) -> Iterator[Example]:
    """The first ``count`` clips of a set, drawn one by one."""
    return (Example(f"{i:02d}", draw(chosen, i, frames)) for i in range(count))


def write(
    folder: Path, chosen: str, count: int, frames: int = 24, *, sheets: bool = False, videos: bool = False
) -> None:
    """Frames (JPEG of quality 90), masks, ``clips.json``, and contact sheets and MP4 if asked
    for.
    """
    entries = []
    for example in tqdm(examples(chosen, count, frames), total=count, unit="clip", mininterval=5):
        clip, images = example.clip, folder / "JPEGImages" / example.name
        images.mkdir(parents=True, exist_ok=True)
        for t, (rgb, truth) in enumerate(zip(clip.rgb, clip.instances, strict=True)):
            Image.fromarray(rgb).save(images / f"{t:05d}.jpg", quality=90, optimize=True)
            davis.write_frame(truth, folder / "Annotations" / example.name / davis.name(t))
        size = {"width": clip.rgb.shape[2], "height": clip.rgb.shape[1], "frames": len(clip.rgb)}
        entries.append({"name": example.name, **size, "objects": clip.names})
        if sheets:
            example.sheet().save(folder / f"{example.name}.png")
        if videos:
            with OverlayVideo(folder / f"{example.name}.mp4", Fraction(RATE)) as video:
                for rgb in clip.rgb:
                    video.add(rgb)
    command = f"python -m gsam.nano.heldout_clips FOLDER --set {chosen} --clips {count} --frames {frames}"
    head = json.dumps({"made_by": command, "seeds": SETS[chosen][0], "rate": RATE})[1:-1]
    rows = ",\n".join(json.dumps(entry) for entry in entries)
    (folder / "clips.json").write_text(f'{{{head}, "clips": [\n{rows}\n]}}\n')


def read(folder: Path) -> list[Example]:
    """Read the clips that `write` wrote; the frames are those of the JPEGs."""
    found = []
    for entry in json.loads((folder / "clips.json").read_text())["clips"]:
        frames, truth = [], []
        for t in range(entry["frames"]):
            with Image.open(folder / "JPEGImages" / entry["name"] / f"{t:05d}.jpg") as file:
                frames.append(np.asarray(file.convert("RGB")))
            truth.append(davis.read_frame(folder / "Annotations" / entry["name"] / davis.name(t)))
        found.append(Example(entry["name"], Clip(np.stack(frames), np.stack(truth), entry["objects"])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gsam.nano.heldout_clips", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=list(SETS), default="test")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--sheets", action="store_true", help="also a contact sheet of each clip")
    parser.add_argument("--videos", action="store_true", help="also a video file of each, which needs the extra video")
    args = parser.parse_args()
    write(args.folder, args.set, args.clips, args.frames, sheets=args.sheets, videos=args.videos)


if __name__ == "__main__":
    main()
