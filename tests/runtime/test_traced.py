"""Traced programs kept from process to process: found again only where nothing that they hold has
changed, and never the reason that something fails.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.bind import MismatchError
from gsam.inputs.image import open_image
from gsam.pipeline import steps
from gsam.runtime import traced
from gsam.runtime.program import Program
from gsam.types import Boxes

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
PIXELS = open_image(Path(__file__).parents[2] / "notebooks" / "scene.png").pixels


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; tests have one of JAX's otherwise, where nothing is kept."""
    monkeypatch.setattr(traced, "own_cache", lambda: tmp_path / "programs")
    return tmp_path / "programs"


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever a pipeline's program is traced."""
    seen: list[str] = []
    real = steps.suppress

    def counted(scene: gsam.Scene) -> gsam.Scene:
        seen.append("apply")
        return real(scene)

    monkeypatch.setattr(steps, "suppress", counted)
    return seen


def detector() -> Any:
    return gsam.detector("nano_owl")


def found(pipe: gsam.Pipeline, query: str = "dog", **settings: Any) -> tuple[Any, ...]:
    result = pipe(PIXELS, query, **settings)
    return result.xyxy.tobytes(), result.scores.tobytes(), tuple(result.labels)


@pytest.mark.long
def test_a_second_start_traces_nothing_and_answers_with_the_same_bytes(folder: Path, traces: list[str]) -> None:
    one = jax.local_devices()[0]
    plain = gsam.load("nano", threshold=0.0, device=one)
    first, count = found(plain), len(traces)
    kept = sorted(folder.glob("*.traced"))
    assert count == 1
    assert len(kept) == 4
    again = gsam.load("nano", threshold=0.0, device=one)
    assert found(again) == first
    assert "dog" in first[2]
    assert len(traces) == count
    assert sorted(folder.glob("*.traced")) == kept
    assert again.compilations == plain.compilations


def test_thresholds_are_no_part_of_a_program_and_sizes_are(folder: Path, traces: list[str]) -> None:
    detect = detector()
    found(gsam.Pipeline(detect, boxes=10))
    found(gsam.Pipeline(detect, boxes=10, threshold=0.9, nms=0.2))
    assert len(traces) == 1
    found(gsam.Pipeline(detect, boxes=11))
    assert len(traces) == 2
    found(gsam.Pipeline(detect, boxes=10), ". ".join(f"{c} {f}" for c in COLOURS for f in ("circle", "square", "book")))
    assert len(traces) == 3  # more texts than one program takes
    found(gsam.Pipeline(dataclasses.replace(detect, template="a photo of a {}"), boxes=10))
    assert len(traces) == 4


def test_another_source_traces_anew(folder: Path, traces: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    detect = detector()
    first = found(gsam.Pipeline(detect, boxes=10))
    monkeypatch.setattr(traced, "_source", lambda: "another")
    assert found(gsam.Pipeline(detect, boxes=10)) == first
    assert len(traces) == 2


def test_settings_of_jax_are_part_of_a_program(folder: Path, traces: list[str]) -> None:
    detect = detector()
    found(gsam.Pipeline(detect, boxes=10))
    with jax.default_matmul_precision("default"):
        found(gsam.Pipeline(detect, boxes=10))
    assert len(traces) == 2


@pytest.mark.parametrize("harm", ["cut", "bit", "empty", "text", "other"])
def test_a_damaged_file_is_made_anew(harm: str, folder: Path, traces: list[str]) -> None:
    detect = detector()
    first = found(gsam.Pipeline(detect, boxes=10))
    before = {path: path.read_bytes() for path in folder.glob("*.traced")}
    for path, content in before.items():
        _, _, body = content.partition(b"\n")
        path.write_bytes(
            {
                "cut": content[: len(content) // 2],
                "bit": content[:-1] + bytes([content[-1] ^ 1]),
                "empty": b"",
                "text": b"\xff\xfe what\n",
                "other": json.dumps([1, 2]).encode() + b"\n" + body,
            }[harm]
        )
    assert found(gsam.Pipeline(detect, boxes=10)) == first
    assert len(traces) == 2
    assert set(folder.glob("*.traced")) == set(before)
    assert found(gsam.Pipeline(detect, boxes=10)) == first
    assert len(traces) == 2


def test_a_step_or_stage_of_ones_own_is_traced_every_time(folder: Path, traces: list[str]) -> None:
    def half(scene: gsam.Scene) -> gsam.Scene:
        return dataclasses.replace(scene, boxes=dataclasses.replace(scene.boxes, xyxy=scene.boxes.xyxy / 2))

    whole, detect = found(gsam.Pipeline(detector(), boxes=10, threshold=0.0)), detector()
    halved = gsam.Pipeline(detect, half, boxes=10, threshold=0.0)
    assert found(halved) != whole
    third = gsam.Pipeline(detect, lambda scene: half(half(scene)), boxes=10, threshold=0.0)
    assert found(third) not in (whole, found(halved))
    assert len(traces) == 3

    class Own(type(detect)):  # type: ignore[misc]
        def detect(self, *args: Any, **kwargs: Any) -> Any:
            boxes, labels = super().detect(*args, **kwargs)
            return Boxes(boxes.xyxy + 1.0, boxes.valid), labels

    own = Own(**{f.name: getattr(detect, f.name) for f in dataclasses.fields(detect)})
    assert found(gsam.Pipeline(own, boxes=10, threshold=0.0)) != whole


def test_a_pipeline_of_ones_own_class_is_traced_every_time(folder: Path, traces: list[str]) -> None:
    class Doubled(gsam.Pipeline):
        def encode(self, params: Any, images: Any) -> Any:
            return jax.tree.map(lambda x: 2 * x, super().encode(params, images))

    detect = detector()
    whole = found(gsam.Pipeline(detect, boxes=10, threshold=0.0))
    assert found(Doubled(detect, boxes=10, threshold=0.0)) != whole


def test_several_devices_trace_as_before(folder: Path, traces: list[str]) -> None:
    pipe = gsam.Pipeline(detector(), boxes=10, devices=jax.local_devices()[:2])
    found(pipe)
    assert not list(folder.glob("*.traced"))[2:]  # the text encoder at most


def test_jax_s_own_cache_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path))
    found(gsam.Pipeline(detector(), boxes=10))
    assert not list(tmp_path.rglob("*.traced"))


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(traced, "own_cache", lambda: tmp_path / "file" / "programs")
    assert found(gsam.Pipeline(detector(), boxes=10, threshold=0.0))[2]


