"""Every case that `python -m benchmarks cpu|gpu` measures, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Case:
    """One computation, on gsam's side and on those of its peers."""

    name: str
    title: str
    method: str
    """A method of `gsam_cases.GsamCases` and `torch_cases.TorchCases`, called with ``options``."""
    options: Mapping[str, Any]
    models: frozenset[str]
    """The checkpoints that it needs, see `benchmarks.harness.checkpoints`."""
    peers: tuple[str, ...]
    """The forms of torch that it is compared with, see `benchmarks.harness.torch_cases`.

    Those behind a ``+`` only with ``--full``; those behind a ``~`` are shown beside and not judged.
    """
    omitted: tuple[str, ...] = ()
    """Forms that this run leaves out."""
    beside: tuple[str, ...] = ()
    """Forms of another precision, which are no peers of this one."""
    goal: float | None = None
    """The goal, in ``unit``; None for none."""
    measure: Literal["close", "masks", "boxes", "scenes"] = "close"
    """The measure of `benchmarks.harness.differences` that outputs are compared by."""
    tolerance: float = 1e-3
    """The largest difference at which it is timed."""
    rounds: int = 5
    """How often each side is timed."""
    inner: int = 1
    """Calls per timing."""
    full: bool = False
    """Measured only with ``--full``."""
    memory: float | None = None
    """The goal of gsam's peak memory over the leanest peer's; None where it is not measured."""
    items: int = 1
    """Images or prompts per call, for rates."""
    unit: Literal["ratio", "per_second", "milliseconds"] = "ratio"
    """Of the goal: gsam's time over the fastest peer's, or gsam's own rate or time."""

    def with_peers(self, full: bool) -> Case:
        """Return the case as it is run: with every form, or without those of ``--full``."""
        kept = [form for form in self.peers if full or not form.startswith("+")]
        return dataclasses.replace(
            self,
            peers=tuple(form.lstrip("+~") for form in kept),
            omitted=tuple(form.lstrip("+~") for form in self.peers if form not in kept),
            beside=tuple(form.lstrip("+~") for form in kept if form.lstrip("+").startswith("~")),
        )

    def reduced(self) -> Case:
        """Return the case with little work and no goal, to try a script on a CPU."""
        most = {"batch": 2, "images": 4, "prompts": 16}
        options = {k: min(v, most[k]) if k in most else v for k, v in self.options.items()}
        items = next((options[k] for k in ("images", "prompts", "batch") if k in options), self.items)
        return dataclasses.replace(self, inner=1, goal=None, options=options, items=items)


def _case(name: str, title: str, method: str, models: str, peers: str, **more: Any) -> Case:
    options = more.pop("options", {})
    return Case(name, title, method, options, frozenset(models.split()), tuple(peers.split()), **more)


def _encoder(size: str, **more: Any) -> Case:
    return _case(
        f"encoder_{size}",
        f"SAM ViT-{size.upper()} encoder, 1024 x 1024",
        "encoder",
        f"sam_{size}",
        "sdpa onnx compile ~bf16 +eager",
        goal=1.0,
        tolerance=1e-4,
        rounds=2,
        options={"size": size},
        **more,
    )


def _decoder(prompts: int, goal: float, **more: Any) -> Case:
    return _case(
        f"decoder_{prompts}",
        f"SAM decoder, {prompts} box{'es' * (prompts > 1)}",
        "decoder",
        "sam_b",
        ("sdpa compile" if prompts == 1 else "compile_by_1 sdpa_by_4 +compile +sdpa"),
        goal=goal,
        options={"prompts": prompts},
        items=prompts,
        **more,
    )


