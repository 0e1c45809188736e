"""Results as PNG files in memory: the overlay for people, label numbers for programs."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image, PngImagePlugin

from gsam.results.draw.overlay import SETTINGS
from gsam.results.result import Result

BYTE = (1 << 8) - 1
"""Most labels that a pixel of 8 bits can name."""


def overlay_png(result: Result) -> bytes:
    """Draw the outlines, boxes and labels of a result over its image, at the image's size."""
    buffer = io.BytesIO()
    result.plot().save(buffer, "PNG", **SETTINGS["PNG"])
    return buffer.getvalue()


def label_png(result: Result) -> bytes:
    """Number the pixels of an image by their label.

    Args:
        result: What was found.

    Returns:
        A grey PNG of the image's size: 0 for nothing, else 1 + the ``label_id`` of the object, of
        the one with the higher score where masks overlap.  8 bits a pixel, 16 for more than 255
        queries.  Its text ``queries`` is a JSON list of what the numbers mean, from 1.
    """
    depth = np.uint8 if len(result.queries) <= BYTE else np.uint16
    numbers = np.zeros(result.size, depth)
    for i in np.argsort(result.scores, kind="stable"):  # the best last, over all others
        numbers[result.mask(int(i))] = result.label_ids[i] + 1
    names = PngImagePlugin.PngInfo()
    names.add_itxt("queries", json.dumps(result.query_labels or result.queries, ensure_ascii=False))
    buffer = io.BytesIO()
    Image.fromarray(numbers).save(buffer, "PNG", pnginfo=names, **SETTINGS["PNG"])
    return buffer.getvalue()
