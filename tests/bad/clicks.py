"""More of rows 27 to 31: what `gsam.Predictor` is asked in odd shapes, kinds and numbers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gsam.predictors.image import Predictor
from tests.bad.sending import Sendable, clicked
from tests.bad.table import Row, Run, error
from tests.helpers import discs

SIZE = (40, 100)


@functools.cache
def predictor(kind: type[discs.Discs] = discs.Discs) -> Predictor:
    p = Predictor(discs.discs(kind=kind))
    p.set_image(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    return p


def ask(kind: type[discs.Discs] = discs.Discs, code: str | None = None, **prompt: Any) -> Callable[[Path], Run]:
    def make(_: Path) -> Run:
        return lambda: predictor(kind).predict(**prompt)

    sent = clicked(**prompt) if kind is discs.Discs else None
    return make if sent is None else Sendable(make, dataclasses.replace(sent, code=code))


def many(**prompts: Any) -> Callable[[Path], Run]:
    return lambda _: lambda: predictor().predict_many(**prompts)


def alike(**prompt: Any) -> Callable[[Any], None]:
    """The same as for this prompt, of lists of floats."""

    def check(found: Any) -> None:
        expected = predictor().predict(**prompt)
        assert expected.masks.any()
        assert not expected.masks.all()
        for ours, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, other)

    return check


def shaped(*lead: int) -> Callable[[Any], None]:
    def check(found: Any) -> None:
        assert found.masks.shape == (*lead, *SIZE)
        assert found.iou.shape == lead
        assert found.low_res.shape == (*lead, discs.SIDE, discs.SIDE)

    return check


def bounded(found: Any) -> None:
    """Ten thousand answers, each its own box."""
    assert found.masks.shape == (10_000, 1, *SIZE)
    areas = found.masks.sum((1, 2, 3))
    assert areas[0] < areas[4999] < areas[-1]


def one_pixel(_: Path) -> Run:
    def run() -> Any:
        p = Predictor(discs.discs())
        p.set_image(np.zeros((1, 1, 3), np.uint8))
        return p.predict(point_coords=[[1, 1]], point_labels=[1], box=[0, 0, 1, 1])

    return run


def no_picture(_: Path) -> Run:
    return lambda: Predictor(discs.discs()).predict(box=[0, 0, 1, 1])


def refused(id: str, what: str, says: str, code: str | None = None, **prompt: Any) -> Row:
    return error(id, what, ask(code=code, **prompt), "ValueError", says, 2, 422 if code else None)


def refused_many(id: str, what: str, says: str, **prompts: Any) -> Row:
    return error(id, what, many(**prompts), "ValueError", says, 2)


def limited(id: str, what: str, says: str, **prompt: Any) -> Row:
    return error(id, what, ask(discs.Boxes, **prompt), "ValueError", says, 2)


def growing() -> np.ndarray:
    side = np.linspace(2, 36, 10_000)
    return np.stack([0 * side, 0 * side, 2 * side, side], 1)


POINT: dict[str, Any] = dict(point_coords=[[50.0, 20.0], [80.0, 20.0]], point_labels=[1, 1])
BOX: dict[str, Any] = dict(box=[20.0, 10.0, 60.0, 30.0])
MASK = np.zeros((1, discs.SIDE, discs.SIDE), np.float32)
LOW = np.pad(np.full((1, 9, 9), 2.0, np.float32), ((0, 0), (8, 15), (8, 15)), constant_values=-2.0)

ROWS: list[Row] = [
    Row("27f", "a box as [1, 4]", ask(code="box_invalid", box=[[20, 10, 60, 30]]), http=422, check=alike(**BOX)),
    Row("27g", "a box as float16", ask(box=np.array(BOX["box"], np.float16)), check=alike(**BOX)),
    refused("27h", "words for numbers", "must be numbers", code="box_invalid", box=["a", "b", "c", "d"]),
    refused("27i", "None among the numbers of a box", "must be numbers", code="box_invalid", box=[1, None, 3, 4]),
    refused_many("27j", "the second of two boxes reversed", "prompt 1: a box is", boxes=[[0, 0, 5, 5], [5, 0, 0, 5]]),
    refused_many("27k", "a number for many boxes", "one entry a prompt", boxes=3),
    refused(
        "27l",
        "one set of points for two boxes",
        "1 sets of points but 2 boxes",
        code="box_invalid",
        point_coords=[[1, 1]],
        point_labels=[1],
        box=[[0, 0, 5, 5]] * 2,
    ),
    Row("27m", "a picture of one pixel", one_pixel, check=lambda found: found.masks.shape == (1, 1, 1)),
    Row("28b", "10 000 boxes", many(boxes=growing()), check=bounded),
    Row(
        "29b",
        "no prompt: what the original gives, a mask of nothing in particular",
        ask(code="nothing_asked"),
        http=422,
        check=shaped(1),
    ),
    Row("29c", "no boxes [0, 4]", ask(code="box_invalid", box=np.zeros((0, 4))), http=422, check=shaped(0, 1)),
    Row("29d", "no boxes, as a list", ask(code="box_invalid", box=[]), http=422, check=shaped(0, 1)),
    Row(
        "29e",
        "no prompts of two points [0, 2, 2]",
        ask(code="nothing_asked", point_coords=np.zeros((0, 2, 2)), point_labels=np.zeros((0, 2))),
        http=422,
        check=shaped(0, 1),
    ),
    error("29f", "a prompt before a picture", no_picture, "RuntimeError", "set an image first", 2),
    limited("29g", "nothing, of a model that takes boxes", "nothing is asked: this model takes boxes"),
    Row(
        "30i",
        "points as integers in tuples",
        ask(point_coords=((50, 20), (80, 20)), point_labels=(1, 1)),
        check=alike(**POINT),
    ),
    Row(
        "30j",
        "point labels as booleans",
        ask(code="labels_invalid", point_coords=POINT["point_coords"], point_labels=[True, True]),
        http=422,
        check=alike(**POINT),
    ),
    Row(
        "30k",
        "points as float64 columns, not contiguous",
        ask(point_coords=np.array([[50, 80], [20, 20.0]]).T, point_labels=np.ones(4)[::2]),
        check=alike(**POINT),
    ),
    Row(
        "30l",
        "an empty list of points: padded as in the original",
        ask(code="nothing_asked", point_coords=[], point_labels=[]),
        http=422,
        check=shaped(1),
    ),
    refused(
        "30m",
        "one point without its brackets",
        r"\[P, 2\], or \[N, P, 2\], it is \[2\]",
        code="labels_invalid",
        point_coords=[50, 20],
        point_labels=[1],
    ),
    refused(
        "30n",
        "points in three dimensions",
        r"points \[P, 2\]",
        code="points_invalid",
        point_coords=[[1, 2, 3]],
        point_labels=[1],
    ),
    refused(
        "30o", "a label of -1", r"got \[-1", code="labels_invalid", point_coords=[[1, 1], [2, 2]], point_labels=[1, -1]
    ),
    refused("30p", "a label of 0.5", r"got \[0.5", code="labels_invalid", point_coords=[[1, 1]], point_labels=[0.5]),
    refused("30q", "a label of NaN", "got .nan", code="labels_invalid", point_coords=[[1, 1]], point_labels=[np.nan]),
    refused(
        "30r", "a point at infinity", "not finite", code="points_invalid", point_coords=[[np.inf, 1]], point_labels=[1]
    ),
    refused(
        "30s",
        "points in rows of different length",
        "predict_many",
        code="points_invalid",
        point_coords=[[1, 1], [2]],
        point_labels=[1, 1],
    ),
    refused(
        "30t",
        "normalised coordinates of 2",
        "outside the picture, 1 x 1",
        point_coords=[[2, 0.5]],
        point_labels=[1],
        normalize_coords=False,
    ),
    refused_many(
        "30u",
        "points of the first prompt without labels",
        "prompt 0: .* go together",
        point_coords=[[[1, 1]], None],
        point_labels=[None, None],
    ),
    limited("30v", "a click, of a model that takes boxes", "takes boxes, not foreground clicks", **POINT),
    limited(
        "30w",
        "a background click in a box, of a model that takes boxes",
        "takes boxes, not background clicks",
        **BOX,
        point_coords=[[30, 20]],
        point_labels=[0],
    ),
    Row(
        "31i",
        "a mask as float64, not contiguous",
        ask(mask_input=np.asfortranarray(LOW.astype(np.float64))),
        check=alike(mask_input=LOW),
    ),
    Row("31j", "a mask as integers", ask(mask_input=LOW.astype(int)), check=alike(mask_input=LOW)),
    refused(
        "31k",
        "a mask without its leading axis",
        r"\[1, h, w\], or \[N, 1, h, w\], it is \[32, 32\]",
        mask_input=MASK[0],
    ),
    refused("31l", "all three masks of an answer as one mask", r"\[1, 32, 32\]", mask_input=np.zeros((3, 32, 32))),
    refused(
        "31m",
        "a mask of the picture's size",
        r"\[1, 32, 32\] a prompt, .* got \[1, 40, 100\]",
        mask_input=np.zeros((1, *SIZE)),
    ),
    refused(
        "31n",
        "a mask with NaN",
        r"not finite, at index \[0, 3, 3\]",
        mask_input=np.where(np.eye(32)[None] * np.arange(32) == 3, np.nan, 0.0),
    ),
    refused("31o", "two boxes, one mask", "2 boxes but 1 masks", box=[[0, 0, 5, 5]] * 2, mask_input=MASK),
    limited("31p", "a mask, of a model that takes boxes", "takes boxes, not masks", mask_input=MASK),
]
