"""Rows of a pool that are frames of clips: things behind others and behind posts, half out of the
image, and as coarse as videos are."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from gsam.nano.moving import Clip, draw_clip
from gsam.nano.scenes import Drawn

FRAMES = 6
"""Frames of a clip, of which one is taken."""
SIZES = (128, 320)
"""Shortest and longest that the longer side of a frame is drawn."""


def still(rng: np.random.Generator, often: Collection[str] = ()) -> Drawn:
    """Draw a clip and take a frame of it in which there is something.

    Things that the frame does not show are left out.  ``often``: see `draw_clip`.
    """
    longest = int(rng.integers(SIZES[0], SIZES[1] + 1))
    short = round(longest * float(rng.uniform(0.5, 1.0)))
    size = (longest, short) if rng.random() < 0.5 else (short, longest)
    squash = float(np.exp(rng.uniform(-1, 1) * np.log(2))) if rng.random() < 0.2 else 1.0
    clip = draw_clip(rng, size, FRAMES, squash=squash, often=often)
    shown = np.flatnonzero(clip.present.any(1))
    return frame_of(clip, int(rng.choice(shown)))


def frame_of(clip: Clip, t: int) -> Drawn:
    """One frame as a scene.

    Args:
        clip: The clip.
        t: Number of the frame.

    Returns:
        What is visible in it, numbered anew.
    """
    here = np.flatnonzero(clip.present[t])
    number = np.arange(256, dtype=np.uint8)
    number[1 : len(clip.names) + 1] = 0
    number[here + 1] = np.arange(1, len(here) + 1)
    boxes = clip.boxes()[t][here]
    return Drawn(clip.rgb[t], number[clip.instances[t]], [clip.names[k] for k in here], boxes)
