"""``gsam eval --pipeline``: a pipeline over the images of a truth; what belongs to neither form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gsam
from gsam.errors import ImageError, UsageError
from gsam.evaluation import pipelines
from gsam.evaluation.sides import read_truth
from gsam.results.formats import coco_files, known
from gsam.results.formats.dataset import scene, segment
from gsam.results.masks import rle
from gsam.text.queries import MAX_QUERIES
from tests.helpers.command import in_process
from tests.helpers.fake_gsam import FakePipeline

SIZE = (64, 48)
"""Height and width: higher than wide, so that the stand-in finds one thing."""


class Asked:
    """The pipelines that were loaded, and with what."""

    def __init__(self) -> None:
        self.given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.queries: list[list[str]] = []

    def load(self, *arguments: Any, **given: Any) -> FakePipeline:
        self.given.append((arguments, given))
        pipe = FakePipeline()
        answers = pipe.answers

        def noted(pairs: Any, *rest: Any, **more: Any) -> Any:
            return answers((self._note(pair) for pair in pairs), *rest, **more)

        pipe.answers = noted  # type: ignore[method-assign]
        return pipe

    def _note(self, pair: Any) -> Any:
        if not self.queries or self.queries[-1] != pair[1].names:
            self.queries.append(pair[1].names)
        return pair


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(gsam, "load", asked.load)
    return asked


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    return in_process(monkeypatch, "eval")


def made(folder: Path, places: str = "images", names: tuple[str, ...] = ("a.png", "b.png", "c.png")) -> Path:
    """A truth of dogs that the stand-in finds but for a few rows, in a folder beside its images."""
    (folder / places).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    with coco_files.Writer(folder / "annotations", ["dog", "sea_lion"]) as writer:
        for i, name in enumerate(names):
            pixels = np.zeros((*SIZE, 3), np.uint8)
            pixels[16:48, 8:40] = 255
            Image.fromarray(pixels).save(folder / places / name)
            mask = pixels[..., 0] > 0
            mask[:18] = False
            writer.add(scene(name, SIZE, [segment("dog", rle.encode(mask))] if i < 2 else []))
    (folder / "annotations" / "coco.json").rename(folder / "annotations" / "instances_val2017.json")
    return folder / "annotations" / "instances_val2017.json"


def test_it_is_scored_as_what_it_found_is(
    tmp_path: Path, asked: Asked, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = made(tmp_path)
    model = ("--threshold", 0.3, "--boxes", 7, "--device", "cpu", "--detector", "other", "--batch-size", 2)
    assert run("-p", "nano", "--data", truth, "-o", tmp_path / "out", "--json", *model) == 0
    stdout, stderr = capsys.readouterr()
    values = json.loads(stdout)
    assert asked.given == [(("nano",), {"threshold": 0.3, "boxes": 7, "device": "cpu", "detector": "other"})]
    assert asked.queries == [["dog", "sea lion"]]
    assert "gsam: 3/3" in stderr
    assert values["images"] == 3
    assert 0.5 < values["masks"]["AP"] < 0.95
    assert values["classes"]["dog"] == {**values["classes"]["dog"], "true": 2, "found": 3}
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == values
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"scores.json", "precision_recall.png", "found.jsonl"}
    found = list(known.read(tmp_path / "out" / "found.jsonl"))
    assert [one["image"] for one in found] == ["a.png", "b.png", "c.png"]
    assert run(truth, tmp_path / "out" / "found.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out) == values


def test_images_that_cannot_be_opened_are_not_scored(
    tmp_path: Path, asked: Asked, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = made(tmp_path, "val2017")
    (tmp_path / "val2017" / "b.png").write_bytes(b"no image")
    assert run("-p", "nano", "--data", truth, "--json") == 3
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout)["images"] == 2
    assert json.loads(stdout)["classes"]["dog"]["true"] == 1
    assert "left out: b.png: " in stderr
    assert "3/3" in stderr
    (tmp_path / "val2017" / "a.png").unlink()
    assert run("-p", "nano", "--data", truth, "--json") == 3
    assert "a.png: no such file" in capsys.readouterr().err
    (tmp_path / "val2017" / "c.png").write_bytes(b"no image")
    assert run("-p", "nano", "--data", truth, "-o", tmp_path / "out") == 2
    assert "no image in common" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["annotations", "annotations/images", "annotations/val2017", ".", "JPEGImages"])
def test_images_are_where_they_usually_are(place: str, tmp_path: Path) -> None:
    path = made(tmp_path, place)
    items = pipelines.items_of(read_truth(path).held(), path)
    assert [item.path.resolve() for item in items] == [
        (tmp_path / place / n).resolve() for n in ("a.png", "b.png", "c.png")
    ]


def test_images_are_in_the_folder_that_is_named(
    tmp_path: Path, asked: Asked, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = made(tmp_path, "far/away")
    assert run("-p", "nano", "--data", truth) == 2
    assert "say where they are with --images [images_missing]" in capsys.readouterr().err
    assert not asked.given, "no model is loaded for that"
    assert run("-p", "nano", "--data", truth, "--images", tmp_path / "far" / "away", "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_only_what_is_asked_for_is_scored(
    tmp_path: Path, asked: Asked, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = made(tmp_path)
    assert run("-p", "nano", "--data", truth, "-q", "DOG. cat", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["classes"]) == ["dog"]
    assert asked.queries == [["DOG", "cat"]]
    assert run("-p", "nano", "--data", truth, "-q", "cat") == 2
    assert "none of the classes asked for: cat; it has dog, sea_lion" in capsys.readouterr().err
    assert len(asked.given) == 1


def test_more_classes_than_a_query_holds(tmp_path: Path, asked: Asked) -> None:
    path = made(tmp_path)
    labels = [f"thing {i}" for i in range(MAX_QUERIES + 3)]
    groups = pipelines.groups_of(labels)
    assert [len(group.names) for group in groups] == [MAX_QUERIES, 3]
    items = pipelines.items_of(read_truth(path).held(), path)
    items[1].path.write_bytes(b"no image")
    failed: dict[str, Exception] = {}
    found: list[Any] = list(pipelines.found_by(asked.load(), items, groups, failed))  # type: ignore[arg-type]
    assert [one["image"] for one in found] == ["a.png", "c.png"]
    assert list(failed) == ["b.png"]
    for one in found:
        assert one["queries"] == labels
        assert {(s["label"], s["label_id"]) for s in one["segments"]} == {
            ("thing 0", 0),
            (f"thing {MAX_QUERIES}", MAX_QUERIES),
        }
    with pytest.raises(UsageError, match="no classes"):
        pipelines.groups_of([])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["truth.json"], "give TRUTH and FOUND"),
        (["truth.json", "found.json", "-p", "nano"], "TRUTH and FOUND are scored without --pipeline"),
        (["truth.json", "-p", "nano"], "--data truth.json"),
        (["-p", "nano"], "--pipeline needs --data"),
        (["--data", "truth.json"], "name it with --pipeline"),
        (["-p", "nano", "--data", "truth.json", "--found-format", "coco"], "--found-format: only with FOUND"),
        (
            ["truth.json", "found.json", "--threshold", "0.2", "--max-pixels", "9"],
            "--threshold, --max-pixels: only with",
        ),
        (["truth.json", "found.json", "-q", "dog"], "--query: only with --pipeline"),
        (["-p", "nano", "--data", "truth.json", "--threshold", "3"], "--threshold"),
        (["truth.json", "found.json", "--with", "lvis"], "--with takes pycocotools or hotcoco"),
        (["truth.json", "found.json"], "truth.json is not there"),
    ],
)
def test_the_forms_refuse_each_other(
    words: list[str], why: str, run: Callable[..., int], asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    assert why in capsys.readouterr().err
    assert not asked.given


def test_in_python(tmp_path: Path, asked: Asked, run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    truth = made(tmp_path, "far")
    assert run("-p", "nano", "--data", truth, "--images", tmp_path / "far", "-q", "dog", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    pipe: Any = asked.load("nano")
    assert pipelines.score(pipe, truth, "dog", images=tmp_path / "far").to_dict() == values
    (tmp_path / "far" / "b.png").write_bytes(b"no image")
    with pytest.raises(ImageError):
        pipelines.score(pipe, truth, "dog", images=tmp_path / "far")
    told: list[str] = []
    found = pipelines.score(pipe, truth, images=tmp_path / "far", on_error=lambda name, error: told.append(name))
    assert told == ["b.png"]
    assert len(found.compared.images) == 2
