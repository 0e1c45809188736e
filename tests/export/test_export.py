"""Exported pipelines find what the pipelines they were made of find, without the models' code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer as Inner
from tokenizers import models, pre_tokenizers

import gsam
from gsam import bind, cli
from gsam.errors import CheckpointError, UsageError
from gsam.export import export, load_exported
from gsam.export.artefact import NOTE, WEIGHTS
from gsam.export.load import Exported
from gsam.models import clip, sam
from gsam.models import grounding_dino as gd
from gsam.pipeline import Pipeline
from gsam.results.result import Result
from gsam.text.captions import CaptionPacker
from gsam.text.model_text import from_config, to_config
from gsam.text.sentences import Sentences, SigLipText
from gsam.text.single_queries import SingleQueries
from gsam.text.tokenizer import FastTokenizer, load_tokenizer
from tests.models import small_detectors as small
from tests.models.small_classifiers import CLIP
from tests.models.test_stages import SAM

ROOT = Path(__file__).parents[2]
SCENE = ROOT / "notebooks" / "scene.png"
MANY = [f"{a}{b} {c}{a}" for a in "abcde" for b in "fgh" for c in "xyz"][:30]
needs_nano = pytest.mark.skipif(
    not (ROOT / "weights/nano/detector.safetensors").is_file(), reason="weights/nano is empty"
)


@pytest.fixture(autouse=True)
def _as_users_run_it() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"), jax.default_matmul_precision(None), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def noise(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def same(a: Result, b: Result, atol: float = 1e-4) -> None:
    """The same objects, whichever of two with one score to the seventh digit comes first."""
    i, j = (np.argsort(r.xyxy.sum(1), kind="stable") for r in (a, b))
    assert [a.labels[k] for k in i] == [b.labels[k] for k in j]
    np.testing.assert_allclose(a.xyxy[i], b.xyxy[j], atol=atol)
    np.testing.assert_allclose(a.scores, b.scores, atol=min(atol, 1e-4))
    assert a.masks.shape == b.masks.shape
    assert (a.masks[i] != b.masks[j]).sum() <= atol * a.masks.size
    assert a.tokens == b.tokens
    np.testing.assert_allclose(a.token_scores[i], b.token_scores[j], atol=min(atol, 1e-4))


@pytest.fixture(scope="module")
def nano() -> Pipeline:
    return gsam.load("nano", device=jax.devices()[:1])


@pytest.fixture(scope="module")
def folder(nano: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(nano, tmp_path_factory.mktemp("export") / "nano")


@needs_nano
@pytest.mark.long
def test_nano(nano: Pipeline, folder: Path) -> None:
    other = gsam.load(folder, device=jax.devices()[:1], threshold=0.2)
    assert other.name == "nano"
    assert other.limits.threshold == 0.2
    for query in ("dog. pizza. apple. umbrella", {"dog": "pet", "blue book": "book"}):
        a, b = nano(SCENE, query, threshold=0.2), other(SCENE, query)
        assert len(a) > 0
        same(a, b)
    assert other.counts["pictures"] == 1  # the second query costs no backbone
    compiled = other.compilations
    whole = a.pixels
    pictures = [whole, whole[:200], np.ascontiguousarray(whole[:, ::-1])]
    asked = [["dog", "pizza"], ["star", "bee", "apple"], "cup"]
    pairs = list(zip(pictures, asked, strict=True))
    for a, b in zip(nano.stream(pairs, batch_size=3, threshold=0.2), other.stream(pairs, batch_size=3), strict=True):
        same(a, b)
    assert other.compilations == compiled + 2  # encode and apply for three; text has no batch
    tiled = other(SCENE, "dog. pizza", tile=320)
    assert {"dog", "pizza"} <= set(tiled.labels)


@needs_nano
@pytest.mark.long
def test_it_runs_without_the_models(folder: Path) -> None:
    code = f"""
