"""A command loads nothing heavy before it knows what it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gsam import cli


@pytest.mark.parametrize("command", list(cli.COMMANDS))
@pytest.mark.long
def test_a_command_is_light(command: str) -> None:
    heavy = ["jax", "flax", "numpy", "PIL", "tokenizers", "huggingface_hub"]
    code = f"import sys, gsam.cli.{command}; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
