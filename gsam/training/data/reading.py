"""Read a data set for training, and check it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from gsam.errors import UsageError
from gsam.training.data.entries import DataSet, DataSetBuilder
from gsam.training.data.faults import Fault, Report, Tell
from gsam.training.data.survey import Survey


def read(
    data: str | Path, images: str | Path | None = None, *, masks: bool = True, format: str | None = None
) -> DataSet:
    """Read a data set; what cannot be used is left out in silence.

    Masks and boxes wait in a temporary file, not in memory.

    Args:
        data: COCO or LVIS JSON, a folder of what ``gsam label`` wrote, a folder of PNG masks, or
            anything else that ``gsam convert`` reads.
        images: The folder of the images; by default as `gsam.evaluation.sides.image_places` finds
            them.
        masks: Leave out objects without a mask. With False boxes are enough, and masks are kept
            where there are some.
        format: One of `gsam.results.formats.known.FORMATS`; by default the one that it looks like.

    Returns:
        Images whose files are there and have the size that the data set says, also those without an
        object.

    Raises:
        UsageError: It is of no known format, or cannot be read to its end (``format_unknown``,
            ``format_unreadable``, ``data_missing``).

    Example:
        >>> from gsam.training.data import read
        >>> read("train.json", "photos").names  # doctest: +SKIP
        ('cat', 'dog')
    """
    return _built(Survey(data, images, format, Report(), masks=masks, depth="header"))


def read_checked(
    data: str | Path,
    images: str | Path | None = None,
    *,
    masks: bool = True,
    format: str | None = None,
    skip_faults: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> DataSet:
    """Read a data set and check all of it, pixels too, as ``gsam data check`` does.

    Args:
        data: As for `read`.
        images: As for `read`.
        masks: As for `read`.
        format: As for `read`.
        skip_faults: Leave faulty images and objects out, instead of refusing.
        progress: Called with the number of good images after each.

    Returns:
        As `read` does.

    Raises:
        UsageError: Something would be left out (``data_faults``), or nothing can be trained with
            it (``data_unusable``), or it cannot be read, as for `read`.
    """
    report = Report()
    survey = Survey(data, images, format, report, masks=masks, depth="pixels")
    found = _built(survey, lambda: progress(report.images))
    words = ["gsam", "data", "check", str(data), *([] if images is None else ["--images", str(images)])]
    words += [] if format is None else ["--from", format]
    report.refuse(str(data), shlex.join([*words, *([] if masks else ["--boxes"])]), skip_faults)
    return found


def check(
    data: str | Path,
    images: str | Path | None = None,
    *,
    masks: bool = True,
    format: str | None = None,
    pixels: bool = True,
    tell: Tell = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """List every fault of a data set, image by image; memory does not grow with images.

    Args:
        data: As for `read`.
        images: As for `read`.
        masks: Whether an object without a mask is a fault.
        format: As for `read`.
        pixels: Whether image files are decoded; otherwise their heads are read.
        tell: Is told every fault and note when it is met; the report keeps the first ones of each
            kind.
        progress: Called with the number of good images after each.

    Returns:
        The report; what cannot be read at all is a fault in it (``data_unreadable``).

    Raises:
        UsageError: It is of no known format (``format_unknown``), or is not there
            (``data_missing``).

    Example:
        >>> from gsam.training.data import check
        >>> check("train.json", "photos").counts  # doctest: +SKIP
        {'image_missing': 2, 'polygon_points': 1}
    """
    report = Report()
    try:
        survey = Survey(data, images, format, report, masks=masks, depth="pixels" if pixels else "header", tell=tell)
        for _ in survey:
            progress(report.images)
    except UsageError as error:
        if error.code != "format_unreadable":
            raise
        fault = Fault("data_unreadable", None, None, str(error), "stops")
        report.add(fault)
        tell(fault)
    return report


def _built(survey: Survey, step: Callable[[], None] = lambda: None) -> DataSet:
    builder = DataSetBuilder(survey.names)
    for scene, looked in survey:
        size = (scene["height"], scene["width"])
        builder.add(scene["image"], looked.path, size, scene["segments"], looked.digest)
        step()
    return builder.data_set()
