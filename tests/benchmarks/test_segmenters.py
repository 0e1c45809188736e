"""What each segmenter costs."""

from __future__ import annotations

import pytest

from benchmarks import segmenters
from gsam.models import sam


@pytest.mark.long
def test_the_smallest_is_measured_and_reported() -> None:
    found = segmenters.measure("nano_sam")
    assert found["parameters"] == sam.spec(sam.VARIANTS["nano_sam"]).size
    assert found["look"] > 0
    assert 0 < found["boxes_1"] < found["boxes_16"]
    row = segmenters.report({"nano_sam": [found]}, 1).splitlines()[6]
    assert row.startswith("| `nano_sam` | 1.1 M | 4 MB |")
    assert row.endswith("| Apache-2.0 |")
