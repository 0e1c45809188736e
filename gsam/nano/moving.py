"""Clips of moving pictograms with exact truth: what nano learns to follow things from.

The pictograms, backgrounds and names are those of `gsam.nano.scenes`.  They drift, turn and grow a
little, pass over one another and behind occluders, leave, come back, and enter late; a camera may
pan over what is behind them.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from gsam.nano.backgrounds import background
from gsam.nano.layer import Layer
from gsam.nano.motion import HABITS, Floats, count, habit, places, smooth, turns
from gsam.nano.names import any_names
from gsam.nano.scenes import CELL, IGNORE, LEAST_AREA, LEAST_PART, pick, sprite
from gsam.ops.bounds import bounds

SLIVER = 8 / 160**2
"""A share of the frame (its longer side squared): what is seen of a thing in one frame is ignored
below this.
"""
SIZES = 0.2, 0.6
"""From the smallest to the largest thing, of the frame's shorter side, where it is alone."""
PAN = 0.15
"""Size of the background of a moving camera, in frames."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """T frames and their truth."""

    rgb: NDArray[np.uint8]
    """[T, h, w, 3]."""
    instances: NDArray[np.uint8]
    """[T, h, w]: 0 background and occluders, k + 1 what is visible of object k, 255 where nothing
    is judged: slivers, and things that are never seen well enough to have a name."""
    names: list[str]
    """[N], in an order that says nothing."""

    @property
    def present(self) -> NDArray[np.bool_]:
        """[T, N]: whether any of the object is visible."""
        return (self.boxes()[..., 2] > 0).reshape(len(self.rgb), len(self.names))

    def boxes(self) -> NDArray[np.float32]:
        """[T, N, 4] pixels, tight around what is visible, exclusive right and bottom; zeros where
        nothing is.
        """
        found = np.zeros((len(self.rgb), len(self.names), 4), np.float32)
        for t, frame in enumerate(self.instances):
            for k in range(len(self.names)):
                found[t, k] = bounds(frame == k + 1)
        return found

    def masks(self, k: int) -> NDArray[np.bool_]:
        """[T, h, w] of object ``k``."""
        return self.instances == k + 1


def draw_clip(
    rng: np.random.Generator,
    size: tuple[int, int] = (128, 128),
    frames: int = 16,
    *,
    names: list[str] | None = None,
    behind: NDArray[np.uint8] | None = None,
    most: int = 4,
    squash: float = 1.0,
    often: Collection[str] = (),
) -> Clip:
    """A clip of ``frames`` frames of ``size`` (h, w) with 1 to ``most`` things; one of them is
    visible in the first frame.

    ``names`` fixes what is in it (what is never seen well is left out all the same).  ``behind``
    [H, W, 3] is the background, at least as large as the frame; where it is larger, the camera pans
    over it.  ``squash``: how much wider than in the world everything appears, as in a view that is
    made square.  ``often``: names that come more often than others (`gsam.nano.names.any_names`).
    Raises `ValueError` without a frame, or with a background too small.
    """
    if frames < 1 or min(size) < 8:
        raise ValueError(f"a clip has at least one frame of 8 x 8 pixels, not {frames} of {size[0]} x {size[1]}")
    while True:
        clip = _attempt(rng, size, frames, names, behind, most, squash, often)
        if clip is not None:
            return clip


def _attempt(
    rng: np.random.Generator,
    size: tuple[int, int],
    frames: int,
    names: list[str] | None,
    behind: NDArray[np.uint8] | None,
    most: int,
    squash: float,
    often: Collection[str],
) -> Clip | None:
    world, camera = _camera(rng, size, frames, behind)
    layers, chosen = _layers(rng, size, frames, names, most, camera, np.array([squash**0.5, squash**-0.5]), often)
    rgb, truth = np.empty((frames, *size, 3), np.float32), np.zeros((frames, *size), np.uint8)
    for t in range(frames):
        rgb[t] = _seen(world, camera[t], size)
        for layer in layers:
            layer.put(rgb[t], truth[t], t)
    kept = _judge(truth, layers, len(chosen))
    if not any((truth[0] == k + 1).any() for k in range(len(kept))):
        return None
    return Clip(_develop(rng, rgb), truth, [chosen[k] for k in kept])


def _camera(
    rng: np.random.Generator, size: tuple[int, int], frames: int, behind: NDArray[np.uint8] | None
) -> tuple[Image.Image, Floats]:
    """Draw the background, and find where the frame's corner is in it: [T, 2], x and y."""
    h, w = size
    moving = rng.random() < 0.6
    if behind is None:
        tall, wide = (round(n * (1 + PAN * moving)) for n in size)
        behind = np.clip(background(rng, tall, wide), 0, 255).astype(np.uint8)
    room = np.array([behind.shape[1] - w, behind.shape[0] - h], float)
    if (room < 0).any():
        raise ValueError(f"a background of {behind.shape[:2]} is smaller than the frame, {size}")
    steps = rng.uniform(0, room, (count(frames), 2)) if moving else np.tile(rng.uniform(0, room), (2, 1))
    # Half of a step at a time: a camera that is carried, not thrown.
    eased = np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2])
    return Image.fromarray(behind), np.clip(smooth(eased, frames), 0, room)


