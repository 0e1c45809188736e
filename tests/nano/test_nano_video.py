"""The tracker that ships, end to end on the shipped clips.

Neither the font nor the network is needed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from benchmarks import tracks
from gsam.evaluation import tracking
from gsam.nano import heldout_clips
from gsam.nano.scenes import IGNORE
from tests.helpers.command import in_process

ROOT = Path(__file__).parents[2]
FLOORS = {"click": 0.37, "mask": 0.43}
"""0.06 and 0.08 below what `python -m benchmarks.tracks --folder tests/data/clips` prints for the
weights that ship.  By text, every fourth frame a key frame, 0.33 of what is visible has a track.
"""


@pytest.fixture(scope="module", autouse=True)
def _as_users_run_it() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"), jax.default_matmul_precision(None), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.fixture(scope="module")
def examples() -> list[heldout_clips.Example]:
    return heldout_clips.read(ROOT / "tests" / "data" / "clips")


@pytest.fixture(scope="module")
def predictor() -> gsam.VideoPredictor:
    return gsam.VideoPredictor("nano_sam2", progress=False)


@pytest.mark.parametrize("kind", list(FLOORS))
@pytest.mark.long
def test_what_is_prompted_is_followed(
    predictor: gsam.VideoPredictor, examples: list[heldout_clips.Example], kind: str
) -> None:
    counts = tracks.summary(list(tracks.measure(predictor, examples, kind)))
    assert counts["objects"] >= 6
    assert counts["j_and_f"] >= FLOORS[kind], counts


@pytest.mark.long
def test_things_are_followed_by_their_names(examples: list[heldout_clips.Example]) -> None:
    pipe = gsam.load("nano", device=jax.devices()[:1])
    counts = []
    for example in examples:
        found = tracks.tracked(pipe, example, every=4)
        assert set(found.labels.values()) <= set(example.clip.names)
        counts.append(tracking.count_identities(found, example.tracks(), ignored=example.clip.instances == IGNORE))
    every = tracking.total(counts)
    assert every["found"] >= 0.29, every
    assert every["called"] >= 0.9 * every["matched"]  # all of these clips, 0.99 of 30 (benchmarks.tracks)
    assert every["switches_a_clip"] <= 1


def test_an_object_that_leaves_is_not_there(
    predictor: gsam.VideoPredictor, examples: list[heldout_clips.Example]
) -> None:
    """The picture goes black after three frames."""
    example = examples[0]
    frames = [*example.clip.rgb[:3], *np.zeros((3, *example.clip.rgb.shape[1:]), np.uint8)]
    number = next(k + 1 for k in range(len(example.clip.names)) if (example.clip.instances[0] == k + 1).sum() > 200)
    state = predictor.init_state(frames)
    predictor.add_new_mask(state, 0, 1, example.clip.instances[0] == number)
    areas = [int((masks > 0).sum()) for _, _, masks in predictor.propagate_in_video(state)]
    assert min(areas[:3]) > 100
    assert max(areas[3:]) < 0.2 * areas[0]


@pytest.mark.long
def test_the_sample_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("av", reason="the extra video is not installed")
    track = in_process(monkeypatch, "track", "-p", "nano")
    assert track(ROOT / "notebooks" / "clip.mp4", "-q", "cow. cactus. blue circle", "-o", tmp_path) == 0
    said = capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "clip.jsonl").read_text().splitlines()]
    assert "clip.mp4" in said
    assert len(lines) > 24
    assert (tmp_path / "clip.mp4").stat().st_size > 1000