import sys, gsam
result = gsam.load({str(folder)!r})({str(SCENE)!r}, "dog. pizza")
assert "dog" in result.labels and result.masks.any()
rooms = ("gsam.nn", "gsam.bind", "gsam.models", "gsam.models", "gsam.models", "flax", "orbax", "optax", "huggingface_hub")
print([m for m in sys.modules if m.startswith(rooms)])
"""
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert out.stdout.strip() == "[]", out.stderr


def damaged(folder: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(folder, target)
    note = json.loads((target / NOTE).read_text())
    (target / NOTE).write_text(json.dumps(note | changes))
    return target


@needs_nano
def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    def refused(kind: type[Exception], code: str, place: Path, **settings: Any) -> None:
        with pytest.raises(kind) as caught:
            gsam.load(place, **settings)
        assert caught.value.code == code  # type: ignore[attr-defined]
        assert "\n" not in str(caught.value)

    (tmp_path / "empty").mkdir()
    refused(UsageError, "not_exported", tmp_path / "empty")
    refused(UsageError, "not_exported", damaged(folder, tmp_path / "kind", kind="another"))
    refused(UsageError, "export_version", damaged(folder, tmp_path / "newer", version=99))
    refused(UsageError, "export_version", damaged(folder, tmp_path / "older", version=1))
    refused(UsageError, "platform_not_exported", damaged(folder, tmp_path / "tpu", platforms=["tpu"]))
    refused(UsageError, "boxes_fixed", folder, boxes=7)
    refused(UsageError, "usage", folder, dtype="bfloat16")
    refused(UsageError, "usage", folder, detector="nano_owl")
    refused(UsageError, "usage", folder, thresold=0.5)
    refused(CheckpointError, "export_damaged", damaged(folder, tmp_path / "step", steps=[{"slot": "detect"}]))
    outside = {"../nano/pipeline.json": {"bytes": 1, "sha256": ""}}
    refused(CheckpointError, "export_damaged", damaged(folder, tmp_path / "outside", files=outside))
    broken = damaged(folder, tmp_path / "broken")
    (broken / NOTE).write_text("{")
    refused(CheckpointError, "export_damaged", broken)
    broken = damaged(folder, tmp_path / "bit")
    content = bytearray((broken / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (broken / WEIGHTS).write_bytes(content)
    refused(CheckpointError, "export_damaged", broken)
    (broken / WEIGHTS).unlink()
    refused(CheckpointError, "export_damaged", broken)


def test_what_cannot_be_exported(nano: Pipeline, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no platform 'metal'"):
        export(nano, tmp_path / "out", platforms=["metal"])
    with pytest.raises(UsageError, match="exists already"):
        export(nano, tmp_path)

    class Own:
        params, view, segment = {}, gsam.View(64), None
        text = gsam.QueryFeatures(lambda queries: np.zeros((len(queries), 1), np.float32))

    with pytest.raises(UsageError, match="segment reads text with code of its own"):
        export(Pipeline(nano.steps["detect"], Own()), tmp_path / "out")
    with pytest.raises(UsageError, match="copy its folder"):
        export(load_exported(folder), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []  # nothing half done


@needs_nano
def test_a_recipe_is_not_hidden_by_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder.name == "nano"
    monkeypatch.chdir(folder.parent)
    assert not isinstance(gsam.load("nano"), Exported)
    for name in ("./nano", Path("nano")):
        assert isinstance(gsam.load(name), Exported)


@needs_nano
@pytest.mark.long
def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["gsam", *map(str, arguments)])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        assert isinstance(leave.value.code, int)
        return leave.value.code

    monkeypatch.setattr(cli, "listen", lambda: None)
    monkeypatch.setattr(warnings, "showwarning", None)
    out = tmp_path / "out"
    assert run("export", "nano", "-o", out, "--platform", "cpu", "--boxes", 5, "--dtype", "bfloat16") == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(out)
    assert "4 programs" in told.err
    note = json.loads((out / NOTE).read_text())
    assert (note["platforms"], note["limits"]["boxes"], note["name"]) == (["cpu"], 5, "nano")
    assert {str(x.dtype) for x in load_exported(out).steps["segment"].params.values()} >= {"bfloat16"}
    assert run("export", "nano", "-o", out) == 2
    assert "[output_exists]" in capsys.readouterr().err
    for option, value, code in (
        ("--dtype", "int7", "dtype_unknown"),
        ("--device", "cpu:9", "device_unavailable"),
        ("--canvas", "wide", "canvas_invalid"),
    ):
        assert run("export", "nano", "-o", tmp_path / "b", option, value) == 2
        assert f"[{code}]" in capsys.readouterr().err
        assert not (tmp_path / "b").exists()
    assert run("segment", SCENE, "-q", "dog", "-p", tmp_path) == 2
    assert "[not_exported]" in capsys.readouterr().err


def letters() -> FastTokenizer:
    """Of a closed vocabulary: a letter is a token."""
    inner = Inner(
        models.WordLevel({"[UNK]": 1, **{c: 2 + i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}}, "[UNK]")
    )
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return FastTokenizer(inner)


def random(spec: bind.Spec[Any], seed: int) -> dict[str, Any]:
    """As `gsam.bind.random_params`, in a moment."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, known in spec.shapes.items():
        spread = np.prod(known.shape[:-1]) ** -0.5 if name.endswith("kernel") else 0.02
        params[name] = np.float32(spread) * rng.standard_normal(known.shape, np.float32) + name.endswith("scale")
    return {k: v.astype(np.float32) for k, v in params.items()}


