"""Programs of these tests are tiny: they need no optimising."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _compiled_fast() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "gsam.tracking.compiled.low_memory_options", lambda platform: {"xla_backend_optimization_level": 0}
        )
        yield
