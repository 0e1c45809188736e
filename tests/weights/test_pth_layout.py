"""Weights as the original repositories name and turn them: every name and every axis."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from gsam.cli import weights
from gsam.errors import OutputError, UsageError
from gsam.models import clip, efficient_sam, grounding_dino, mobile_sam, owl_vit, sam_hq, siglip
from gsam.models.grounding_dino.config import BertConfig, SwinConfig
from gsam.models.sam2 import port as sam2_port
from gsam.models.sam2 import tracker
from gsam.nn.sam_vit import SamVit
from gsam.nn.tiny_vit import TinyVit
from gsam.nn.tower import Tower
from gsam.registry import FAMILIES
from gsam.weights import ported, pth_layout, store
from gsam.weights.official_names import official, sources
from gsam.weights.rules import Layout, convert, fit
from tests.weights.files import LISTS, nano_sam, random, state_dict
from tests.weights.test_keys import KNOWN, TIED, listed, model

WRITTEN = [s for s in LISTS if not s.startswith("IDEA")]
"""All but Grounding DINO's in Hugging Face's layout, which is only read."""
LARGE = re.compile(r"large|huge|_[lh]\b|_[lh]_|base.plus|swinb|-x|siglip2")
"""Sizes that differ from others of their family in numbers alone."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))


def way_back(family: str, config: Any, layout: Layout) -> Layout:
    port = importlib.import_module(f"gsam.models.{family}.port")
    return port.written(config) if hasattr(port, "written") else layout


@pytest.mark.parametrize("source", [pytest.param(s, marks=[pytest.mark.long] * bool(LARGE.search(s))) for s in WRITTEN])
def test_the_names_are_the_official_file_s(source: str) -> None:
    tensors = listed(source)
    variant = LISTS[source]["variant"]
    spec, layouts = model(variant)
    family = next(name for name, f in FAMILIES.items() if variant in f.variants)
    config = importlib.import_module(f"gsam.models.{family}").VARIANTS[variant]
    layout = way_back(family, config, fit(tensors, layouts, spec.shapes))
    names = sources(spec.shapes, layout)
    assert names.keys() <= tensors.keys()
    left = tensors.keys() - names.keys()
    assert not [n for n in left if not KNOWN.fullmatch(n) and n not in TIED]
    assert sorted(p for paths in names.values() for p in paths) == sorted(spec.shapes)


@pytest.mark.parametrize(
    "source", ["sam2_hiera_tiny", "sam2.1_hiera_tiny", "hf_sam2-hiera-tiny", "hf_sam2.1-hiera-tiny"]
)
def test_the_names_of_a_tracker_are_all_of_its_file_s(source: str) -> None:
    from gsam.models.sam2 import VARIANTS

    spec = tracker.spec(VARIANTS[LISTS[source]["variant"]])
    layout = fit(listed(source), sam2_port.TRACKER_LAYOUTS, spec.shapes)
    assert listed(source).keys() - sources(spec.shapes, layout).keys() <= {TIED[0]}