def _seen(world: Image.Image, corner: Floats, size: tuple[int, int]) -> NDArray[np.float32]:
    x, y = corner
    if world.size == size[::-1]:
        return np.asarray(world, np.float32)
    data = (1.0, 0.0, x, 0.0, 1.0, y)
    view = world.transform(size[::-1], Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(view, np.float32)


def _layers(
    rng: np.random.Generator,
    size: tuple[int, int],
    frames: int,
    names: list[str] | None,
    most: int,
    camera: Floats,
    aspect: NDArray[np.float64],
    often: Collection[str],
) -> tuple[list[Layer], list[str]]:
    """Everything that moves, the nearest last, and the names of those that have a number."""
    twins = False
    if names is None:
        names = any_names(rng, int(rng.integers(1, most + 1)), often)
        if len(names) > 1 and rng.random() < 0.3:
            names[1], twins = names[0], bool(rng.random() < 0.5)
    points, crowd = count(frames), 1 / (1 + 0.06 * len(names))
    things: list[Layer] = []
    spots: list[Floats] = []
    for k in range(len(names) + int(rng.random() < 0.35)):
        negative = k >= len(names)
        kind = str(rng.choice(list(HABITS), p=list(HABITS.values())))
        if k == 0 and kind == "late":
            kind = "stay"
        side = min(size) * float(np.exp(rng.uniform(*np.log(SIZES)))) * crowd
        inside = habit(rng, points, kind)
        spot = places(rng, size, side * float(aspect.max()), inside)
        if k and rng.random() < 0.4:  # meets another one
            other, m = int(rng.integers(k)), int(rng.integers(1, points))
            if inside[m]:
                spot[m] = spots[other][m] + rng.normal(0, 0.2 * side, 2)
        glyph = pick(rng, None if negative else names[k])
        source = things[0].source if k == 1 and twins else sprite(glyph, 0 if side > 85 else 1 if side > 42 else 2)
        path = smooth(np.concatenate([spot, turns(rng, points)], 1), frames)
        own = np.exp(rng.uniform(-0.15, 0.15) * np.array([1, -1]))
        thing = Layer(source, path, side, aspect * own, -1.0 if rng.random() < 0.5 else 1.0)
        thing.light = np.float32(rng.uniform(0.7, 1.2)) * rng.uniform(0.92, 1.08, 3).astype(np.float32)
        thing.number = 0 if negative else k + 1
        if rng.random() < 0.35:
            soft = source.getchannel("a").filter(ImageFilter.BoxBlur(max(1.0, source.width * 0.03)))
            thing.shadow = (soft, float(rng.uniform(0.2, 0.55)), side * rng.uniform(-0.1, 0.12, 2))
        things.append(thing)
        spots.append(spot)
    layers = [things[i] for i in rng.permutation(len(things))]
    if rng.random() < 0.5:
        layers.append(_occluder(rng, size, frames, spots[int(rng.integers(len(spots)))], camera, aspect))
    return layers, names


def _occluder(
    rng: np.random.Generator,
    size: tuple[int, int],
    frames: int,
    spot: Floats,
    camera: Floats,
    aspect: NDArray[np.float64],
) -> Layer:
    """A textured post or rag before everything: it stands in the world, or crosses the frame, at a
    place of ``spot``.
    """
    mask = Image.new("L", (CELL, CELL))
    pen = ImageDraw.Draw(mask)
    if rng.random() < 0.5:
        half = CELL * rng.uniform(0.05, 0.13)
        pen.rectangle((CELL / 2 - half, 2, CELL / 2 + half, CELL - 3), fill=255)
        side = max(size) * float(rng.uniform(0.9, 1.6))
    else:
        angles = np.linspace(0, 2 * np.pi, int(rng.integers(4, 9)), endpoint=False)
        radius = CELL * rng.uniform(0.25, 0.48, len(angles))
        corners = np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None] + CELL / 2
        pen.polygon([(float(x), float(y)) for x, y in corners], fill=255)
        side = min(size) * float(rng.uniform(0.25, 0.6))
    skin = Image.fromarray(np.clip(background(rng, CELL, CELL), 0, 255).astype(np.uint8))
    skin.putalpha(mask)
    at = spot[int(rng.integers(len(spot)))]
    angle = np.full((frames, 1), rng.normal(0, 0.15) + np.pi / 2 * float(rng.random() < 0.3))
    if rng.random() < 0.5:
        centre = at - camera + camera[frames // 2]
    else:
        way = np.array([np.cos(a := rng.uniform(0, 2 * np.pi)), np.sin(a)]) * min(size) * rng.uniform(0.01, 0.05)
        centre = at + way * (np.arange(frames)[:, None] - frames / 2)
    path = np.concatenate([centre, angle, np.zeros((frames, 1))], 1)
    return Layer(skin.convert("RGBa"), path, side, aspect)


def _judge(truth: NDArray[np.uint8], layers: list[Layer], things: int) -> list[int]:
    """Renumber the truth in place: slivers, and things that no frame shows well, are ignored;
    returns what is left.
    """
    frame = max(truth.shape[1:]) ** 2
    seen = np.stack([np.bincount(f.ravel(), minlength=things + 1)[1 : things + 1] for f in truth])  # [T, things]
    kept: list[int] = []
    table = np.full(256, IGNORE, np.uint8)
    table[0] = 0
    by_number = {layer.number: layer for layer in layers if layer.number}
    for k in range(things):
        whole = np.array([by_number[k + 1].area(t) for t in range(len(truth))])
        if ((seen[:, k] >= LEAST_AREA * frame) & (seen[:, k] >= LEAST_PART * whole)).any():
            kept.append(k)
            table[k + 1] = len(kept)
    for t, frame_truth in enumerate(truth):
        own = table.copy()
        own[1 : things + 1][seen[t] < SLIVER * frame] = IGNORE
        truth[t] = own[frame_truth]
    return kept


def _develop(rng: np.random.Generator, rgb: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Exposure that drifts, noise, softness, compression: the same settings for all frames."""
    frames = len(rgb)
    gain = rng.uniform(0.75, 1.15) * np.exp(smooth(rng.normal(0, 0.02, (count(frames), 1)), frames))
    rgb *= gain.astype(np.float32)[:, :, None, None]
    rgb += np.float32(rng.uniform(-12, 12))
    if rng.random() < 0.5:
        rgb += np.float32(rng.uniform(1, 10)) * rng.standard_normal(rgb.shape, np.float32)
    pixels = np.clip(rgb, 0, 255, out=rgb).astype(np.uint8)
    blur = float(rng.uniform(0.3, 0.9)) * max(rgb.shape[1:3]) / 160 if rng.random() < 0.2 else 0.0
    quality = int(rng.integers(35, 95)) if rng.random() < 0.25 else 0
    for t in range(frames if blur or quality else 0):
        image = Image.fromarray(pixels[t])
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur))
        if quality:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality)
            image = Image.open(buffer)
        pixels[t] = np.asarray(image)
    return pixels
