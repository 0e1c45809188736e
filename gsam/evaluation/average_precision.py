"""COCO's and LVIS's average precision of masks and boxes, computed by pycocotools or hotcoco."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.evaluation.compared import LVIS_MOST, Compared, score_of
from gsam.results.formats.dataset import run_lengths
from gsam.results.masks import rle
from gsam.types import Json

NAMES = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AR 1", "AR 10", "AR 100")
"""COCO's summary; areas are split at 32 and 96 pixels squared, 100 segments an image count."""
LVIS_NAMES = (*NAMES[:6], "AP rare", "AP common", "AP frequent", f"AR {LVIS_MOST}")
"""LVIS's summary; 300 segments an image count."""
PROGRAMS = ("pycocotools", "hotcoco")
Curves = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class AveragePrecision:
    """The numbers of one kind, in 0..1; NaN where nothing is to be judged."""

    summary: Mapping[str, float]
    """By `NAMES`, of LVIS by `LVIS_NAMES`."""
    by_class: Mapping[str, float]
    """AP of each class."""
    precision: NDArray[np.float64]
    """[101, K]: at IoU 0.5 the precision at recalls of 0, 0.01 .. 1, by class."""


def average_precision(
    compared: Compared, kind: Literal["segm", "bbox"], program: str | None = None
) -> AveragePrecision:
    """Compute COCO's numbers, or LVIS's where the truth has its lists.

    The rules of LVIS (Gupta et al., "LVIS", 2019): a segment found of a class that was not looked
    for in the image does not count, nor does one that meets no true one where not every object of
    the class has a mask; "rare", "common" and "frequent" are the means over such classes.

    Args:
        compared: The two data sets.
        kind: ``"segm"`` for masks, ``"bbox"`` for boxes.
        program: One of `PROGRAMS`; by default pycocotools, whose numbers are the published ones,
            and of LVIS, which it does not know, hotcoco.

    Raises:
        UsageError: hotcoco is missing (``extra_missing``), the program is none of `PROGRAMS`
            (``program_unknown``), or cannot do it (``program_without_lvis``).
    """
    lvis = bool(compared.frequencies)
    program = program_of(lvis, program)
    true, found = _files(compared, kind)
    precision, recall = (_by_hotcoco if program == "hotcoco" else _by_pycocotools)(true, found, kind, lvis)
    summary = {
        "AP": _mean(precision[:, :, :, 0, -1]),
        "AP50": _mean(precision[0, :, :, 0, -1]),
        "AP75": _mean(precision[5, :, :, 0, -1]),
        **{f"AP {name}": _mean(precision[:, :, :, i, -1]) for i, name in enumerate(("small", "medium", "large"), 1)},
    }
    if lvis:
        for letter, name in zip("rcf", ("rare", "common", "frequent"), strict=True):
            rows = [i for i, label in enumerate(compared.labels) if compared.frequencies[label] == letter]
            summary[f"AP {name}"] = _mean(precision[:, :, rows, 0, -1])
    counts = (LVIS_MOST,) if lvis else (1, 10, 100)
    summary |= {f"AR {count}": _mean(recall[:, :, 0, i]) for i, count in enumerate(counts)}
    by_class = {label: _mean(precision[:, :, i, 0, -1]) for i, label in enumerate(compared.labels)}
    curve = precision[0, :, :, 0, -1]
    return AveragePrecision(summary, by_class, np.where(curve < 0, np.nan, curve))


def program_of(lvis: bool, program: str | None = None) -> str:
    """Choose the program that computes AP, and make sure that it is there.

    Args:
        lvis: Whether it is to know the rules of LVIS.
        program: One of `PROGRAMS`, or None to leave it open.

    Raises:
        UsageError: As `average_precision` does.
    """
    program = program or PROGRAMS[lvis]
    if program not in PROGRAMS:
        raise UsageError(f"no program {program!r}; there are {', '.join(PROGRAMS)}", "program_unknown")
    if lvis and program == "pycocotools":
        text = "pycocotools has not the numbers of LVIS: leave it to hotcoco, or take COCO's rules (--no-lvis)"
        raise UsageError(text, "program_without_lvis")
    if program == "hotcoco":
        try:
            import hotcoco  # noqa: F401
        except ImportError:
            why = "the numbers of LVIS need" if lvis else "--with hotcoco needs"
            instead = "; COCO's rules do not (--no-lvis)" if lvis else ""
            raise UsageError(f"{why} the extra eval: pip install 'gsam-jax[eval]'{instead}", "extra_missing") from None
    return program


def _by_pycocotools(true: Json, found: Json, kind: str, lvis: bool) -> Curves:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        sides = []
        for content in (true, found):
            side = COCO()
            side.dataset = content
            side.createIndex()
            sides.append(side)
        run = COCOeval(*sides, kind)
        run.evaluate()
        run.accumulate()
    curves: Any = run.eval
    return curves["precision"], curves["recall"]


def _by_hotcoco(true: Json, found: Json, kind: str, lvis: bool) -> Curves:
    import hotcoco

    run = hotcoco.COCOeval(hotcoco.COCO(true), hotcoco.COCO(found), kind, lvis_style=lvis)
    run.evaluate()
    run.accumulate()
    curves: Any = run.eval
    return np.asarray(curves["precision"]), np.asarray(curves["recall"])


def _files(compared: Compared, kind: str) -> tuple[Json, Json]:
    """Both sides as COCO files have them.

    A found mask has its own area, not that of its box as pycocotools takes it from results that
    have both.
    """
    numbers = {label: i for i, label in enumerate(compared.labels, 1)}
    images: list[Json] = []
    true: list[Json] = []
    found: list[Json] = []
    for number, image in enumerate(compared.images, 1):
        height, width = image.size
        absent, partly = (
            [numbers[label] for label in some or () if label in numbers] for some in (image.absent, image.partly)
        )
        lists = {"neg_category_ids": absent, "not_exhaustive_category_ids": partly}
        images.append({"id": number, "height": height, "width": width, **lists})
        for segments, entries in ((image.true, true), (image.found, found)):
            for segment in segments:
                x0, y0, x1, y1 = segment["box"]
                box = [x0, y0, x1 - x0, y1 - y0]
                shape: Json = {"bbox": box}
                area = box[2] * box[3]
                if kind == "segm":
                    shape = {"segmentation": run_lengths(segment, image.size), "bbox": box}
                    area = rle.area(shape["segmentation"])
                if entries is true:
                    shape |= {"area": segment["area"], "iscrowd": int(segment.get("crowd", False))}
                else:
                    shape |= {"area": area, "iscrowd": 0, "score": score_of(segment)}
                entries.append(
                    {"id": len(entries) + 1, "image_id": number, "category_id": numbers[segment["label"]], **shape}
                )
    categories = [
        {"id": number, "name": label, "frequency": compared.frequencies.get(label, "f")}
        for label, number in numbers.items()
    ]
    head = {"info": {}, "images": images, "categories": categories}
    return {**head, "annotations": true}, {**head, "annotations": found}


def _mean(values: NDArray[np.float64]) -> float:
    judged = values[values > -1]
    return float(judged.mean()) if judged.size else float("nan")
