"""Row 49: what a detector that reads all queries as one caption is asked, through a whole
pipeline.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gsam
from gsam import bind
from gsam.models import sam
from gsam.results.result import Result
from gsam.text.queries import Query
from gsam.text.tokenizer import load_tokenizer
from tests.bad import geometry
from tests.bad.table import Row, Run, error
from tests.models import small_detectors as small

BOXES = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
PLAIN = "cat. a running dog"
MANY = ["thing " + "".join(letters) for letters in itertools.islice(itertools.product("abcdefgh", repeat=3), 300)]
SPACED = [" ".join(letters) for letters in itertools.islice(itertools.permutations("abcdefghij", 7), 334)]
LONG = "x" * 40


@functools.cache
def pipe() -> gsam.Pipeline:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = load_tokenizer(small.vocabulary(Path(folder)))
    detector = dataclasses.replace(small.stage(), tokenizer=tokenizer)
    segmenter = sam.build(geometry.CONFIG, bind.random_params(sam.spec(geometry.CONFIG), 1))
    return gsam.Pipeline(detector, segmenter, boxes=BOXES, threshold=0.0, nms=1.0, group=1.0, inside=1.0)


def ask(query: Query, pixels: np.ndarray = PIXELS, **thresholds: float) -> Callable[[Path], Run]:
    def make(_: Path) -> Run:
        p = pipe()
        return lambda: p(pixels, query, **thresholds)

    return make


def refused(id: str, what: str, query: Query, code: str, says: str) -> Row:
    return error(id, what, ask(query), f"QueryError {code}", says, 2)


def found(*names: str, captions: int = 1, count: int | None = BOXES) -> Callable[[Result], None]:
    """Every result carries one of these names."""

    def check(result: Result) -> None:
        assert count is None or len(result) == count
        assert result.queries == list(names)
        assert result.labels == [names[i] for i in result.label_ids]
        assert result.tokens.count("[CLS]") == captions
        assert np.isfinite(result.scores).all()
        height, width = result.size
        assert (result.xyxy >= 0).all()
        assert (result.xyxy <= [width, height, width, height]).all()
        assert result.masks.shape == (len(result), height, width)

    return check


def nothing(folder: Path) -> Run:
    p = pipe()

    def run() -> tuple[Result, Path]:
        result = p(PIXELS, PLAIN, threshold=1.0)
        for name in ("a.json", "a.png", "a.coco.json"):
            result.save(folder / name)
        return result, folder

    return run


def nothing_everywhere(given: tuple[Result, Path]) -> None:
    result, folder = given
    height, width = result.size
    assert len(result) == 0
    assert list(result) == []
    assert (result.masks.shape, result.mask_logits.shape) == ((0, height, width),) * 2
    assert (result.xyxy.shape, result.labels, result.rles, result.areas) == ((0, 4), [], [], [])
    assert result.token_scores is not None
    assert result.token_scores.shape == (0, len(result.tokens))
    assert len(result[result.scores > 0.5]) == len(result[:3]) == 0
    np.testing.assert_array_equal(np.asarray(result.plot()), result.pixels)
    assert result.to_dict()["segments"] == result.to_coco()["annotations"] == []
    assert json.loads((folder / "a.json").read_text("utf-8"))["segments"] == []
    assert json.loads((folder / "a.coco.json").read_text("utf-8"))["annotations"] == []
    assert (folder / "a.png").stat().st_size > 0
    assert "nothing" in repr(result)


def cut(_: Path) -> Run:
    p = pipe()

    def run() -> Result:
        warnings.simplefilter("default")  # the queries are read twice, and told of once
        return p(PIXELS, LONG)

    return run


def with_and_without(_: Path) -> Run:
    p = pipe()
    return lambda: (p(PIXELS, PLAIN), p(PIXELS, f"{PLAIN}."))


def alike(results: tuple[Any, Any]) -> None:
    one, other = results
    assert len(one) == BOXES
    assert (one.labels, one.queries, one.tokens) == (other.labels, other.queries, other.tokens)
    np.testing.assert_array_equal(one.xyxy, other.xyxy)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.token_scores, other.token_scores)


ROWS: list[Row] = [
    refused("49a", "Grounding DINO: an empty query", "", "query_empty", "nothing is asked"),
    refused("49b", "Grounding DINO: only separators", " . ,,\n. ", "query_empty", "nothing is asked"),
    Row(
        "49c",
        "Grounding DINO: the same in another case is read once",
        ask("Cat, cat. CAT\n a running dog"),
        check=found("Cat", "a running dog"),
    ),
    Row(
        "49d",
        "Grounding DINO: 300 classes, read in several captions",
        ask(". ".join(MANY)),
        check=found(*MANY, captions=100),
    ),
    Row(
        "49e",
        "Grounding DINO: a prompt of 5 kB, many names",
        ask(", ".join(SPACED)),
        check=found(*SPACED, captions=112),
    ),
    refused("49f", "Grounding DINO: a name of 2001 characters", "x" * 2001, "query_too_long", "2001 characters"),
    Row(
        "49g",
        "Grounding DINO: a name longer than a caption: its end is not read",
        cut,
        check=found(LONG),
        says="the rest is not read",
        warns=True,
    ),
    Row(
        "49h",
        "Grounding DINO: an emoji, which its vocabulary lacks",
        ask("🐶. a big running dog"),
        check=found("🐶", "a big running dog"),
        says="does not know the word",
        warns=True,
    ),
    Row(
        "49i",
        "Grounding DINO: Korean, which its vocabulary lacks",
        ask("개. a big running dog"),
        check=found("개", "a big running dog"),
        says="does not know the word",
        warns=True,
    ),
    refused("49j", "Grounding DINO: NUL in a query", "do\0g", "query_control_character", "control character"),
    Row(
        "49k",
        "Grounding DINO: a picture of 20 to 1",
        ask(PLAIN, np.ascontiguousarray(np.resize(PIXELS, (20, 400, 3)))),
        check=found("cat", "a running dog"),
    ),
    Row("49l", "Grounding DINO: one pixel", ask(PLAIN, PIXELS[:1, :1]), check=found(*PLAIN.split(". "), count=None)),
    Row("49m", "Grounding DINO: nothing found, in every format", nothing, check=nothing_everywhere),
    Row("49n", "Grounding DINO: threshold 0", ask(PLAIN, threshold=0.0), check=found(*PLAIN.split(". "))),
    Row("49o", "Grounding DINO: threshold 1", ask(PLAIN, threshold=1.0), check=found(*PLAIN.split(". "), count=0)),
    Row("49p", "Grounding DINO: with and without a point at the end", with_and_without, check=alike),
]
