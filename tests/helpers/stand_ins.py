"""The files that the documentation names, and small models in place of the official ones that it
loads.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import pytest
from PIL import Image

import gsam
from tests.helpers.drawings import write_drawings
from tests.models import small_detectors, small_segmenters
from tests.tracking import small as small_trackers
from tests.tracking.test_text_tracking import pipeline as whole_and_tracker
from tests.weights import files

ROOT = Path(__file__).parents[2]
SIZES = {"street.jpg": (90, 70), "a.jpg": (90, 70), "b.jpg": (90, 70), "aerial.png": (1100, 70), "photo.jpg": (90, 70)}


def write_files(folder: Path) -> None:
    """Images, a video as a folder of frames, a volume, tracks, labelled images, and a fine-tuned
    SAM of the size of nano's.
    """
    from gsam.results.formats import tracks_jsonl
    from gsam.results.tracks import TrackedFrame

    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    (folder / "out").mkdir()
    scene = Image.open(ROOT / "notebooks" / "scene.png").convert("RGB")
    for name, size in SIZES.items():
        scene.resize(size).save(folder / name)
    frames = small_trackers.frames(4)
    (folder / "clip.mp4").mkdir()
    for i, pixels in enumerate(frames):
        Image.fromarray(pixels).resize((90, 70)).save(folder / "clip.mp4" / f"{i}.png")
    mask = frames[0][None, ..., 0] > 128
    with tracks_jsonl.TracksWriter(folder / "out" / "clip.jsonl", tracks_jsonl.Head(mask.shape[1:], count=1)) as writer:
        writer.add(TrackedFrame.of(0, mask, [1], ["dog"]))
    _volume(folder / "ct.nii.gz")
    write_drawings(folder, 3)  # train.json
    if not (folder / "photos").exists():
        (folder / "photos").symlink_to("images")
    (folder / "runs").mkdir()
    files.state_dict(folder / "runs" / "my_sam.pth", files.nano_sam()[1], "model")


def _volume(path: Path) -> None:
    import numpy as np

    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).normal(0, 500, (70, 60, 41)), np.eye(4)), path)


@dataclasses.dataclass
class Asked:
    """Arguments of `gsam.load`, in order, of everything but nano."""

    settings: list[tuple[str, dict[str, Any]]]


def official(patch: pytest.MonkeyPatch) -> Asked:
    """Let the public functions give small random models for official names, and themselves for all
    others.
    """
    asked = Asked([])
    load, segmenter, predictor, generator = gsam.load, gsam.segmenter, gsam.Predictor, gsam.MaskGenerator
    video, fast = gsam.VideoPredictor, gsam.FastSAM
    nano = segmenter("nano_sam")

    def small(name: Any) -> Any:
        return nano if isinstance(name, str) and not name.endswith(".pth") else name

    def loaded(name: str, **settings: Any) -> gsam.Pipeline:
        if name in ("nano", "everything_nano"):  # on one device, which compiles sooner, unless the page says otherwise
            return load(name, **{"device": jax.local_devices()[:1], **settings})
        asked.settings.append((name, settings))
        if name == "nano_exported":  # that it is the same is tested elsewhere
            return load("nano")
        if name == "grounded_sam2":
            return whole_and_tracker()
        return gsam.Pipeline(small_detectors.stage(), nano, boxes=8)

    stand_ins = {
        "load": loaded,
        "Predictor": lambda name, **settings: predictor(small(name), **settings),
        "MaskGenerator": lambda name, **settings: generator(
            nano, **{**settings, "points_per_side": 8}, pred_iou_thresh=0.0, stability_score_thresh=0.0
        ),
        "VideoPredictor": lambda name, redraw=None: video(small_trackers.made(), redraw=redraw and small(redraw)),
        "FastSAM": lambda name: fast(small_segmenters.fast()),
    }
    for name, stand_in in stand_ins.items():
        patch.setattr(gsam, name, stand_in, raising=False)
    return asked
