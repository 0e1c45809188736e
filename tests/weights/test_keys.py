"""The official key lists: every tensor of every checkpoint has its place, from shapes alone."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from pathlib import Path
from typing import Any

import pytest

from gsam.errors import CheckpointError
from gsam.registry import FAMILIES, family_of
from gsam.weights import find, identify
from gsam.weights.rules import Part, fit, plan, rename, unstack
from tests.weights.files import LISTS

KNOWN = re.compile(  # what files hold and models do not use, or hold twice
    r".*position_ids|.*visual_projection.*|.*logit_scale|.*relative_position_index|.*bert\.pooler\..*|label_enc\.weight"
    r"|image_encoder\.(norm_)?head\..*|.*num_batches_tracked"
    r"|bbox_embed\.[1-5]\..*|transformer\.decoder\.bbox_embed\.[0-5]\..*"
    r"|model\.22\.dfl\.conv\.weight"
    r"|(memory_attention|memory_encoder|mask_downsample|obj(ect)?_(ptr|pointer)_(tpos_)?proj)\..*"  # of videos, not pictures
    r"|maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial"
    r"|memory_temporal_positional_encoding|no_memory_positional_encoding|no_object_pointer"
    r"|occlusion_spatial_embedding_parameter|temporal_positional_encoding_projection_layer\..*"
)
ORIGINAL = ("sam_", "sam2", "mobile_sam", "medsam", "efficient_sam", "FastSAM", "groundingdino")
"""How the sources begin that are no conversions."""
TIED = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
COUNTS = {  # the files' own numbers, and for OWL those that detection uses
    "sam_vit_b": 93_735_728,
    "sam_vit_l": 312_343_088,
    "sam_vit_h": 641_090_864,
    "sam_hq_vit_b": 94_806_832,
    "sam_hq_vit_l": 313_676_336,
    "sam_hq_vit_h": 642_686_256,
    "sam_hq_vit_tiny": 10_267_076,  # 10_588_743 in the file, 321_640 of them a classifier's, 27 counters
    "mobile_sam": 9_818_564,  # 10_140_231
    "medsam_vit_b": 93_735_728,
    "efficient_sam_vitt": 10_223_460,
    "efficient_sam_vits": 26_413_284,
    "owlvit_base_patch32": 152_838_662,
    "owlvit_base_patch16": 152_396_294,
    "owlvit_large_patch14": 433_102_086,
    "owlv2_base_patch16_ensemble": 154_573_575,
    "owlv2_large_patch14_ensemble": 436_824_327,
    "grounding_dino_tiny": 172_249_090,
    "grounding_dino_base": 232_313_216,
    "mm_grounding_dino_tiny_o365v1_goldg": 172_912_156,
    "mm_grounding_dino_base_all": 232_976_282,
    "sam2.1_hiera_tiny": 31_440_977,  # 38_962_754 in the file, 7_521_777 of them the memory
    "sam2.1_hiera_small": 38_538_833,
    "sam2.1_hiera_base_plus": 73_328_657,
    "sam2.1_hiera_large": 216_925_121,
    "sam2_hiera_tiny": 31_440_977,  # 38_946_242, and 7_505_265
    "sam2_hiera_small": 38_538_833,
    "sam2_hiera_base_plus": 73_328_657,
    "sam2_hiera_large": 216_925_121,
    "sam2.1_hq_hiera_large": 217_102_273,
    "fast_sam_s": 11_811_459,
    "fast_sam_x": 71_812_179,
    "clip_vit_base_patch32": 151_277_313,
    "clip_vit_base_patch16": 149_620_737,
    "clip_vit_large_patch14": 427_616_513,
    "clip_vit_large_patch14_336": 427_944_193,
    "siglip_base_patch16_224": 203_155_970,
    "siglip2_base_patch16_224": 375_187_970,
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """A tensor that is only a shape; reading it is an error."""

    shape: tuple[int, ...]


def listed(source: str, *, optional: bool = False) -> dict[str, Any]:
    keys = LISTS[source]["keys"] | (LISTS[source]["optional"] if optional else {})
    return {name: Shape(tuple(shape)) for name, shape in keys.items()}


def model(variant: str) -> tuple[Any, Any]:
    family = family_of(variant)
    package = importlib.import_module(f"gsam.models.{family}")
    port = importlib.import_module(f"gsam.models.{family}.port")
    return package.spec(package.VARIANTS[variant]), port.LAYOUTS


@pytest.mark.parametrize("optional", [False, True], ids=["as written", "with optional keys"])
@pytest.mark.parametrize("source", LISTS)
def test_every_tensor_has_its_place(source: str, optional: bool) -> None:
    tensors = listed(source, optional=optional)
    spec, layouts = model(LISTS[source]["variant"])
    layout = fit(tensors, layouts, spec.shapes)
    assert layout.name == ("original" if source.startswith(ORIGINAL) else "hugging_face")
    moves = plan(tensors, spec.shapes, layout)
    assert moves.keys() == spec.shapes.keys()
    assert len({m.name for m in moves.values()}) == len(moves)
    left = unstack(tensors, spec.shapes, layout).keys() - {m.name for m in moves.values()}
    assert not [n for n in left if not KNOWN.fullmatch(n) and n not in TIED]


@pytest.mark.parametrize("source", [s for s in LISTS if "sam2" in s and "image" not in s and "hq" not in s])
def test_a_tracker_uses_the_memory_too(source: str) -> None:
    from gsam.models.sam2 import VARIANTS, port, tracker

    tensors = listed(source)
    named = VARIANTS[LISTS[source]["variant"]]
    config = port.told(dataclasses.replace(named, v21=not named.v21), tensors)
    assert config == named
    spec = tracker.spec(config)
    layout = fit(tensors, port.TRACKER_LAYOUTS, spec.shapes)
    moves = plan(tensors, spec.shapes, layout)
    assert moves.keys() == spec.shapes.keys()
    assert spec.size == COUNTS[LISTS[source]["variant"]] + (7_521_777 if named.v21 else 7_505_265)
    left = unstack(tensors, spec.shapes, layout).keys() - {m.name for m in moves.values()}
    assert left <= set(TIED)


@pytest.mark.parametrize("source", [s for s in LISTS if s.startswith("groundingdino")])
def test_what_training_puts_before_the_names_is_stripped(source: str) -> None:
    tensors = {f"module.{name}": shape for name, shape in listed(source).items()}
    spec, layouts = model(LISTS[source]["variant"])
    moves = plan(tensors, spec.shapes, fit(tensors, layouts, spec.shapes))
    assert moves.keys() == spec.shapes.keys()


@pytest.mark.parametrize("missing", TIED)
@pytest.mark.parametrize("source", [s for s in LISTS if s.startswith("hf_sam")])
def test_either_of_the_tied_names_is_enough(source: str, missing: str) -> None:
    tensors = listed(source)
    assert set(TIED) <= tensors.keys()
    del tensors[missing]
    spec, layouts = model(LISTS[source]["variant"])
    moves = plan(tensors, spec.shapes, fit(tensors, layouts, spec.shapes))
    (path,) = (p for p in moves if p.endswith("prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"))
    assert moves[path].name in TIED
    assert moves[path].name != missing


def test_both_tied_names_missing_is_an_error() -> None:
    tensors = {k: v for k, v in listed("hf_sam-vit-base").items() if k not in TIED}
    spec, layouts = model("sam_vit_b")
    with pytest.raises(CheckpointError, match="missing: prompt_encoder/pe_layer"):
        plan(tensors, spec.shapes, fit(tensors, layouts, spec.shapes))


@pytest.mark.parametrize("source", LISTS)
def test_any_one_tensor_missing_is_noticed(source: str) -> None:
    spec, layouts = model(LISTS[source]["variant"])
    tensors = listed(source)
    layout = fit(tensors, layouts, spec.shapes)
    moves = plan(tensors, spec.shapes, layout)
    for path in list(moves)[:: max(1, len(moves) // 7)]:
        if moves[path].name in TIED:
            continue
        part = unstack(tensors, spec.shapes, layout)[moves[path].name]
        lost = part.whole if isinstance(part, Part) else part
        fewer = {k: v for k, v in tensors.items() if v is not lost}
        with pytest.raises(CheckpointError, match=f"missing: {path}"):
            plan(fewer, spec.shapes, layout)


@pytest.mark.parametrize("source", LISTS)
def test_the_variant_follows_from_the_shapes(source: str) -> None:
    variant = LISTS[source]["variant"]
    found = identify.likely_variant(listed(source, optional=True), None, exact=True)
    assert found is not None
    assert family_of(found) == family_of(variant)
    family = family_of(found)
    variants = importlib.import_module(f"gsam.models.{family}").VARIANTS
    known = variants[found]  # OWLv2's plain, finetuned and ensemble files differ in numbers only
    if family == "sam":  # and so do SAM's and MedSAM's, but for what their tensors do not show
        known = dataclasses.replace(known, preprocess=variants[variant].preprocess)
    if family == "sam2":  # SAM 2 and 2.1 differ in what only videos use
        known = dataclasses.replace(known, v21=variants[variant].v21)
    assert known == variants[variant]


@pytest.mark.parametrize(
    "source",
    [
        "sam_vit_h_4b8939",
        "sam_hq_vit_l",
        "sam_hq_vit_tiny",
        "hf_sam-hq-vit-base",
        "sam2.1_hiera_base_plus",
        "hf_sam2.1-hiera-small",
        "mobile_sam",
        "efficient_sam_vits",
        "google__owlvit-base-patch32",
        "openai__clip-vit-base-patch16",
        "IDEA-Research__grounding-dino-tiny",
        "groundingdino_swint_ogc",
        "groundingdino_swinb_cogcoor",
    ],
)
def test_the_likely_variant_survives_some_damage(source: str) -> None:
    tensors = dict(list(listed(source).items())[3:]) | {"stranger.weight": Shape((3,))}
    assert identify.likely_variant(tensors, None, exact=True) is None
    found = identify.likely_variant(tensors, None)
    assert found == LISTS[source]["variant"]


def test_a_file_called_after_a_variant_is_that_one(tmp_path: Path) -> None:
    """MedSAM's tensors are SAM's: only its name says which preprocessing it needs."""

    def preprocess(name: str, path: Path, tensors: dict[str, Any]) -> str:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        family, config = identify.identify(find.CheckpointSource(name, path), tensors, "segment")
        assert family == "sam"
        return config.preprocess

    tensors = listed("medsam_vit_b")
    for name in ("medsam_vit_b.pth", "medsam_vit_b.pt.zip"):
        assert preprocess(name, tmp_path / name, tensors) == "medsam"
    for name in ("sam_vit_b_01ec64.pth", "own.pth", "sam_vit_l.pth"):
        assert preprocess(name, tmp_path / name, tensors) == "sam"
    assert preprocess("medsam_vit_b.pth", tmp_path / "medsam_vit_b.pth", listed("sam_vit_l_0b3195")) == "sam"


def test_the_hub_s_medsam_is_medsam(tmp_path: Path) -> None:
    tensors = listed("hf_sam-vit-base")
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    for name, preprocess in (("wanglab/medsam-vit-base@main", "medsam"), ("facebook/sam-vit-base", "sam")):
        assert identify.identify(find.CheckpointSource(name, tmp_path), tensors, "segment")[1].preprocess == preprocess


def test_nothing_is_likely_for_a_stranger() -> None:
    assert identify.likely_variant({f"layer{i}.conv.weight": Shape((64, 64, 3, 3)) for i in range(20)}, None) is None


@pytest.mark.parametrize("variant", COUNTS)
def test_parameter_counts(variant: str) -> None:
    spec, _ = model(variant)
    assert spec.size == COUNTS[variant]
    assert find.manifest()[variant]["parameters"] == COUNTS[variant]


@pytest.mark.parametrize(
    "source",
    [s for s in LISTS if s.startswith(("sam_", "mobile_", "medsam", "efficient", "openai", "google__siglip", "IDEA"))],
)
def test_the_count_is_the_file_s(source: str) -> None:
    aside = re.compile(r"position_(ids|index)$|image_encoder\.(norm_)?head\.|num_batches_tracked$")
    size = sum(math.prod(s) for k, s in LISTS[source]["keys"].items() if not aside.search(k))
    assert size == COUNTS[LISTS[source]["variant"]]


@pytest.mark.parametrize("source", [s for s in LISTS if s.startswith("sam2")])
def test_the_count_of_sam2_is_the_file_s_but_for_the_memory(source: str) -> None:
    size = sum(math.prod(s) for s in LISTS[source]["keys"].values())
    memory = 7_521_777 if source.startswith("sam2.1") else 7_505_265
    assert size - memory == COUNTS[LISTS[source]["variant"]]


@pytest.mark.parametrize("source", [s for s in LISTS if s.startswith("sam2") and "hq" not in s])
def test_both_layouts_of_sam2_name_the_whole_model_alike(source: str) -> None:
    """Every tensor, the memory's too, has one name and one shape, whichever kind of file it comes
    from.
    """
    port = importlib.import_module("gsam.models.sam2.port")
    named = []
    for name, layout in zip((source, "hf_" + source.replace("_", "-")), port.TRACKER_LAYOUTS, strict=True):
        assert not layout.unused
        parts = unstack(listed(name), {}, layout)
        named.append({rename(n, {}, layout): t.shape for n, t in parts.items() if n != TIED[0]})
        assert len(named[-1]) == len(parts) - (TIED[0] in parts)
    assert named[0] == named[1]
    assert len(named[0]) == len(LISTS[source]["keys"])


@pytest.mark.parametrize("source", [s for s in LISTS if "sam2" in s])
def test_tensors_tell_sam2_from_sam2_1(source: str) -> None:
    """A file of the memory says so itself; one of pictures alone cannot, and nothing is changed."""
    package, port = (importlib.import_module(f"gsam.models.sam2{part}") for part in ("", ".port"))
    config = package.VARIANTS[LISTS[source]["variant"]]
    for v21 in (False, True):
        told = port.told(dataclasses.replace(config, v21=v21), listed(source))
        assert told == (dataclasses.replace(config, v21=v21) if "image" in source else config)


@pytest.mark.parametrize("source", [s for s in LISTS if s.startswith("FastSAM")])
def test_a_network_s_count_is_the_file_s_but_for_what_is_no_weight(source: str) -> None:
    keys = LISTS[source]["keys"]
    beside = [math.prod(s) for k, s in keys.items() if re.search("num_batches_tracked|dfl", k)]
    assert sum(math.prod(s) for s in keys.values()) - sum(beside) == COUNTS[LISTS[source]["variant"]]
    assert sum(beside) == 16 + sum("num_batches_tracked" in k for k in keys)


def test_every_list_is_of_a_registered_variant() -> None:
    registered = {v for family in FAMILIES.values() for v in family.variants}
    assert {entry["variant"] for entry in LISTS.values()} <= registered
