"""`Predictor.encode` and `Predictor.using`: images that the caller keeps."""

from __future__ import annotations

import concurrent.futures
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import ImageError
from gsam.predictors.image import Predictor
from tests.helpers import discs

SIZES = [(30 + i, 60 - i) for i in range(8)]
POINT: dict[str, Any] = dict(point_coords=[[5, 5]], point_labels=[1])


def image(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(discs.discs())


def equal(a: Any, b: Any) -> None:
    for ours, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(ours, other)


def test_the_answers_are_those_of_an_image_that_is_set(predictor: Predictor) -> None:
    kept = [predictor.encode(image(size)) for size in SIZES]
    assert predictor.counts["pictures"] == len(SIZES)
    assert not predictor.is_image_set
    for size, embedding in zip(SIZES, kept, strict=True):
        assert embedding.size == size
        with predictor.using(embedding) as same:
            assert same is predictor
            assert same.original_size == size
            found = same.predict(**POINT)
            (each,) = same.predict_each(point_coords=[POINT["point_coords"]], point_labels=[POINT["point_labels"]])
        alone = Predictor(discs.discs())
        alone.set_image(image(size))
        equal(found, alone.predict(**POINT))
        equal(each, found)
    assert predictor.counts["pictures"] == len(SIZES)  # asking encodes nothing


def test_what_was_set_is_meant_again_afterwards(predictor: Predictor) -> None:
    predictor.set_image(image(SIZES[0]))
    first, second = (predictor.encode(image(size)) for size in SIZES[1:3])
    assert predictor.original_size == SIZES[0]
    with predictor.using(first):
        with predictor.using(second):
            assert predictor.original_size == SIZES[2]
        assert predictor.original_size == SIZES[1]
    with pytest.raises(ZeroDivisionError), predictor.using(first):
        1 / 0  # noqa: B018
    assert predictor.original_size == SIZES[0]
    predictor.reset_image()
    with pytest.raises(RuntimeError, match="set an image first"):
        predictor.predict(**POINT)


def test_no_image_is_set_meanwhile(predictor: Predictor) -> None:
    embedding = predictor.encode(image(SIZES[0]))
    with predictor.using(embedding):
        for work in (lambda: predictor.set_image(image(SIZES[1])), predictor.reset_image):
            with pytest.raises(RuntimeError, match="within predictor"):
                work()
        assert predictor.original_size == SIZES[0]
    assert not predictor.is_image_set


def test_threads_notice_nothing_of_each_other(predictor: Predictor) -> None:
    kept = [predictor.encode(image(size)) for size in SIZES]
    together = threading.Barrier(len(SIZES))

    def ask(i: int) -> list[tuple[int, ...]]:
        found = []
        for turn in range(4):
            mine = kept[(i + turn) % len(kept)]
            together.wait()
            with predictor.using(mine):
                together.wait()
                found.append(predictor.predict(**POINT).masks.shape[1:])
        return found

    with concurrent.futures.ThreadPoolExecutor(len(SIZES)) as pool:
        every = list(pool.map(ask, range(len(SIZES))))
    assert every == [[SIZES[(i + turn) % len(SIZES)] for turn in range(4)] for i in range(len(SIZES))]


def test_a_bad_image_says_so_and_leaves_what_is_set(predictor: Predictor) -> None:
    predictor.set_image(image(SIZES[0]))
    with pytest.raises(ImageError):
        predictor.encode(b"no image")
    with pytest.raises(ImageError, match="pixels"):
        predictor.encode(image(SIZES[0]), max_pixels=10)
    assert predictor.original_size == SIZES[0]


def test_the_folder_of_embeddings_is_used(tmp_path: Path) -> None:
    first, again = (Predictor(discs.discs(), cache=tmp_path) for _ in range(2))
    first.encode(image(SIZES[0]))
    with again.using(again.encode(image(SIZES[0]))):
        assert again.predict(**POINT).masks.shape[1:] == SIZES[0]
    assert again.counts["pictures"] == 0
