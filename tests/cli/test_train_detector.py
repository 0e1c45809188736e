"""`gsam train detector` and `gsam train classifier`: the options reach the functions."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optax")

from typer.testing import CliRunner, Result

from gsam.cli import train
from gsam.errors import UsageError


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(train.app, [str(word) for word in words])


@pytest.mark.parametrize(("kind", "place"), [("detector", "boxes.finetune"), ("classifier", "regions.finetune")])
def test_options_reach_the_function(kind: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: dict[str, Any] = {}

    def stand_in(data: Path, images: Path | None, **settings: Any) -> Any:
        called.update(settings, data=data, images=images)
        return types.SimpleNamespace(model=tmp_path / "run" / "model")

    monkeypatch.setattr(f"gsam.training.{place}.finetune_{kind}", stand_in)
    words = ["--data", "a.json", "--images", "photos", "-m", "some/model", "-o", "run", "--what", "lora", "--rank", "4"]
    words += ["--lora-on", "q_proj", "--minutes", "2.5", "--batch-size", "3", "--rate", "1e-4", "--held-out", "b.json"]
    words += [
        "--patience",
        "3",
        "--evaluate-every",
        "7",
        "--save-every",
        "9",
        "--seed",
        "5",
        "--quiet",
        "--skip-faults",
    ]
    done = run(kind, *words)
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path}/run/model\n"), done.output
    assert (called.pop("variants", 4), called.pop("negatives", ["background"])) == (4, ["background"])
    assert called == {
        "data": Path("a.json"), "images": Path("photos"), "model": "some/model", "out": Path("run"), "what": "lora",
        "rank": 4, "lora_on": "q_proj", "steps": None, "minutes": 2.5, "batch_size": 3, "rate": 1e-4,
        "held_out": Path("b.json"), "patience": 3, "evaluate_every": 7, "save_every": 9, "seed": 5, "dtype": None,
        "quiet": True, "skip_faults": True,
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "words", "told"), [
    ("detector", ["--steps", "3", "--minutes", "2"], "two lengths"),
    ("classifier", ["--held-out", "1.5"], "a share from 0"),
    ("detector", ["-m", "clip_vit_base_patch32"], "OWL-ViT, OWLv2 and Grounding DINO can"),
    ("classifier", ["-m", "sam_vit_b"], "it is a model to segment"),
])  # fmt: skip
def test_what_cannot_be(kind: str, words: list[str], told: str, tmp_path: Path) -> None:
    done = run(kind, "--data", "a.json", "-o", tmp_path, *words)
    assert isinstance(done.exception, UsageError)
    assert told in str(done.exception)
    assert not list(tmp_path.iterdir())
