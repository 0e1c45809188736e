"""The measurement of fine-tuning: its page, its drawings, and PyTorch's side of the recipe."""

from __future__ import annotations

import argparse
import copy
from typing import Any

import numpy as np
import pytest

from benchmarks import training
from benchmarks.harness import training_page
from benchmarks.harness.sections import MADE, chooser, joined

MEAN = {
    "prompt": "one box",
    "count": 4,
    "classes": 2,
    "before": 0.5,
    "after": 0.75,
    "class_before": None,
    "class_after": 0.7,
}
ROW = {"what": "decoder", "means": [MEAN], "settings": {"batch size": 4}, "seconds": 120.0, "training": 60.0,
       "peak": 2e9, "bytes": 5e6}  # fmt: skip
LOSSES = {"losses": [1.0], "peak": 1e9}
REPORT: dict[str, Any] = {
    "date": "2026-01-02", "command": "python -m benchmarks.training", "machine": "a machine", "load": "0, 0, 0", "took": 9.0,
    "versions": {"jax": "1", "torch": "absent"},
    "drawings": {"rows": [ROW], "steps": 5, "train": 6, "held_out": 3, "objects": {"train": 9, "held_out": 4}},
    "torch": {
        "rows": [{"form": "gsam", "seconds": [1.0, 3.0, 2.0], "furthest": 0.0, **LOSSES},
                 {"form": "torch", "seconds": [4.0], "furthest": 2e-5, **LOSSES}],
        "absent": {"torch.compile": "no compiler"}, "steps": 20, "warm": 3, "batch": 2, "objects": 4, "repeats": 3,
        "rounds": [0, 7], "small": False, "rate": 1e-4,
    },
    "sam": {"step": 5.0, "seconds": 600.0, "peak": 4e9, "settings": {"batch size": 4, "prompts per image": 8}, "steps": 20,
            "kept": 5e7, "images": 10, "small": False},
    "kill": {"kills": 2, "asked": 2, "at": [5, 9], "steps": 60, "seconds": 30.0, "seed": 19, "saves": 5,
             "differences": [], "again": []},
}  # fmt: skip


def test_the_page_tells_what_was_measured() -> None:
    text = training_page.page(REPORT)
    for part in (
        "| decoder | one box | 0.500 | **0.750** | not known | 0.700 |",
        "| decoder | 2.0 | 1.0 | 2.00 GB | 5.00 MB |",
        "| torch | 4.000 | 0.250 | 2.0e-05 | 1.00 GB |",
        "| torch.compile | not measured: no compiler | | | |",
        "gsam / torch: **0.50**; goal 1 or less: met.",
        "| 5.00 | 4.00 GB | 5.0 MB | 10.0 min |",
        "after steps 5, 9 of the log",
        "for 5 steps of 4 images",
        "batches of 4 images with 8 prompts each",
    ):
        assert part in " ".join(text.split()) or part in text
    assert training_page.wrong(REPORT) == []


def test_what_is_wrong_is_named() -> None:
    report = copy.deepcopy(REPORT)
    report["torch"]["rows"][1]["furthest"] = 0.01
    report["kill"] |= {"differences": ["model/model.safetensors"], "kills": 1}
    assert len(training_page.wrong(report)) == 3
    assert "**missed**" in training_page.page(report)
    assert "**model/model.safetensors differ**" in " ".join(training_page.page(report).split())


def test_sections_are_measured_by_name_and_kept() -> None:
    assert chooser(training.MEASURE)("kill, sam") == ["kill", "sam"]
    with pytest.raises(argparse.ArgumentTypeError, match="there is no speed"):
        chooser(training.MEASURE)("speed")
    now = {key: REPORT[key] for key in MADE} | {"date": "2026-02-03", "kill": REPORT["kill"]}
    both = joined(now, {**REPORT, "kill": {}}, training.MEASURE)
    assert both["kill"] == REPORT["kill"]
    assert (both["made"]["kill"]["date"], both["made"]["sam"]["date"]) == ("2026-02-03", "2026-01-02")
    assert "Made by `python -m benchmarks.training` on 2026-01-02" in training_page.page(both)


def test_a_line_drawing_is_dark_lines_on_light_paper() -> None:
    pytest.importorskip("optax")
    from benchmarks.harness.training_scenes import line_drawing

    rgb = np.full((160, 160, 3), 255, np.uint8)
    rgb[40:120, 40:120] = (200, 30, 30)
    drawn = [line_drawing(np.random.default_rng(3), rgb) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)
    grey = drawn[0].mean(-1)
    assert grey[:30].min() > 190
    assert grey[60:100, 60:100].min() > 190
    assert grey[80, 36:46].min() < 120


@pytest.mark.long
def test_torch_judges_masks_and_clicks_as_gsam_does() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("optax")
    import jax.numpy as jnp

    from benchmarks.harness import training_torch
    from gsam.training import losses
    from gsam.training.segmenter.clicks import depth

    rng = np.random.default_rng(0)
    logits, guess = rng.normal(0, 4, (2, 3, 3, 8, 8)).astype(np.float32), rng.random((2, 3, 3)).astype(np.float32)
    truth = rng.random((2, 3, 8, 8)).astype(np.float32).round(1)
    known = np.zeros((2, 1, 8, 8), bool)
    known[:, :, :6, :7] = True
    cost, iou = losses.mask_cost(logits, truth[:, :, None], known[:, :, None])
    wanted = (cost * losses.best_mask(cost)).sum(-1) + ((guess - iou) ** 2).mean(-1)
    given = [torch.from_numpy(x) for x in (logits, guess, truth, known)]
    np.testing.assert_allclose(training_torch._judge(*given).numpy(), np.asarray(wanted), rtol=1e-5)
    region = rng.random((2, 3, 20, 20)) < 0.95
    found = training_torch._depth(torch.from_numpy(region)).numpy()
    np.testing.assert_array_equal(found, np.asarray(depth(jnp.asarray(region))))
