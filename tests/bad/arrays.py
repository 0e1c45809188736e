"""Rows 17 and 18: images of one colour, and arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gsam.inputs.image import open_image
from gsam.results.result import Result
from tests.bad.images import CLEAR, RNG, SMALL, array, equals
from tests.bad.sending import SEGMENT, Sendable, Sent, png_of
from tests.bad.table import Row, Run, error


def plain(value: int | None) -> Callable[[Path], Run]:
    pixels = RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8) if value is None else np.full((9, 9, 3), value, np.uint8)

    def make(folder: Path) -> Run:
        def run() -> Result:
            empty = np.zeros(0, np.float32)
            result = Result(
                open_image(pixels).pixels, ["cat"], empty.reshape(0, 4), [], empty.astype(np.int64), empty, empty
            )
            result.save(folder / "a.json")
            result.save(folder / "a.png")
            return result

        return run

    def same(_: Result, answer: Any) -> None:
        assert answer["segments"] == []

    sent = Sent(SEGMENT, {"query": "cat"}, png_of(pixels), same=same)
    return Sendable(make, sent)


def nothing_found(result: Result) -> None:
    assert len(result) == 0
    assert result.masks.shape == (0, 9, 9)
    np.testing.assert_array_equal(np.asarray(result.plot()), result.pixels)
    assert result.to_dict()["segments"] == []


ROWS: list[Row] = [
    Row("17a", "all black, nothing found", plain(0), check=nothing_found),
    Row("17b", "all white, nothing found", plain(255), check=nothing_found),
    Row("17c", "noise, nothing found", plain(None), check=nothing_found),
    error("18a", "floats from 0 to 1", array(SMALL / 255.0), "TypeError", "multiply by 255", None, None),
    error("18b", "channels first", array(SMALL.transpose(2, 0, 1)), "ValueError", "channels come last", None, None),
    error("18c", "int64", array(SMALL.astype(np.int64)), "TypeError", "int64", None, None),
    error("18d", "NaN", array(np.full((4, 4, 3), np.nan)), "TypeError", "float64", None, None),
    Row(
        "18e",
        "an array that is not contiguous",
        array(SMALL[::-1, ::2]),
        check=equals(SMALL[::-1, ::2]),
        exit=None,
        http=None,
    ),
    error(
        "18f",
        "no rows and no columns",
        array(np.zeros((0, 0, 3), np.uint8)),
        "ImageError image_empty",
        r"\[0, 0, 3\]",
        None,
        None,
    ),
    Row(
        "18g",
        "a grey array [H, W]",
        array(SMALL[..., 0]),
        check=equals(np.repeat(SMALL[..., :1], 3, -1)),
        exit=None,
        http=None,
    ),
    Row("18h", "an RGBA array: transparency is dropped", array(CLEAR), check=equals(SMALL), exit=None, http=None),
    error(
        "18i",
        "a PIL image of no pixels",
        lambda _: lambda: open_image(Image.new("RGB", (0, 4))),
        "ImageError image_empty",
        "empty",
        None,
        None,
    ),
]
