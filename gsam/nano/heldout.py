"""Scenes to measure nano on: never trained on, drawn at full size, the same on every machine that
has the font.

``python -m gsam.nano.heldout FOLDER --set test --scenes 24`` writes images and ``truth.json``; the
shipped ones: ``python -m gsam.nano.heldout tests/data/heldout --set shipped --scenes 24 --format
jpg``; the sample: ``python -m gsam.nano.heldout --sample notebooks/scene.png``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.nano.backdrops import backdrop
from gsam.nano.backgrounds import stretch
from gsam.nano.drawings import FONT, UNSEEN
from gsam.nano.scenes import IGNORE, OBJECTS, Drawn, draw_scene
from gsam.ops.bounds import bounds
from gsam.results.masks import rle
from gsam.types import Json


class SceneSet(NamedTuple):
    """The scenes of a set."""

    seeds: int
    """First half of the seeds."""
    longest: int = 640
    """Longest side in pixels."""
    new_backdrops: bool = True
    """Whether every second scene has a background training never saw."""
    crowded: bool = False
    """Whether things are as many (up to 8) and as small as in training, where 43 % of them cover
    less than 16 x 16 pixels of 160 x 160.  The other sets have up to 6 things, 0.14 to 0.75 of the
    short side large."""
    style: str = FONT
    """Who drew the things (`gsam.nano.drawings`)."""


SETS: dict[str, SceneSet] = {
    "validation": SceneSet(7001, new_backdrops=False),
    "test": SceneSet(9001),
    "crowded": SceneSet(9002, crowded=True),
    "unseen_font": SceneSet(9003, style=UNSEEN),
    "shipped": SceneSet(5001, longest=512),
}

SHORTEST = 256
SAMPLE = ("dog", "pizza", "bicycle", "umbrella", "red apple", "green apple", "guitar", "elephant")
SAMPLE_SEED = 3945


@dataclasses.dataclass(frozen=True)
class Example:
    """An image and what is in it."""

    rgb: NDArray[np.uint8]
    """[H, W, 3]."""
    masks: NDArray[np.bool_]
    """[M, H, W], of what is visible."""
    names: list[str]
    ignored: NDArray[np.bool_]
    """[H, W]: things too hidden to have a label."""
    file: str = ""

    @classmethod
    def of(cls, drawn: Drawn) -> Example:
        masks = drawn.instances[None] == np.arange(1, len(drawn.names) + 1)[:, None, None]
        return cls(drawn.rgb, masks, drawn.names, drawn.instances == IGNORE)


def draw(chosen: str, number: int) -> Drawn:
    """Scene ``number`` of a set: its longer side is 256 pixels or more, its shorter one down to
    half of that.
    """
    drawn = SETS[chosen]
    rng = np.random.default_rng((drawn.seeds, number))
    side = int(rng.integers(SHORTEST, drawn.longest + 1))
    short = max(round(side * float(rng.uniform(0.5, 1.0))), SHORTEST // 2)
    h, w = (side, short) if rng.random() < 0.5 else (short, side)
    behind = backdrop(rng, h, w) if drawn.new_backdrops and number % 2 else None
    most, crowding = (OBJECTS, 0.09) if drawn.crowded else (6, 0.0)
    return draw_scene(rng, (h, w), backdrop=behind, most=most, crowding=crowding, styles=(drawn.style,))


def examples(chosen: str, count: int) -> Iterator[Example]:
    """The first ``count`` scenes of a set, drawn one by one."""
    return (Example.of(draw(chosen, i)) for i in range(count))


def write(folder: Path, chosen: str, count: int, suffix: str = "png") -> None:
    """Images ``00.png`` ... and ``truth.json``: boxes in pixels, masks as COCO run lengths."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = []
    for i, example in enumerate(examples(chosen, count)):
        name = f"{i:02d}.{suffix}"
        image = Image.fromarray(example.rgb)
        image.save(folder / name, **({"quality": 92} if suffix == "jpg" else {"optimize": True}))
        scenes.append(to_dict(example, name))
    command = f"python -m gsam.nano.heldout FOLDER --set {chosen} --scenes {count} --format {suffix}"
    head = json.dumps({"made_by": command, "seeds": SETS[chosen].seeds})[1:-1]
    rows = ",\n".join(json.dumps(s) for s in scenes)
    (folder / "truth.json").write_text(f'{{{head}, "scenes": [\n{rows}\n]}}\n')


def to_dict(example: Example, name: str) -> Json:
    """The entry of one image in ``truth.json``."""
    h, w = example.rgb.shape[:2]
    objects = [
        {"label": n, "box": bounds(m), "mask": rle.encode(m)} for n, m in zip(example.names, example.masks, strict=True)
    ]
    return {"image": name, "width": w, "height": h, "objects": objects, "ignored": rle.encode(example.ignored)}


def read(folder: Path) -> list[Example]:
    """Read the scenes that `write` wrote."""
    truth = json.loads((folder / "truth.json").read_text())
    found = []
    for scene in truth["scenes"]:
        with Image.open(folder / scene["image"]) as file:
            rgb = np.asarray(file.convert("RGB"))
        masks = [rle.decode(o["mask"]) for o in scene["objects"]]
        stacked = np.stack(masks) if masks else np.zeros((0, *rgb.shape[:2]), bool)
        names = [o["label"] for o in scene["objects"]]
        found.append(Example(rgb, stacked, names, rle.decode(scene["ignored"]), scene["image"]))
    return found


def sample(seed: int = SAMPLE_SEED, side: int = 512) -> Drawn:
    """The image of the README: eight things on a soft evening gradient."""
    rng = np.random.default_rng((4001, seed))
    corners = np.array([[[246, 226, 196], [240, 205, 190]], [[150, 190, 196], [120, 160, 190]]], np.float32)
    behind = stretch(corners, side, side) + stretch(rng.normal(0, 5, (7, 7, 3)).astype(np.float32), side, side)
    return draw_scene(rng, (side, side), names=list(SAMPLE), backdrop=np.clip(behind, 0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--set", choices=list(SETS), default="test")
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--format", choices=["png", "jpg"], default="png")
    parser.add_argument("--sample", type=Path, help="write the sample image here, and nothing else")
    args = parser.parse_args()
    if args.sample:
        Image.fromarray(sample().rgb).save(args.sample, optimize=True)
    elif args.folder:
        write(args.folder, args.set, args.scenes, args.format)
    else:
        parser.error("a FOLDER or --sample PATH is needed")


if __name__ == "__main__":
    main()
