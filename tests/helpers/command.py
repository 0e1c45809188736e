"""``gsam`` in this process."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import pytest

from gsam import cli

Gsam = Callable[..., int]


def in_process(monkeypatch: pytest.MonkeyPatch, *first: str) -> Gsam:
    """What comes after ``gsam`` and ``first`` -> the exit code."""
    monkeypatch.setattr(cli, "listen", lambda: None)

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["gsam", *first, *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", None)  # put back when the test ends
        with pytest.raises(SystemExit) as leave:
            cli.main()
        assert isinstance(leave.value.code, int)
        return leave.value.code

    return call
