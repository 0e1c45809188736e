"""Settings as they are noted down: whatever changes results changes them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsam.dataset.settings import pipeline_settings
from gsam.errors import UsageError
from gsam.text.queries import Query, parse_queries
from gsam.weights.folders import data_folder
from gsam.weights.identity import hash_once, identity

RECIPE = """[detect]
name = "{weights}"

[limits]
threshold = {threshold}
"""


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))


def write(folder: Path, threshold: float = 0.25) -> Path:
    weights = folder / "mine.safetensors"
    if not weights.exists():
        shutil.copy(data_folder("nano") / "detector.safetensors", weights)
    path = folder / "mine.toml"
    path.write_text(RECIPE.format(weights=weights, threshold=threshold))
    return path


def flip(path: Path) -> None:
    """Change a bit, keep size and time."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def changes(folder: Path) -> dict[str, Callable[[], Any]]:
    path = str(folder / "mine.toml")

    def ask(query: Query = "dog", **given: Any) -> Any:
        return pipeline_settings(path, parse_queries(query), given)

    return {
        "nothing": ask,
        "options that were not given": lambda: ask(tile=None, threshold=None),
        "the recipe's own value": lambda: ask(threshold=0.25),
        "a threshold": lambda: ask(threshold=0.3),
        "tiles": lambda: ask(tile=100),
        "their overlap": lambda: ask(overlap=0.3),
        "another query": lambda: ask("dog. cat"),
        "another label": lambda: ask({"dog": "animal"}),
        "another model": lambda: ask(segmenter="nano_sam"),
        "a precision": lambda: ask(dtype="bfloat16"),
        "a platform": lambda: ask(device="cuda"),
        "one of its devices": lambda: ask(device="CUDA:1"),
        "another recipe of the same name": lambda: (write(folder, 0.35), ask())[1],
        "other weights of the same name, size and time": lambda: (
            write(folder), flip(folder / "mine.safetensors"), ask()
        )[2],
    }  # fmt: skip


SAME = ("nothing", "options that were not given", "the recipe's own value", "one of its devices")


def test_what_changes_results_changes_settings(tmp_path: Path) -> None:
    write(tmp_path)
    seen: list[str] = []
    for what, ask in changes(tmp_path).items():
        told = json.dumps(ask(), sort_keys=True)
        assert (told in seen) == (what in SAME[1:]), what
        seen.append(told)


def test_a_recipe_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no pipeline 'nanoo'"):
        pipeline_settings("nanoo", parse_queries("dog"), {})


def test_an_exported_pipeline_is_known_by_its_files(tmp_path: Path) -> None:
    art = tmp_path / "art"
    (art / "programs").mkdir(parents=True)
    for name in ("pipeline.json", "weights.safetensors", "programs/a.bin"):
        (art / name).write_text(name)
    before = pipeline_settings(str(art), parse_queries("dog"), {"threshold": 0.5})
    assert before["limits"] == {"threshold": 0.5}
    assert len(before["weights"][str(art)]) == 3
    (art / "programs" / "a.bin").write_text("changed")
    assert pipeline_settings(str(art), parse_queries("dog"), {"threshold": 0.5}) != before


def test_identities_of_all_kinds_of_names(tmp_path: Path) -> None:
    assert identity("nano_owl") == {"detector.safetensors": hash_once(data_folder("nano") / "detector.safetensors")}
    assert len(identity("sam_vit_b")["sha256"]) == 64
    assert identity("nobody/has-this") == {}
    folder = tmp_path / "orbax"
    (folder / "d").mkdir(parents=True)
    for name in ("gsam.json", "d/0"):
        (folder / name).write_text(name)
    assert identity(folder).keys() == {"gsam.json", "d/0"}


def test_a_large_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.pth"
    path.write_bytes(bytes(2 << 20))
    told = hash_once(path)
    with monkeypatch.context() as patch:
        patch.setattr("gsam.files.sha256", lambda _: "read again")
        assert hash_once(path) == told
    flip(path)
    assert hash_once(path) != told
