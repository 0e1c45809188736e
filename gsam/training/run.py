"""The folder of a training run: its settings, by which a resume knows that it is the same run.

``run.json`` holds the settings, ``checkpoints/`` the states, ``log.jsonl`` and ``tensorboard/`` the
curves.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from gsam.dataset.lock import hold
from gsam.errors import OutputError, UsageError
from gsam.files import PREFIX, atomic_file
from gsam.training.schedule import RHYTHM, TrainConfig
from gsam.types import Json
from gsam.version import __version__

RUN = "run.json"
CHECKPOINTS = "checkpoints"
LOG = "log.jsonl"
TENSORBOARD = "tensorboard"
LOCK = ".training.lock"
SHOWN = 6
"""Differences that a message names."""


@contextlib.contextmanager
def open_run(
    out: Path, config: TrainConfig, settings: Mapping[str, Any] | None = None, *, resume: bool = False
) -> Iterator[TrainConfig]:
    """Hold the folder of a run while the block runs.

    Args:
        out: The folder, which is made.
        config: The schedule.
        settings: Plain values: all else that decides what is learnt.
        resume: Go on with the run that is there, if there is one.

    Yields:
        ``config``, with its ``dtype`` settled: what an earlier part of the run computed in.

    Raises:
        UsageError: The folder holds a run and ``resume`` is false (``training_exists``); its
            settings are others (``training_changed``), or unreadable (``training_unreadable``);
            another process is at work in it (``output_locked``).
        OutputError: The folder cannot be written to.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with hold(out / LOCK):
        for half in out.glob(f"{PREFIX}*"):  # of a process that was killed
            half.unlink(missing_ok=True)
        before = read_run(out)
        there = before is not None or (out / CHECKPOINTS).exists()
        if there and not resume:
            raise UsageError(f"{out} holds a training run already: resume it, or choose another folder",
                             "training_exists")  # fmt: skip
        dtype = config.dtype or (before["config"].get("dtype") if before else None) or default_dtype()
        config = dataclasses.replace(config, dtype=dtype)
        now = describe(config, settings)
        if before is not None:
            check_same(out, before, now)
        else:
            with writing(out), atomic_file(out / RUN) as file:
                file.write(json.dumps(now, indent=1, ensure_ascii=False).encode())
        yield config


def default_dtype() -> Literal["float32", "bfloat16"]:
    """The type that a loss computes in where nobody says: float32 on CPU, else bfloat16."""
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"


def describe(config: TrainConfig, settings: Mapping[str, Any] | None) -> Json:
    """Give what ``run.json`` holds, as JSON would give it back."""
    told = {"gsam": __version__, "config": dataclasses.asdict(config), "settings": dict(settings or {})}
    plain: Json = json.loads(json.dumps(told, default=str))
    return plain


def read_run(out: Path) -> Json | None:
    """Read what the run in a folder was begun with.

    Args:
        out: The folder.

    Returns:
        ``gsam`` (the version), ``config`` (`TrainConfig` as a table) and ``settings``; None where
        there is no run.

    Raises:
        UsageError: ``run.json`` cannot be read (``training_unreadable``).
    """
    try:
        told = json.loads((out / RUN).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{out / RUN} cannot be read ({error}); choose another folder",
                         "training_unreadable") from None  # fmt: skip
    if not isinstance(told, dict) or not isinstance(told.get("config"), dict):
        raise UsageError(f"{out / RUN} is not of a training run; choose another folder", "training_unreadable")
    return told


def check_same(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings.

    Args:
        out: The folder, for the message.
        before: What the run was begun with, as `describe` gives it.
        now: What it is to go on with.

    Raises:
        UsageError: They differ (``training_changed``); the message shows how.
    """
    found = differences(_deciding(before), _deciding(now))
    if not found:
        return
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise UsageError(
        f"{out} holds a run with other settings: {'; '.join(found[:SHOWN])}{more}; go on with those, or choose "
        "another folder",
        "training_changed",
    )


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """List the places where two plain values differ: ``["rate was 1, now 2"]``."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(k for k in now if k not in before)]
        inside = [(before.get(k), now.get(k), f"{name}.{k}" if name else k) for k in keys]
        return [line for a, b, n in inside for line in differences(a, b, n)]
    if before == now:
        return []
    return [f"{name} was {_short(before)}, now {_short(now)}"]


def _deciding(told: Mapping[str, Any]) -> Json:
    """The settings that decide what is learnt, in one table; what an older version did not have
    is as it is by default.
    """
    default = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
    config = {k: v for k, v in (default | told["config"]).items() if k not in RHYTHM}
    return {**config, **told.get("settings", {})}


def _short(value: object) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:28]}...{text[-28:]}"


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the system's refusal to write in the block into an error that names the folder.

    Args:
        folder: The run's.

    Raises:
        OutputError: Nothing can be written there, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        todo = "make room, and resume the run: earlier checkpoints are whole" if full else "choose another folder"
        raise OutputError(f"{folder} cannot be written to ({error.strerror or error}): {todo}") from error