@pytest.mark.long
def test_every_variant_has_a_way_back() -> None:
    for family, (_, variants) in FAMILIES.items():
        module = importlib.import_module(f"gsam.models.{family}")
        for config in dict.fromkeys(module.VARIANTS[v] for v in variants):
            layout = pth_layout.layout_of(family, config, "original")
            assert layout.name == ("hugging_face" if family in ("owl_vit", "siglip") else "original")
            assert sources(module.spec(config).shapes, layout)


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A tensor as `convert` reads them."""

    value: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def load(self) -> np.ndarray:
        return self.value


VIT = SamVit(32, 3, 4, (1, 2), image_size=80, patch=8, window=4, out_chans=32)
TINY = TinyVit(160, (8, 16, 24, 32), (1, 1, 1, 1), (2, 3, 4), (7, 4, 5), out_chans=32)
DECODER = {"decoder_heads": 4, "decoder_mlp": 64}
TOWER, TEXT = Tower(48, 2, 4), Tower(32, 2, 4)
DINO = grounding_dino.Config(
    SwinConfig(16, (1, 1, 1, 1), (2, 2, 2, 2), 4),
    BertConfig(32, 2, 4, 64, 100, 32),
    width=32, encoder_layers=2, decoder_layers=2, heads=4, hidden=64, queries=9,
)  # fmt: skip
SMALL: dict[str, tuple[Any, Any]] = {
    "sam_hq": (sam_hq, sam_hq.Config(VIT, **DECODER)),
    "light sam_hq": (sam_hq, sam_hq.Config(TINY, **DECODER)),
    "mobile_sam": (mobile_sam, mobile_sam.Config(TINY, **DECODER)),
    "efficient_sam": (
        efficient_sam,
        efficient_sam.Config(32, 4, 2, 64, 16, trained_grid=3, out_chans=32, decoder_heads=4, decoder_mlp=64),
    ),
    "grounding_dino": (grounding_dino, DINO),
    "owl_vit": (owl_vit, owl_vit.VARIANTS["nano_owl"]),
    "owlv2": (owl_vit, dataclasses.replace(owl_vit.VARIANTS["nano_owl"], objectness=True)),
    "clip": (clip, clip.VARIANTS["nano_clip"]),
    "siglip": (siglip, siglip.Config(TOWER, dataclasses.replace(TOWER), image_size=64, patch=8, vocab=100, context=16)),
    "sam2": (tracker, importlib.import_module("gsam.models.sam2").VARIANTS["nano_sam2"]),
}


@pytest.mark.parametrize("kind", ["original", "hugging_face"])
@pytest.mark.parametrize("name", SMALL)
def test_there_and_back(name: str, kind: pth_layout.Kind) -> None:
    module, config = SMALL[name]
    family = "owl_vit" if name == "owlv2" else name.removeprefix("light ")
    if kind == "hugging_face" and name in ("light sam_hq", "mobile_sam", "efficient_sam", "grounding_dino"):
        pytest.skip("there is no such layout, or it is only read")
    shapes = module.spec(config).shapes
    params = {k: np.asarray(v) for k, v in random(shapes).items()}
    layout = pth_layout.layout_of(family, config, kind)
    tensors = official(params, shapes, layout)
    assert all(value.flags.c_contiguous for value in tensors.values())
    read_as = next(known for known in module.LAYOUTS if known.name == layout.name)
    again = convert({k: InMemory(v) for k, v in tensors.items()}, shapes, read_as, "float32")
    assert again.keys() == params.keys()
    for path, value in params.items():
        assert np.array_equal(again[path], value), path


def test_a_part_of_a_stacked_tensor_is_not_enough() -> None:
    shapes = clip.spec(clip.VARIANTS["nano_clip"]).shapes
    layout = pth_layout.layout_of("clip", clip.VARIANTS["nano_clip"], "original")
    path = "vision_model/encoder/layers/0/self_attn/q_proj/bias"
    with pytest.raises(ValueError, match="in_proj_bias needs"):
        official({path: np.zeros(shapes[path].shape, np.float32)}, shapes, layout)
    with pytest.raises(ValueError, match="only read"):
        sources(shapes, dataclasses.replace(layout, back=None))


def run(*words: str | Path) -> Any:
    return CliRunner().invoke(weights.app, ["port", *(str(w) for w in words)])


def test_the_command_gives_the_original_file_back(tmp_path: Path) -> None:
    params, original = nano_sam()
    source, target = state_dict(tmp_path / "x.pth", original), tmp_path / "y.safetensors"
    done = run(source, "--to", "pth-layout", "-o", target)
    assert (done.exit_code, done.stdout.strip()) == (0, str(target))
    found = load_file(target)
    assert found.keys() == original.keys()
    for name, value in original.items():
        assert found[name].dtype == value.dtype
        assert np.array_equal(found[name], value), name
    header = json.loads(target.read_bytes()[8 : 8 + int.from_bytes(target.read_bytes()[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}
    again = store.load(target, role="segment").params
    assert all(np.array_equal(again[k], v) for k, v in params.items())
    half = tmp_path / "half.safetensors"
    assert run(source, half, "--to", "hf-layout", "--dtype", "float16").exit_code == 0
    kept = load_file(half)
    assert {str(v.dtype) for k, v in kept.items() if "positional" not in k} == {"float16"}
    assert all(kept[name].dtype == np.float32 for name in TIED)


@pytest.mark.long
def test_what_the_model_does_not_use_is_taken_over(tmp_path: Path) -> None:
    """A classifier that nothing reads, and counters, without which strict loading fails."""
    rng = np.random.default_rng(0)
    names = LISTS["mobile_sam"]["keys"]
    original: dict[str, np.ndarray] = {}
    for name, shape in names.items():
        counts = name.endswith("num_batches_tracked")
        original[name] = np.array(7, np.int64) if counts else rng.normal(size=shape).astype(np.float32)
    ported.write(original, tmp_path / "mobile_sam.safetensors")
    found = load_file(pth_layout.write(tmp_path / "mobile_sam.safetensors", tmp_path / "y.safetensors"))
    assert found.keys() == original.keys()
    assert all(np.array_equal(found[k], v) and found[k].dtype == v.dtype for k, v in original.items())


@pytest.mark.long
def test_a_tracker_keeps_its_memory(tmp_path: Path) -> None:
    expected = store.load("nano_sam2", role="track")
    target = pth_layout.write("nano_sam2", tmp_path / "x.safetensors")
    found = store.load(target, role="track")
    assert found.config == expected.config
    assert all(np.array_equal(found.params[k], v) for k, v in expected.params.items())
    assert any(name.startswith("memory_attention.layers.0") for name in load_file(target))


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(kind: type[Exception], code: str, *words: str | Path) -> None:
        error = run(*words).exception
        assert isinstance(error, kind), error
        assert error.code == code  # type: ignore[attr-defined]

    to = ("--to", "pth-layout")
    refused(UsageError, "output_suffix", "nano_sam", tmp_path / "x.pth", *to)
    refused(UsageError, "output_unnamed", "nano_sam", *to)
    refused(UsageError, "output_unnamed", "nano_sam", tmp_path / "a.safetensors", "-o", tmp_path / "b.safetensors")
    (tmp_path / "there.safetensors").touch()
    refused(UsageError, "output_exists", "nano_sam", tmp_path / "there.safetensors", *to)
    with pytest.raises(UsageError, match="no layout of Hugging Face's") as caught:
        pth_layout.layout_of("mobile_sam", mobile_sam.VARIANTS["mobile_sam"], "hugging_face")
    assert caught.value.code == "layout_unwritten"

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ported, "write", full)
    refused(OutputError, "output_failed", "nano_sam", tmp_path / "full.safetensors", *to)
    assert [p.name for p in tmp_path.iterdir() if p.name not in ("cache", "there.safetensors")] == []
