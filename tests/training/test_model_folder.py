"""The folder of a trained model: what lies in it, and that it serves wherever a model is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

import gsam
from gsam.cli import weights
from gsam.errors import CheckpointError, OutputError, UsageError
from gsam.results.training_page.scores import Score
from gsam.training import model_folder
from gsam.training.lora import Lora
from gsam.training.model_folder import Base, load_base, write_model
from gsam.weights import folders, ported, store
from gsam.weights.identity import weights_hash

TOKEN = "mask_decoder/iou_token/embedding"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base("nano_sam")


def test_a_base(base: Base) -> None:
    assert (base.name, base.family, base.variant, base.licence) == ("nano_sam", "sam", "nano_sam", "Apache-2.0")
    assert base.sha256 == weights_hash("nano_sam")
    assert base.spec.shapes.keys() == base.params.keys()
    assert {type(v) for v in base.params.values()} == {np.ndarray}
    assert {v.dtype for v in base.params.values()} == {np.dtype(np.float32)}
    with pytest.raises(UsageError, match="is a model to segment, one to detect is needed"):
        load_base("nano_sam", "detect")


def test_the_whole_model(tmp_path: Path, base: Base) -> None:
    folder = tmp_path / "run" / "model"
    token = base.params[TOKEN] + 1
    told = {"steps": 20, "schedule": {"rate": 1e-4}}
    folder.parent.mkdir()
    settings = {"data": "12ab", "held_out": None, "images": 3, "model": "x"}
    (folder.parent / "run.json").write_text(json.dumps({"settings": settings}))
    scores = [Score("dog", "one box", 12, 0.61, 0.83), Score("고양이", "one box", 4, float("nan"), 0.5)]
    scores.append(Score("a|b", "one box", 1, 0.48, 0.245))
    assert write_model(folder, base, {TOKEN: token}, what="decoder", settings=told, scores=scores) == folder
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "gsam.json", "model.safetensors"]
    tensors = load_file(folder / "model.safetensors")
    assert np.array_equal(tensors["mask_decoder.iou_token.weight"], token)
    note = json.loads((folder / "gsam.json").read_text())
    assert note["base"] == "nano_sam"
    assert note["base_sha256"] == base.sha256
    assert (note["family"], note["what"], note["scale"]) == ("sam", "decoder", None)
    assert note["settings"] == {"data": "12ab"} | told
    for name in (folder, folder.parent, folder / "model.safetensors"):
        found = store.load(name, role="segment")
        assert found.config == base.config  # box_mask_prompt too, which no tensor tells
        assert found.params.keys() == base.params.keys()
        assert all(np.array_equal(v, token if k == TOKEN else base.params[k]) for k, v in found.params.items())
    again = load_base(folder.parent)
    assert (again.variant, again.licence, again.name) == ("nano_sam", "Apache-2.0", str(folder.parent))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith('---\nlibrary_name: gsam\nbase_model: "nano_sam"\nlicense: apache-2.0\n')
    for part in (
        "# nano_sam, decoder\n",
        base.sha256,
        "| dog | one box | 12 | 0.610 | 0.830 |",
        "| 고양이 | one box | 4 | – | 0.500 |",
        "| a\\|b | one box | 1 | ",
        "| all | one box | 13 | 0.600 | 0.785 |",
        "| data | 12ab |",
        "| schedule rate | 0.0001 |",
        'gsam.Predictor("RUN")',
        'load_state_dict(load_file("model.safetensors")',
        "- `model.safetensors`: 4.5 MB",
    ):
        assert part in card, part


def test_a_second_model_replaces_the_first(tmp_path: Path, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    for killed in (".model.12.new", ".model.12.old", "..model.12.new.12.partial"):
        (tmp_path / killed).mkdir()
    write_model(folder, base, what="all")
    lora = Lora(rank=2)
    write_model(folder, base, adapters=lora.init(base.params, 0), lora=lora, what="lora")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "adapters.safetensors", "gsam.json"]
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["model"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "gsam weights port RUN --to pth-layout" in card
    assert "`adapters.safetensors`: " in card
    assert "Nothing was held out" in card
    note = json.loads((folder / "gsam.json").read_text())
    assert note["scale"] == 1.0
    assert note["settings"]["lora"]["rank"] == 2

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ported, "write", full)
    with pytest.raises(OutputError, match=r"model: the model cannot be written: No space left on device"):
        write_model(folder, base, what="all")
    assert (folder / "adapters.safetensors").is_file()  # the model that was there stays
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["model"]


def test_what_is_not_written(tmp_path: Path, base: Base) -> None:
    lora = Lora(rank=2)
    adapters = lora.init(base.params, 0)
    with pytest.raises(ValueError, match="no parameter of nano_sam"):
        write_model(tmp_path / "model", base, {"x": np.zeros(1)})
    with pytest.raises(ValueError, match="no parameter of nano_sam"):
        write_model(tmp_path / "model", base, {TOKEN: np.zeros(1)})
    with pytest.raises(ValueError, match="adapters need the Lora"):
        write_model(tmp_path / "model", base, adapters=adapters)
    with pytest.raises(ValueError, match="there is no parameter"):
        write_model(tmp_path / "model", base, adapters={f"x/{k}": v for k, v in adapters.items()}, lora=lora)
    with pytest.raises(CheckpointError, match="iou_token/embedding holds numbers that are not finite") as caught:
        write_model(tmp_path / "model", base, {TOKEN: np.full_like(base.params[TOKEN], np.inf)})
    assert caught.value.code == "checkpoint_not_finite"
    assert not (tmp_path / "model").exists()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="something else than a trained model") as refused:
        write_model(tmp_path / "model", base)
    assert refused.value.code == "output_exists"
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(("name", "role"), [("nano_owl", "detect"), ("nano_clip", "classify"), ("nano_sam2", "track")])
def test_models_of_other_roles(tmp_path: Path, name: str, role: str) -> None:
    base = load_base(name, role)
    path = next(k for k in base.params if k.endswith("/bias"))
    folder = write_model(tmp_path / "run" / "model", base, {path: base.params[path] + 1}, what="head")
    found = store.load(folder.parent, role=role)
    assert found.config == base.config
    assert all(np.array_equal(v, base.params[k] + (k == path)) for k, v in found.params.items())
    if role != "track":
        assert found.tokenizer == folder
        assert (folder / "tokenizer.json").read_bytes() == (folders.data_folder("nano") / "tokenizer.json").read_bytes()


def test_an_image_model_of_sam2_still_tracks(tmp_path: Path) -> None:
    """Its memory is not among what a segmenter trains, and is taken over."""
    base = load_base("nano_sam2")
    folder = write_model(tmp_path / "model", base, {"no_mem_embed": base.params["no_mem_embed"] + 1})
    expected = store.load("nano_sam2", role="track").params
    found = store.load(folder, role="track").params
    assert found.keys() == expected.keys()
    assert found.keys() > base.params.keys()
    assert all(np.array_equal(found[k], np.asarray(v) + (k == "no_mem_embed")) for k, v in expected.items())


@pytest.fixture
def run(tmp_path: Path, base: Base) -> Path:
    """A run whose adapters ruin the segmenter's guess of quality, and so are seen to count."""
    lora = Lora(rank=1, targets=r"iou_prediction_head/layers/2/kernel")
    adapters = {k: np.full(v.shape, 3.0, np.float32) for k, v in lora.init(base.params, 0).items()}
    write_model(tmp_path / "run" / "model", base, adapters=adapters, lora=lora, what="lora")
    return tmp_path / "run"


