"""What gsam writes of a video, read and scored by TrackEval, the field's own evaluator (pip install
trackeval).

On a video with an object that leaves, a track that slips off and one that changes its id, its
figures are those that `gsam.evaluation.tracking` gives for the same tracks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.evaluation import tracking
from gsam.results.formats import davis, mots
from gsam.results.formats.youtube_vis import YouTubeVis
from gsam.results.tracks import TrackedFrame, Tracks

trackeval = pytest.importorskip("trackeval")
FRAMES, SIZE = 8, (48, 64)
QUIET = {"PRINT_CONFIG": False, "TRACKERS_TO_EVAL": ["gsam"]}
RUN = {"PRINT_RESULTS": False, "PRINT_CONFIG": False, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False,
       "PLOT_CURVES": False, "TIME_PROGRESS": False, "OUTPUT_EMPTY_CLASSES": False, "BREAK_ON_ERROR": True}  # fmt: skip


def box(x: int, y: int, w: int = 12, h: int = 10) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def video(*, true: bool) -> Tracks:
    """Three things: one goes right, one leaves after five frames, one rests.

    What is found of the first slips two pixels off, the second is found too large and the third
    changes its id (3 to 7).
    """
    frames = []
    for t in range(FRAMES):
        seen = {1: box(4 + 3 * t + (0 if true else 2), 5), 3 if true or t < 3 else 7: box(10, 30, 9, 9)}
        if t < 5:
            seen[2] = box(44, 28, 12 if true else 14, 14)
        ids = sorted(seen)
        names = ["dog" if i == 1 else "pedestrian" for i in ids]
        frames.append(TrackedFrame.of(t, np.stack([seen[i] for i in ids]), ids, names, [0.9] * len(ids)))
    return Tracks.of(frames, count=FRAMES, name="walk", queries=["dog", "pedestrian"])


def scored(dataset: Any, metric: Any) -> Any:
    """What TrackEval makes of the one tracker, by class, over all videos."""
    results, messages = trackeval.Evaluator(RUN).evaluate([dataset], [metric], show_progressbar=False)
    (by_tracker,) = results.values()
    assert all(told == "Success" for m in messages.values() for told in m.values()), messages
    return {name: told[metric.get_name()] for name, told in by_tracker["gsam"]["COMBINED_SEQ"].items()}


def test_davis_pictures_and_j_and_f(tmp_path: Path) -> None:
    true, found = video(true=True), video(true=False)
    davis.write(true, tmp_path / "true" / "walk")
    davis.write(found, tmp_path / "found" / "gsam" / "data" / "walk")
    folders = {"GT_FOLDER": str(tmp_path / "true"), "TRACKERS_FOLDER": str(tmp_path / "found")}
    told = scored(trackeval.datasets.DAVIS(QUIET | folders), trackeval.metrics.JAndF())["general"]
    own = tracking.qualities(found, true, tracking.assign_tracks(found, true), ends=True)
    assert told["num_gt_tracks"] == len(own) == 3
    assert 0.6 < told["J&F"] < 0.9
    np.testing.assert_allclose(told["J-Mean"], np.mean([q.j for q in own]), atol=1e-6)
    np.testing.assert_allclose(told["F-Mean"], np.mean([q.f for q in own]), atol=1e-6)


def test_mots_lines_and_identity_switches(tmp_path: Path) -> None:
    classes = {"pedestrian": 2, "dog": 3}
    walkers = {true: _only(video(true=true), "pedestrian") for true in (True, False)}
    mots.write_txt(walkers[True], tmp_path / "true" / "walk" / "gt" / "gt.txt", classes, first=1)
    mots.write_txt(walkers[False], tmp_path / "found" / "gsam" / "data" / "walk.txt", classes, first=1)
    told = {"GT_FOLDER": str(tmp_path / "true"), "TRACKERS_FOLDER": str(tmp_path / "found"), "SKIP_SPLIT_FOL": True}
    dataset = trackeval.datasets.MOTSChallenge(QUIET | told | {"SEQ_INFO": {"walk": FRAMES}})
    clear = scored(dataset, trackeval.metrics.CLEAR({"PRINT_CONFIG": False}))["pedestrian"]
    own = tracking.count_identities(walkers[False], walkers[True])
    assert (clear["IDSW"], clear["CLR_TP"], clear["CLR_FP"]) == (own.switches, own.matched, own.false) == (1, 13, 0)


def test_youtube_vis_results_and_average_precision(tmp_path: Path) -> None:
    true, results = YouTubeVis(), YouTubeVis()
    true.add(video(true=True))
    results.add(video(true=False))
    split = "youtube_vis_train_sub_split"
    true.write(tmp_path / "true" / split / "data.json")
    results.write(tmp_path / "found" / split / "gsam" / "data" / "results.json", results=True)
    entry = json.loads((tmp_path / "found" / split / "gsam" / "data" / "results.json").read_text())[0]
    assert sorted(entry) == ["category_id", "score", "segmentations", "video_id"]
    folders = {"GT_FOLDER": f"{tmp_path / 'true'}/", "TRACKERS_FOLDER": f"{tmp_path / 'found'}/"}
    metric = trackeval.metrics.TrackMAP({"PRINT_CONFIG": False, "USE_AREA_RANGES": False, "USE_TIME_RANGES": False})
    told = scored(trackeval.datasets.YouTubeVIS(QUIET | folders), metric)
    assert told["dog"]["AP_all"].shape == (10,)
    # At IoU 0.5, 0.55, ... 0.95: the dog's is 10/14.  Of the others one is found at 12/14, one in
    # parts of 3/8 and 5/8.
    np.testing.assert_allclose(told["dog"]["AP_all"], [1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    both, one = (51 + 50 * 2 / 3) / 101, 51 / 101  # recall in steps of a hundredth; the second half's precision is 2/3
    np.testing.assert_allclose(told["pedestrian"]["AP_all"], [both] * 3 + [one] * 5 + [0] * 2, atol=1e-6)


def _only(tracks: Tracks, label: str) -> Tracks:
    frames = []
    for frame in tracks:
        keep = [i for i, name in enumerate(frame.labels) if name == label]
        ids = [int(frame.ids[i]) for i in keep]
        frames.append(TrackedFrame.of(frame.index, frame.masks[keep], ids, [label] * len(keep), [0.9] * len(keep)))
    return Tracks.of(frames, count=tracks.count, name=tracks.name, queries=[label])
