"""``gsam doctor``: what is installed, where things are, and whether the small pipeline runs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

PACKAGES = "jax jaxlib flax orbax-checkpoint numpy pillow tokenizers safetensors huggingface-hub pycocotools"
SCRIPTS = {
    "Latin": "cat",
    "Greek": "γάτα",
    "Cyrillic": "кот",
    "Hebrew": "חתול",
    "Arabic": "قط",
    "Devanagari": "बिल्ली",
    "Bengali": "বিড়াল",
    "Tamil": "பூனை",
    "Thai": "แมว",
    "Chinese": "猫",
    "Japanese": "ねこ",
    "Korean": "고양이",
}
Row = tuple[str, str, bool]
"""Name of a check, its finding, and whether that is well."""


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def doctor(
    run: Annotated[bool, Option("--run/--no-run", help="Run the small pipeline on an image.")] = True,
) -> None:
    """Say what is installed and whether it works.  Exit code 1 if something is broken."""
    checks: list[Callable[[], Iterator[Row]]] = [_versions, _devices, _places, _letters]
    healthy = True
    for check in [*checks, _nano] if run else checks:
        try:
            for what, how, well in check():
                healthy &= well
                _line(what, how, well)
        except Exception as error:  # whatever is broken is what the doctor is asked about
            healthy = False
            _line(check.__name__.strip("_"), f"{type(error).__name__}: {error}", False)
    print("all is well" if healthy else "something is broken: see the lines marked !!")
    if not healthy:
        raise typer.Exit(1)


def _line(what: str, how: str, well: bool) -> None:
    print(f"{'ok' if well else '!!'}  {what:17} {how}", flush=True)


def _versions() -> Iterator[Row]:
    from gsam.version import __version__

    yield "gsam", f"{__version__} in {Path(__file__).parents[1]}", True
    yield (
        "python",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        sys.version_info >= (3, 11),
    )
    for package in PACKAGES.split():
        try:
            yield package, importlib.metadata.version(package), True
        except importlib.metadata.PackageNotFoundError:
            yield package, "is not installed", False


def _devices() -> Iterator[Row]:
    import jax

    devices = jax.devices()
    kinds = {d.platform if d.device_kind == d.platform else f"{d.platform} ({d.device_kind})" for d in devices}
    yield "devices", f"{len(devices)} x {', '.join(sorted(kinds))}, {jax.process_count()} host(s)", True
    yield "processors", f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}", True


def _places() -> Iterator[Row]:
    from huggingface_hub import constants

    from gsam.weights import folders

    for what, variable, place in (
        ("gsam's cache", "GSAM_CACHE", folders.cache_folder()),
        ("the hub's cache", "HF_HOME", Path(constants.HF_HUB_CACHE)),
    ):
        here = next(p for p in (place, *place.parents) if p.exists())
        size = (
            sum(f.lstat().st_size for f in place.rglob("*") if f.is_file() and not f.is_symlink())
            if place.exists()
            else 0
        )
        free = shutil.disk_usage(here).free
        if here.is_dir() and os.access(here, os.W_OK):
            yield what, f"{place}, {_bytes(size)} used, {_bytes(free)} free", True
        else:
            yield what, f"{place} cannot be written: set {variable} to a folder that can", False


def _letters() -> Iterator[Row]:
    from gsam.results.draw.text_rendering import drawable

    missing = [script for script, word in SCRIPTS.items() if not drawable(word)]
    known = ", ".join(s for s in SCRIPTS if s not in missing)
    yield (
        "labels",
        f"{known} can be drawn" + (f"; not as written {', '.join(missing)}: install Noto fonts" if missing else ""),
        True,
    )


def _nano() -> Iterator[Row]:
    import numpy as np

    import gsam

    start = time.monotonic()
    pipe = gsam.load("nano")
    loaded = time.monotonic()
    result = pipe(np.full((120, 160, 3), 200, np.uint8), "dog")
    done = time.monotonic()
    well = result.masks.shape == (len(result), 120, 160) and bool(np.isfinite(result.xyxy).all())
    yield "nano", f"loaded in {loaded - start:.1f} s, first image in {done - loaded:.1f} s", well


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
