"""Row 90: threads and processes that share what was loaded."""

from __future__ import annotations

import concurrent.futures
import pickle
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from gsam.inputs.image import open_image
from gsam.predictors.image import Predictor
from gsam.runtime.batch import gather
from tests.bad.table import Row, Run, error
from tests.helpers import discs

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


ROWS: list[Row] = [
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
