from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gsam
from gsam.errors import UsageError
from gsam.training.distillation.run import distil
from gsam.weights import store
from tests.training.distillation import tiny

pytest.importorskip("optax")
EMBEDDINGS: dict[str, Any] = {"embedding_share": 1.0, "batch_size": 2, "rate": 3e-3, "quiet": True}
EMBEDDINGS |= {"save_every": 2, "evaluate_every": 100}


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["event"] == "step"]


@pytest.mark.long
def test_a_student_learns_and_is_a_model_like_any_other(tmp_path: Path) -> None:
    photos = tiny.images(tmp_path / "photos", 5)
    names = {"teacher": tiny.model(tmp_path, "sam", 1), "student": tiny.model(tmp_path, "mobile_sam", 0)}
    found = distil(photos, **names, out=tmp_path / "run", steps=30, held_out=0.3, **EMBEDDINGS)
    first, *_, last = losses(tmp_path / "run")
    assert last < 0.8 * first
    assert found.before.keys() == found.after.keys() == {"one box", "one click", "three clicks"}
    assert found.page.is_file()
    assert "nano" not in found.page.read_text()
    assert gsam.segmenter(str(tmp_path / "run")).view.size == 64
    teacher, student = store.load(names["teacher"]), store.load(found.model)
    for name, value in student.params.items():
        if not name.startswith("image_encoder/"):
            np.testing.assert_array_equal(value, teacher.params[name])
    note = json.loads((found.model / "gsam.json").read_text())
    assert note["family"] == "mobile_sam"
    assert note["settings"]["decoder"] == "the teacher's decoder"

    # Called again, a finished run trains nothing, and gives the same.
    again = distil(photos, **names, out=tmp_path / "run", steps=30, held_out=0.3, **EMBEDDINGS)
    assert (again.before, again.after) == (found.before, found.after)
    with pytest.raises(UsageError, match="corrections was 1, now 2") as caught:
        distil(photos, **names, out=tmp_path / "run", steps=30, held_out=0.3, corrections=2, **EMBEDDINGS)
    assert caught.value.code == "training_changed"


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gsam.training.distillation.task import Distillation

    photos = tiny.images(tmp_path / "photos", 4)
    names = {"teacher": tiny.model(tmp_path, "sam", 1), "student": tiny.model(tmp_path, "mobile_sam", 0)}

    def run(out: str) -> dict[str, Any]:
        found = distil(photos, **names, init="scratch", out=tmp_path / out, steps=6, **EMBEDDINGS)
        return store.load(found.model).params

    whole = run("whole")
    load = Distillation.batch

    def killed(self: Distillation, rng: np.random.Generator, step: int) -> Any:
        if step == 5:
            raise MemoryError("killed")
        return load(self, rng, step)

    monkeypatch.setattr(Distillation, "batch", killed)
    with pytest.raises(MemoryError):
        run("parts")
    monkeypatch.setattr(Distillation, "batch", load)
    parts = run("parts")
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
