"""One predictor for several threads, and predictors and pipelines for other processes."""

from __future__ import annotations

import concurrent.futures
import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from gsam.errors import ImageError, UsageError
from gsam.predictors.image import Predictor
from gsam.runtime import rebuild
from gsam.runtime.rebuild import Rebuildable, by_recipe
from tests.helpers import discs

SIZES = [(30 + i, 60 - i) for i in range(8)]


def image(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(discs.discs())


def again(thing: Any) -> Any:
    """What another process would make of it."""
    return pickle.loads(pickle.dumps(thing))  # noqa: S301


def elsewhere(call: Callable[[], Any]) -> Any:
    """The result of a call in a thread of its own."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def asked(predictor: Predictor) -> tuple[int, ...]:
    return predictor.predict([[5, 5]], [1], multimask_output=False).masks.shape[1:]


def test_each_thread_is_answered_about_its_own_image(predictor: Predictor) -> None:
    together = threading.Barrier(len(SIZES))

    def ask(size: tuple[int, int]) -> list[tuple[int, ...]]:
        found = []
        for _ in range(4):
            together.wait()
            predictor.set_image(image(size))
            together.wait()
            found.append(asked(predictor))
        return found

    with concurrent.futures.ThreadPoolExecutor(len(SIZES)) as pool:
        for size, found in zip(SIZES, pool.map(ask, SIZES), strict=True):
            assert found == [size] * 4


def test_a_thread_without_an_image_sees_that_of_the_only_other(predictor: Predictor) -> None:
    predictor.set_image(image(SIZES[0]))
    assert elsewhere(lambda: asked(predictor)) == SIZES[0]
    elsewhere(lambda: predictor.set_image(image(SIZES[1])))
    assert asked(predictor) == SIZES[0]
    with pytest.raises(RuntimeError, match="several threads have set images"):
        elsewhere(lambda: asked(predictor))
    assert "no image" in elsewhere(lambda: repr(predictor))
    assert elsewhere(lambda: (predictor.set_image(image(SIZES[2])), asked(predictor))[1]) == SIZES[2]


def test_an_image_that_was_set_in_the_background_is_there(predictor: Predictor) -> None:
    elsewhere(lambda: predictor.set_image(image(SIZES[3])))
    assert asked(predictor) == SIZES[3]
    predictor.reset_image()
    with pytest.raises(RuntimeError, match="set an image first"):
        asked(predictor)


@pytest.mark.parametrize(
    "fail",
    [
        lambda p: p.set_image("nowhere.png"),
        lambda p: p.set_image(b"not an image"),
        lambda p: p.set_image(image((9, 9)), "GRB"),
        lambda p: p.set_image("nowhere.png", "BGR"),
        lambda p: p.set_image_batch([]),
        lambda p: p.set_image_batch([image((9, 9)), "nowhere.png"]),
        lambda p: p.set_torch_image(np.zeros((1, 3, 5, 5), np.float32), (7, 9)),
        lambda p: p.load_embedding("nowhere.safetensors"),
    ],
)
def test_what_failed_is_not_answered_by_the_image_before(predictor: Predictor, fail: Callable[[Any], None]) -> None:
    predictor.set_image(image(SIZES[0]))
    with pytest.raises((ImageError, ValueError)):
        fail(predictor)
    assert not predictor.is_image_set
    with pytest.raises(RuntimeError, match="set an image first"):
        asked(predictor)


# Pickling


class Made(Rebuildable):
    def __init__(self, name: str, size: int = 3, **settings: Any) -> None:
        self.name, self.size, self.settings = name, size, settings


@by_recipe
def make(name: str, *, size: Any = 4, **settings: Any) -> Made:
    return Made(name.upper(), size, **settings)


def test_the_call_travels() -> None:
    for first, told in ((Made("a", size=5, dtype=np.float32), "a"), (make("b", size=(1, [2.5, None]), x=1), "B")):
        for second in (again(first), copy.deepcopy(first)):
            assert (second.name, second.size, second.settings) == (told, first.size, first.settings)
            assert again(second).__dict__.keys() == first.__dict__.keys()


def test_paths_lead_to_the_same_file_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", "nano", "sub", "sub/mine"):
        Path(name).mkdir()
    sent = [pickle.dumps(Made(name)) for name in ("mine.toml", "./nano", "sub/mine", "nano", "owner/name")]  # type: ignore[arg-type]
    sent.append(pickle.dumps(Made(Path("sub"))))  # type: ignore[arg-type]
    monkeypatch.chdir("/")
    names = [pickle.loads(text).name for text in sent]  # noqa: S301
    here = tmp_path.resolve()
    assert [str(n) for n in names] == [
        str(here / "mine.toml"), str(here / "nano"), str(here / "sub" / "mine"), "nano", "owner/name", str(here / "sub"),
    ]  # fmt: skip
    assert isinstance(names[-1], Path)


def test_devices_travel_by_their_numbers() -> None:
    devices = jax.devices()
    assert again(make("a", size=devices[:1])).size == devices[:1]
    assert again(make("a", size=tuple(devices))).size == tuple(devices)
    with pytest.raises(UsageError, match="cpu device 99, which is not here"):
        rebuild._DeviceNumber("cpu", 99).found()


def test_what_cannot_travel_says_so_and_what_to_do() -> None:
    stage = discs.discs()
    for thing, told in (
        (Predictor(stage), "was given model=Discs"),
        (gsam.Pipeline(_detector()), "is made of steps"),
        (make("a", size=[stage]), "was given size=a list of Discs"),
        (make("a", size={"a": stage}), "was given size=dict"),
    ):
        with pytest.raises(UsageError, match=rf"{told}.*pickle a function that builds it") as caught:
            pickle.dumps(thing)
        assert caught.value.code == "not_picklable"
        assert "\n" not in str(caught.value)


def _detector() -> Any:
    class Detector:
        params: dict[str, Any] = {}  # noqa: RUF012
        view = gsam.View(32)

        def detect(self, *_: Any) -> None:
            """Never called."""

    return Detector()


def test_pipelines_and_predictors_by_name_are_picklable() -> None:
    pipe = gsam.load("nano", threshold=0.4)
    sent = pickle.dumps(pipe)
    assert len(sent) < 1000
    second = pickle.loads(sent)  # noqa: S301
    assert (second.name, second.limits) == ("nano", pipe.limits)
    predictor = again(gsam.Predictor("nano_sam", 0.5))
    assert (predictor.name, predictor.mask_threshold, predictor.is_image_set) == ("nano_sam", 0.5, False)


@pytest.mark.long
def test_reprs_say_what_things_are() -> None:
    predictor = gsam.Predictor("nano_sam")
    assert repr(predictor) == "<Predictor nano_sam on cpu: no image is set>"
    predictor.set_image(image((30, 40)))
    assert repr(predictor) == "<Predictor nano_sam on cpu: an image of 40 x 30 is set>"
    assert (
        repr(gsam.load("nano", device=jax.devices()[:1]))
        == "<Pipeline nano: OwlDetector -> SamSegmenter -> ClipClassifier -> SecondLook on cpu>"
    )
    assert repr(gsam.MaskGenerator("nano_sam", 8)) == "<MaskGenerator nano_sam: 8 x 8 points>"
    video = gsam.VideoPredictor("nano_sam2")
    assert repr(video) == "<VideoPredictor nano_sam2>"
    state = video.init_state([image((20, 30))] * 2)
    assert repr(state) == "<Session of <Pictures pictures: 2 frames of 30 x 20>: objects none yet>"
    for stage in (gsam.detector("nano_owl"), gsam.tracker("nano_sam2"), gsam.GridProposer(gsam.segmenter("nano_sam"))):
        assert "parameters>" in repr(stage)
        assert len(repr(stage)) < 300


def test_a_prediction_prints_shapes(predictor: Predictor) -> None:
    predictor.set_image(image((30, 40)))
    found = repr(predictor.predict([[5, 5]], [1]))
    assert found.startswith("<Prediction: masks [1, 30, 40] bool, iou ")
    assert len(found) < 120