def test_predictors_start_without_tracing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = gsam.segmenter("nano_sam")
    kind = type(model)
    calls: list[str] = []
    for name in ("features", "prompt", "project"):
        real = getattr(kind, name)

        def counted(self: Any, *args: Any, real: Any = real, name: str = name, **kwargs: Any) -> Any:
            calls.append(name)
            return real(self, *args, **kwargs)

        counted.__module__, counted.__qualname__ = real.__module__, real.__qualname__
        monkeypatch.setattr(kind, name, counted)

    def answer() -> tuple[bytes, ...]:
        predictor = gsam.Predictor(model)
        predictor.set_image(PIXELS)
        masks = [predictor.predict([[30, 30]], [1], multimask_output=many) for many in (True, False)]
        return tuple(m.low_res.tobytes() for m in masks)

    first = answer()
    assert {"features", "prompt"} <= set(calls)
    assert first[0] != first[1]
    calls.clear()
    assert answer() == first
    assert set(calls) <= {"project"}  # whose shapes alone are asked for


def test_only_the_latest_programs_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "LIMIT", 2)
    folder.mkdir()
    (folder / "jit_other").write_bytes(b"XLA's own")
    for boxes in (3, 4, 5):
        found(gsam.Pipeline(detector(), boxes=boxes))
    assert len(list(folder.glob("*.traced"))) == 2
    assert (folder / "jit_other").is_file()


def test_described_tells_values_apart_and_refuses_what_it_cannot() -> None:
    values: list[Any] = [
        None, 0, False, 1, 1.5, "1", b"1", [1], [1, 2], {"a": 1}, {"a": 2}, {"b": 1}, np.arange(3), np.arange(4),
        np.arange(3.0), gsam.Limits(), gsam.Limits(boxes=3),
    ]  # fmt: skip
    seen = [repr(traced.described(value)) for value in values]
    assert len(set(seen)) == len(values)
    assert seen == [repr(traced.described(value)) for value in values]
    for value in (lambda: 0, object(), jnp.sin, Path("a")):
        with pytest.raises(traced.NotKept):
            traced.described(value)


def test_what_a_function_refuses_is_told_as_before(folder: Path) -> None:
    stage = detector()
    program = Program(stage.embed, "cpu", owner=stage)
    with pytest.raises(MismatchError):
        program({}, np.zeros((1, 4), np.int32))


CODE = """
import sys, gsam
from gsam.pipeline import steps
traces, real = [], steps.suppress
steps.suppress = lambda scene: (traces.append(1), real(scene))[1]
result = gsam.Pipeline(gsam.detector("nano_owl"), boxes=10)("notebooks/scene.png", "dog. pizza")
print(len(traces), result.labels, result.xyxy.tobytes().hex())
"""


@pytest.mark.long
def test_another_process_finds_them(tmp_path: Path) -> None:
    ours = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")} | {"GSAM_CACHE": str(tmp_path)}

    def started() -> tuple[str, str]:
        ran = subprocess.run([sys.executable, "-c", CODE], env=ours, capture_output=True, text=True, check=True)
        count, _, found = ran.stdout.partition(" ")
        return count, found

    first, second = started(), started()
    assert (first[0], second[0]) == ("1", "0")
    assert first[1] == second[1]
    assert "dog" in first[1]
