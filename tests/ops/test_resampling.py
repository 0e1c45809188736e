"""Products in pieces: the same numbers, and no other core is taken for them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from gsam.ops.resampling import PRODUCT, banded, bilinear, product

WORK = """
import time
import numpy as np
from gsam.inputs.resizing import _gaussian
from gsam.results.masks.low_res import LowResMasks
from gsam.results.masks.windowed import WindowedMasks

logits = np.random.default_rng(0).normal(0, 6, (4, 256, 256)).astype(np.float32)
whole = LowResMasks(logits, 1024, (768, 1024), (1500, 2000))
masks = WindowedMasks(whole, np.tile(np.array([100, 100, 1400, 1400], np.float32), (4, 1)))
pixels = np.zeros((1500, 1500, 3), np.float32)
whole.dense(), masks.dense(), _gaussian(pixels, 768)
all_threads, this = time.process_time(), time.thread_time()
for _ in range(5):
    whole.dense(), whole.logits_full(), masks.dense(), _gaussian(pixels, 768)
print((time.process_time() - all_threads) / (time.thread_time() - this))
"""


@pytest.mark.parametrize("shape", [(3, 5, 7), (40, 33, 9000), (9000, 33, 40), (1, 300, 1200), (0, 4, 5), (4, 0, 5)])
def test_pieces_are_the_product(shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(rows, inner)).astype(np.float32), rng.normal(size=(inner, columns)).astype(np.float32)
    out = np.full((rows, columns), np.nan, np.float32)
    product(a, b, out)
    np.testing.assert_allclose(out, a.astype(np.float64) @ b, atol=2e-5)


def test_bands_are_the_weights() -> None:
    weights = bilinear(37, 200)
    whole = np.zeros_like(weights)
    for band in banded(weights):
        assert band.weights.size < PRODUCT
        whole[band.target, band.source] = band.weights
    assert (whole == weights.astype(np.float32)).all()
    assert banded(weights[:0]) == []


@pytest.mark.skipif(os.cpu_count() == 1, reason="there is no other core")
def test_masks_and_images_are_enlarged_on_one_core() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    told = subprocess.run([sys.executable, "-c", WORK], env=environment, check=True, capture_output=True, text=True)
    assert float(told.stdout) < 1.4
