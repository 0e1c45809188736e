"""Rows 39 to 42: recipes, and files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from gsam.build.pipelines import load
from gsam.build.recipes import read_recipe
from gsam.inputs.image import open_image
from gsam.results.result import Result
from tests.bad.table import Row, Run, error


def recipe(text: str) -> Callable[[Path], Run]:
    def make(folder: Path) -> Run:
        (folder / "mine.toml").write_text(text)
        return lambda: read_recipe(folder / "mine.toml")

    return make


def wrong(id: str, what: str, text: str, says: str) -> Row:
    return error(id, what, recipe(text), "UsageError usage", f"mine.toml.*{says}", 2, None)


def result() -> Result:
    one = np.ones(1, np.float32)
    box = np.array([[1, 1, 5, 5]], np.float32)
    return Result(np.zeros((8, 9, 3), np.uint8), ["a"], box, ["a"], np.zeros(1, np.int64), one, one)


def full(name: str, before: bytes | None = None) -> Callable[[Path], Run]:
    """The disk is full when ``name`` is written: what was there is there still, and nothing
    else.
    """

    def make(folder: Path) -> Run:
        if before is not None:
            (folder / name).write_bytes(before)

        def run() -> None:
            try:
                with mock.patch("os.fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
                    result().save(folder / name)
            finally:
                assert {p.name: p.read_bytes() for p in folder.iterdir()} == ({name: before} if before else {})

        return run

    return make


def linked(folder: Path) -> Run:
    (folder / "elsewhere.json").write_text("precious")
    (folder / "a.json").symlink_to(folder / "elsewhere.json")

    def run() -> None:
        result().save(folder / "a.json")
        assert (folder / "elsewhere.json").read_text() == "precious"
        assert not (folder / "a.json").is_symlink()
        assert (folder / "a.json").read_text().startswith("{")

    return run


def file_for_a_folder(folder: Path) -> Run:
    (folder / "out").write_text("a file")
    return lambda: result().save(folder / "out" / "a.json")


def permissions(folder: Path) -> Run:
    def run() -> None:
        umask = os.umask(0o027)
        try:
            result().save(folder / "deep" / "er" / "a.json")
        finally:
            os.umask(umask)
        assert (folder / "deep" / "er" / "a.json").stat().st_mode & 0o777 == 0o640

    return run


LIMIT = '[detect]\nname = "a"\n[limits]\n{}\n'
MORE = '[detect]\nname = "a"\n[{}]\nname = "b"\n{}\n'


def limit(id: str, what: str, settings: dict[str, Any], says: str, code: str = "usage") -> Row:
    """A setting that `gsam.load` refuses, before a model is looked for."""
    return error(id, what, lambda _: lambda: load("nano", **settings), f"UsageError {code}", says, 2, None)


def over_the_input(folder: Path) -> Run:
    Image.new("RGB", (9, 8)).save(folder / "a.png")
    open_image(folder / "a.png")
    return lambda: result().save(folder / "a.png")


ROWS: list[Row] = [
    wrong("39a", "a recipe that is not TOML", "[detect\nname = 1", "is not TOML"),
    wrong("39b", "a recipe with an unknown table", '[detect]\nname = "a"\n[dettect]\n', r"unknown table \[dettect\]"),
    wrong("39c", "a recipe with an unknown key", '[detect]\nname = "a"\nnam = 3\n', r"unknown key detect\.nam"),
    wrong("39d", "a number for a name", "[detect]\nname = 3\n", r"detect\.name is 3"),
    wrong(
        "39e", "a text for a number", '[detect]\nname = "a"\n[limits]\nthreshold = "x"\n', r"limits\.threshold is 'x'"
    ),
    wrong(
        "39f", "true for a number", '[detect]\nname = "a"\n[limits]\nthreshold = true\n', r"limits\.threshold is true"
    ),
    wrong("39g", "a number for a table", "detect = 3\n", "detect must be a table"),
    wrong("39h", "no name", "[detect]\n", r"detect\.name is missing"),
    wrong("39i", "no detector", '[segment]\nname = "a"\n', r"\[detect\]"),
    wrong(
        "39l", "a number out of its range", LIMIT.format("threshold = 5"), r"limits\.threshold is 5, .* between 0 and 1"
    ),
    wrong("39m", "a number that is none", LIMIT.format("nms = nan"), r"limits\.nms is nan"),
    wrong("39n", "fewer than one box", LIMIT.format("boxes = -5"), r"limits\.boxes is -5"),
    wrong("39o", "boxes that would want gigabytes", LIMIT.format("boxes = 100000"), r"limits\.boxes is 100000"),
    wrong("39p", "half a pixel", LIMIT.format("tile = 100.5"), r"limits\.tile is 100\.5, .* 0 or a whole number"),
    wrong("39q", "a tile that is all overlap", LIMIT.format("overlap = 1"), r"limits\.overlap is 1, .* below 1"),
    wrong("39r", "a template without a place", '[detect]\nname = "a"\ntemplate = "a"\n', r"detect\.template: .*\{\}"),
    wrong("39s", "a template with other brackets", '[detect]\nname = "a"\ntemplate = "{} {x"\n', "no other brackets"),
    wrong("39t", "a template that is a number", '[detect]\nname = "a"\ntemplate = [1]\n', r"detect\.template is \[1\]"),
    wrong(
        "39u", "a canvas of no fit", MORE.format("classify", 'canvas = "long 160"'), r"classify\.canvas is 'long 160'"
    ),
    wrong("39v", "no chunk", MORE.format("segment", "chunk = 0"), r"segment\.chunk is 0"),
    wrong("39w", "a patience below one", MORE.format("track", "patience = 0"), r"track\.patience is 0"),
    wrong("39x", "a key with a typing mistake", LIMIT.format("treshold = 0.3"), "did you mean 'threshold'"),
    limit("39y", "gsam.load: a setting out of its range", {"threshold": float("nan")}, "threshold is nan"),
    limit("39z", "gsam.load: a setting with a typing mistake", {"segmentor": "a"}, "did you mean 'segmenter'"),
    limit("39aa", "gsam.load: a setting by another program's name", {"box_threshold": 0.3}, "called 'threshold' here"),
    limit("39ab", "gsam.load: a device that is not there", {"device": "tpu:0"}, "jax.tpu.", "device_unavailable"),
    limit("39ac", "gsam.load: another library's device", {"device": "mps"}, "there are cpu, gpu", "device_unavailable"),
    limit("39ad", "gsam.load: the number of a device", {"device": 0}, "gpu:0"),
    limit("39ae", "gsam.load: another library's type", {"dtype": "fp16"}, "called 'float16' here", "dtype_unknown"),
    limit("39af", "gsam.load: a type that is no float", {"dtype": "int8"}, "float32", "dtype_unknown"),
    error(
        "39j",
        "a recipe file that is not there",
        lambda f: lambda: read_recipe(f / "no.toml"),
        "UsageError usage",
        "cannot read .*No such file",
        2,
        None,
    ),
    error(
        "39k",
        "the name of no recipe",
        lambda _: lambda: read_recipe("nanoo"),
        "UsageError usage",
        "did you mean 'nano'",
        2,
        None,
    ),
    error("40a", "the disk is full while JSON is written: no file", full("a.json"), "OSError", "No space", 1, None),
    error("40b", "the disk is full while a PNG is written: no file", full("a.png"), "OSError", "No space", 1, None),
    error(
        "40c",
        "the disk is full while a file is replaced: the old one stays",
        full("a.json", b"old"),
        "OSError",
        "No space",
        1,
        None,
    ),
    error("40d", "the disk is full while COCO is written", full("a.coco.json"), "OSError", "No space", 1, None),
    error("41", "a file where the output folder should be", file_for_a_folder, "FileExistsError", "out", 2, None),
    error(
        "41r",
        "saving over an image that was read",
        over_the_input,
        "UsageError output_is_input",
        "was read as an input",
        2,
        None,
    ),
    Row("42a", "a link where an output should be: replaced, not followed", linked, http=None),
    Row("42b", "a new folder, and the permissions the user's umask gives", permissions, http=None),
]
