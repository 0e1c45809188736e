"""What an import brings along: the tools stand on the runtime, not on the pipeline."""

from __future__ import annotations

import subprocess
import sys

import pytest

UNNEEDED = ("gsam.pipeline", "gsam.export", "gsam.results.draw")


@pytest.mark.parametrize("module", ["image", "video", "fast_sam", "automatic.generator"])
@pytest.mark.long
def test_a_predictor_imports_no_pipeline(module: str) -> None:
    code = f"import sys, gsam.predictors.{module}; print([m for m in sys.modules if m.startswith({UNNEEDED!r})])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
