"""A second look and tiles on nano's held-out scenes: ``python -m benchmarks.refine``.

Needs the font Noto Color Emoji, because the scenes are drawn.  Prints the table of docs/refine.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import gsam
from gsam.evaluation.matching import Tally, overlaps, pairs
from gsam.nano import heldout
from gsam.nano.heldout import Example
from gsam.nano.names import LEAVES

SMALL = 16
"""Root of the area of a small thing, with 160 pixels on the longer side."""
WAYS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "one look": (False, {}),
    "a second look, nano's: `most = 8`": ({"most": 8}, {}),
    "four windows in one view: `most = 4, together = 2, margin = 0.25`": (
        {"most": 4, "together": 2, "margin": 0.25},
        {},
    ),
    "one look, `tile=320`": (False, {"tile": 320}),
}
"""Title -> ``refine`` and the settings of the calls."""


def measure(pipe: gsam.Pipeline, scenes: Sequence[Example], settings: Mapping[str, Any]) -> dict[str, float]:
    """Measure one way of asking for all names.

    Returns:
        F1, precision, mean IoU of matched masks, that of small things, their recall, and the
        median processor time of an image in milliseconds, of all threads together.
    """
    tally, spent, small, found = Tally(), [], [], []
    for example in scenes[:2]:  # compiled
        pipe(example.rgb, list(LEAVES), **settings)
    for example in scenes:
        pixels = example.rgb.copy()
        pixels[0, 0] ^= 1  # an image that is not remembered
        begin = time.process_time()
        result = pipe(pixels, list(LEAVES), **settings)
        spent.append(time.process_time() - begin)
        masks = result.masks
        hits = tally.add(
            masks, result.labels, result.scores, example.masks, example.names, example.ignored, result.xyxy
        )
        iou = overlaps(masks, example.masks)
        matched = {j: iou[i, j] for i, j in pairs(iou, result.scores)} if len(result) else {}
        for j, mask in enumerate(example.masks):
            if np.sqrt(mask.sum()) * 160 / max(mask.shape) < SMALL:
                small.append(j in {k for _, k in hits})
                found += [matched[j]] if j in matched else []
    report = tally.report()
    return {
        "F1": report["f1"],
        "precision": report["precision"],
        "mask IoU": report["mask_iou"],
        "mask IoU, small": float(np.mean(found)),
        "recall, small": float(np.mean(small)),
        "ms": 1000 * float(np.median(spent)),
    }


def main() -> None:
    """Print a row for each of `WAYS`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=60)
    count = parser.parse_args().scenes
    warnings.filterwarnings("ignore", message="this model does not know")
    scenes = list(heldout.examples("test", count))
    for title, (refine, settings) in WAYS.items():
        row = measure(gsam.load("nano", refine=refine), scenes, settings)
        if title == next(iter(WAYS)):
            print("| | " + " | ".join(row) + " |\n|---|" + "---|" * len(row))
        values = " | ".join(f"{v:.0f}" if k == "ms" else f"{v:.3f}" for k, v in row.items())
        print(f"| {title} | {values} |", flush=True)


if __name__ == "__main__":
    main()