@pytest.fixture(scope="module")
def grounded(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A small Grounding DINO, a step of the user's own, SAM and CLIP."""
    words = load_tokenizer(small.vocabulary(tmp_path_factory.mktemp("words")))
    detector = gd.build(small.CONFIG, random(gd.spec(small.CONFIG), 3), words)
    segmenter = sam.build(SAM, random(sam.spec(SAM), 1))
    classifier = clip.build(CLIP, random(clip.spec(CLIP), 2), letters(), template="ensemble", negatives=("x", "ab"))
    steps = (detector, lambda scene: scene, segmenter, classifier)
    keep = dict.fromkeys(("nms", "group", "inside"), 1.0)
    return Pipeline(*steps, boxes=8, threshold=0.0, devices=jax.devices()[:1], **keep)


@pytest.mark.slow
def test_captions_canvases_and_devices(grounded: Pipeline, tmp_path: Path) -> None:
    """One caption and several, on the canvas exported and on one that has to be padded to it, on
    one device and on two.
    """
    folder = export(grounded, tmp_path / "grounded", canvases=[(128, 192)])
    other = load_exported(folder)
    assert list(other.steps) == list(grounded.steps) == ["detect", "step_1", "segment", "classify"]
    wide = noise(90, 160)
    a, b = grounded(wide, MANY), other(wide, MANY)
    assert len(a) > 3
    same(a, b, 1e-3)  # pixels: other sums, where programs are put together another way
    two = load_exported(folder, devices=jax.devices()[:2])
    pairs = [(noise(60, 70), "e"), (noise(80, 60), ["a b", "c"])]
    for a, b in zip(grounded.stream(pairs, batch_size=2), two.stream(pairs, batch_size=2), strict=True):
        assert len(a) > 3
        same(a, b, 1e-3)
    with pytest.raises(UsageError, match="--canvas 192x128") as caught:
        other(noise(160, 90), "ab")
    assert caught.value.code == "canvas_not_exported"


@pytest.mark.parametrize(
    "text",
    [
        SingleQueries(None, 16, "a {}"),
        Sentences(None, 77, ("a {}", "the {}"), ("x", "y")),
        Sentences(None, 77, "ensemble"),
        SigLipText(None, 64, "{}", ("x",), 2, 0),
        CaptionPacker(None, 256, 128, "{}", "phrases"),
    ],
)
def test_text_processors_survive_json(text: Any) -> None:
    assert from_config(json.loads(json.dumps(to_config(text))), None) == text
    with pytest.raises(ValueError, match="no such way of reading"):
        from_config(to_config(text) | {"unheard": 1}, None)