CPU = (
    _encoder("b", memory=0.6),
    _encoder("l", full=True),
    _encoder("h", full=True),
    _decoder(1, 0.5, rounds=9, inner=5),
    _decoder(16, 0.45),
    _decoder(64, 0.4, rounds=2),
    _decoder(256, 0.4, rounds=2, full=True),
    _case(
        "click",
        "a click on an image encoded before, to three masks of 1024 x 1536",
        "click",
        "sam_b",
        "sdpa compile +eager",
        measure="masks",
        tolerance=1e-4,
        goal=0.75,
        rounds=9,
        inner=3,
    ),
    _case(
        "post",
        "48 masks of blobs, 256 x 256 -> 1000 x 1500",
        "post",
        "",
        "eager",
        measure="masks",
        tolerance=1e-5,
        goal=0.3,
        rounds=9,
        inner=3,
        options={"dense": False},
    ),
    _case(
        "post_dense",
        "48 masks of noise, 256 x 256 -> 1000 x 1500",
        "post",
        "",
        "eager",
        measure="masks",
        tolerance=1e-5,
        goal=0.3,
        rounds=9,
        inner=3,
        full=True,
        options={"dense": True},
    ),
    _case(
        "deformable",
        "deformable attention, 18,785 queries of 4 x 4 points",
        "deformable",
        "",
        "eager +compile",
        goal=0.45,
        tolerance=1e-3,
        rounds=7,
    ),
    _case(
        "grounding_dino",
        "Grounding DINO tiny, an image of 1200 x 1600 at 800 x 1066, 5 names",
        "grounding_dino",
        "dino sam_b",
        "eager",
        measure="boxes",
        tolerance=0.1,
        goal=0.7,
        rounds=2,
    ),
    _case(
        "grounded_sam",
        "Grounded SAM, one image",
        "grounded_sam",
        "dino sam_b",
        "eager",
        measure="scenes",
        tolerance=0.01,
        goal=0.75,
        rounds=2,
        memory=0.6,
        options={"kind": "fresh"},
    ),
    _case(
        "second_query",
        "Grounded SAM, other names on the same image",
        "grounded_sam",
        "dino sam_b",
        "eager",
        measure="scenes",
        tolerance=0.01,
        goal=0.5,
        rounds=2,
        options={"kind": "again"},
    ),
    _case(
        "sam2_encoder",
        "SAM 2 Hiera-T encoder, 1024 x 1024",
        "sam2_encoder",
        "sam2",
        "sdpa compile ~bf16",
        goal=0.9,
        rounds=2,
    ),
    _case(
        "owl",
        "OWL-ViT B/32, 768 x 768, 8 names",
        "owl",
        "owl_1",
        "sdpa compile ~bf16 +eager",
        goal=0.9,
        rounds=3,
        options={"model": "owl_1"},
    ),
    _case(
        "owlv2",
        "OWLv2 base, 960 x 960, 8 names",
        "owl",
        "owl_2",
        "sdpa +compile +eager",
        goal=0.9,
        rounds=2,
        full=True,
        options={"model": "owl_2"},
    ),
    _case("clip_crops", "CLIP B/32, 16 crops", "clip_crops", "clip_b", "sdpa +eager +compile", rounds=7, full=True),
    _case(
        "folder_16",
        "Grounded SAM, a folder of 16",
        "grounded_sam",
        "dino sam_b",
        "eager",
        measure="scenes",
        tolerance=0.01,
        goal=0.75,
        rounds=2,
        full=True,
        memory=0.6,
        options={"kind": "folder", "images": 16},
        items=16,
    ),
)
"""Goals are ratios of time: gsam's over the fastest peer's."""


def _batch(size: str, batch: int, goal: float | None = None, peers: str = "sdpa +compile") -> Case:
    return _case(
        f"encoder_{size}_{batch}",
        f"SAM ViT-{size.upper()} encoder, batch {batch}",
        "encoder",
        f"sam_{size}",
        peers,
        goal=goal,
        unit="per_second",
        options={"size": size, "batch": batch},
        items=batch,
        inner=5,
    )


def _prompts(prompts: int, goal: float | None = None) -> Case:
    return _case(
        f"decoder_{prompts}",
        f"SAM decoder, {prompts} box{'es' * (prompts > 1)}",
        "decoder",
        "sam_b",
        "sdpa +compile",
        goal=goal,
        unit="milliseconds",
        options={"prompts": prompts},
        items=prompts,
        inner=10,
    )


GPU = (
    _batch("b", 32, 380.0),
    _prompts(64, 1.0),
    _case(
        "click",
        "a click on an image encoded before",
        "click",
        "sam_b",
        "sdpa",
        measure="masks",
        unit="milliseconds",
        goal=3.0,
        inner=5,
    ),
    _case(
        "folder",
        "Grounded SAM, a folder of 32 in batches of 8",
        "grounded_sam",
        "dino sam_b",
        "eager",
        measure="scenes",
        goal=0.67,
        options={"kind": "folder", "images": 32},
        items=32,
        rounds=2,
    ),
    _case(
        "nano",
        "nano, 256 images in batches of 32",
        "nano",
        "",
        "",
        unit="per_second",
        options={"images": 256, "batch": 32},
        items=256,
        rounds=3,
    ),
    _batch("h", 8, 70.0, "+sdpa +compile"),
    _batch("l", 16, 140.0, "+sdpa +compile"),
    _prompts(1),
    _batch("b", 1),
    _case(
        "grounding_dino",
        "Grounding DINO tiny, 800 x 1066, from the array",
        "grounding_dino",
        "dino sam_b",
        "eager",
        measure="boxes",
        unit="milliseconds",
        inner=3,
    ),
    _case(
        "deformable",
        "deformable attention, 18,785 queries",
        "deformable",
        "",
        "eager +compile",
        unit="milliseconds",
        inner=10,
    ),
    _case(
        "owlv2",
        "OWLv2 base, 960 x 960",
        "owl",
        "owl_2",
        "sdpa",
        unit="milliseconds",
        inner=5,
        options={"model": "owl_2"},
    ),
    _case("clip_crops", "CLIP B/32, 16 crops", "clip_crops", "clip_b", "sdpa +compile", unit="milliseconds", inner=10),
    _prompts(16),
    _prompts(256),
    _batch("b", 8),
)
"""On an accelerator, in bfloat16 on all sides; goals are gsam's own rates or times.

The most important come first: a run ends when its time does.
"""
