"""Programs of these tests are tiny: they need no optimising."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def _compiled_quickly(compiled_quickly: None) -> None:
    pass