@pytest.mark.long
def test_wherever_a_model_is_named(run: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)

    def guess(name: str) -> np.ndarray:
        predictor = gsam.Predictor(name)
        predictor.set_image(pixels)
        return predictor.predict(box=np.array([10, 10, 60, 60]))[1]

    ours, plain = guess(str(run)), guess("nano_sam")
    assert not np.allclose(ours, plain, atol=0.5)
    pipe = gsam.load("nano", segmenter=str(run), classifier=None)
    kernel = "mask_decoder/iou_prediction_head/layers/2/kernel"
    assert np.array_equal(pipe.params["segment"][kernel], store.load(run).params[kernel])
    done = CliRunner().invoke(weights.app, ["verify", str(run)])
    assert done.exit_code == 0, done
    assert "tensors" in done.stdout


@pytest.mark.long
def test_merged_weights_need_no_base(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = store.load(run, role="segment").params
    for to, target in (("pth-layout", "x.safetensors"), ("orbax", "orbax")):
        words = ["port", str(run), "--to", to, "-o", str(tmp_path / target)]
        assert CliRunner().invoke(weights.app, words).exit_code == 0
    shutil.rmtree(run)
    for target in ("x.safetensors", "orbax"):
        found = store.load(tmp_path / target, role="segment").params
        assert all(np.array_equal(found[k], v) for k, v in expected.items())


def test_files_of_transformers_are_taken_over_where_names_are_its_own(
    tmp_path: Path, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside SAM's original names its ``config.json`` would be wrong."""
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / "config.json").write_text("{}")
    shutil.copy(folders.data_folder("nano") / "segmenter.safetensors", hub / "x.safetensors")
    monkeypatch.setattr(model_folder.find, "find", lambda _: model_folder.find.CheckpointSource("x", hub))
    write_model(tmp_path / "model", base)
    assert not (tmp_path / "model" / "config.json").exists()
