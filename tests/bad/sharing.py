"""Rows 90 and 91: threads and processes that share what was loaded, and results."""

from __future__ import annotations

import concurrent.futures
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from gsam.inputs.image import open_image
from gsam.predictors.image import Predictor
from gsam.predictors.video import VideoPredictor
from gsam.results.result import Result
from gsam.runtime.batch import gather
from gsam.tracking.session import Session
from tests.bad.table import Row, Run, error
from tests.helpers import discs
from tests.tracking import small

IMAGE = np.zeros((40, 100, 3), np.uint8)


def forked(_: Path) -> Run:
    """As if this process had been forked: ``tests/runtime/test_process.py`` does fork."""

    def run() -> None:
        with mock.patch("gsam.runtime.process._forked", True):
            gather([open_image(IMAGE)], [])

    return run


def elsewhere(predictor: Predictor, image: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(predictor.set_image, image).result()


def foreign(_: Path) -> Run:
    predictor = Predictor(discs.discs())
    for _i in range(2):
        elsewhere(predictor, IMAGE)
    return lambda: predictor.predict([[5, 5]], [1])


def failed(_: Path) -> Run:
    predictor = Predictor(discs.discs())
    predictor.set_image(IMAGE)

    def run() -> None:
        try:
            predictor.set_image("nowhere.png")
        except ValueError:
            predictor.predict([[5, 5]], [1])

    return run


def result() -> Result:
    one = np.ones(1, np.float32)
    box = np.array([[1, 1, 5, 5]], np.float32)
    return Result(np.zeros((8, 9, 3), np.uint8), ["dog"], box, ["dog"], np.zeros(1, np.int64), one, one)


def session(frames: int = 3) -> tuple[VideoPredictor, Session]:
    predictor = VideoPredictor(small.made(), progress=False)
    return predictor, predictor.init_state(small.frames(frames))


def other_video(folder: Path) -> Run:
    predictor, state = session()
    path = predictor.save_state(state, folder / "a.safetensors")
    return lambda: predictor.load_state(path, small.frames(2))


def damaged_session(folder: Path) -> Run:
    predictor, state = session()
    path = predictor.save_state(state, folder / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-9].replace(b"gsam.session", b"gsam.sessiom"))
    return lambda: predictor.load_state(path, small.frames(3))


def usage(id: str, what: str, make: Callable[[Path], Run], code: str, says: str) -> Row:
    return error(id, what, make, f"UsageError {code}", says, None, None)


ROWS: list[Row] = [
    usage(
        "90e", "a video's state is pickled", lambda _: lambda: pickle.dumps(session()[1]), "not_picklable", "save_state"
    ),
    usage("90f", "a video's state from a file, with another video", other_video, "session_other_video", "3 frames"),
    usage("90g", "a damaged file of a video's state", damaged_session, "session_unreadable", "a.safetensors"),
    usage(
        "91a",
        "a label that a result does not know",
        lambda _: lambda: result()["dgo"],
        "label_unknown",
        "did you mean 'dog'",
    ),
    usage(
        "91b", "an opacity that is not a number", lambda _: lambda: result().plot(fill=float("nan")), "usage", "0 to 1"
    ),
    error(
        "90a",
        "a call in a forked child of a process that had computed",
        forked,
        "UsageError forked",
        "spawn",
        None,
        None,
    ),
    error(
        "90b",
        "a predictor made of a built model is pickled",
        lambda _: lambda: pickle.dumps(Predictor(discs.discs())),
        "UsageError not_picklable",
        "a function that builds it",
        None,
        None,
    ),
    error(
        "90c",
        "a prompt in a thread without an image, after others set theirs",
        foreign,
        "RuntimeError",
        "several threads",
        None,
        None,
    ),
    error(
        "90d", "a prompt after an image that could not be set", failed, "RuntimeError", "set an image first", None, None
    ),
]
